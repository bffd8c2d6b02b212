"""Follow-ups by hand: what is held is released, what is not wanted is cancelled, each only as it was when a person looked at it."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from schemas.states import NeedState
from tests.workers.followups.enrolling import StandIn
from tests.workers.followups.mirrored import NOON, need, rule, subscription
from workers.database import Database
from workers.followups.case import ALL_THE_SAME, BEGIN_AGAIN, CANCELLED, CORRECTED, DROPPED, GUARD_ENROLLING, GUARD_UNDOING, RECORD
from workers.followups.tables import Enrollment, FollowupMove, Need, NeedTarget
from workers.operations.followups import Wanted, cancel, find, release, show

LATER = NOON + timedelta(minutes=1)
CHAIN = rule("chain", enroll=[{"account": "lms", "course": "A"}, {"account": "lms", "course": "B", "after": "A", "approve": True}])


async def held(name: str = "s1", reason: str = GUARD_ENROLLING, **changed: object) -> Need:
    return await need(name, CHAIN, state="held", reason=reason, **changed)


async def test_they_are_found_by_what_is_asked_the_last_moved_first(database: Database) -> None:
    old = await held("s1", state_at=NOON - timedelta(days=1))
    new = await need("s2", rule())
    await need("s2", rule(), account="other", state="valid")

    async def ids(wanted: Wanted, limit: int | None = None) -> list[object]:
        return [one.id for one in await find(wanted, limit)]

    await Need.filter(id=old.id).update(alarm="not VALID since")

    assert await ids(Wanted(alarms=True)) == [old.id]
    assert await ids(Wanted(account="hse")) == [new.id, old.id]
    assert await ids(Wanted(account="hse"), 1) == [new.id]
    assert await ids(Wanted(states=(NeedState.HELD,))) == await ids(Wanted(rule="chain")) == await ids(Wanted(ids=(old.id,))) == [old.id]
    assert await ids(Wanted(subscription="s2", states=(NeedState.UNMATCHED, NeedState.HELD))) == [new.id]


async def test_what_is_late_is_found_by_its_time_whatever_keeps_it(database: Database) -> None:
    late = ("unmatched", "held", "failed", "dead", "enrolled", "awaiting", "planned", "overdue")
    for state in (*late, "passed", "recorded", "valid", "undone"):
        await need(state, rule(), state=state, due_at=NOON - timedelta(days=9))
        await need(f"{state}-soon", rule(), state=state, due_at=NOON + timedelta(days=9))
    await need("never due", rule(), state="enrolled")
    await need("lapsed", rule(), state="lapsed")
    found = {one.action_subscription_id for one in await find(Wanted(late=NOON), None)}

    assert found == {*late, "lapsed", "overdue-soon"}


async def test_what_the_guard_holds_is_released_and_approves_nothing(database: Database) -> None:
    await subscription("s1")
    one, planner = await held(), StandIn()
    done = await release(database, planner, [one], LATER, "ada")

    row = await Need.get(id=one.id)
    assert [each.id for each in done] == [one.id]
    assert (row.state, row.released_at, row.approvals) == ("held", LATER, [])
    assert planner.asked == [("hse", "s1")]


@pytest.mark.parametrize(("states", "approved"), [(("passed", "held"), ["1"]), (("passed", "passed"), [RECORD])])
async def test_a_step_that_waits_for_a_person_is_approved(database: Database, states: tuple[str, str], approved: list[str]) -> None:
    one = await held(reason="it waits for a person", approvals=["0"])
    for step, state in enumerate(states):
        await NeedTarget.create(need=one.id, step=step, state=state)
    await release(database, StandIn(), [one], LATER, "ada")

    assert (await Need.get(id=one.id)).approvals == ["0", *approved]


async def test_what_begins_again_is_released_and_what_was_corrected_is_approved_all_the_same(database: Database) -> None:
    lost, below = await held("s1", BEGIN_AGAIN), await held("s2", CORRECTED)
    for one in (lost, below):
        await NeedTarget.create(need=one.id, step=0, state="planned")
    await release(database, StandIn(), [lost, below], LATER, "ada")

    assert [(one.released_at, one.approvals) for one in await Need.all().order_by("action_subscription_id")] == [
        (LATER, []),
        (LATER, [ALL_THE_SAME]),
    ]


async def test_what_is_not_held_or_has_moved_on_is_not_released(database: Database) -> None:
    planned, moved = await need("s1", rule()), await held("s2")
    await Need.filter(id=moved.id).update(state_at=LATER)
    done = await release(database, StandIn(), [planned, moved], LATER, "ada")

    assert done == []
    assert {row.released_at for row in await Need.all()} == {None}


@pytest.mark.parametrize(("reason", "told"), [(GUARD_UNDOING, DROPPED), (GUARD_ENROLLING, CANCELLED), (None, CANCELLED)])
async def test_what_is_cancelled_is_undone_with_the_reason_in_its_moves(database: Database, reason: str, told: str) -> None:
    one, planner = await held(reason=reason, look_at=LATER, alarm="it was due"), StandIn()
    await cancel(database, planner, [one], LATER, "ada", "the course is closed")

    row, move = await Need.get(id=one.id), await FollowupMove.get()
    assert (row.state, row.reason, row.state_at) == ("undone", told, LATER)
    assert row.look_at is None is row.alarm
    assert (move.need, move.rule, move.state, move.reason, move.at) == (one.id, "chain", "undone", f"{told}: the course is closed", LATER)
    assert planner.asked == [("hse", "s1")]


@pytest.mark.parametrize("state", ["recorded", "valid", "undone"])
async def test_what_is_over_is_not_cancelled(database: Database, state: str) -> None:
    one = await need("s1", rule(), state=state)

    assert await cancel(database, StandIn(), [one], LATER, "ada") == []
    assert (await Need.get(id=one.id)).state == state


async def test_more_than_one_transaction_holds_are_all_done(database: Database) -> None:
    many = [await held(f"s{number:03}") for number in range(205)]
    planner = StandIn()
    done = await cancel(database, planner, many, LATER, "ada")

    assert len(done) == len(planner.asked) == await Need.filter(state="undone").count() == 205


async def test_one_is_shown_with_its_targets_enrollments_and_moves_in_order(database: Database) -> None:
    one, other = await held(), await held("s2")
    seat: dict[str, Any] = {"account": "lms", "kind": "course", "learner": "C-1", "round": 1, "state": "enrolled", "state_at": NOON}
    ids = [uuid4(), uuid4()]
    for number, each in enumerate(ids):
        await Enrollment.create(id=each, target=f"{number}", attempts=0, terms={}, **seat)
    await NeedTarget.create(need=one.id, step=1, state="planned")
    await NeedTarget.create(need=one.id, step=0, state="enrolled", enrollment=ids[0])
    whose: list[dict[str, Any]] = [{"need": one.id}, {"enrollment": ids[0]}, {"need": other.id}, {"enrollment": ids[1]}]
    for minutes, belongs in enumerate(whose):
        await FollowupMove.create(state=str(minutes), at=LATER - timedelta(minutes=minutes), **belongs)
    told = await show(one.id)

    assert told is not None
    assert [target.step for target in told.targets] == [0, 1]
    assert [each.id for each in told.enrollments] == ids[:1]
    assert [move.state for move in told.moves] == ["1", "0"]
    assert await show(uuid4()) is None
