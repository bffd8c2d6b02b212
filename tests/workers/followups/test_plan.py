"""Planning in the transaction of what changed, on both databases: two workers at once, and two actions on one course."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from tortoise.exceptions import IntegrityError

from schemas.events import EventType
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.logs import Log
from schemas.rules import Rule
from schemas.states import SubscriptionState
from tests.workers.followups.mirrored import ACCOUNTS, NOON, filled, rule, subscription
from workers.clock import Clock
from workers.database import Database
from workers.followups import reasons, rule_states
from workers.followups.case import Case
from workers.followups.plan import Followups
from workers.followups.planner import plan
from workers.followups.tables import Certified, Enrollment, FollowupMove, Need, NeedTarget, Recording
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Absence, Sighting
from workers.mirror.facts import ATTENDANCE, COURSE_RESULT, OBSERVATION, SESSION_ENROLLMENT, Fact
from workers.mirror.hints import Hint
from workers.mirror.tables import ActionSubscription
from workers.outbox import OutboxEvent

UNSUBSCRIBE = rule(undo="unsubscribe", record={})


class World:
    """A mirror with rules, and a clock that the test turns."""

    def __init__(self, database: Database, *rules: Rule) -> None:
        self.database, self.at = database, NOON
        self.mirror = Mirror(frozenset(ACCOUNTS), followups=Followups(rules, ACCOUNTS), now=lambda: self.at)

    async def sighted(self, *subjects: str, **changed: Any) -> None:
        """A fetch found subscriptions, all of one person."""
        self.at += timedelta(minutes=1)
        async with self.database.transaction() as connection:
            await self.mirror.sighted(connection, self.database.dialect, [sighting(one, self.at, **changed) for one in subjects])

    async def deleted(self, *subjects: str, at: datetime | None = None) -> None:
        """A fetch did not find them any more."""
        at = at or self.at + timedelta(minutes=1)
        gone = [Absence("hse", one, at, SubscriptionState.DELETED) for one in subjects]
        async with self.database.transaction() as connection:
            await self.mirror.absent(connection, self.database.dialect, gone)

    async def observed(self, *facts: Fact) -> None:
        """Results came."""
        self.at += timedelta(minutes=1)
        async with self.database.transaction() as connection:
            await self.mirror.observe(connection, self.database.dialect, facts[0].kind, facts[0].account, facts, self.at)

    async def enrolled(self, **changed: Any) -> None:
        """The vendor granted every wish."""
        granted = {"state": "enrolled", "wish": None, "due_at": None, "found": False, "enrolled_at": self.at}
        await Enrollment.filter(wish="enroll").update(**(granted | changed))
        rows = await ActionSubscription.all()
        async with self.database.transaction() as connection:
            keys = [(row.account, row.action_subscription_id) for row in rows]
            await self.mirror.followups.plan(connection, self.database.dialect, keys, self.at)  # type: ignore[union-attr]


def sighting(subject: str, began: datetime, **changed: Any) -> Sighting:
    """A person who is new to fire safety, as a fetch finds it."""
    said: dict[str, Any] = {"action_id": "a1", "action_type": "TRAINING", "action_code": "FST-01", "action_name": "Fire", "status": "NEW"}
    who = {"subscriber_type": "PERSON", "subscriber_id": "p1", "subscriber_code": "JS001", "tenant_id": "t1", "subtenant_id": "o1"}
    fields = dict.fromkeys(SUBSCRIPTION_FIELDS) | {"action_subscription_id": subject} | said | who | changed
    return Sighting("hse", subject, began, fields)


def passed(at: datetime, grade: float = 100.0, course: str = "FIRE") -> Fact:
    """The learner's result in the course."""
    reached = {"completed": True, "completed_at": at, "grade": grade}
    return Fact(COURSE_RESULT, "lms", ("JS001", course, "", 0), at, reached)


async def applied(database: Database, *rules: Rule) -> World:
    """A world in which a person has applied the rules."""
    await filled()
    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, rules, NOON)
    return World(database, *rules)


