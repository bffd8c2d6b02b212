"""Which rules may plan, on both databases."""

from typing import Any

import pytest

from schemas.rules import When, matches
from tests.workers.followups.mirrored import NOON, filled, rule, subscription
from workers.database import Database
from workers.followups import rule_states
from workers.mirror.tables import ActionSubscription


async def test_a_rule_plans_once_it_was_applied_as_it_is_and_the_back_fill_is_over(database: Database) -> None:
    old, changed = rule(), rule(max_per_hour=1)
    other = rule("other", when={"account": "second"})

    async def planning(account: str = "hse") -> list[str]:
        states = await rule_states.standing(database.connection, database.dialect)
        return [one.name for one in await rule_states.applied(database.connection, states, [changed, other], account)]

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

    states = await rule_states.standing(database.connection, database.dialect)
    assert await rule_states.applied(database.connection, states, [rule()], "hse") == ()


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
