"""`connect` from nothing to a subscription, and from wherever it stood before; no fault doubles anything, and nothing keeps the secrets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.delivery import now_utc
from tests.workers.vendors.learn import EVENT, HOOK_SECRET, NOWHERE, Learn, learning
from workers.confirmations import Code
from workers.database import Database
from workers.operations.ispring import NotConnected, Step, Wanted, connect, subscribers
from workers.simulators.faults import Broken, Dropped, Fault, Instead, LandsLate, LostAfter, LostBefore
from workers.vendors.errors import Refused, UnknownOutcome, VendorError

NAME = f"muster-{EVENT}"
WANTED = Wanted(NAME, "COURSE_COMPLETED_SUCCESSFULLY", NOWHERE, HOOK_SECRET)
FROM_NOTHING = [
    Step.REGISTERING,
    Step.ASKING_FOR_A_CODE,
    Step.WAITING,
    Step.CONFIRMED,
    Step.SUBSCRIBING,
    Step.SUBSCRIBED,
]
UNCONFIRMED = [Step.FOUND, *FROM_NOTHING[1:]]
LEFT_ALONE = [Step.FOUND, Step.CONFIRMED, Step.SUBSCRIBED]


@pytest_asyncio.fixture
async def learn(tmp_path: Path) -> AsyncIterator[Learn]:
    async with learning(tmp_path) as staged:
        yield staged


Connect = Callable[..., Awaitable[list[Step]]]


@pytest_asyncio.fixture
async def connected(database: Database, learn: Learn) -> AsyncIterator[Connect]:
    """Connects, while something like a worker gives back every code that iSpring sends, or nothing does."""

    async def confirming() -> None:
        given: set[str] = set()
        while True:
            for code in {one.code for one in learn.vendor.subscribers.values() if one.code} - given:
                with contextlib.suppress(VendorError):
                    await Code(database, learn.ours, code, now_utc).given_back()
                    given.add(code)
            await asyncio.sleep(0.02)

    async def steps(wanted: Wanted = WANTED, patience: float = 10, *, worker: bool = True) -> list[Step]:
        working = [asyncio.create_task(confirming())] if worker else []
        try:
            return [step async for step in connect(database, learn.ours, wanted, timedelta(seconds=patience), now_utc)]
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    yield steps


async def states() -> list[tuple[str, str, str]]:
    return [(one.name, one.event, one.state) for one in await subscribers("lms")]


async def test_from_nothing_to_a_subscription(connected: Connect, learn: Learn) -> None:
    steps = await connected()
    there = learn.vendor.subscribers[NAME]

    assert steps == FROM_NOTHING
    assert (there.url, there.secret, there.confirmed, there.type) == (NOWHERE, HOOK_SECRET, True, EVENT)
    assert await states() == [(NAME, EVENT, "confirmed")]


async def test_what_stands_already_is_left_as_it_is(connected: Connect, learn: Learn) -> None:
    await connected()
    writes = learn.faults.count("/webhook/*", "POST")

    assert await connected(worker=False) == LEFT_ALONE
    assert learn.faults.count("/webhook/*", "POST") == writes


async def test_one_that_has_become_unconfirmed_gets_a_new_code_and_keeps_its_subscription(connected: Connect, learn: Learn) -> None:
    await connected()
    learn.vendor.subscribers[NAME].confirmed = False

    assert await connected() == [*UNCONFIRMED[:-2], Step.SUBSCRIBED]
    assert learn.faults.count("/webhook/register") == 1
    assert learn.vendor.subscribers[NAME].confirmed
    assert await states() == [(NAME, EVENT, "confirmed")]


async def test_one_that_muster_has_no_row_of_is_taken_over(connected: Connect, learn: Learn) -> None:
    learn.subscriber(NAME, asked=False).confirmed = True

    assert await connected(worker=False) == [Step.FOUND, Step.CONFIRMED, Step.SUBSCRIBING, Step.SUBSCRIBED]
    assert await states() == [(NAME, EVENT, "confirmed")]


async def test_a_name_that_another_type_has_is_left_alone_and_told(connected: Connect, learn: Learn) -> None:
    learn.subscriber(NAME, asked=False).type = "USER_REGISTERED"
    with pytest.raises(NotConnected, match=r"USER_REGISTERED.*--name"):
        await connected()

    assert learn.faults.count("/webhook/*", "POST") == 0
    assert await states() == []


async def test_each_type_is_connected_under_a_name_of_its_own(connected: Connect, learn: Learn) -> None:
    other = replace(WANTED, name="muster-USER_REGISTERED", event="USER_REGISTERED")
    await connected()
    await connected(other)

    assert {name: one.type for name, one in learn.vendor.subscribers.items()} == {NAME: EVENT, other.name: other.event}


async def test_when_no_worker_confirms_it_says_what_to_look_at(connected: Connect, learn: Learn) -> None:
    with pytest.raises(NotConnected) as caught:
        await connected(patience=0.5, worker=False)

    assert all(said in str(caught.value) for said in ("worker", "deliveries list --event CONFIRMATION", f"muster vendor lms remove {NAME}"))
    assert await states() == [(NAME, EVENT, "code_requested")]
    assert await connected() == UNCONFIRMED


#: label: (fault, what the caller learns, what another run does)
FAULTS: dict[str, tuple[Fault, type[VendorError] | None, list[Step]]] = {
    "register lost before": (LostBefore(path="/webhook/register"), UnknownOutcome, FROM_NOTHING),
    "register lost after": (LostAfter(path="/webhook/register"), None, LEFT_ALONE),
    "register lands late": (LandsLate(path="/webhook/register"), UnknownOutcome, UNCONFIRMED),
    "register refused": (Instead(path="/webhook/register", status=403), Refused, FROM_NOTHING),
    "register done behind a 503": (Broken(path="/webhook/register", status=503, retry_after="0", done=True), None, LEFT_ALONE),
    "code lost after": (LostAfter(path="/webhook/code/send"), None, LEFT_ALONE),
    "confirm lost before": (LostBefore(path="/webhook/confirm"), None, LEFT_ALONE),
    "confirm lost after": (LostAfter(path="/webhook/confirm"), None, LEFT_ALONE),
    "subscribe dropped before": (Dropped(path="/webhook/subscribe"), UnknownOutcome, [*LEFT_ALONE[:2], *FROM_NOTHING[-2:]]),
    "subscribe dropped after": (Dropped(path="/webhook/subscribe", done=True), None, LEFT_ALONE),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_doubles_anything_and_another_run_goes_on_where_it_stands(connected: Connect, learn: Learn, fault: str) -> None:
    switch, error, then = FAULTS[fault]
    learn.faults.on(switch)
    with pytest.raises(error) if error else contextlib.nullcontext():
        await connected()
    await learn.faults.land()
    learn.faults.off()

    assert await connected() == then
    assert [(one.confirmed, one.type) for one in learn.vendor.subscribers.values()] == [(True, EVENT)]
    assert await states() == [(NAME, EVENT, "confirmed")]


async def test_neither_secret_nor_address_is_kept_or_repeated(connected: Connect, database: Database, learn: Learn) -> None:
    body = f'{{"code": 400, "message": "no {NOWHERE} and no {HOOK_SECRET}"}}'.encode()
    learn.faults.on(Instead(path="/webhook/register", status=400, body=body))
    with pytest.raises(Refused) as caught:
        await connected()
    await connected()
    rows = await database.connection.execute_query_dict("SELECT * FROM webhook_subscribers")

    assert not [one for one in (HOOK_SECRET, "t0ken-planted") if one in f"{caught.value!r} {rows} {WANTED!r}"]
