"""Codes that came in are given back by API: to the subscriber that waits, a row first, once, and looked up where that is uncertain."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from schemas.delivery import now_utc
from schemas.states import RefreshKind, SubscriberState
from tests.workers.vendors.learn import EVENT, Learn, learning
from workers.confirmations import fetch
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Touch
from workers.refreshes import Refresh, claim
from workers.simulators.faults import Broken, Dropped, Fault, Instead, LandsLate, LostAfter, LostBefore, TooMany
from workers.subscribers import WebhookSubscriber, note
from workers.vendors.errors import Refused, Throttled, UnknownOutcome, VendorError

MIRROR = Mirror(frozenset({"lms"}))
CONFIRM = "/webhook/confirm"


@pytest_asyncio.fixture
async def learn(tmp_path: Path) -> AsyncIterator[Learn]:
    async with learning(tmp_path) as staged:
        yield staged


async def asked(database: Database, learn: Learn, name: str, ago: float = 60) -> str:
    """A code that was asked for, and is on its way to us."""
    code = learn.subscriber(name).code
    assert code is not None
    await note(database, "lms", name, EVENT, SubscriberState.CODE_REQUESTED, now_utc() - timedelta(seconds=ago))
    return code


async def give_back(database: Database, learn: Learn, *codes: str) -> None:
    """What the refresher does once these codes were delivered."""
    arrived = now_utc() - timedelta(seconds=10)
    async with database.transaction() as connection:
        await MIRROR.apply(connection, database.dialect, [Touch("lms", RefreshKind.CONFIRMATION, code, arrived) for code in codes])
    await again(database, learn)


async def again(database: Database, learn: Learn) -> None:
    """What it does when the lease of what was not settled is over."""
    await Refresh.all().update(due_at=now_utc() - timedelta(seconds=1))
    claims = await claim(database, "lms", [RefreshKind.CONFIRMATION], now_utc(), timedelta(seconds=30), 10)
    await fetch(database, MIRROR, learn.ours, claims, now_utc)


async def row(name: str) -> tuple[str, str | None, str | None]:
    """State, code and error of a subscriber's row."""
    found = await WebhookSubscriber.get(account="lms", name=name)
    return found.state, found.code, found.error


async def test_a_code_confirms_the_subscriber_that_waits_for_it(database: Database, learn: Learn) -> None:
    code = await asked(database, learn, "one")
    await give_back(database, learn, code)

    assert learn.vendor.subscribers["one"].confirmed
    assert await row("one") == ("confirmed", None, None)
    assert await Refresh.all().count() == 0


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(LostBefore(path=CONFIRM), UnknownOutcome, id="lost before"),
        pytest.param(LostAfter(path=CONFIRM), UnknownOutcome, id="lost after"),
        pytest.param(Broken(path=CONFIRM), UnknownOutcome, id="broken before"),
        pytest.param(Broken(path=CONFIRM, done=True), UnknownOutcome, id="broken after"),
        pytest.param(Dropped(path=CONFIRM, done=True), UnknownOutcome, id="dropped after"),
        pytest.param(LandsLate(path=CONFIRM), UnknownOutcome, id="lands late"),
        pytest.param(TooMany(path=CONFIRM, retry_after="3600", times=None), Throttled, id="throttled"),
        pytest.param(Instead(path=CONFIRM, status=403), Refused, id="rights withdrawn"),
    ],
)
async def test_after_a_fault_the_row_tells_what_was_tried_and_it_ends_confirmed(
    database: Database, learn: Learn, fault: Fault, error: type[VendorError]
) -> None:
    code = await asked(database, learn, "one")
    learn.faults.on(fault)
    with pytest.raises(error):
        await give_back(database, learn, code)
    tried, left = await row("one"), await Refresh.all().count()
    learn.faults.off()
    await again(database, learn)

    assert tried == ("confirming", code, None)
    assert left == 1
    assert learn.vendor.subscribers["one"].confirmed
    assert await row("one") == ("confirmed", None, None)
    assert await Refresh.all().count() == 0


