"""Runs of replays: the selection is fixed, each delivery is handed out, and a run that was cut short goes on where it was."""

import asyncio
from datetime import timedelta

import pytest

from schemas.delivery import Delivery, now_utc, replayed_id
from schemas.states import Reason
from tests.workers.made import NOON, created, deleted, delivery, logged, until
from tests.workers.operations.replaying import Unattended, Worked, carried
from workers.audit import AuditEntry
from workers.database import Database
from workers.handlers import Dead, Outcome, handle
from workers.log import LoggedDelivery
from workers.mirror.tables import ActionSubscription
from workers.operations import replays, selection, sitting
from workers.operations.items import Items
from workers.operations.replays import begin, carry_on, discard, newest, one, preview
from workers.operations.selection import Selection
from workers.operations.sitting import Left, Progress
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
    done = await carried(database, run, Worked(database))

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

    done = await carried(database, await begin(database, EVERYTHING, "ada"), Worked(database))

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
    done = await carried(database, run, Worked(database))

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

    done = await carried(database, found, second)

    assert (done.applied, len(first.put_so_far), len(second.put_so_far)) == (7, 4, 3)
    assert not {*first.put_so_far} & {*second.put_so_far}


async def test_what_was_handed_out_and_not_worked_off_is_handed_out_again_under_its_id(database: Database) -> None:
    await buried(database, 3)
    run = await begin(database, DEAD, "ada")
    spool = Unattended()
    assert (await carried(database, run, spool, stay=False)).state == "running"

    again = Worked(database)
    done = await carried(database, run, again)
    await Pipeline(database).together(spool.kept)

    assert (done.state, done.applied) == ("done", 3)
    assert again.put_so_far == [each.id for each in spool.kept]
    assert await LoggedDelivery.filter(replay_of__isnull=False).count() == 3


async def test_where_nobody_works_it_off_all_is_handed_out_that_there_is_room_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sitting, "GROUP", 2)
    monkeypatch.setattr(sitting, "WINDOW", 4)
    await buried(database, 9)
    run = await begin(database, DEAD, "ada")
    wide, narrow = Unattended(), Unattended(room=6)

    assert await carry_on(database, run, wide, stay=False) == Left(9, 0, None)
    assert await carry_on(database, run, narrow, stay=False) == Left(6, 3, "the spool is full")

    assert (run.state, len(wide.kept), len(narrow.kept)) == ("running", 9, 6)


async def test_what_waits_already_is_not_handed_out_again_and_the_rest_follows(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "GROUP", 2)
    await buried(database, 7)
    run, spool = await begin(database, DEAD, "ada"), Unattended(room=4)
    assert await carry_on(database, run, spool, stay=False) == Left(4, 3, "the spool is full")
    assert await carry_on(database, run, spool, stay=False) == Left(4, 3, "the spool is full")
    await Pipeline(database).together(spool.kept[:2])
    spool.room, spool.kept = 100, spool.kept[2:]

    assert await carry_on(database, run, spool, stay=False) == Left(5, 0, None)
    assert len({one.id for one in spool.kept}) == len(spool.kept) == 5


async def test_whoever_takes_a_run_up_is_told_at_once_what_was_done_before(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "GROUP", 2)
    monkeypatch.setattr(sitting, "AGAIN", 0.01)
    await buried(database, 6)
    run = await begin(database, DEAD, "ada")
    with pytest.raises(KeyboardInterrupt):
        await carry_on(database, run, Worked(database, at_most=4))
    said: list[tuple[int, str | None]] = []

    await carry_on(database, run, Worked(database, away=2), told=lambda progress: said.append((progress.done, progress.waiting)))

    assert said[:3] == [(4, None), (4, "the broker is away"), (4, "the broker is away")]
    assert said[-1] == (6, None)


async def test_a_lane_that_is_away_is_waited_for_and_said(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "AGAIN", 0.01)
    await buried(database, 2)
    said: list[str | None] = []

    done = await carried(
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
    working = asyncio.create_task(carried(database, await begin(database, DEAD, "ada"), spool, told=seen.append))
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

    done = await carried(database, run, Worked(database))

    assert (done.bodiless, done.selected, done.gone, done.applied) == (1, 2, 1, 1)


async def test_a_run_that_is_done_stays_as_it_is(database: Database) -> None:
    await buried(database, 1)
    done = await carried(database, await begin(database, DEAD, "ada"), Worked(database))
    ended, outlet = done.ended_at, Worked(database)

    again = await carried(database, done, outlet)

    assert (again.ended_at, outlet.put_so_far) == (ended, [])


async def test_two_that_are_at_one_run_do_nothing_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "GROUP", 1)
    await buried(database, 5)
    run = await begin(database, DEAD, "ada")
    twin = await ReplayRun.get(id=run.id)

    await asyncio.gather(carried(database, run, Worked(database)), carried(database, twin, Worked(database)))

    assert await LoggedDelivery.filter(replay_of__isnull=False).count() == 5
    assert (await ReplayRun.get(id=run.id)).applied == 5


