"""Every operation of aNewSpring's against an environment of its own over HTTP, and every fault against every write."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.accounts import AnewspringAccount, Limits
from schemas.anewspring import Progress, Uid
from tests.workers.vendors.acme import HASTY, PATIENT
from workers.simulators.anewspring import Activity, Environment, Manners, simulator
from workers.simulators.faults import Broken, Dropped, Fault, Faults, Instead, LandsLate, LostAfter, LostBefore, Slow, TooMany
from workers.simulators.server import served
from workers.vendors.anewspring import Anewspring
from workers.vendors.errors import Conflict, NotFound, Refused, Throttled, Unavailable, UnknownOutcome, VendorError

KEY, NEW_KEY = "k3y-planted", "k3y-rotated"
NOW = datetime(2020, 2, 13, 16, 23, 55, tzinfo=UTC)
LEARNER, OTHER, COURSE, SECOND = "JS001", "AB002", "FIRE", "FIRST AID"
PRACTICE, EXAM, SURVEY = (
    Activity("PRACTICE", "External", 118),
    Activity("EXAM", "Assessment", 223, repeatable=True),
    Activity(None, "Evaluation", 7),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A simulated environment that is served."""

    environment: Environment
    manners: Manners
    faults: Faults
    url: str
    key_file: Path

    @asynccontextmanager
    async def client(self, limits: Limits = PATIENT, **changed: Any) -> AsyncIterator[Anewspring]:
        """A client, or what `changed` makes of its account."""
        made = {"vendor": "anewspring", "insecure": True, "base_url": self.url, "limits": limits, "api_key_file": self.key_file}
        client = Anewspring(AnewspringAccount.model_validate(made | changed), lambda: datetime.now(UTC))
        try:
            yield client
        finally:
            await client.close()


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    environment, manners = Environment(KEY, lambda: NOW), Manners()
    environment.add_user(LEARNER)
    environment.add_user(OTHER)
    environment.add_course(COURSE, PRACTICE, EXAM, SURVEY)
    environment.add_course(SECOND, PRACTICE)
    environment.groups["NORTH"] = (LEARNER, OTHER)
    environment.groups["SOUTH"] = (OTHER,)
    (tmp_path / "key").write_text(f"{KEY}\n")
    faults = Faults(simulator(environment, manners))
    async with served(faults) as url:
        yield Stage(environment, manners, faults, url, tmp_path / "key")
    faults.off()
    await environment.close()


@pytest_asyncio.fixture
async def lms(stage: Stage) -> AsyncIterator[Anewspring]:
    async with stage.client() as client:
        yield client


async def test_a_learner_is_subscribed_and_unsubscribed(lms: Anewspring) -> None:
    answers = [await lms.is_subscribed(LEARNER, COURSE)]
    await lms.subscribe(LEARNER, COURSE)
    answers.append(await lms.is_subscribed(LEARNER, COURSE))
    await lms.unsubscribe(LEARNER, COURSE)
    answers.append(await lms.is_subscribed(LEARNER, COURSE))

    assert answers == [False, True, False]


async def test_subscriptions_come_with_or_without_their_statistics(stage: Stage, lms: Anewspring) -> None:
    stage.environment.subscribe(LEARNER, COURSE)
    (quick,), (slow,) = await lms.subscriptions(LEARNER), await lms.subscriptions(LEARNER, statistics=True)

    assert (quick.id, quick.progress, quick.subscribed_at) == (COURSE, None, NOW)
    assert (slow.progress, slow.efficiency) == (Progress(0, 3), 0.5)


async def test_results_come_by_learner_by_course_and_by_activity(stage: Stage, lms: Anewspring) -> None:
    for course in (COURSE, SECOND):
        stage.environment.subscribe(LEARNER, course)
    stage.environment.complete(LEARNER, COURSE, 67)

    assert [(one.id, one.completed, one.grade) for one in await lms.results(LEARNER)] == [(COURSE, True, 67.0), (SECOND, False, None)]
    one = await lms.result(LEARNER, COURSE)
    assert (one.completed_at, one.progress, [part.part_id for part in one.activities]) == (NOW, Progress(3, 3), [118, 223, 7])
    assert [(part.passed, part.score) for part in one.activities] == [(True, 67.0), (True, 67.0), (None, None)]
    assert (await lms.activity_result(LEARNER, COURSE, "EXAM")).attempts[0].number == 1


