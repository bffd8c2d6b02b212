"""What is looked at again because rules, identities or settings have changed, on both databases, however many workers there are."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from schemas.rules import Rule
from tests.workers.followups.mirrored import ACCOUNTS, NOON, filled, need, rule, subscription
from tests.workers.followups.test_plan import World, needs
from workers.clock import Clock
from workers.database import Connection, Database, Dialect
from workers.followups import rule_states
from workers.followups.directory import Entry, write
from workers.followups.plan import Followups
from workers.followups.rule_states import LATER
from workers.followups.tables import Need, NeedTarget, RuleState
from workers.followups.walks import Walks, look_again
from workers.mirror.apply import Mirror
from workers.mirror.tables import ActionSubscription

#: When rules were applied, which had been known for long when they are walked.
LONG_AGO = NOON - timedelta(hours=1)
BEFORE, AFTER = rule(when={"action_code": "HLT-*"}), rule()
PERSON = {"first_seen_at": NOON, "fetch_covers": NOON}


class Counting(Followups):
    """Planning that is counted, and fails where it is told to."""

    def __init__(self, rules: Iterable[Rule], failing: frozenset[str] = frozenset()) -> None:
        super().__init__(tuple(rules), ACCOUNTS)
        self.planned, self._failing = list[str](), failing

    async def plan(self, connection: Connection, dialect: Dialect, keys: Iterable[tuple[str, str]], *given: Any, **named: Any) -> None:
        ids = [key[1] for key in keys]
        self.planned += ids
        if self._failing & {*ids}:
            raise ArithmeticError
        await super().plan(connection, dialect, keys, *given, **named)


async def applied(database: Database, *rules: Rule) -> None:
    """A person says yes to rules."""
    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, rules, LONG_AGO)


def worker(database: Database, *rules: Rule, at: datetime = NOON, part: int = 2) -> tuple[Walks, Counting]:
    """The walks of a worker with these rules."""
    followups = Counting(rules)
    return Walks(database, followups, lambda: at, part=part), followups


async def walk(database: Database, *rules: Rule, at: datetime = NOON) -> list[str]:
    """One that has just begun; gives for which subscriptions it planned."""
    walks, followups = worker(database, *rules, at=at)
    await walks.walk()
    return followups.planned


async def test_an_applied_rule_is_walked_once_over_what_it_may_speak_of(database: Database) -> None:
    await filled()
    for id_ in ("a", "b", "c"):
        await subscription(id_, **PERSON)
    await subscription("d", action_code="HLT-01")
    await subscription("e", state="deleted")
    await applied(database, AFTER)

    assert await walk(database, AFTER) == ["a", "b", "c"]
    assert await needs() == [(id_, "initial", "planned") for id_ in ("a", "b", "c")]
    assert await walk(database, AFTER) == []
    await applied(database, AFTER)
    assert await walk(database, AFTER) == ["a", "b", "c"]


async def test_the_first_rules_of_all_are_walked_once_more_when_nobody_can_think_that_there_are_none(database: Database) -> None:
    await filled()
    quiet = World(database)
    await quiet.sighted("s0")
    await applied(database, AFTER)
    walks, _ = worker(database, AFTER, at=LONG_AGO)
    await walks.walk()
    quiet.at -= timedelta(seconds=30)
    await quiet.sighted("s1")  # relies for a minute on it that there is nothing to plan by

    await walks.walk()
    assert await needs() == [("s0", "initial", "planned")]
    walks._now = lambda: LONG_AGO + LATER
    await walks.walk()
    assert await needs() == [("s0", "initial", "planned"), ("s1", "initial", "planned")]
    assert (await RuleState.get()).walked == AFTER.digest


async def test_workers_with_the_settings_of_before_leave_a_rule_to_those_who_have_it(database: Database) -> None:
    await filled()
    await applied(database, BEFORE)
    old = World(database, BEFORE)
    await old.sighted("s1")
    await applied(database, AFTER)
    await old.sighted("s2")

    assert await walk(database, BEFORE) == []
    await Clock(database, old.mirror, lambda: old.at).sweep()
    assert await needs() == []
    await walk(database, AFTER)
    assert await needs() == [("s1", "initial", "planned"), ("s2", "initial", "planned")]


async def test_a_rule_that_is_said_as_it_was_applied_again_makes_up_for_what_it_missed_while_it_was_pending(database: Database) -> None:
    await filled()
    await applied(database, AFTER)
    await walk(database, AFTER)
    for number, rules in enumerate(([rule(max_per_hour=7)], [])):
        await World(database, *rules).sighted(f"s{number}")  # pending, then vanished
        await walk(database, *rules)
        assert len(await needs()) == number

        await walk(database, AFTER)
        assert (await needs())[number:] == [(f"s{number}", "initial", "planned")]


async def test_what_an_old_worker_plans_beside_a_new_one_is_made_up_for_when_it_is_gone(database: Database) -> None:
    await filled()
    await applied(database, AFTER)
    walks, _ = worker(database, AFTER)
    await walks.walk()
    await World(database, BEFORE).sighted("s1")

    await walks.walk()
    assert await needs() == []  # the old one may go on for a while
    walks._now = lambda: NOON + LATER * 2
    await walks.walk()
    assert await needs() == [("s1", "initial", "planned")]


async def test_a_walk_that_was_cut_short_goes_on_where_it_was(database: Database) -> None:
    await filled()
    ids = [(await subscription(id_, **PERSON)).id for id_ in ("a", "b", "c", "d", "e")]
    await applied(database, AFTER)
    await RuleState.all().update(walked=AFTER.digest, reached=ids[1])

    assert await walk(database, AFTER) == ["c", "d", "e"]
    state = await RuleState.get()
    assert (state.walked, state.reached) == (AFTER.digest, None)


async def test_one_that_is_missed_while_it_is_walked_is_walked_again(database: Database) -> None:
    await filled()
    await subscription("a", **PERSON)
    await applied(database, AFTER)
    await RuleState.all().update(walked=AFTER.digest, reached=0)
    await World(database).sighted("s1")

    walks, _ = worker(database, AFTER)
    await walks.walk()
    assert await RuleState.filter(walked=None, reached=None).count() == 1
    await walk(database, AFTER)
    assert (await RuleState.get()).walked == AFTER.digest


async def test_workers_share_a_walk(database: Database) -> None:
    await filled()
    for number in range(20):
        await subscription(f"s{number:02}", **PERSON)
    await applied(database, AFTER)
    some = [worker(database, AFTER) for _ in range(3)]
    await asyncio.gather(*(walks.walk() for walks, _ in some))
    await walk(database, AFTER)

    assert len(await needs()) == 20
    assert len([one for _, followups in some for one in followups.planned]) == 20


async def test_what_fails_is_left_to_the_clock_and_ends_no_walk(database: Database) -> None:
    await filled()
    for id_ in ("a", "b", "c", "d", "e"):
        await subscription(id_, **PERSON)
    await applied(database, AFTER)
    followups = Counting([AFTER], failing=frozenset({"c"}))
    await Walks(database, followups, lambda: NOON, part=2).walk()
    assert [one[0] for one in await needs()] == ["a", "b", "e"]

    await Clock(database, Mirror(followups=followups), lambda: NOON).sweep()
    assert [one[0] for one in await needs()] == ["a", "b", "d", "e"]
    put_off = await ActionSubscription.filter(changes_at__not_isnull=True)
    assert [one.action_subscription_id for one in put_off] == ["c"]


@asynccontextmanager
async def planning(database: Database, *rules: Rule, seconds: float = 0.3) -> AsyncIterator[asyncio.Task[None]]:
    """Somebody who has planned for a new subscription, and ends a while after what is done meanwhile has begun."""
    began = asyncio.Event()

    async def plan() -> None:
        async with database.transaction() as connection:
            await subscription("s1", **PERSON)
            await Followups(rules, ACCOUNTS).plan(connection, database.dialect, [("hse", "s1")], NOON)
            began.set()
            await asyncio.sleep(seconds)

    task = asyncio.create_task(plan())
    await began.wait()
    yield task
    await task


async def test_what_is_planned_while_its_rule_is_applied_is_not_lost(database: Database) -> None:
    await filled()
    async with planning(database, AFTER):
        await applied(database, AFTER)
        await walk(database, AFTER)

    assert await needs() == [("s1", "initial", "planned")]


async def test_what_is_planned_while_its_back_fill_ends_is_not_lost(database: Database) -> None:
    await applied(database, AFTER)
    await walk(database, AFTER)
    async with planning(database, AFTER):
        await filled()
        async with database.transaction() as connection:
            await rule_states.walk_again(connection, database.dialect)
        await walk(database, AFTER)

    assert await needs() == [("s1", "initial", "planned")]


async def test_a_need_that_is_planned_while_its_identity_is_imported_is_not_lost(database: Database) -> None:
    await filled()
    unknown = rule(enroll=None, observe={"account": "ispring", "checklist": "c"})
    await applied(database, unknown)
    async with planning(database, unknown):
        await write(database, [Entry("ispring", "person", "p-s1", "e1")])
        await look_again(database, NOON)
    assert await needs() == [("s1", "initial", "unmatched")]

    await Clock(database, Mirror(followups=Followups([unknown], ACCOUNTS)), lambda: NOON).sweep()
    assert await needs() == [("s1", "initial", "awaiting")]


async def test_a_worker_that_begins_plans_what_waits_for_an_identity_by_its_own_templates(database: Database) -> None:
    await filled()
    for id_ in ("a", "b", "c"):
        await subscription(id_, **PERSON)
        await NeedTarget.create(need=(await need(id_, AFTER)).id, step=0, state="unmatched")

    assert await walk(database) == ["a", "b", "c"]
    assert {one.state for one in await Need.all()} == {"planned"}


async def test_nobody_waits_for_whoever_waits_for_those_who_plan(database: Database) -> None:
    await filled()
    await subscription("a", **PERSON)
    other = rule("other", enroll={"account": "lms", "course": "OTHER"})
    await applied(database, AFTER, other)
    if database.dialect == "sqlite":  # where one transaction is under way at a time
        return await rule_states.passed(database)
    async with planning(database, AFTER, seconds=3) as first:
        passing = asyncio.create_task(rule_states.passed(database))
        await asyncio.sleep(0.1)
        async with database.transaction() as connection:
            await Followups([other], ACCOUNTS).plan(connection, database.dialect, [("hse", "a")], NOON)
        assert (first.done(), passing.done()) == (False, False)
    await passing

    assert [one[0] for one in await needs()] == ["a", "s1"]
    return None