async def test_what_a_run_would_replay_is_counted_and_nothing_is_left_of_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_IN_ORDER", "ORDER BY received_at, id LIMIT 2")
    made = await buried(database, 5)
    await LoggedDelivery.filter(id=made[0].id).update(body=None)

    assert (await replays.count(database, DEAD))[:2] == (4, 1)
    assert (await replays.count(database, DEAD.model_copy(update={"limit": 3})))[0] == 3
    assert await ReplayRun.all().count() == 0


async def test_what_arrives_after_somebody_was_asked_is_no_part_of_the_run(database: Database) -> None:
    await buried(database, 2)
    *_, at = await replays.count(database, DEAD)
    await Pipeline(database, misunderstood).together([created("later", received_at=now_utc())])

    assert (await begin(database, DEAD, "ada", at=at)).selected == 2


async def test_a_run_that_is_discarded_hands_out_no_more_and_stands_in_the_audit_log(database: Database) -> None:
    await buried(database, 3)
    run, twin = await begin(database, DEAD, "ada"), await begin(database, DEAD, "bob")
    await Pipeline(database).together([(await Items(database, run).group(1))[0]])

    assert await discard(database, run, "eve")
    outlet = Worked(database)
    again = await carried(database, await ReplayRun.get(id=run.id), outlet)

    assert (again.state, again.applied, outlet.put_so_far) == ("discarded", 1, [])
    assert not await discard(database, run, "eve")
    (entry,) = await AuditEntry.all()
    assert (entry.who, entry.verb, entry.subject) == ("eve", "replay discard", f"replay run {run.id}")
    assert (entry.details["selected"], entry.details["applied"]) == (3, 1)
    assert (await carried(database, twin, Worked(database))).state == "done"


async def test_a_run_that_is_discarded_while_somebody_is_at_it_ends_there(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "GROUP", 1)
    monkeypatch.setattr(sitting, "WINDOW", 1)
    monkeypatch.setattr(sitting, "LOOK", 0.01)
    await buried(database, 3)
    run, spool = await begin(database, DEAD, "ada"), Unattended()
    working = asyncio.create_task(carried(database, run, spool))
    await until(lambda: len(spool.kept) == 1, "the first")

    await discard(database, await ReplayRun.get(id=run.id), "eve")

    async def worked_off() -> bool:
        await Pipeline(database).together(spool.kept)
        return working.done()

    await until(worked_off, "the end")
    found = await one(run.id)

    assert found is not None
    # One group was on its way already.
    assert (found.state, found.applied) == ("discarded", len(spool.kept))
    assert len(spool.kept) <= 2


async def test_what_was_imported_without_effects_has_none_when_it_is_replayed_unless_they_are_asked_for(database: Database) -> None:
    made = created("a").model_copy(update={"effects": False})
    await Pipeline(database, misunderstood).together([made, created("b")])
    told = []
    for effects in (False, True):
        spool = Unattended()
        await carry_on(database, await begin(database, DEAD, "ada", effects=effects), spool, stay=False)
        told.append({one.replay_of == made.id: one.effects for one in spool.kept})

    assert told == [{True: False, False: True}, {True: True, False: True}]


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

    done = await carried(database, await begin(database, EVERYTHING, "ada"), Worked(database))

    after = await ActionSubscription.all().order_by("action_subscription_id").values_list("state", "hint_received_at", "hint_fingerprint")
    assert (after, done.applied) == (before, 3)


async def test_a_rate_is_kept(database: Database) -> None:
    await buried(database, 3)
    run = await begin(database, DEAD, "ada")
    began = asyncio.get_running_loop().time()

    await carry_on(database, run, Worked(database), rate=10)

    assert asyncio.get_running_loop().time() - began >= 0.1


async def test_a_rate_is_kept_with_the_run_until_it_is_given_another(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "GROUP", 1)
    await buried(database, 4)
    run = await begin(database, DEAD, "ada", rate=20)
    with pytest.raises(KeyboardInterrupt):
        await carry_on(database, run, Worked(database, at_most=0))
    began = asyncio.get_running_loop().time()

    done = await carried(database, await ReplayRun.get(id=run.id), Worked(database))

    assert (done.applied, done.rate) == (4, 20)
    assert asyncio.get_running_loop().time() - began >= 0.15
    await carry_on(database, run, Worked(database), rate=1000)
    assert (await ReplayRun.get(id=run.id)).rate == 1000


async def test_at_a_rate_nothing_is_handed_out_where_nobody_works_it_off(database: Database) -> None:
    await buried(database, 2)
    spool = Unattended()

    left = await carry_on(database, await begin(database, DEAD, "ada", rate=1), spool, stay=False)

    assert (left, spool.kept) == (Left(0, 2, "a rate is kept only while somebody works"), [])


async def test_a_preview_says_dead_where_deciding_fails_as_the_workers_would(database: Database) -> None:
    await buried(database, 1)

    def failing(_: Delivery) -> Outcome:
        raise KeyError("x")

    found = await preview(database, EVERYTHING, failing)

    assert found.groups == {("4hse", "ACTION_SUBSCRIPTION::CREATE", "dead: unparsable", "dead: handler_failed"): 1}