async def test_the_result_of_an_activity_may_come_inside_its_course(stage: Stage, lms: Anewspring) -> None:
    stage.environment.subscribe(LEARNER, COURSE)
    stage.manners.activity_in_course = True

    assert (await lms.activity_result(LEARNER, COURSE, "EXAM")).part_id == 223


async def test_attempts_are_numbered_where_there_can_be_several(stage: Stage, lms: Anewspring) -> None:
    stage.environment.subscribe(LEARNER, COURSE)
    for score in (20, 80):
        stage.environment.attempt(LEARNER, COURSE, EXAM, score, passed=score > 50)
    stage.environment.attempt(LEARNER, COURSE, PRACTICE, 100, passed=True)
    practice, exam, _ = (await lms.result(LEARNER, COURSE)).activities

    assert [(one.number, one.score, one.passed) for one in exam.attempts] == [(1, 20.0, False), (2, 80.0, True)]
    assert [one.number for one in practice.attempts] == [-1]


async def test_a_subscription_that_expired_is_finished_and_not_completed(stage: Stage, lms: Anewspring) -> None:
    stage.environment.subscribe(LEARNER, COURSE, expire=date(2020, 2, 12))
    one = await lms.result(LEARNER, COURSE)

    assert (one.expired, one.finished, one.completed) == (True, True, False)


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        pytest.param({}, (date(2020, 1, 1), date(2021, 1, 1)), id="absent leaves"),
        pytest.param({"expire": date(2022, 3, 1)}, (date(2020, 1, 1), date(2022, 3, 1)), id="given changes"),
        pytest.param({"expire": ""}, (date(2020, 1, 1), None), id="empty clears"),
        pytest.param({"start": datetime(2020, 5, 6, 7, tzinfo=UTC), "expire": ""}, (date(2020, 5, 6), None), id="a time is a day"),
    ],
)
async def test_dates_are_changed_cleared_or_left(stage: Stage, lms: Anewspring, dates: dict[str, Any], expected: Any) -> None:
    await lms.subscribe(LEARNER, COURSE, start=date(2020, 1, 1), expire=date(2021, 1, 1))
    await lms.update_subscription(LEARNER, COURSE, **dates)
    seat = stage.environment.seats[LEARNER, COURSE]

    assert (seat.start, seat.expire) == expected


@pytest.mark.parametrize("expired", [True, False])
async def test_a_subscription_is_set_expired_and_back(stage: Stage, lms: Anewspring, expired: bool) -> None:
    stage.environment.subscribe(LEARNER, COURSE)
    stage.environment.seats[LEARNER, COURSE].expired = not expired
    await lms.update_subscription(LEARNER, COURSE, expired=expired)

    assert stage.environment.seats[LEARNER, COURSE].expired is expired


async def test_groups_are_repeated_in_one_form(stage: Stage, lms: Anewspring) -> None:
    await lms.subscribe_groups(COURSE, ["NORTH", "SOUTH"], start=date(2020, 3, 1))

    assert {pair: seat.start for pair, seat in stage.environment.seats.items()} == {
        (LEARNER, COURSE): date(2020, 3, 1),
        (OTHER, COURSE): date(2020, 3, 1),
    }


async def test_an_external_activity_is_scored(stage: Stage, lms: Anewspring) -> None:
    stage.environment.subscribe(LEARNER, SECOND)
    await lms.score_external_activity(LEARNER, SECOND, "PRACTICE", score=87.5, completed=True)
    one = await lms.result(LEARNER, SECOND)

    assert (one.completed, one.activities[0].score) == (True, 87.5)