@pytest_asyncio.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """A world with a rule that gives back what it took."""
    yield await applied(database, UNSUBSCRIBE)


async def needs() -> list[tuple[str, str, str]]:
    """Subscription, cycle and state of each need."""
    return [(one.action_subscription_id, one.cycle, one.state) for one in await Need.all().order_by("action_subscription_id", "created_at")]


async def seats() -> list[tuple[int, str, str | None]]:
    """Round, state and wish of each enrollment."""
    return [(one.round, one.state, one.wish) for one in await Enrollment.all().order_by("learner", "round")]


async def test_a_change_of_the_mirror_is_planned_in_its_transaction(world: World) -> None:
    await world.sighted("s1")

    assert (await needs(), await seats()) == ([("s1", "initial", "planned")], [(1, "planned", "enroll")])
    need, seat = await Need.get(), await Enrollment.get()
    assert (need.opened_at, need.state_at, need.plan, need.digest) == (world.at, world.at, UNSUBSCRIBE.snapshot(), UNSUBSCRIBE.digest)
    assert (seat.account, seat.kind, seat.learner, seat.target, seat.due_at) == ("lms", "course", "JS001", "FIRE", world.at)
    assert [(one.step, one.enrollment, one.state) for one in await NeedTarget.filter(need=need.id)] == [(0, seat.id, "planned")]
    moves = await FollowupMove.all().order_by("id")
    assert {(one.need, one.enrollment, one.rule, one.state) for one in moves} == {
        (need.id, None, "fire", "planned"),
        (None, seat.id, None, "planned"),
    }


async def test_planning_again_writes_nothing(world: World) -> None:
    await world.sighted("s1")
    await world.enrolled()
    before = [
        await FollowupMove.all().count(),
        await OutboxEvent.all().count(),
        *await Need.all().values(),
        *await Enrollment.all().values(),
    ]

    await world.enrolled()

    after = [
        await FollowupMove.all().count(),
        await OutboxEvent.all().count(),
        *await Need.all().values(),
        *await Enrollment.all().values(),
    ]
    assert before == after


@pytest.mark.parametrize(("api", "states"), [(True, ["enrolled", "undone"]), (False, ["undone", "undone"])])
async def test_a_webhook_that_tells_of_a_deletion_undoes_nothing_where_an_api_can_confirm_it(
    world: World, *, api: bool, states: list[str]
) -> None:
    await world.sighted("s1")
    await world.enrolled()
    if not api:
        world.mirror = replace(world.mirror, followups=Followups([UNSUBSCRIBE], {"lms": ACCOUNTS["lms"]}))
    world.at += timedelta(minutes=1)
    fields = dict.fromkeys(SUBSCRIPTION_FIELDS) | {"action_subscription_id": "s1"}
    async with world.database.transaction() as connection:
        await world.mirror.apply(connection, world.database.dialect, [Hint("hse", "s1", True, world.at, b"x", fields)])
    told = await needs(), (await ActionSubscription.get()).state
    await world.deleted("s1", at=world.at + timedelta(minutes=1))

    assert (told, await needs()) == (([("s1", "initial", states[0])], "deleted"), [("s1", "initial", states[1])])


async def test_when_a_row_was_first_seen_stays(world: World) -> None:
    await world.sighted("s1")
    first = world.at
    await world.sighted("s1", action_name="Fire, again")

    row = await ActionSubscription.get()
    assert (row.first_seen_at, row.fetched_at) == (first, world.at)


async def test_what_was_completed_while_the_first_fetch_of_a_row_was_under_way_is_an_old_pass(world: World) -> None:
    began, world.at = world.at, world.at + timedelta(seconds=10)
    async with world.database.transaction() as connection:
        await world.mirror.sighted(connection, world.database.dialect, [sighting("s1", began)])
    await world.observed(passed(began + timedelta(seconds=5)))

    assert await needs() == [("s1", "initial", "planned")]