async def test_a_confirmation_whose_answer_was_lost_is_not_made_again(database: Database, learn: Learn) -> None:
    code = await asked(database, learn, "one")
    learn.faults.on(LostAfter(path=CONFIRM))
    with pytest.raises(UnknownOutcome):
        await give_back(database, learn, code)
    await again(database, learn)

    assert learn.faults.count(CONFIRM) == 1
    assert (await row("one"))[0] == "confirmed"


async def test_a_refusal_of_what_was_done_already_is_looked_up(database: Database, learn: Learn) -> None:
    code = await asked(database, learn, "one")
    learn.vendor.subscribers["one"].confirmed = True
    learn.faults.on(Instead(path=CONFIRM, status=400, body=b'{"code": 400, "message": "used"}'))
    await give_back(database, learn, code)

    assert await row("one") == ("confirmed", None, None)


async def test_a_code_that_a_newer_one_killed_leaves_the_subscriber_waiting_for_that(database: Database, learn: Learn) -> None:
    old = await asked(database, learn, "one")
    learn.vendor.subscribers["one"].send_code()
    await give_back(database, learn, old)
    state, code, error = await row("one")
    waiting = learn.vendor.subscribers["one"].confirmed

    assert (state, code, waiting, await Refresh.all().count()) == ("code_requested", None, False, 0)
    assert error is not None
    assert "not valid" in error
    assert old not in error

    await give_back(database, learn, learn.vendor.subscribers["one"].code or "")

    assert await row("one") == ("confirmed", None, None)


async def test_the_older_code_of_two_that_come_together_does_no_harm(database: Database, learn: Learn) -> None:
    old = await asked(database, learn, "one")
    learn.vendor.subscribers["one"].send_code()
    await give_back(database, learn, old, learn.vendor.subscribers["one"].code or "")

    assert await row("one") == ("confirmed", None, None)


async def test_of_several_that_wait_each_gets_its_own_code(database: Database, learn: Learn) -> None:
    codes = {name: await asked(database, learn, name, ago) for name, ago in (("one", 60), ("two", 30), ("three", 90))}
    await give_back(database, learn, codes["one"])
    after_one = [(await row(name))[0] for name in codes]
    await give_back(database, learn, codes["three"], codes["two"])

    assert after_one == ["confirmed", "code_requested", "code_requested"]
    assert all(one.confirmed for one in learn.vendor.subscribers.values())
    assert [(await row(name))[0] for name in codes] == ["confirmed"] * 3


async def test_the_newest_that_waits_is_tried_first(database: Database, learn: Learn) -> None:
    await asked(database, learn, "older", 60)
    code = await asked(database, learn, "newer", 30)
    await give_back(database, learn, code)

    assert learn.faults.count(CONFIRM) == 1


@pytest.mark.parametrize("state", [SubscriberState.CONFIRMED, SubscriberState.REGISTERED, SubscriberState.GONE])
async def test_a_code_that_nobody_waits_for_is_told_of_without_it_and_done_with(
    database: Database, learn: Learn, state: SubscriberState
) -> None:
    await note(database, "lms", "one", EVENT, state, now_utc())
    await note(database, "another", "one", EVENT, SubscriberState.CODE_REQUESTED, now_utc())
    with capture_logs() as logs:
        await give_back(database, learn, "c0de-planted")

    assert [(one["event"], one["log_level"]) for one in logs] == [("confirmation.unclaimed", "warning")]
    assert "c0de-planted" not in str(logs)
    assert learn.faults.count(CONFIRM) == 0
    assert await Refresh.all().count() == 0


async def test_a_subscriber_that_was_removed_meanwhile_stops_nobody(database: Database, learn: Learn) -> None:
    code = await asked(database, learn, "one", 60)
    await note(database, "lms", "removed", EVENT, SubscriberState.CODE_REQUESTED, now_utc())
    await give_back(database, learn, code)

    assert (await row("one"))[0] == "confirmed"
    assert (await row("removed"))[0] == "code_requested"