async def test_everything_goes_by_uids_as_well(stage: Stage, lms: Anewspring) -> None:
    user, course = Uid(stage.environment.users[LEARNER]), Uid(stage.environment.courses[COURSE].uid)
    await lms.subscribe(user, course)
    await lms.update_subscription(user, course, expire=date(2030, 1, 1))
    await lms.score_external_activity(user, course, "PRACTICE", score=1)
    await lms.subscribe_groups(course, ["SOUTH"])

    assert await lms.is_subscribed(user, course)
    assert [one.id for one in await lms.subscriptions(user)] == [one.id for one in await lms.results(user)] == [COURSE]
    assert (await lms.result(user, course)).id == COURSE
    assert (await lms.activity_result(user, course, "PRACTICE")).score == 1.0
    await lms.unsubscribe(user, course)
    assert not await lms.is_subscribed(user, course)


async def test_names_of_form_fields_and_what_goes_with_a_subscription_are_settings(stage: Stage) -> None:
    names: dict[str, Any] = {"parameters": {"expire": "somethingElse"}, "subscribe_with": {"startDate": "2020-07-01"}}
    async with stage.client(**names) as client:
        await client.subscribe(LEARNER, COURSE, expire=date(2021, 1, 1))
    seat = stage.environment.seats[LEARNER, COURSE]

    assert (seat.start, seat.expire) == (date(2020, 7, 1), None)


Act = Callable[[Anewspring], Awaitable[Any]]


@pytest.mark.parametrize("manner", ["plain text", "formatted"])
@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        pytest.param(
            lambda lms: lms.is_subscribed("NOBODY", COURSE), NotFound, "no users exist with the specified ID: NOBODY", id="no user"
        ),
        pytest.param(lambda lms: lms.results("NOBODY"), NotFound, "no users exist", id="no user's results"),
        pytest.param(lambda lms: lms.subscribe(LEARNER, "NONE"), NotFound, "no courses exist with the specified ID: NONE", id="no course"),
        pytest.param(lambda lms: lms.result(OTHER, COURSE), NotFound, "not subscribed to the course", id="not subscribed"),
        pytest.param(lambda lms: lms.unsubscribe(OTHER, COURSE), NotFound, "not subscribed to the course", id="nothing to end"),
        pytest.param(lambda lms: lms.subscribe(LEARNER, COURSE), Conflict, "already subscribed", id="there already"),
        pytest.param(lambda lms: lms.score_external_activity(LEARNER, COURSE, "EXAM"), Conflict, "not an external", id="not external"),
        pytest.param(lambda lms: lms.subscribe_groups(COURSE, ["EAST"]), NotFound, "no group exists", id="no group"),
    ],
)
async def test_refusals_are_told_in_the_vendors_words(stage: Stage, manner: str, act: Act, error: type[VendorError], words: str) -> None:
    stage.environment.subscribe(LEARNER, COURSE)
    async with stage.client(format_errors=manner == "formatted") as client:
        with pytest.raises(error, match=words) as caught:
            await act(client)

    assert not {"<", "{", "style"} & set(str(caught.value).split())


@pytest.mark.parametrize(
    ("act", "error"),
    [
        pytest.param(lambda lms: lms.result(OTHER, COURSE), Unavailable, id="a read"),
        pytest.param(lambda lms: lms.unsubscribe(OTHER, COURSE), UnknownOutcome, id="a write"),
        pytest.param(lambda lms: lms.subscribe(LEARNER, COURSE), UnknownOutcome, id="a conflict"),
    ],
)
async def test_a_page_is_not_the_apis_word_for_what_is_not_there(stage: Stage, act: Act, error: type[VendorError]) -> None:
    stage.environment.subscribe(LEARNER, COURSE)
    stage.manners.html_errors = True
    async with stage.client() as client:
        with pytest.raises(error, match="with an HTML page"):
            await act(client)