async def test_a_result_passes_it_and_plans_what_is_written(world: World) -> None:
    await world.sighted("s1")
    await world.enrolled()
    await world.observed(passed(world.at + timedelta(seconds=30)))

    assert (await needs(), await seats()) == ([("s1", "initial", "passed")], [(1, "closed", None)])
    assert sorted(one.step for one in await Recording.all()) == ["certificate", "certificate_action"]
    assert [one.result for one in await Certified.all()] == ["course_result/lms/JS001/FIRE//0"]

    await Recording.all().update(state="done")
    await world.enrolled()
    assert await needs() == [("s1", "initial", "recorded")]
    await world.sighted("s1", status="VALID", last_certificate_id="c1", certificate_date_release=date(2026, 3, 1))
    assert await needs() == [("s1", "initial", "valid")]


async def test_an_old_pass_does_not_certify_the_next_cycle(world: World) -> None:
    await world.sighted("s1")
    await world.enrolled()
    result = passed(world.at + timedelta(seconds=30))
    await world.observed(result)
    # By the dates alone it would count.
    await world.sighted("s1", status="EXPIRED", last_certificate_id="c1", certificate_date_release=date(2026, 1, 1))
    await world.observed(replace(result, at=world.at, content={**result.content, "grade": 90.0}))

    assert (await needs())[1:] == [("s1", "c1", "planned")]
    assert (await seats())[1:] == [(2, "planned", "enroll")]


async def test_every_move_is_told(world: World) -> None:
    await world.sighted("s1")
    await world.enrolled()

    told = await OutboxEvent.filter(type=EventType.FOLLOWUP_MOVED.value).order_by("sequence")
    moves = [(one.data["before"], one.data["state"]) for one in told if one.data["need"]]
    assert moves == [(None, "planned"), ("planned", "enrolled")]
    assert {(one.account, one.subject) for one in told} == {("hse", "hse/s1")}


async def test_a_seat_that_moves_is_told_to_all_whom_it_serves(world: World) -> None:
    await world.sighted("s1", "s2")
    await world.enrolled()
    await OutboxEvent.all().delete()
    over = Fact(COURSE_RESULT, "lms", ("JS001", "FIRE", "", 0), world.at + timedelta(minutes=1), {"completed": False, "expired": True})
    await world.observed(over)

    told = await OutboxEvent.filter(type=EventType.FOLLOWUP_MOVED.value).order_by("subject")
    assert [(one.subject, one.data["before"], one.data["state"]) for one in told if one.data["enrollment"]] == [
        ("hse/s1", "enrolled", "closed"),
        ("hse/s2", "enrolled", "closed"),
    ]
    assert await FollowupMove.filter(state="closed").count() == 1


async def test_what_a_vendor_said_stays_in_the_rows_and_is_in_no_event(world: World) -> None:
    words = "GET /api/getResults/JS001/FIRE: John Smith is archived"
    await world.sighted("s1")
    await world.enrolled(state="dead", found=None, enrolled_at=None, reason=words)

    assert ((await Need.get()).reason, (await FollowupMove.all().order_by("-id").first()).reason) == (words, words)  # type: ignore[union-attr]
    assert [one.data["reason"] for one in await OutboxEvent.all().order_by("-id").limit(1)] == [reasons.GIVEN_UP]


@pytest.mark.parametrize("order", [("s1", "s2"), ("s2", "s1")])
async def test_two_actions_share_a_seat_that_the_last_one_gives_back(world: World, order: tuple[str, str]) -> None:
    await world.sighted("s1", "s2")
    await world.enrolled()
    assert await seats() == [(1, "enrolled", None)]

    await world.deleted(order[0])
    assert await seats() == [(1, "enrolled", None)]
    await world.deleted(order[1])
    assert await seats() == [(1, "enrolled", "undo")]


async def test_two_actions_deleted_in_one_batch_give_the_seat_back(world: World) -> None:
    await world.sighted("s1", "s2")
    await world.enrolled()
    await world.deleted("s1", "s2")

    assert await seats() == [(1, "enrolled", "undo")]


