"""Runs of replays: the selection is fixed, each delivery is handed out, and a run that was cut short goes on where it was."""

import asyncio
from datetime import timedelta

import pytest

from schemas.delivery import Delivery, replayed_id
from schemas.states import Reason
from tests.workers.made import NOON, created, deleted, delivery, logged, until
from tests.workers.operations.replaying import Unattended, Worked
from workers.database import Database
from workers.handlers import Dead, Outcome, handle
from workers.log import LoggedDelivery
from workers.mirror.tables import ActionSubscription
from workers.operations import selection, sitting
from workers.operations.replays import begin, carry_on, discard, newest, one, preview
from workers.operations.selection import Selection
from workers.operations.sitting import Progress
from workers.pipeline import Pipeline
from workers.replays import ReplayItem, ReplayRun

DEAD = Selection(state=("dead",))
EVERYTHING = Selection()


def misunderstood(delivery: Delivery) -> Outcome:
    """A version of muster that cannot read anything."""
    return Dead(delivery.event, Reason.UNPARSABLE)


async def buried(database: Database, count: int) -> list[Delivery]:
    """Deliveries that an older version gave up on."""
    made = [created(f"s{number}", received_at=NOON + timedelta(seconds=number)) for number in range(count)]
    await Pipeline(database, misunderstood).together(made)
    return made


async def test_what_was_dead_is_applied_and_settled_and_the_result_is_kept(database: Database) -> None:
    made = await buried(database, 3)

    run = await begin(database, DEAD, "ada")
    assert (run.state, run.selected, run.who, run.asked) == ("running", 3, "ada", {"state": ["dead"]})
    done = await carry_on(database, run, Worked(database))

    assert (done.state, done.applied, done.unchanged, done.dead, done.gone) == ("done", 3, 0, 0, 0)
    assert [(await logged(each)).state for each in made] == ["settled"] * 3
    assert [row.received_at for row in await LoggedDelivery.filter(replay_of=made[2].id)] == [made[2].received_at]
    assert await ActionSubscription.all().count() == 3
    kept = await one(run.id)
    assert kept is not None
    assert (kept.applied, kept.ended_at) == (3, done.ended_at)


async def test_outcomes_are_told_apart(database: Database) -> None:
    known, deaf = created(), delivery(b"{}", "PERSON::CREATE")
    await Pipeline(database).together([known, deaf, delivery(b"")])
    await buried(database, 1)
    await ActionSubscription.filter(action_subscription_id="s0").delete()

    done = await carry_on(database, await begin(database, EVERYTHING, "ada"), Worked(database))

    assert (done.selected, done.applied, done.unchanged, done.dead) == (4, 1, 2, 1)


async def test_the_selection_is_fixed_when_the_run_begins(database: Database) -> None:
    made = await buried(database, 2)
    run = await begin(database, DEAD, "ada")
    await Pipeline(database).together(made[:1])
    later = created("later")
    await Pipeline(database, misunderstood).together([later])

    await carry_on(database, run, Worked(database))

    assert {item.original for item in await ReplayItem.all()} == {each.id for each in made}
    assert (await logged(later)).state == "dead"


async def test_the_oldest_are_selected_where_there_is_a_limit(database: Database) -> None:
    made = await buried(database, 5)

    run = await begin(database, DEAD.model_copy(update={"limit": 2}), "ada")

    assert {item.original for item in await ReplayItem.all()} == {each.id for each in made[:2]}
    assert run.selected == 2


async def test_a_selection_that_was_cut_short_goes_on_where_it_was(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_IN_ORDER", "ORDER BY received_at, id LIMIT 2")
    made = await buried(database, 5)

    def interrupted(run: ReplayRun) -> None:
        if run.selected == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await begin(database, DEAD, "ada", interrupted)
    (run,) = await newest(10)
    assert (run.state, run.selected) == ("selecting", 4)
    done = await carry_on(database, run, Worked(database))

    assert (done.state, done.selected, done.applied) == ("done", 5, 5)
    assert {item.replay for item in await ReplayItem.all()} == {replayed_id(run.id, each.id) for each in made}


async def test_a_run_that_was_cut_short_hands_out_the_rest(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "GROUP", 2)
    await buried(database, 7)
    run = await begin(database, DEAD, "ada")
    first, second = Worked(database, at_most=4), Worked(database)
    with pytest.raises(KeyboardInterrupt):
        await carry_on(database, run, first)
    found = await one(run.id)
    assert found is not None
    assert (found.state, found.applied) == ("running", 4)

    done = await carry_on(database, found, second)

    assert (done.applied, len(first.put_so_far), len(second.put_so_far)) == (7, 4, 3)
    assert not {*first.put_so_far} & {*second.put_so_far}


async def test_what_was_handed_out_and_not_worked_off_is_handed_out_again_under_its_id(database: Database) -> None:
    await buried(database, 3)
    run = await begin(database, DEAD, "ada")
    spool = Unattended()
    assert (await carry_on(database, run, spool, stay=False)).state == "running"

    again = Worked(database)
    done = await carry_on(database, run, again)
    await Pipeline(database).together(spool.kept)

    assert (done.state, done.applied) == ("done", 3)
    assert again.put_so_far == [each.id for each in spool.kept]
    assert await LoggedDelivery.filter(replay_of__isnull=False).count() == 3


async def test_no_more_is_handed_out_than_the_lane_has_room_for_where_nobody_works_it_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sitting, "GROUP", 2)
    monkeypatch.setattr(sitting, "WINDOW", 4)
    await buried(database, 9)
    run = await begin(database, DEAD, "ada")
    wide, narrow = Unattended(), Unattended(room=2)

    assert (await carry_on(database, run, wide, stay=False)).state == "running"
    assert (await carry_on(database, run, narrow, stay=False)).state == "running"

    assert (len(wide.kept), len(narrow.kept)) == (4, 2)


