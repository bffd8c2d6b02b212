"""The enroller: a row stands before every call, every end of a call ends in one seat, and nobody's failure is another's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.events import EventType
from schemas.states import EnrollmentWish, TargetKind
from tests.workers.followups.enrolling import COURSE, LATER, LEARNER, NOON, SUBSCRIPTION, UNWANTED, Scene, enrolling, fault, told
from tests.workers.followups.mirrored import subscription
from tests.workers.made import until
from workers.database import Connection, Database, Dialect
from workers.followups.cases import Key
from workers.followups.claims import ASKED
from workers.followups.leases import LEASE, SETTLED
from workers.followups.outcomes import FOUND, GRANTED
from workers.followups.plan import hold
from workers.followups.tables import Enrollment, FollowupMove
from workers.outbox import OutboxEvent
from workers.refreshes import Refresh
from workers.simulators.faults import Broken, Instead, LostAfter, LostBefore, Slow, TooMany

KIND, SEAT = TargetKind.COURSE, (LEARNER, COURSE)
SUBSCRIBES = "/api/subscribe/*"


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with enrolling(database, tmp_path) as made:
        yield made


async def begun(scene: Scene) -> float:
    return await scene.enroller.round(scene.account("lms"))


def asked(scene: Scene) -> int:
    return scene.faults["lms"].count(SUBSCRIBES)


async def test_the_row_says_requested_before_the_vendor_is_asked_and_no_transaction_is_open(scene: Scene) -> None:
    scene.faults["lms"].on(Slow(path=SUBSCRIBES, seconds=0.2))
    wanted = await scene.wants(KIND)
    working = asyncio.create_task(begun(scene))
    await until(lambda: asked(scene), "the request")
    during = await scene.row(wanted)
    async with asyncio.timeout(0.1), scene.database.transaction():
        await Enrollment.filter(id=wanted).update(error="somebody writes")
    await working

    assert told(during.state, during.found, during.due_at) == ("requested", False, NOON + LEASE)
    assert (await scene.row(wanted)).state == "enrolled"


async def test_two_enrollers_ask_once(scene: Scene) -> None:
    names = [f"L{number}" for number in range(30)]
    for name in names:
        scene.environment.add_user(name)
        await scene.wants(KIND, learner=name)
    enrollers = [scene.another() for _ in range(3)]
    for _ in range(5):
        await asyncio.gather(*(one.round(scene.account("lms")) for one in enrollers))

    assert asked(scene) == len(names) == len(scene.environment.seats)
    assert {row.state for row in await Enrollment.all()} == {"enrolled"}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("when", ["before the answer", "before the second transaction ends"])
async def test_what_a_dead_process_left_is_looked_up_and_not_asked_for_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    wanted = await scene.wants(KIND)
    if when == "before the answer":
        scene.faults["lms"].on(LostAfter(path=SUBSCRIBES))
        working = asyncio.create_task(begun(scene))
        await until(lambda: SEAT in scene.environment.seats, "the seat")
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
    else:

        async def die(*_: Any) -> None:
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(scene.planner, "plan", die)
            with pytest.raises(Killed):
                await begun(scene)
    left = await scene.row(wanted)
    await begun(scene)
    early = asked(scene)
    scene.time += LEASE
    await begun(scene)

    assert told(left.state, left.found, left.due_at) == ("requested", False, NOON + LEASE)
    assert (early, asked(scene)) == (1, 1)
    row = await scene.row(wanted)
    assert told(row.state, row.found, row.wish) == ("enrolled", False, None)


async def test_a_process_that_died_before_it_asked_leaves_nothing_of_ours(scene: Scene) -> None:
    """A row that says requested and not what for: whatever is there was there before us."""
    wanted = await scene.wants(KIND)
    scene.faults["lms"].on(LostBefore(path="/api/getResults/*"))
    working = asyncio.create_task(begun(scene))
    await until(lambda: scene.faults["lms"].seen, "the look")
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
    scene.environment.subscribe(*SEAT)
    scene.time += LEASE
    await begun(scene)

    row = await scene.row(wanted)
    assert told(row.state, row.found) == ("enrolled", True)


async def test_what_was_reached_in_a_seat_that_was_found_is_asked_for(scene: Scene) -> None:
    ours, found = await scene.wants(KIND), await scene.wants(KIND, learner="JS002")
    scene.environment.add_user("JS002")
    scene.environment.subscribe("JS002", COURSE)
    await begun(scene)

    assert [(await scene.row(one)).found for one in (ours, found)] == [False, True]
    assert [(one.kind, one.subject, one.scope) for one in await Refresh.all()] == [("course-result", "JS002", COURSE)]


async def test_a_seat_that_came_while_nothing_of_ours_was_done_is_found(scene: Scene) -> None:
    scene.faults["lms"].on(Broken(path=SUBSCRIBES, status=503, retry_after="7"))
    wanted = await scene.wants(KIND)
    await begun(scene)
    refused = await scene.row(wanted)
    scene.environment.subscribe(*SEAT)
    await scene.work("lms")

    assert told(refused.state, refused.found) == ("planned", None)
    assert (await scene.row(wanted)).found is True
    assert await scene.moves() == ["requested", "planned", "requested", "enrolled"]


async def test_failures_wait_longer_and_longer_and_end_with_the_vendors_words(scene: Scene) -> None:
    scene.faults["lms"].on(Broken(path="/api/getResults/*", status=500, times=None))
    await scene.wants(KIND)
    waits = []
    while True:
        await begun(scene)
        row = await scene.row()
        if row.due_at is None:
            break
        waits.append((row.due_at - scene.time).total_seconds())
        scene.time = row.due_at

    steps = [5, 15, 60, 300, 900, 3600, 10800, 21600, 43200, 86400, 86400]
    assert [wait / step for wait, step in zip(waits, steps, strict=True)] == [pytest.approx(1.1, abs=0.1)] * len(steps)
    assert told(row.state, row.wish) == ("dead", None)
    assert row.reason == "GET /api/getResults/JS001/FIRE: 500"
    assert scene.planner.asked == [("hse", f"{SUBSCRIPTION}-{LEARNER}")]


@pytest.mark.parametrize(
    ("fault", "pause"),
    [
        pytest.param(TooMany(path="*", retry_after="120", times=None), 120, id="throttled"),
        pytest.param(Instead(path="*", status=401, body=b"bad key k3y-planted", times=None), 30, id="the key is not taken"),
    ],
)
async def test_what_is_about_the_account_blames_no_row(scene: Scene, fault: Any, pause: float) -> None:
    scene.faults["lms"].on(fault)
    for learner in (LEARNER, "AB002"):
        await scene.wants(KIND, learner=learner)
    waited = await begun(scene)

    rows = await Enrollment.all()
    assert waited == pytest.approx(pause, abs=1)
    assert {(row.state, row.attempts, row.found) for row in rows} == {("planned", 0, None)}
    assert all(row.due_at and row.due_at >= NOON + timedelta(seconds=pause - 1) for row in rows)
    assert not any("k3y-planted" in str(row.error) for row in rows)


@pytest.mark.parametrize("status", [403, 302])
async def test_a_right_that_is_missing_waits_to_be_given(scene: Scene, status: int) -> None:
    scene.faults["lms"].on(Instead(path=SUBSCRIBES, status=status, body=b"not with this key"))
    await scene.wants(KIND)
    await begun(scene)
    waiting = await scene.row()
    await scene.work("lms")

    assert told(waiting.state, waiting.attempts) == ("planned", 1)
    assert (await scene.row()).state == "enrolled"


async def test_what_is_not_wanted_any_more_when_the_answer_comes_is_undone(scene: Scene) -> None:
    scene.faults["lms"].on(Slow(path=SUBSCRIBES, seconds=0.2))
    wanted = await scene.wants(KIND)
    working = asyncio.create_task(begun(scene))
    await until(lambda: asked(scene), "the request")
    await scene.unwanted(wanted)
    await working
    answered = await scene.row(wanted)
    await scene.work("lms")

    assert told(answered.state, answered.wish, answered.found) == ("enrolled", "undo", False)
    assert (await scene.row(wanted)).state == "undone"
    assert scene.environment.seats[SEAT].ended
    assert await scene.moves() == ["requested", "enrolled", "undone"]


async def test_what_is_wanted_again_while_it_is_given_back_is_asked_for_once_that_is_over(scene: Scene) -> None:
    wanted = await scene.wants(KIND)
    await begun(scene)
    await scene.unwanted(wanted)
    scene.faults["lms"].on(Slow(path="/api/unsubscribe/*", seconds=0.2))
    working = asyncio.create_task(begun(scene))
    await until(lambda: scene.faults["lms"].count("/api/unsubscribe/*"), "the request")
    await Enrollment.filter(id=wanted).update(wish=EnrollmentWish.ENROLL.value)
    await scene.another().round(scene.account("lms"))
    during = asked(scene)
    await working
    await scene.another().round(scene.account("lms"))

    assert (during, asked(scene), scene.environment.seats[SEAT].ended) == (1, 2, False)
    row = await scene.row(wanted)
    assert told(row.state, row.wish) == ("enrolled", None)


async def test_what_is_wanted_again_after_an_undo_that_nobody_heard_of_waits_until_that_has_landed(scene: Scene) -> None:
    scene.faults["lms"].on(fault("lands late", "/api/unsubscribe/*"))
    wanted = await scene.wants(KIND)
    await begun(scene)
    await scene.unwanted(wanted)
    await begun(scene)
    waiting = (await scene.row(wanted)).due_at
    await Enrollment.filter(id=wanted).update(wish=EnrollmentWish.ENROLL.value)
    await scene.faults["lms"].land()
    await scene.work("lms")

    assert waiting is not None
    assert waiting >= NOON + SETTLED
    assert ((await scene.row(wanted)).state, scene.environment.seats[SEAT].ended) == ("enrolled", False)


async def test_what_another_need_wants_of_a_seat_that_is_being_asked_for_is_seen_to_next(scene: Scene) -> None:
    scene.faults["lms"].on(Slow(path=SUBSCRIBES, seconds=0.2))
    wanted = await scene.wants(KIND, expire_on=date(2026, 5, 1))
    working = asyncio.create_task(begun(scene))
    await until(lambda: asked(scene), "the request")
    await Enrollment.filter(id=wanted).update(expire_on=date(2026, 7, 1))
    await working
    between = await scene.row(wanted)
    await begun(scene)

    assert told(between.state, between.wish, between.due_at) == ("enrolled", "enroll", NOON)
    assert told((await scene.row(wanted)).wish, scene.environment.seats[SEAT].expire, asked(scene)) == (None, date(2026, 7, 1), 1)


async def test_what_is_not_wanted_any_more_before_it_is_asked_for_is_not_asked_for(scene: Scene) -> None:
    scene.faults["lms"].on(Slow(path="/api/getResults/*", seconds=0.2))
    wanted = await scene.wants(KIND)
    working = asyncio.create_task(begun(scene))
    await until(lambda: scene.faults["lms"].seen, "the look")
    await scene.unwanted(wanted)
    await working
    await scene.work("lms")

    assert ((await scene.row(wanted)).state, asked(scene)) == ("undone", 0)


async def test_what_was_never_asked_for_is_undone_without_a_call(scene: Scene) -> None:
    wanted = await scene.wants(KIND, wish=EnrollmentWish.UNDO.value)
    await scene.work("lms")

    row = await scene.row(wanted)
    assert told(row.state, row.reason) == ("undone", "it was never asked for")
    assert not scene.faults["lms"].seen


async def test_an_answer_that_comes_after_its_lease_changes_nothing_of_the_others(scene: Scene) -> None:
    scene.faults["lms"].on(Slow(path=SUBSCRIBES, seconds=0.2))
    wanted = await scene.wants(KIND)
    working = asyncio.create_task(begun(scene))
    await until(lambda: asked(scene), "the request")
    scene.time += LEASE
    await scene.another().round(scene.account("lms"))
    first = await scene.row(wanted)
    await working

    last = await scene.row(wanted)
    assert told(first.state, first.enrolled_at) == told(last.state, last.enrolled_at) == ("enrolled", NOON + LEASE)
    assert len(scene.environment.seats) == 1


async def test_one_vendor_that_is_down_holds_up_no_other(scene: Scene) -> None:
    scene.faults["hse"].on(Broken(times=None))
    await scene.wants(TargetKind.SESSION, target="in-may")
    await scene.wants(KIND)
    running = asyncio.create_task(scene.enroller.run())
    await until(lambda: Enrollment.filter(account="lms", state="enrolled").count(), "the other's enrollment")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

    assert (await Enrollment.get(account="hse")).state in ("requested", "planned")


async def test_a_mistake_of_ours_is_told_by_its_name_ends_nothing_and_kills_no_row(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def plan(connection: Connection, dialect: Dialect, keys: list[Key], now: Any, traces: Any) -> None:
        raise KeyError("a name that nobody may read")

    wanted = await scene.wants(KIND)
    with monkeypatch.context() as patched:
        patched.setattr(scene.planner, "plan", plan)
        await begun(scene)
    row = await scene.row(wanted)
    scene.time += timedelta(minutes=16)
    await begun(scene)

    assert told(row.state, row.error, row.attempts) == ("requested", "KeyError", 1)
    assert ((await scene.row(wanted)).state, asked(scene)) == ("enrolled", 1)


async def test_what_there_is_nothing_to_ask_for_yet_moves_nothing_however_often_it_is_looked_for(scene: Scene) -> None:
    await subscription(SUBSCRIPTION)
    wanted = await scene.wants(TargetKind.SESSION)
    for _ in range(3):
        await scene.enroller.round(scene.account("hse"))
        scene.time += timedelta(hours=2)

    row = await scene.row(wanted)
    assert told(row.state, row.state_at, row.error) == ("planned", NOON, "no session is planned within 90 days")
    assert (await scene.moves(), await OutboxEvent.all().count()) == ([], 0)


async def test_moves_have_their_time_and_reason(scene: Scene) -> None:
    scene.environment.subscribe(*SEAT)
    wanted = await scene.wants(KIND)
    scene.time += LATER
    await begun(scene)

    assert [told(move.enrollment, move.state, move.reason, move.at) for move in await FollowupMove.all().order_by("id")] == [
        (wanted, "requested", ASKED, scene.time),
        (wanted, "enrolled", FOUND, scene.time),
    ]
    await scene.wants(KIND, learner="AB002")
    await begun(scene)
    assert [(move.state, move.reason) for move in await FollowupMove.all().order_by("id")][2:] == [
        ("requested", ASKED),
        ("enrolled", GRANTED),
    ]


async def test_what_is_given_back_says_for_whose_sake(scene: Scene) -> None:
    wanted = await scene.wants(KIND)
    await begun(scene)
    await scene.unwanted(wanted)
    await begun(scene)

    last = await FollowupMove.all().order_by("-id").first()
    assert last is not None
    assert (last.state, last.reason) == ("undone", f"given back ({UNWANTED})")


async def test_the_last_day_of_a_seat_that_was_found_is_the_vendors(scene: Scene) -> None:
    scene.environment.subscribe(*SEAT)
    ours, found = await scene.wants(KIND, learner="AB002", expire_on=date(2026, 5, 1)), await scene.wants(KIND, expire_on=date(2026, 5, 1))
    await begun(scene)

    assert [(await scene.row(one)).expire_on for one in (ours, found)] == [date(2026, 5, 1), None]


async def test_a_seat_that_moves_is_told_as_an_event_of_its_subscription(scene: Scene) -> None:
    scene.faults["lms"].on(Broken(path=SUBSCRIBES, status=503, retry_after="7"))
    wanted = await scene.wants(KIND)
    await scene.work("lms")
    await scene.unwanted(wanted)
    await scene.work("lms")

    events = await OutboxEvent.all().order_by("sequence")
    told_of = {"action_subscription_id": f"{SUBSCRIPTION}-{LEARNER}", "enrollment": str(wanted)}
    assert {event.type for event in events} == {EventType.FOLLOWUP_MOVED}
    assert all(told_of.items() <= event.data.items() for event in events)
    moves = [(event.data["before"], event.data["state"]) for event in events]
    assert moves[:2] == [("planned", "requested"), ("requested", "planned")]
    assert moves[2:] == [("planned", "requested"), ("requested", "enrolled"), ("enrolled", "undone")]


async def test_whoever_holds_a_subscription_holds_up_only_what_is_asked_for_it(scene: Scene) -> None:
    if scene.database.dialect == "sqlite":
        return  # which has one writer at a time
    await subscription(f"{SUBSCRIPTION}-{LEARNER}")
    await scene.wants(KIND)
    await scene.wants(KIND, learner="AB002")
    async with scene.database.transaction() as connection:
        await hold(connection, "postgres", [("hse", f"{SUBSCRIPTION}-{LEARNER}")])
        working = asyncio.create_task(begun(scene))
        await until(lambda: Enrollment.filter(learner="AB002", state="enrolled").count(), "the other's enrollment")
        during = {row.learner: row.state for row in await Enrollment.all()}
    await working

    assert during == {LEARNER: "planned", "AB002": "enrolled"}
    assert {row.state for row in await Enrollment.all()} == {"enrolled"}


async def test_a_call_that_never_ends_is_an_unknown_outcome(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.followups.enroller.LONGEST", 0.25)
    scene.faults["lms"].on(fault("lost after", SUBSCRIBES))
    wanted = await scene.wants(KIND)
    await begun(scene)
    row = await scene.row(wanted)
    await scene.work("lms")

    assert told(row.state, row.error) == ("requested", "no end of it came")
    assert ((await scene.row(wanted)).state, asked(scene)) == ("enrolled", 1)