async def test_two_workers_that_delete_at_once_give_the_seat_back(world: World) -> None:
    await world.sighted("s1", "s2")
    await world.enrolled()
    await asyncio.gather(world.deleted("s1"), world.deleted("s2"))

    assert (await needs(), await seats()) == ([("s1", "initial", "undone"), ("s2", "initial", "undone")], [(1, "enrolled", "undo")])


async def test_two_workers_that_plan_for_one_learner_at_once_open_one_seat(world: World) -> None:
    other = World(world.database, UNSUBSCRIBE)
    for number in range(5):
        names = [f"s{number}{worker}" for worker in "ab"]
        person = {"subscriber_code": f"P{number}", "subscriber_id": f"p{number}"}
        await asyncio.gather(world.sighted(names[0], **person), other.sighted(names[1], **person))

    assert await seats() == [(1, "planned", "enroll")] * 5
    assert {state for _, _, state in await needs()} == {"planned"}


async def test_two_workers_that_plan_one_subscription_at_once_plan_it_once(world: World) -> None:
    await asyncio.gather(*(World(world.database, UNSUBSCRIBE).sighted("s1") for _ in range(4)))

    assert (await needs(), await seats()) == ([("s1", "initial", "planned")], [(1, "planned", "enroll")])
    assert await FollowupMove.all().count() == 2


async def test_a_rule_that_wants_too_much_in_one_batch_is_held_from_there(database: Database) -> None:
    world = await applied(database, rule(max_per_hour=3))
    for number in range(5):
        await world.sighted(f"s{number}", subscriber_code=f"P{number}", subscriber_id=f"p{number}")
    held = [state for _, _, state in await needs()]
    assert held == ["planned"] * 3 + ["held"] * 2

    async with database.transaction() as connection:
        fresh = [sighting(f"t{n}", world.at + timedelta(hours=2), subscriber_code=f"T{n}", subscriber_id=f"t{n}") for n in range(5)]
        await replace(world.mirror, now=lambda: NOON + timedelta(hours=2)).sighted(connection, database.dialect, fresh)
    assert sorted(state for name, _, state in await needs() if name[0] == "t") == ["held"] * 2 + ["planned"] * 3


#: So many at once; each sees what the others have committed, and nothing of what they have not.
PLANNERS, EACH, AN_HOUR = 4, 15, 10


async def at_once(database: Database, ruled: Rule, now: datetime) -> None:
    """Planners at once, each for subscriptions of its own."""

    async def one(number: int) -> None:
        keys = [("hse", f"s{number}-{each:02}") for each in range(EACH)]
        async with database.transaction() as connection:
            await Followups((ruled,), ACCOUNTS).plan(connection, database.dialect, keys, now)

    await asyncio.gather(*(one(number) for number in range(PLANNERS)))


async def guarded(database: Database, **changed: Any) -> Rule:
    """Subscriptions for which a rule holds that lets no more through than some in an hour."""
    ruled = rule(max_per_hour=AN_HOUR, **changed)
    await applied(database, ruled)
    for number in range(PLANNERS):
        for each in range(EACH):
            name = f"{number}-{each:02}"
            await subscription(f"s{name}", subscriber_code=f"P{name}", first_seen_at=NOON, fetch_covers=NOON)
    return ruled


async def test_planners_at_once_let_no_more_through_than_the_guard_does(database: Database) -> None:
    ruled = await guarded(database)
    await at_once(database, ruled, NOON + timedelta(minutes=1))

    counted = Counter(state for _, _, state in await needs())
    assert counted == {"planned": AN_HOUR, "held": PLANNERS * EACH - AN_HOUR}
    assert await Enrollment.all().count() == await FollowupMove.filter(state="planned", need__not_isnull=True).count() == AN_HOUR


#: What ends a need whose seat is given back, and as what it ends.
ENDINGS = {"undone": {"state": "deleted"}, "valid": {"status": "VALID", "last_certificate_id": "c1"}}