@pytest.mark.parametrize("format_errors", [False, True])
async def test_a_refused_field_is_named(stage: Stage, format_errors: bool) -> None:
    async with stage.client(format_errors=format_errors, subscribe_with={"startDate": "someday"}) as client:
        with pytest.raises(Refused) as caught:
            await client.subscribe(LEARNER, COURSE)

    (complaint,) = caught.value.complaints
    assert (caught.value.status, complaint.field) == (400, "startDate")
    assert complaint.message == "startDate does not contain an ISO8601 date value: someday"


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param((".", COURSE), id="a dot, which a path swallows"),
        pytest.param(("..", COURSE), id="two dots"),
        pytest.param(("", COURSE), id="nothing"),
        pytest.param((LEARNER, ".."), id="a course of dots"),
        pytest.param((Uid("x"), COURSE), id="a UID beside an external id"),
    ],
)
async def test_an_id_that_cannot_stand_where_it_belongs_is_refused_before_it_is_sent(
    stage: Stage, lms: Anewspring, ids: tuple[str, str]
) -> None:
    with pytest.raises(Refused):
        await lms.unsubscribe(*ids)

    assert not stage.faults.seen


@pytest.mark.parametrize("user", ["Ünï €", "a b+c", "100%", "x?y=1", "a;b&c", "a#b"])
async def test_external_ids_may_hold_anything_but_a_slash(stage: Stage, lms: Anewspring, user: str) -> None:
    stage.environment.add_user(user)
    await lms.subscribe(user, SECOND)

    assert (user, SECOND) in stage.environment.seats


async def test_login_needs_a_key_and_nobody(stage: Stage, lms: Anewspring) -> None:
    await lms.login()
    stage.environment.key = NEW_KEY

    with pytest.raises(Refused):
        await lms.login()


async def test_a_rotated_key_is_read_again_and_the_call_repeated(stage: Stage, lms: Anewspring) -> None:
    await lms.subscribe(LEARNER, COURSE)
    stage.environment.key = NEW_KEY
    stage.key_file.write_text(NEW_KEY)
    await lms.unsubscribe(LEARNER, COURSE)

    assert stage.environment.seats[LEARNER, COURSE].ended


async def test_a_key_that_stays_refused_is_not_tried_twice(stage: Stage, lms: Anewspring) -> None:
    stage.environment.key = NEW_KEY
    with pytest.raises(Refused):
        await lms.subscribe(LEARNER, COURSE)

    assert stage.faults.count("*") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
