"""Which rules may plan, on both databases."""

from collections.abc import Iterable
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from schemas.rules import When, matches
from tests.workers.followups.mirrored import NOON, filled, rule, subscription
from workers.clock import Clock
from workers.database import Connection, Database, Dialect
from workers.followups import rule_states
from workers.mirror.apply import Mirror
from workers.mirror.tables import ActionSubscription


async def looked_at() -> list[str]:
    """What the clock is to look at."""
    return [row.action_subscription_id for row in await ActionSubscription.filter(changes_at=NOON)]


async def test_a_rule_plans_once_it_was_applied_as_it_is_and_the_back_fill_is_over(database: Database) -> None:
    old, changed = rule(), rule(max_per_hour=1)
    other = rule("other", when={"account": "second"})

    async def planning(account: str = "hse") -> list[str]:
        return [one.name for one in await rule_states.applied(database.connection, [changed, other], account)]

    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, [old, other], NOON)
    await filled()
    assert await planning() == []

    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, [changed], NOON)
    assert await planning() == ["fire"]
    assert await planning("second") == []

    await filled("second")
    assert await planning("second") == ["fire", "other"]


@pytest.mark.parametrize("run", [{"state": "running"}, {"state": "held"}, {"dry_run": True}, {"asked": {"status": "NEW"}}])
async def test_a_run_that_saw_only_a_part_or_did_not_end_is_no_back_fill(database: Database, run: dict[str, Any]) -> None:
    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, [rule()], NOON)
    await filled(**run)

    assert await rule_states.applied(database.connection, [rule()], "hse") == ()


async def test_applying_a_rule_has_the_clock_look_at_what_it_may_speak_of(database: Database) -> None:
    await subscription("a")
    await subscription("b", action_code="HLT-01")
    await subscription("c", state="deleted")

    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, [rule()], NOON)

    assert await looked_at() == ["a"]


async def test_the_clock_then_has_it_planned_though_its_status_stays(database: Database) -> None:
    await subscription("a")
    planned: list[tuple[str, str]] = []

    class Planner:
        async def plan(self, connection: Connection, dialect: Dialect, keys: Iterable[tuple[str, str]], now: datetime) -> None:
            planned.extend(keys)

    mirror = cast("Mirror", SimpleNamespace(calendars={}, followups=Planner()))
    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, [rule()], NOON)
    await Clock(database, mirror, lambda: NOON).sweep()

    assert planned == [("hse", "a")]


async def test_the_end_of_the_back_fill_has_it_look_at_everything_if_a_rule_was_applied_before(database: Database) -> None:
    await subscription("a")
    await subscription("b", account="second")
    async with database.transaction() as connection:
        await rule_states.look_again(connection, "hse", NOON)
    assert not await ActionSubscription.filter(changes_at=NOON).exists()

    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, [rule(when={"action_code": "Z"})], NOON)
        await rule_states.look_again(connection, "hse", NOON)
    assert await looked_at() == ["a"]


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"action_code": ["F?T_*", "[A-H]LT-01"]},
        {"action_code": "HLT-01"},
        {"action_code": "*"},
        {"action_code": "50%*"},
        {"office": ["Rome", "o2"], "status": "VALID"},
        {"project": "t1"},
        {"account": "second"},
        {"action_type": ["HEALTH"], "subscriber_type": "OFFICE"},
        {"data": {"night": True}},
    ],
)
async def test_no_row_for_which_a_condition_holds_is_left_out_of_its_candidates(database: Database, when: dict[str, object]) -> None:
    rows: tuple[dict[str, Any], ...] = (
        {},
        {"action_code": "F1T_x", "data": {"night": True}},
        {"action_code": "HLT-01", "action_type": "HEALTH", "subscriber_type": "OFFICE"},
        {"action_code": "50% off"},
        {"action_code": None},
        {"subtenant_id": "o2", "office_name": None, "status": "VALID"},
        {"tenant_id": "t1", "account": "second"},
    )
    for number, changed in enumerate(rows):
        await subscription(f"s{number}", **changed)
    condition = When.model_validate(when)
    every = [row["id"] for row in await ActionSubscription.all().values() if not matches(condition, row)]
    candidates = [row["id"] for row in await rule_states.candidates(condition).values() if not matches(condition, row)]

    assert every
    assert sorted(candidates) == sorted(every)