@pytest.mark.parametrize("ended", ENDINGS)
async def test_planners_at_once_undo_no_more_than_the_guard_lets_through(database: Database, ended: str) -> None:
    ruled = await guarded(database, undo="unsubscribe")
    await at_once(database, ruled, NOON)
    await Need.filter(state="held").update(released_at=NOON)  # a person says yes to all of them
    await at_once(database, ruled, NOON)
    granted = {"state": "enrolled", "wish": None, "due_at": None, "found": False, "enrolled_at": NOON}
    await Enrollment.filter(wish="enroll").update(**granted)
    later = NOON + timedelta(hours=2)
    await at_once(database, ruled, later)
    assert {state for _, _, state in await needs()} == {"enrolled"}
    await ActionSubscription.all().update(fetch_covers=later, **ENDINGS[ended])
    await at_once(database, ruled, later + timedelta(hours=2))

    counted = Counter(state for _, _, state in await needs())
    assert counted == {ended: AN_HOUR, "held": PLANNERS * EACH - AN_HOUR}
    assert await Enrollment.filter(wish="undo").count() == AN_HOUR


async def test_the_guard_goes_by_the_rule_as_it_is_applied_now(database: Database) -> None:
    def people(rule: str) -> list[dict[str, str]]:
        return [{"subscriber_code": f"{rule}{number}", "subscriber_id": f"{rule}{number}"} for number in range(3)]

    world = await applied(database, rule(max_per_hour=100))
    for number, person in enumerate(people("p")):
        await world.sighted(f"s{number}", **person)
    other = await changed(world, rule(max_per_hour=4))
    for number, person in enumerate(people("q")):
        # Of the subscription that has a need of the old rule, in one batch with those that have none yet.
        async with database.transaction() as connection:
            fresh = sighting(f"a{number}", other.at, **person), sighting("s0", other.at, **people("p")[0])
            await other.mirror.sighted(connection, database.dialect, fresh)

    assert [state for name, _, state in await needs() if name[0] == "a"] == ["planned", "held", "held"]


async def changed(world: World, *rules: Rule) -> World:
    """The same world once a person has applied other rules."""
    async with world.database.transaction() as connection:
        await rule_states.apply(connection, world.database.dialect, rules, world.at)
    other = World(world.database, *rules)
    other.at = world.at + timedelta(minutes=1)
    return other


async def test_the_next_target_of_what_is_overdue_counts_for_the_guard_too(database: Database) -> None:
    both = [{"account": "lms", "course": name, "due": days} for name, days in (("A", "1d"), ("B", "30d"))]
    both[1]["approve"] = True  # type: ignore[assignment]
    world = await applied(database, rule(max_per_hour=1, enroll=both))
    await world.sighted("s1")
    world.at += timedelta(days=5)
    await world.enrolled()
    assert await needs() == [("s1", "initial", "held")]
    await Need.all().update(approvals=["1"], released_at=world.at)
    await world.enrolled()
    assert await needs() == [("s1", "initial", "overdue")]

    await world.sighted("s2", subscriber_code="P2", subscriber_id="p2")
    assert (await needs())[1:] == [("s2", "initial", "held")]
    assert [one.state for one in await FollowupMove.filter(rule="fire").order_by("id")][-3:] == ["planned", "overdue", "held"]


async def test_what_is_overdue_and_what_lapses_is_told_by_the_clock_once(database: Database) -> None:
    world = await applied(database, rule(enroll={"account": "lms", "course": "FIRE", "due": "30d", "expire": "60d"}))
    await world.sighted("s1")
    await world.enrolled()
    clock = Clock(database, world.mirror, lambda: world.at)
    for days in (29, 31, 32, 61, 62):
        world.at = NOON + timedelta(days=days)
        await clock.sweep()

    told = [one.data for one in await OutboxEvent.filter(type=EventType.FOLLOWUP_MOVED.value).order_by("sequence") if one.data["need"]]
    assert [(one["state"], one["reason"]) for one in told][2:] == [
        ("overdue", "it was due by 2026-03-31"),
        ("lapsed", "its last day was 2026-04-30"),
    ]
    assert (await needs(), await seats()) == ([("s1", "initial", "lapsed")], [(1, "closed", None)])