async def test_the_key_stands_in_no_exception_even_if_the_vendor_repeats_it(stage: Stage, lms: Anewspring, status: int) -> None:
    stage.faults.on(Instead(status=status, body=("x" * 490 + f" key {KEY} refused").encode(), times=None))
    with pytest.raises(VendorError) as caught:
        await lms.subscribe(LEARNER, COURSE)

    assert KEY not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caught.value.__context__!r} {lms!r} {vars(lms)}"
    assert "k3y" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html><body>Maintenance</body></html>", id="a page"),
        pytest.param(b'{"courses": [{"grade": "secret words"}]}', id="an unreadable grade"),
        pytest.param(b'{"courses": ', id="half an answer"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_as_if_there_were_none(stage: Stage, lms: Anewspring, body: bytes) -> None:
    stage.faults.on(Instead(status=200, body=body))
    with pytest.raises(Unavailable) as caught:
        await lms.results(LEARNER)

    assert "secret words" not in str(caught.value)


@dataclass(frozen=True, slots=True)
class Write:
    """A write, what it changes, and how one sees by API whether it was done."""

    act: Act
    look: Callable[[Anewspring], Awaitable[bool]]
    seated: bool = True

    async def done(self, stage: Stage) -> bool:
        """What the look-up tells when nothing is in its way."""
        async with stage.client() as client:
            return await self.look(client)


async def _is_subscribed(lms: Anewspring) -> bool:
    return await lms.is_subscribed(LEARNER, COURSE)


async def _is_ended(lms: Anewspring) -> bool:
    return not await lms.is_subscribed(LEARNER, COURSE)


async def _is_expired(lms: Anewspring) -> bool:
    return (await lms.subscriptions(LEARNER))[0].expired


async def _is_scored(lms: Anewspring) -> bool:
    return (await lms.activity_result(LEARNER, COURSE, "PRACTICE")).score == 80


WRITES = {
    "subscribe": Write(lambda lms: lms.subscribe(LEARNER, COURSE), _is_subscribed, seated=False),
    "subscribeGroups": Write(lambda lms: lms.subscribe_groups(COURSE, ["NORTH"]), _is_subscribed, seated=False),
    "updateSubscription": Write(lambda lms: lms.update_subscription(LEARNER, COURSE, expired=True), _is_expired),
    "unsubscribe": Write(lambda lms: lms.unsubscribe(LEARNER, COURSE), _is_ended),
    "scoreExternalActivity": Write(lambda lms: lms.score_external_activity(LEARNER, COURSE, "PRACTICE", score=80), _is_scored),
}
#: label: (fault, what the caller learns, whether it was done by then)
FAULTS: dict[str, tuple[Fault, type[VendorError] | None, bool]] = {
    "slow": (Slow(method="POST", seconds=0.05), None, True),
    "throttled once": (TooMany(method="POST", retry_after="0"), None, True),
    "throttled for long": (TooMany(method="POST", retry_after="3600", times=None), Throttled, False),
    "away once": (Broken(method="POST", status=503, retry_after="0"), None, True),
    "away for long": (Broken(method="POST", status=503, retry_after="3600", times=None), Unavailable, False),
    "broken before": (Broken(method="POST", status=500), UnknownOutcome, False),
    "broken after": (Broken(method="POST", status=502, done=True), UnknownOutcome, True),
    "lost before": (LostBefore(method="POST"), UnknownOutcome, False),
    "lost after": (LostAfter(method="POST"), UnknownOutcome, True),
    "dropped before": (Dropped(method="POST"), UnknownOutcome, False),
    "dropped after": (Dropped(method="POST", done=True), UnknownOutcome, True),
    "redirected": (Instead(method="POST", status=302, headers={"location": "/elsewhere"}), Refused, False),
    "answered by a page": (Instead(method="POST", status=200, body=b"<html>maintenance</html>"), UnknownOutcome, False),
}


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
    if chosen.seated:
        stage.environment.subscribe(LEARNER, COURSE)
    stage.faults.on(switch)
    async with stage.client(HASTY) as client:
        assert await _learnt(chosen.act(client)) is error
        assert await chosen.look(client) is done
        stage.faults.off()
        if not done:
            await chosen.act(client)

    assert await chosen.done(stage)
    assert len(stage.environment.seats) == (2 if write == "subscribeGroups" else 1)
    assert stage.faults.count("*", "POST") == {"slow": 1, "throttled once": 2, "away once": 2}.get(fault, 1 if done else 2)


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_that_was_done_behind_a_503_has_no_second_effect(stage: Stage, write: str) -> None:
    """A 503 says that nothing was done; where that was not true, the repetition is at worst refused."""
    chosen = WRITES[write]
    if chosen.seated:
        stage.environment.subscribe(LEARNER, COURSE)
    stage.faults.on(Broken(method="POST", status=503, retry_after="0", done=True))
    async with stage.client() as client:
        assert await _learnt(chosen.act(client)) in (None, Conflict, NotFound)

    assert await chosen.done(stage)
    assert len(stage.environment.seats) == (2 if write == "subscribeGroups" else 1)


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_that_lands_after_the_look_up_and_the_repetition_changes_nothing(stage: Stage, write: str) -> None:
    chosen = WRITES[write]
    if chosen.seated:
        stage.environment.subscribe(LEARNER, COURSE)
    stage.faults.on(LandsLate(method="POST"))
    async with stage.client(HASTY) as client:
        assert await _learnt(chosen.act(client)) is UnknownOutcome
        assert not await chosen.look(client)
        await chosen.act(client)
        before = dict(stage.environment.seats)
        await stage.faults.land()

        assert await chosen.look(client)
    assert stage.environment.seats == before
