"""What was given up is tried again, or dropped: by a person, with a name, and with what follows from it."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.states import DeadKind, DeliveryState, Reason, TargetKind
from tests.workers.followups.enrolling import Scene, StandIn, enrolling
from tests.workers.followups.mirrored import NOON, filled, rule
from tests.workers.followups.test_enrolled import FIRE, SEAT, SMOKE, gone, mirrored, plan, ruled, states
from tests.workers.made import logged
from tests.workers.operations.letters import delivery, enrollment, event, need_of, recording
from tests.workers.operations.replaying import Worked, carried
from tests.workers.test_outbox import about
from workers.audit import AuditEntry
from workers.database import Database
from workers.followups.case import CANCELLED
from workers.followups.dead import AGAIN, OUTDATED
from workers.followups.plan import Followups
from workers.followups.tables import Enrollment, FollowupMove, Need, Recording
from workers.log import LoggedDelivery
from workers.mirror.tables import ActionSubscription
from workers.operations import replays
from workers.operations.dead import Hand, replay
from workers.operations.letters import Letter, Wanted, find
from workers.outbox import OFTEN, OutboxEvent, claim
from workers.replays import ReplayItem, ReplayRun
from workers.simulators.faults import Instead

LATER = NOON + timedelta(minutes=1)
#: What a vendor says that will have none of it.
REFUSED = {"status": 422, "body": b"<error>no such luck</error>"}


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    """Planner, enroller, and a vendor that may refuse."""
    async with enrolling(database, tmp_path) as made:
        await filled()
        yield made


def hand(database: Database, followups: Any = None, now: Any = lambda: LATER) -> Hand:
    return Hand(database, followups or StandIn(), "ada", now)


async def deeds() -> list[tuple[str, str, str, str | None]]:
    return [(one.who, one.verb, one.subject, one.reason) for one in await AuditEntry.all().order_by("id")]


async def again(scene: Scene, followups: Followups) -> list[Letter]:
    return await hand(scene.database, followups, scene.now).again(await find(scene.database, Wanted()))


async def drop(scene: Scene, followups: Followups) -> list[Letter]:
    return await hand(scene.database, followups, scene.now).drop(await find(scene.database, Wanted()), "not this year")


async def rows() -> list[tuple[int, str, str | None]]:
    return [(one.round, one.state, one.wish) for one in await Enrollment.all().order_by("round")]


async def refused(scene: Scene, *needs: str, path: str = "/api/subscribe/*") -> Followups:
    """The vendor refuses the seat that these need, which is dead then."""
    followups = await ruled(scene, FIRE, SMOKE)
    for number, name in enumerate(needs):
        await mirrored(name, "SMK-01" if number else "FST-01")
    scene.faults["lms"].on(Instead(path=path, **REFUSED))  # type: ignore[arg-type]
    await plan(scene, followups, *needs)
    await scene.work("lms")
    return followups


# Enrollments


async def test_a_seat_that_was_refused_is_asked_for_again_and_the_need_goes_on(scene: Scene) -> None:
    followups = await refused(scene, "s1")
    before = await states("s1"), await rows()
    (done,) = await again(scene, followups)
    between = await states("s1"), await rows()
    await scene.work("lms")

    assert before == (["dead"], [(1, "dead", None)])
    assert between == (["planned"], [(1, "requested", "enroll")])
    assert (await states("s1"), await rows()) == (["enrolled"], [(1, "enrolled", None)])
    assert not scene.environment.seats[SEAT].ended
    assert await deeds() == [("ada", "dead replay", f"enrollment {done.id}", None)]
    moves = [(one.state, one.reason) for one in await FollowupMove.filter(enrollment=done.id).order_by("id")]
    assert ("requested", AGAIN) in moves


async def test_a_seat_that_nobody_was_asked_for_is_planned_with_all_its_tries(scene: Scene) -> None:
    followups = await ruled(scene, FIRE)
    await mirrored("s1")
    scene.faults["lms"].on(Instead(path="/api/getStudentResults/*", **REFUSED, times=None))  # type: ignore[arg-type]
    await plan(scene, followups, "s1")
    await Enrollment.all().update(state="dead", wish=None, due_at=None, reason="422: no such luck", found=None)
    await plan(scene, followups, "s1")
    scene.faults["lms"].off()
    await again(scene, followups)
    seat = await Enrollment.get()

    assert (seat.state, seat.wish, seat.due_at, seat.attempts) == ("planned", "enroll", scene.time, 0)
    assert seat.reason is None
    assert await states("s1") == ["planned"]


async def test_what_was_done_after_all_is_found_and_not_done_twice(scene: Scene) -> None:
    followups = await refused(scene, "s1")
    scene.environment.seats.clear()
    scene.faults["lms"].off()
    await again(scene, followups)
    await scene.work("lms")
    await Enrollment.all().update(state="dead", wish=None, due_at=None, enrolled_at=None, found=False)
    await plan(scene, followups, "s1")
    asked = scene.faults["lms"].count("/api/subscribe/*")
    await again(scene, followups)
    await scene.work("lms")

    assert (await states("s1"), scene.faults["lms"].count("/api/subscribe/*")) == (["enrolled"], asked)


async def test_a_seat_that_could_not_be_given_back_is_given_back(scene: Scene) -> None:
    followups = await ruled(scene, FIRE)
    await mirrored("s1")
    await plan(scene, followups, "s1")
    await scene.work("lms")
    scene.faults["lms"].on(Instead(path="/api/unsubscribe/*", **REFUSED))  # type: ignore[arg-type]
    await gone(scene, followups, "s1")
    await scene.work("lms")
    before = await rows()
    await again(scene, followups)
    between = await rows()
    await scene.work("lms")

    assert (before, between) == ([(1, "dead", None)], [(1, "enrolled", "undo")])
    assert (await rows(), scene.environment.seats[SEAT].ended) == ([(1, "undone", None)], True)


async def test_a_seat_that_nobody_needs_any_more_is_asked_for_no_more(scene: Scene) -> None:
    followups = await refused(scene, "s1")
    await Enrollment.all().update(found=None)
    await gone(scene, followups, "s1")
    await again(scene, followups)
    asked = scene.faults["lms"].count("/api/subscribe/*")
    await scene.work("lms")

    assert (await states("s1"), await rows()) == (["undone"], [(1, "undone", None)])
    assert scene.faults["lms"].count("/api/subscribe/*") == asked


async def test_of_two_rounds_the_later_stands_and_who_named_the_earlier_joins_it(scene: Scene) -> None:
    followups = await refused(scene, "s1")
    await mirrored("s2", "SMK-01")
    await plan(scene, followups, "s2")
    before = await states("s1", "s2"), await rows()
    await again(scene, followups)
    await scene.work("lms")

    assert before == (["dead", "planned"], [(1, "dead", None), (2, "planned", "enroll")])
    assert (await states("s1", "s2"), await rows()) == (["enrolled", "enrolled"], [(1, "undone", None), (2, "enrolled", None)])
    assert (await Enrollment.get(round=1)).reason == OUTDATED


async def test_of_two_dead_rounds_one_is_open_again(scene: Scene) -> None:
    followups = await refused(scene, "s1")
    await mirrored("s2", "SMK-01")
    scene.faults["lms"].on(Instead(path="/api/subscribe/*", **REFUSED))  # type: ignore[arg-type]
    await plan(scene, followups, "s2")
    await scene.work("lms")
    assert await rows() == [(1, "dead", None), (2, "dead", None)]
    await again(scene, followups)

    assert await rows() == [(1, "undone", None), (2, "requested", "enroll")]
    assert await states("s1", "s2") == ["planned", "planned"]


async def test_two_hands_at_once_try_it_again_once(scene: Scene) -> None:
    followups = await refused(scene, "s1", "s2")
    letters = await find(scene.database, Wanted())
    done = await asyncio.gather(*(hand(scene.database, followups, scene.now).again(letters) for _ in range(3)))
    await scene.work("lms")

    assert sorted(map(len, done)) == [0, 0, 1]
    assert (await states("s1", "s2"), len(await deeds())) == (["enrolled", "enrolled"], 1)


async def test_a_seat_that_is_dropped_cancels_who_waits_for_it_for_good(scene: Scene) -> None:
    followups = await refused(scene, "s1", "s2")
    (done,) = await drop(scene, followups)
    await plan(scene, followups, "s1", "s2")
    await scene.work("lms")

    assert await rows() == [(1, "closed", None)]
    assert [(one.state, one.reason) for one in await Need.all()] == [("undone", CANCELLED)] * 2
    told = {("ada", "dead drop", f"need {one.id}", "not this year") for one in await Need.all()}
    assert {*await deeds()} == {("ada", "dead drop", f"enrollment {done.id}", "not this year"), *told}
    assert (await Enrollment.get()).reason == "dropped by a person: not this year"
    assert await find(scene.database, Wanted()) == []


async def test_a_dropped_seat_that_was_never_asked_for_is_undone(database: Database) -> None:
    await enrollment(found=None)
    await hand(database).drop(await find(database, Wanted()), "why")

    assert await rows() == [(1, "undone", None)]


async def test_what_else_was_done_for_a_dropped_need_is_undone_as_its_rule_says(scene: Scene) -> None:
    courses = [{"account": "lms", "course": "FIRE"}, {"account": "lms", "course": "SMOKE"}]
    both = rule("both", enroll=courses, undo="unsubscribe")
    followups = await ruled(scene, both)
    await mirrored("s1")
    await plan(scene, followups, "s1")
    await scene.work("lms")  # there is no course SMOKE
    assert await states("s1") == ["dead"]
    await drop(scene, followups)
    await scene.work("lms")

    assert (await states("s1"), scene.environment.seats[SEAT].ended) == (["undone"], True)
    assert {one.target: one.state for one in await Enrollment.all()} == {"FIRE": "undone", "SMOKE": "closed"}


async def test_a_need_that_is_not_dead_for_want_of_it_is_not_cancelled(database: Database) -> None:
    seat = await enrollment()
    need = await need_of(seat)
    await Need.filter(id=need.id).update(state="passed")
    await hand(database).drop(await find(database, Wanted()), "why")

    assert ((await Need.get(id=need.id)).state, len(await deeds())) == ("passed", 1)


async def test_a_seat_of_no_need_is_not_asked_for_and_may_be_dropped(scene: Scene) -> None:
    await scene.wants(TargetKind.COURSE, state="dead", wish=None, due_at=None, reason="422: no such luck", state_at=NOON)
    await Need.all().delete()
    letters = await find(scene.database, Wanted())

    assert await hand(scene.database).again(letters) == []
    assert await hand(scene.database).drop(letters, "why") == letters


# Recordings


async def test_a_recording_is_due_again_with_all_its_tries(database: Database) -> None:
    one, planner = await recording(), StandIn()
    need = await need_of(one)
    (done,) = await hand(database, planner).again(await find(database, Wanted()))
    row = await Recording.get()

    assert (done.id, row.state, row.due_at, row.attempts) == (one, "planned", LATER, 0)
    assert row.error is None
    assert planner.asked == [(need.account, need.action_subscription_id)]
    assert await deeds() == [("ada", "dead replay", f"recording {one}", None)]


async def test_what_is_not_wanted_any_more_is_not_written_again(database: Database) -> None:
    await recording()
    letters = await find(database, Wanted())
    await Need.all().update(state="undone")

    assert await hand(database).again(letters) == []
    assert (await Recording.get()).state == "dead"


@pytest.mark.parametrize(
    ("step", "state", "reason"),
    [
        ("certificate", "undone", CANCELLED),
        ("certificate_action", "undone", CANCELLED),
        ("session", "dead", "422: name: is too long"),
        ("failed 1", "dead", "422: name: is too long"),
    ],
)
async def test_without_its_certificate_a_need_is_cancelled_and_without_telling_the_session_it_is_not(
    database: Database, step: str, state: str, reason: str
) -> None:
    one = await recording(step=step)
    await hand(database).drop(await find(database, Wanted()), "why")
    need = await need_of(one)

    assert ((await Recording.get()).state, need.state, need.reason) == ("dropped", state, reason)
    assert await find(database, Wanted()) == []


# Events


async def test_an_event_is_tried_as_if_for_the_first_time(database: Database) -> None:
    one = await event(database)
    (done,) = await hand(database).again(await find(database, Wanted()))

    assert (done.id, (await OutboxEvent.get()).attempts) == (one, 0)
    assert await deeds() == [("ada", "dead replay", f"event {one}", None)]
    assert await find(database, Wanted()) == []


async def test_a_dropped_event_is_gone_and_the_next_of_its_subject_is_told(database: Database) -> None:
    one = await event(database)
    await event(database, attempts=0)
    await hand(database).drop(await find(database, Wanted()), "the readers know")
    (entry,) = await AuditEntry.all()

    assert about(await claim(database, LATER + timedelta(days=9999), 10)) == [("hse/s1", 2)]
    assert (entry.subject, entry.details["about"]) == (f"event {one}", "muster.drift.found.v1")


async def test_an_event_that_was_told_meanwhile_is_left_alone(database: Database) -> None:
    await event(database)
    letters = await find(database, Wanted())
    await OutboxEvent.all().update(attempts=OFTEN - 1)

    assert await hand(database).drop(letters, "why") == await hand(database).again(letters) == []
    assert (await OutboxEvent.all().count(), await deeds()) == (1, [])


# Deliveries


async def test_a_dropped_delivery_is_settled_and_keeps_what_it_was(database: Database) -> None:
    one = await delivery(database, Reason.UNPARSABLE)
    (done,) = await hand(database).drop(await find(database, Wanted()), "a test of theirs")
    row, (entry,) = await logged(one), await AuditEntry.all()

    assert (row.state, row.reason, row.detail) == (DeliveryState.SETTLED, Reason.UNPARSABLE, "KeyError; dropped: a test of theirs")
    assert row.body
    assert (entry.subject, entry.reason, entry.details["reason"], entry.details["source"]) == (
        *(f"delivery {one}", "a test of theirs"),
        *("unparsable", "hse"),
    )
    assert done.kind is DeadKind.DELIVERY


async def test_a_delivery_that_was_applied_meanwhile_is_not_dropped(database: Database) -> None:
    await delivery(database)
    letters = await find(database, Wanted())
    await LoggedDelivery.all().update(state="settled")

    assert await hand(database).drop(letters, "why") == []
    assert await deeds() == []


async def test_more_than_one_transaction_holds_are_all_dropped(database: Database) -> None:
    for _ in range(205):
        await delivery(database)
    done = await hand(database).drop(await find(database, Wanted()), "why")

    assert len(done) == len(await deeds()) == await LoggedDelivery.filter(state="settled").count() == 205


async def begun(database: Database, **wanted: Any) -> ReplayRun | None:
    return await replay(database, await find(database, Wanted(**wanted)), Wanted(**wanted), "ada")


async def test_dead_deliveries_become_a_run_of_replays(database: Database) -> None:
    one, other = await delivery(database, subject="s1"), await delivery(database, Reason.UNPARSABLE, subject="s2")
    run = await begun(database, reason=("handler*",), account=("hse",))
    assert run is not None
    done = await carried(database, run, Worked(database))

    assert (done.selected, done.applied, (await logged(one)).state, (await logged(other)).state) == (1, 1, "settled", "dead")
    assert await deeds() == [("ada", "dead replay", f"replay run {run.id}", None)]
    assert (await AuditEntry.get()).details["selected"] == 1


async def test_a_run_is_of_what_is_named(database: Database) -> None:
    one, _ = await delivery(database), await delivery(database)

    run = await begun(database, ids=(one,))
    assert run is not None
    assert run.selected == 1


async def test_a_run_that_selects_nothing_is_forgotten(database: Database) -> None:
    await delivery(database)

    assert await begun(database, reason=("no such reason",)) is None
    assert await begun(database, reason=("unparsable",)) is None
    assert (await ReplayRun.all().count(), await deeds()) == (0, [])


async def test_exactly_what_was_shown_is_replayed_as_far_as_it_is_dead_still(database: Database) -> None:
    one, other, bodiless = [await delivery(database, subject=name) for name in ("s1", "s2", "s3")]
    shown = await find(database, Wanted(reason=("handler*",)))
    await LoggedDelivery.filter(id=other).update(state="settled")
    await LoggedDelivery.filter(id=bodiless).update(body=None)
    later = await delivery(database, subject="s4")

    run = await replay(database, shown, Wanted(reason=("handler*",)), "ada", rate=7)
    assert run is not None

    assert [item.original for item in await ReplayItem.all()] == [one]
    assert (run.selected, run.bodiless, run.rate, run.state, (await logged(later)).state) == (1, 1, 7, "running", "dead")


async def test_a_run_and_its_deed_stand_together_or_not_at_all(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await delivery(database)

    async def failing(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replays, "record", failing)
    with pytest.raises(KeyboardInterrupt):
        await begun(database)

    assert (await ReplayRun.all().count(), await ReplayItem.all().count()) == (0, 0)


# Whatever happens


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_dies_and_is_tried_again_or_dropped_no_seat_is_open_twice_and_who_needs_one_gets_it(scene: Scene, seed: int) -> None:
    """Two actions of one person on one course; at the end the vendor refuses nothing, and everything that is dead is tried again."""
    dice, followups, names = random.Random(seed), await ruled(scene, FIRE, SMOKE), ["s1", "s2"]
    await mirrored("s1")
    await mirrored("s2", "SMK-01")

    async def lives(name: str, state: str) -> None:
        await ActionSubscription.filter(action_subscription_id=name).update(state=state, fetch_covers=scene.time)
        await plan(scene, followups, name)

    for _ in range(20):
        scene.time += timedelta(minutes=10)
        step = dice.choice(["live", "live", "deleted", "refuse", "refuse", "work", "work", "again", "again", "drop"])
        if step in ("live", "deleted"):
            await lives(dice.choice(names), step)
        elif step == "refuse":
            scene.faults["lms"].off()
            refusing = dice.choice(["/api/subscribe/*", "/api/unsubscribe/*", "/api/getResults/*"])
            scene.faults["lms"].on(Instead(path=refusing, times=dice.choice([1, None]), **REFUSED))  # type: ignore[arg-type]
        elif step == "work":
            await scene.enroller.round(scene.account("lms"))
        else:
            await (again if step == "again" else drop)(scene, followups)
        assert await Enrollment.filter(state__in=["planned", "requested", "enrolled"]).count() <= 1

    scene.faults["lms"].off()
    for name in names:
        await lives(name, "live")
    await again(scene, followups)
    await scene.work("lms")
    seated = SEAT in scene.environment.seats and not scene.environment.seats[SEAT].ended

    assert await find(scene.database, Wanted()) == []
    wanted = await Need.filter(state__not="undone")
    assert {one.state for one in wanted} <= {"enrolled"}
    assert seated or not wanted
    assert {one.reason for one in await Need.filter(state="undone")} <= {CANCELLED}