@pytest.mark.parametrize(("waits", "who"), [("held", {}), ("unmatched", {"subscriber_code": None})])
async def test_what_waits_past_its_time_is_told_once_and_is_an_alarm(database: Database, waits: str, who: dict[str, Any]) -> None:
    world = await applied(database, rule(enroll={"account": "lms", "course": "FIRE", "due": "30d", "approve": True}))
    await world.sighted("s1", **who)
    clock = Clock(database, world.mirror, lambda: world.at)
    with capture_logs() as logged:
        for days in (29, 31, 32):
            world.at = NOON + timedelta(days=days)
            await clock.sweep()

    told = [one.data for one in await OutboxEvent.filter(type=EventType.FOLLOWUP_MOVED.value).order_by("sequence")]
    assert [(one["state"], one["alarm"]) for one in told] == [(waits, None), (waits, "it was due by 2026-03-31")]
    alarms = [line for line in logged if line["event"] == Log.FOLLOWUP_ALARM]
    assert alarms == [
        {"event": "followup.alarm", "log_level": "warning", "need": told[0]["need"], "rule": "fire", "account": "hse", "state": waits}
    ]
    assert (await FollowupMove.all().order_by("-id").first()).reason.endswith("; it was due by 2026-03-31")  # type: ignore[union-attr]


async def test_what_the_planner_fails_on_is_looked_at_again_and_holds_up_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(case: Case) -> Any:
        if case.subscription.id == "s1":
            raise OverflowError
        return plan(case)

    with monkeypatch.context() as patched, capture_logs() as logged:
        patched.setattr("workers.followups.plan.plan", mistaken)
        await world.sighted("s1", "s2")
    assert [(line["event"], line["error"]) for line in logged] == [(Log.PLANNING_FAILED, "OverflowError")]
    assert (await ActionSubscription.all().count(), await needs()) == (2, [("s2", "initial", "planned")])

    clock = Clock(database=world.database, mirror=world.mirror, now=lambda: world.at)
    await clock.sweep()
    assert len(await needs()) == 1
    world.at += timedelta(minutes=15)
    await clock.sweep()
    assert await needs() == [("s1", "initial", "planned"), ("s2", "initial", "planned")]


async def test_of_a_learners_seats_in_a_target_only_one_is_open_whoever_writes(world: World) -> None:
    await world.sighted("s1")
    (row,) = await Enrollment.all().values()
    with pytest.raises(IntegrityError):
        await Enrollment.create(**(row | {"id": uuid4(), "round": 2}))
    await Enrollment.all().update(state="closed")
    await Enrollment.create(**(row | {"id": uuid4(), "round": 2}))


async def test_a_pending_rule_plans_nothing(database: Database) -> None:
    await filled()
    world = World(database, UNSUBSCRIBE)
    await world.sighted("s1")

    assert (await needs(), await FollowupMove.all().count()) == ([], 0)


async def test_what_a_rule_has_planned_goes_on_without_it(world: World) -> None:
    await world.sighted("s1")
    await world.enrolled()
    without = World(world.database)
    without.at = world.at
    await without.deleted("s1")

    assert (await needs(), await seats()) == ([("s1", "initial", "undone")], [(1, "enrolled", "undo")])


async def test_without_rules_and_needs_nothing_is_asked(database: Database) -> None:
    followups = Followups((), ACCOUNTS)
    async with database.transaction() as connection:
        await followups.plan(connection, database.dialect, [("hse", "s1")], NOON)
    # Closed or not, the connection is not looked at any more.
    await followups.plan(None, database.dialect, [("hse", "s1")], NOON)  # type: ignore[arg-type]


