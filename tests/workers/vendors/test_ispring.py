"""Every operation of iSpring Learn's against an account of its own over HTTP, and every fault against every write."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.accounts import IspringAccount, Limits
from schemas.ispring import SubscriptionType
from tests.workers.vendors.acme import HASTY, PATIENT
from workers.simulators.faults import Broken, Dropped, Fault, Faults, Instead, LandsLate, LostAfter, LostBefore, Slow, TooMany
from workers.simulators.ispring import Account, simulator
from workers.simulators.server import served
from workers.vendors.errors import NotFound, Refused, Throttled, Unavailable, UnknownOutcome, VendorError
from workers.vendors.ispring import Ispring

ID, SECRET, NEW_SECRET, HOOK_SECRET = "788f274b-68f4-11ee-b2b4-d6615e040b19", "s3cret-planted", "s3cret-rotated", "h00k-planted"
FLOOR, KITCHEN = "3fa85f64-5717-4562-b3fc-2c963f66afa6", "00000000-5717-4562-b3fc-2c963f66afa6"
NAME = "muster-course-completed"
COMPLETED: SubscriptionType = "COURSE_COMPLETED_SUCCESSFULLY"
#: Nobody listens there: codes that are sent are lost.
NOWHERE = "http://127.0.0.1:9/hooks/ispring"


@dataclass(slots=True)
class Clock:
    """A clock that is set by hand."""

    now: datetime = datetime(2024, 8, 5, 21, 57, 49, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True, slots=True)
class Stage:
    """A simulated account that is served."""

    account: Account
    faults: Faults
    url: str
    secret_file: Path
    clock: Clock = field(default_factory=Clock)

    @asynccontextmanager
    async def client(self, limits: Limits = PATIENT, **changed: Any) -> AsyncIterator[Ispring]:
        """A client, or what `changed` makes of its account."""
        made = {"vendor": "ispring", "insecure": True, "base_url": self.url, "limits": limits, "client_id": ID}
        made |= {"client_secret_file": self.secret_file, "account_url": "https://acme.ispringlearn.com", "dates": {"zone": "Europe/Rome"}}
        client = Ispring(IspringAccount.model_validate(made | changed), lambda: datetime.now(UTC))
        try:
            yield client
        finally:
            await client.close()


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    clock = Clock()
    account = Account(ID, SECRET, clock, zone="Europe/Rome")
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    faults = Faults(simulator(account))
    async with served(faults) as url:
        yield Stage(account, faults, url, tmp_path / "secret", clock)
    faults.off()
    await account.close()


@pytest_asyncio.fixture
async def ispring(stage: Stage) -> AsyncIterator[Ispring]:
    async with stage.client() as client:
        yield client


async def test_sessions_are_listed_with_their_local_times_in_utc(stage: Stage, ispring: Ispring) -> None:
    stage.account.observe("employee", "observer", FLOOR, result=60)
    (one,) = await ispring.observations()

    assert (one.checklist_id, one.employee_id, one.observer_id, one.status) == (FLOOR, "employee", "observer", "PASSED")
    assert (one.result, one.total_points, one.points) == (60.0, 30.0, 18.0)
    assert one.completed_at == stage.clock.now


async def test_a_session_that_has_not_begun_lacks_most_of_it(stage: Stage, ispring: Ispring) -> None:
    stage.account.observe("employee", "observer", FLOOR)
    (one,) = await ispring.observations()

    assert (one.status, one.started_at, one.completed_at, one.result, one.points) == ("NOT_STARTED", None, None, None, None)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({}, {"a", "b", "c"}, id="all"),
        pytest.param({"checklist": KITCHEN}, {"c"}, id="of a checklist"),
        pytest.param({"sessions": ["a", "c"]}, {"a", "c"}, id="these"),
        pytest.param({"status": "NOT_STARTED"}, {"b"}, id="with a status"),
        pytest.param({"checklist": FLOOR, "sessions": ["c"]}, set(), id="none"),
    ],
)
async def test_sessions_are_asked_for_by_checklist_by_id_and_by_status(
    stage: Stage, ispring: Ispring, asked: dict[str, Any], expected: set[str]
) -> None:
    stage.account.observe("e", "o", FLOOR, result=60, session="a")
    stage.account.observe("e", "o", FLOOR, session="b")
    stage.account.observe("e", "o", KITCHEN, result=10, session="c")

    assert {one.session_id for one in await ispring.observations(**asked)} == expected


@pytest.mark.parametrize(
    ("checklists", "expected"),
    [
        pytest.param([], [(None, ["a", "b"])], id="none configured: one call without"),
        pytest.param([FLOOR, KITCHEN], [(FLOOR, ["a"]), (KITCHEN, ["b"])], id="one call for each"),
        pytest.param([KITCHEN], [(KITCHEN, ["b"])], id="one configured"),
    ],
)
async def test_one_call_is_made_for_each_configured_checklist(stage: Stage, checklists: list[str], expected: Any) -> None:
    stage.account.observe("e", "o", FLOOR, session="a")
    stage.account.observe("e", "o", KITCHEN, session="b")
    async with stage.client(checklists=checklists) as client:
        found = [(checklist, [one.session_id for one in rows]) async for checklist, rows in client.every_observation()]

    assert found == expected
    assert stage.faults.count("*/result/list") == len(expected)


async def test_a_format_that_iSpring_does_not_write_is_an_answer_that_cannot_be_read(stage: Stage) -> None:  # noqa: N802
    stage.account.observe("e", "o", FLOOR, result=60)
    async with stage.client(dates={"format": "%Y-%m-%d %H:%M:%S"}) as client:
        with pytest.raises(Unavailable, match=r"startDate: .*not a time of the form %Y-%m-%d %H:%M:%S"):
            await client.observations()


async def test_one_token_serves_many_calls_and_is_renewed_when_it_is_refused(stage: Stage, ispring: Ispring) -> None:
    await ispring.login()
    await ispring.observations()
    first = stage.faults.count("*/token")
    stage.account.expire_tokens()
    await ispring.observations()

    assert (first, stage.faults.count("*/token")) == (1, 2)


async def test_a_write_whose_token_has_expired_is_done_once(stage: Stage, ispring: Ispring) -> None:
    await ispring.login()
    stage.clock.now += timedelta(minutes=31)
    await ispring.register(NAME, NOWHERE)

    assert (list(stage.account.subscribers), stage.faults.count("*/register")) == ([NAME], 2)


async def test_a_token_that_lives_for_less_than_its_renewal_comes_early_is_still_used(stage: Stage, ispring: Ispring) -> None:
    stage.account.token_life = 30
    await ispring.observations()
    await ispring.observations()

    assert stage.faults.count("*/token") == 1


async def test_a_rotated_client_secret_is_read_again(stage: Stage, ispring: Ispring) -> None:
    await ispring.login()
    stage.account.client_secret = NEW_SECRET
    stage.account.expire_tokens()
    with pytest.raises(Refused, match="login"):
        await ispring.observations()
    stage.secret_file.write_text(NEW_SECRET)

    assert await ispring.observations() == ()


async def test_host_and_account_headers_are_settings(stage: Stage) -> None:
    seen: list[dict[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await stage.faults(scope, receive, send)

    async with served(app) as url, stage.client(base_url=url, account_url="https://other.ispringlearn.eu/", locale="it-IT") as client:
        await client.observations()

    (_, asked) = seen
    assert (asked["x-auth-account-url"], asked["x-target-locale"]) == ("https://other.ispringlearn.eu", "it-IT")
    assert re.fullmatch(r"Bearer token-\w+", asked["authorization"])


async def test_a_subscriber_lives_from_register_to_remove(stage: Stage, ispring: Ispring) -> None:
    await ispring.register(NAME, NOWHERE, HOOK_SECRET)
    new = await ispring.subscriber(NAME)
    await ispring.send_code(NAME)
    await ispring.confirm(NAME, stage.account.subscribers[NAME].code or "")
    confirmed = await ispring.subscriber(NAME)
    await ispring.subscribe(NAME, COMPLETED, {"courseIds": [FLOOR]})
    (subscription,) = await ispring.subscriptions(NAME)
    await ispring.unsubscribe(NAME, COMPLETED)
    left = await ispring.subscriptions(NAME)
    await ispring.remove(NAME)

    assert (new.confirmed, confirmed.confirmed, confirmed.status, confirmed.sending) == (False, True, "ACTIVE", "ACTIVE")
    assert subscription.type == COMPLETED
    assert [(param.name, param.value) for param in subscription.params] == [("courseIds", f'["{FLOOR}"]')]
    assert left == ()
    with pytest.raises(NotFound):
        await ispring.subscriber(NAME)


Act = Callable[[Ispring], Awaitable[Any]]


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        pytest.param(lambda ispring: ispring.register(NAME, NOWHERE), Refused, "already exists", id="a name that is taken"),
        pytest.param(lambda ispring: ispring.confirm(NAME, "another"), Refused, "code is not valid", id="a wrong code"),
        pytest.param(lambda ispring: ispring.subscribe(NAME, "USER_REGISTERED"), Refused, "one type of event", id="a second type"),
        pytest.param(lambda ispring: ispring.send_code("nobody"), NotFound, "not found", id="a code for nobody"),
        pytest.param(lambda ispring: ispring.unsubscribe(NAME, "USER_REGISTERED"), NotFound, "not found", id="a type it has not"),
        pytest.param(lambda ispring: ispring.remove("nobody"), NotFound, "not found", id="nobody to remove"),
        pytest.param(lambda ispring: ispring.subscriptions("nobody"), NotFound, "not found", id="nobody's subscriptions"),
        pytest.param(lambda ispring: ispring.register("n" * 256, NOWHERE), Refused, "subscriberName", id="a long name"),
        pytest.param(lambda ispring: ispring.register("n", NOWHERE + "x" * 255), Refused, "callbackUrl", id="a long address"),
        pytest.param(lambda ispring: ispring.register("n", NOWHERE, "x" * 256), Refused, "secret", id="a long secret"),
        pytest.param(lambda ispring: ispring.register("", NOWHERE), Refused, "subscriberName", id="no name"),
    ],
)
async def test_refusals_are_told_in_the_vendors_words(ispring: Ispring, act: Act, error: type[VendorError], words: str) -> None:
    await ispring.register(NAME, NOWHERE)
    await ispring.subscribe(NAME, COMPLETED)
    with pytest.raises(error, match=words):
        await act(ispring)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"code": 403, "message": "No permission"}', "No permission", id="JSON"),
        pytest.param(
            b'<?xml version="1.0"?><response><code>403</code><message>No permission</message></response>', "No permission", id="XML"
        ),
        pytest.param(b"<html><body><h1>No</h1> permission", "No permission", id="HTML"),
        pytest.param(b"No\n permission", "No permission", id="text"),
        pytest.param(b'<!DOCTYPE x [<!ENTITY a "b">]><response><message>&a;</message></response>', "", id="XML with an entity"),
        pytest.param(b"[1]", "no reason given", id="something else"),
        pytest.param(b"", "no reason given", id="nothing"),
    ],
)
async def test_an_error_is_read_whatever_it_is_written_in(stage: Stage, ispring: Ispring, body: bytes, words: str) -> None:
    stage.faults.on(Instead(path="*/list", status=403, body=body))
    with pytest.raises(Refused, match=f"403: .*{words}"):
        await ispring.observations()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
async def test_no_credential_stands_in_an_exception_even_if_the_vendor_repeats_it(stage: Stage, ispring: Ispring, status: int) -> None:
    await ispring.login()
    (token,) = stage.account.tokens
    words = f"{HOOK_SECRET} {token}" + "x" * 430 + f"{HOOK_SECRET} {token}"
    stage.faults.on(Instead(path="*/register", status=status, body=words.encode(), times=None))
    with pytest.raises(VendorError) as caught:
        await ispring.register(NAME, NOWHERE, HOOK_SECRET)

    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caught.value.__context__!r} {ispring!r} {vars(ispring)}"
    assert not {word for word in (HOOK_SECRET, SECRET, token, "h00k", token[:12]) if word in shown}


async def test_a_login_that_is_refused_repeats_no_credential(stage: Stage, ispring: Ispring) -> None:
    stage.secret_file.write_text(NEW_SECRET)
    with pytest.raises(Refused) as caught:
        await ispring.login()

    assert NEW_SECRET not in f"{caught.value!r} {caught.value} {caught.value.__context__!r}"


@dataclass(frozen=True, slots=True)
class Write:
    """A write, what stands before it, and how one sees by API whether it was done."""

    act: Act
    look: Callable[[Ispring], Awaitable[bool]]
    before: tuple[str, ...] = ()


async def _is_there(ispring: Ispring) -> bool:
    try:
        return bool(await ispring.subscriber(NAME))
    except NotFound:
        return False


async def _is_gone(ispring: Ispring) -> bool:
    return not await _is_there(ispring)


async def _is_confirmed(ispring: Ispring) -> bool:
    return (await ispring.subscriber(NAME)).confirmed


async def _is_subscribed(ispring: Ispring) -> bool:
    return [one.type for one in await ispring.subscriptions(NAME)] == [COMPLETED]


async def _is_unsubscribed(ispring: Ispring) -> bool:
    return not await _is_subscribed(ispring)


CODE = "1759b14e-d387-11ed-88a2-42349c105193"
WRITES = {
    "register": Write(lambda ispring: ispring.register(NAME, NOWHERE), _is_there),
    "confirm": Write(lambda ispring: ispring.confirm(NAME, CODE), _is_confirmed, ("registered",)),
    "subscribe": Write(lambda ispring: ispring.subscribe(NAME, COMPLETED), _is_subscribed, ("registered",)),
    "unsubscribe": Write(lambda ispring: ispring.unsubscribe(NAME, COMPLETED), _is_unsubscribed, ("registered", "subscribed")),
    "remove": Write(lambda ispring: ispring.remove(NAME), _is_gone, ("registered",)),
}
#: label: (fault, what the caller learns, whether it was done by then)
FAULTS: dict[str, tuple[Fault, type[VendorError] | None, bool]] = {
    "slow": (Slow(path="/webhook/*", method="POST", seconds=0.05), None, True),
    "throttled once": (TooMany(path="/webhook/*", method="POST", retry_after="0"), None, True),
    "throttled for long": (TooMany(path="/webhook/*", method="POST", retry_after="3600", times=None), Throttled, False),
    "away once": (Broken(path="/webhook/*", method="POST", status=503, retry_after="0"), None, True),
    "broken before": (Broken(path="/webhook/*", method="POST"), UnknownOutcome, False),
    "broken after": (Broken(path="/webhook/*", method="POST", done=True), UnknownOutcome, True),
    "lost before": (LostBefore(path="/webhook/*", method="POST"), UnknownOutcome, False),
    "lost after": (LostAfter(path="/webhook/*", method="POST"), UnknownOutcome, True),
    "dropped before": (Dropped(path="/webhook/*", method="POST"), UnknownOutcome, False),
    "dropped after": (Dropped(path="/webhook/*", method="POST", done=True), UnknownOutcome, True),
    "redirected": (Instead(path="/webhook/*", method="POST", status=302), Refused, False),
    "answered by a page": (
        Instead(path="/webhook/*", method="POST", status=200, body=b"<!DOCTYPE html>maintenance"),
        UnknownOutcome,
        False,
    ),
}


def _prepared(stage: Stage, write: Write) -> None:
    if "registered" in write.before:
        stage.account.register(NAME, NOWHERE, None)
        stage.account.subscribers[NAME].code = CODE
    if "subscribed" in write.before:
        stage.account.subscribers[NAME].type = COMPLETED


async def _learnt(act: Awaitable[Any]) -> type[VendorError] | None:
    try:
        await act
    except VendorError as error:
        return type(error)
    return None


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("write", WRITES)
async def test_no_fault_doubles_or_loses_a_write(stage: Stage, write: str, fault: str) -> None:
    """The caller learns what is certain; where nothing is, a look-up tells, and the write is repeated only if it was not done."""
    chosen, (switch, error, done) = WRITES[write], FAULTS[fault]
    _prepared(stage, chosen)
    stage.faults.on(switch)
    async with stage.client(HASTY) as client:
        assert await _learnt(chosen.act(client)) is error
        assert await chosen.look(client) is done
        stage.faults.off()
        if not done:
            await chosen.act(client)

        assert await chosen.look(client)
    assert stage.faults.count("/webhook/*", "POST") == {"slow": 1, "throttled once": 2, "away once": 2}.get(fault, 1 if done else 2)


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_that_lands_after_the_look_up_and_the_repetition_changes_nothing(stage: Stage, write: str) -> None:
    chosen = WRITES[write]
    _prepared(stage, chosen)
    stage.faults.on(LandsLate(path="/webhook/*", method="POST"))
    async with stage.client(HASTY) as client:
        assert await _learnt(chosen.act(client)) is UnknownOutcome
        assert not await chosen.look(client)
        await chosen.act(client)
        await stage.faults.land()

        assert await chosen.look(client)
    assert len(stage.account.subscribers) == (0 if write == "remove" else 1)


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_that_was_done_behind_a_503_has_no_second_effect(stage: Stage, write: str) -> None:
    """A 503 says that nothing was done; where that was not true, the repetition is at worst refused."""
    chosen = WRITES[write]
    _prepared(stage, chosen)
    stage.faults.on(Broken(path="/webhook/*", method="POST", status=503, retry_after="0", done=True))
    async with stage.client() as client:
        assert await _learnt(chosen.act(client)) in (None, Refused, NotFound)

        assert await chosen.look(client)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_code_is_never_sent_twice_by_itself(stage: Stage, fault: str) -> None:
    """For the second would kill the first, which may be on its way back."""
    switch, error, done = FAULTS[fault]
    stage.account.register(NAME, NOWHERE, None)
    stage.faults.on(switch)
    async with stage.client(HASTY) as client:
        assert await _learnt(client.send_code(NAME)) is error
    await stage.account.sender.settled()

    assert len(stage.account.sender.tries) == done


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Broken(path="*/list", status=500, retry_after="0"), id="broken"),
        pytest.param(Dropped(path="*/list"), id="dropped"),
        pytest.param(LostAfter(path="*/list"), id="lost"),
        pytest.param(TooMany(path="*/list", retry_after="0"), id="throttled"),
    ],
)
async def test_a_list_is_read_again_where_a_write_would_not_be_repeated(stage: Stage, fault: Fault) -> None:
    stage.account.observe("e", "o", FLOOR)
    stage.faults.on(fault)
    async with stage.client(HASTY) as client:
        assert len(await client.observations()) == 1

    assert stage.faults.count("*/list") == 2