async def test_a_lane_that_is_away_is_waited_for_and_said(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "AGAIN", 0.01)
    await buried(database, 2)
    said: list[str | None] = []

    done = await carry_on(
        database, await begin(database, DEAD, "ada"), Worked(database, away=3), told=lambda progress: said.append(progress.waiting)
    )

    assert (done.applied, said.count("the broker is away")) == (2, 3)
    assert said[-1] is None


async def test_it_is_said_that_nobody_works_anything_off(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "STILL", 0.05)
    monkeypatch.setattr(sitting, "LOOK", 0.01)
    await buried(database, 2)
    spool = Unattended()
    seen: list[Progress] = []
    working = asyncio.create_task(carry_on(database, await begin(database, DEAD, "ada"), spool, told=seen.append))
    await until(lambda: any(each.waiting for each in seen), "the word")
    assert {each.waiting for each in seen if each.waiting} == {"no `muster serve` runs"}

    await Pipeline(database).together(spool.kept)
    done = await working

    assert (done.state, seen[-1].done, seen[-1].waiting) == ("done", 2, None)


async def test_a_body_that_was_dropped_before_or_meanwhile_is_counted(database: Database) -> None:
    made = await buried(database, 3)
    await LoggedDelivery.filter(id=made[0].id).update(body=None)
    run = await begin(database, DEAD, "ada")
    await LoggedDelivery.filter(id=made[1].id).update(body=None)

    done = await carry_on(database, run, Worked(database))

    assert (done.bodiless, done.selected, done.gone, done.applied) == (1, 2, 1, 1)


async def test_a_run_that_is_done_stays_as_it_is(database: Database) -> None:
    await buried(database, 1)
    done = await carry_on(database, await begin(database, DEAD, "ada"), Worked(database))
    ended, outlet = done.ended_at, Worked(database)

    again = await carry_on(database, done, outlet)

    assert (again.ended_at, outlet.put_so_far) == (ended, [])


async def test_two_that_are_at_one_run_do_nothing_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "GROUP", 1)
    await buried(database, 5)
    run = await begin(database, DEAD, "ada")
    twin = await ReplayRun.get(id=run.id)

    await asyncio.gather(carry_on(database, run, Worked(database)), carry_on(database, twin, Worked(database)))

    assert await LoggedDelivery.filter(replay_of__isnull=False).count() == 5
    assert (await ReplayRun.get(id=run.id)).applied == 5


async def test_a_run_that_nobody_wants_leaves_nothing(database: Database) -> None:
    await buried(database, 3)
    kept, unwanted = await begin(database, DEAD, "ada"), await begin(database, DEAD, "bob")

    await discard(database, unwanted)

    assert [run.id for run in await newest(10)] == [kept.id]
    assert await ReplayItem.all().count() == 3
    assert await one(unwanted.id) is None


async def test_a_preview_decides_and_does_nothing(database: Database) -> None:
    made = await buried(database, 3)
    await Pipeline(database).together([delivery(b"", event=None)])
    await LoggedDelivery.filter(id=made[0].id).update(body=None)

    found = await preview(database, EVERYTHING, handle, sample=2)

    create = "ACTION_SUBSCRIPTION::CREATE"
    assert found.groups == {
        ("4hse", create, "dead: unparsable", "applied"): 2,
        ("4hse", None, "dead: event_missing", "dead: event_missing"): 1,
    }
    assert (found.bodiless, len(found.sample)) == (1, 2)
    assert await ReplayRun.all().count() == 0
    assert await LoggedDelivery.all().count() == 4


async def test_deletes_and_creates_come_to_the_same_however_they_are_replayed(database: Database) -> None:
    await Pipeline(database).together([created("a"), deleted("a"), created("b")])
    before = await ActionSubscription.all().order_by("action_subscription_id").values_list("state", "hint_received_at", "hint_fingerprint")
    await ActionSubscription.all().delete()

    done = await carry_on(database, await begin(database, EVERYTHING, "ada"), Worked(database))

    after = await ActionSubscription.all().order_by("action_subscription_id").values_list("state", "hint_received_at", "hint_fingerprint")
    assert (after, done.applied) == (before, 3)


async def test_a_rate_is_kept(database: Database) -> None:
    await buried(database, 3)
    run = await begin(database, DEAD, "ada")
    began = asyncio.get_running_loop().time()

    await carry_on(database, run, Worked(database), rate=10)

    assert asyncio.get_running_loop().time() - began >= 0.1