async def test_an_observation_finds_who_awaits_it(database: Database) -> None:
    check = rule(enroll=None, observe={"account": "ispring", "checklist": "c", "result": 80}, undo="keep")
    world = await applied(database, check)
    await database.connection.execute_query("INSERT INTO identities (account, kind, here, there) VALUES ('ispring', 'person', 'p1', 'e1')")
    await world.sighted("s1")
    assert await needs() == [("s1", "initial", "awaiting")]

    said = {"employee_id": "e1", "checklist_id": "c", "observer_id": "o", "status": "PASSED", "result": 90.0}
    await world.observed(Fact(OBSERVATION, "ispring", ("x",), world.at, said | {"completed_at": world.at + timedelta(seconds=1)}))
    assert await needs() == [("s1", "initial", "passed")]


async def test_an_exercise_is_passed_by_who_was_there(database: Database) -> None:
    drill = rule(
        when={"action_code": "FST-*", "subscriber_type": "OFFICE"},
        enroll=None,
        exercise={"account": "kare", "rule_id": 7, "start": "+14d 10:00", "length": "1h"},
    )
    world = await applied(database, drill)
    await database.connection.execute_query("INSERT INTO identities (account, kind, here, there) VALUES ('kare', 'office', 'o1', '3')")
    await world.sighted("s1", subscriber_type="OFFICE", subscriber_id="o1", subscriber_code=None)
    await world.enrolled(remote="41")
    assert await needs() == [("s1", "initial", "enrolled")]

    await world.observed(Fact(ATTENDANCE, "kare", (41, 1), world.at, {"status": "present", "ended_at": world.at + timedelta(seconds=1)}))
    assert await needs() == [("s1", "initial", "passed")]


async def test_a_session_is_passed_by_what_the_trainer_entered(database: Database) -> None:
    world = await applied(database, rule(enroll={"account": "hse", "session": "next", "within": "90d"}))
    await world.sighted("s1")
    await world.enrolled()
    assert [one.learner for one in await Enrollment.all()] == ["s1"]

    said = {"action_subscription_id": "s1", "action_session_id": "x", "done": 1, "session_date_begin": NOON.date()}
    await world.observed(Fact(SESSION_ENROLLMENT, "hse", ("seat",), world.at, said))
    assert await needs() == [("s1", "initial", "passed")]


async def test_a_session_at_the_end_of_the_calendar_holds_up_no_other(database: Database) -> None:
    """9999-12-31 is how some write never."""
    world = await applied(database, rule(enroll={"account": "hse", "session": "next", "within": "90d"}))
    await world.sighted("s1")
    await world.enrolled()
    said = {"action_subscription_id": "s1", "action_session_id": "x", "done": -1, "session_date_begin": date.max}
    await world.observed(Fact(SESSION_ENROLLMENT, "hse", ("seat",), world.at, said))

    assert await needs() == [("s1", "initial", "enrolled")]


async def test_a_result_that_comes_before_its_subscription_waits_for_it(database: Database) -> None:
    """The row is of before what was completed: it is seen by a clock of ours that is behind."""
    world = await applied(database, UNSUBSCRIBE)
    await world.observed(passed(world.at + timedelta(minutes=5)))
    assert await needs() == []

    await world.sighted("s1")
    assert await needs() == [("s1", "initial", "passed")]

    await world.sighted("s2", subscriber_code="JS002")
    assert await needs() == [("s1", "initial", "passed"), ("s2", "initial", "planned")]


@pytest.mark.parametrize(("since", "expected"), [("2026-02-01", "passed"), ("2026-03-01", "planned")])
async def test_a_result_from_before_its_subscription_counts_as_far_as_the_rule_accepts(
    database: Database, since: str, expected: str
) -> None:
    accepting: dict[str, Any] = {"pass": {"accept_since": since}}
    world = await applied(database, rule(**accepting))
    await world.observed(passed(NOON - timedelta(days=10)))
    await world.sighted("s1")

    assert await needs() == [("s1", "initial", expected)]
