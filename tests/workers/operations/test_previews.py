"""A preview tells what applying does, on both databases."""

import random
from collections import Counter
from typing import Any

import pytest

from schemas.rules import Rule
from tests.workers.followups.mirrored import ACCOUNTS, NOON, filled, need, rule, subscription
from workers.database import Database
from workers.followups.case import CANCELLED, INITIAL, derived
from workers.followups.plan import Followups
from workers.followups.tables import Need, NeedTarget
from workers.followups.walks import Walks
from workers.mirror.tables import ActionSubscription, CourseResult
from workers.operations import previews
from workers.operations.previews import Preview, preview
from workers.operations.rules import apply, listed


async def planned(subscription: str, chosen: Rule, state: str, cycle: str = INITIAL, reason: str | None = None) -> None:
    """A need of the rule's as the planner would have named it."""
    id_ = derived("need", "hse", subscription, chosen.name, cycle)
    await need(subscription, chosen, id=id_, state=state, cycle=cycle, reason=reason)
    for step in range(len(chosen.targets())):
        await NeedTarget.create(need=id_, step=step, state="planned")


async def shown(database: Database, chosen: Rule, *others: Rule, limit: int = 0) -> Preview:
    """The preview of a rule among others."""
    return await preview(database, chosen, [*others, chosen], ACCOUNTS, limit, NOON)


async def test_it_counts_what_holds_what_would_be_enrolled_or_held_and_who_is_unmatched(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "PART", 2)  # so that these few rows are several parts
    await subscription("a")
    await subscription("b", status="EXPIRED")
    await subscription("c", subscriber_code=None)
    await subscription("d")
    await subscription("e", status="VALID")
    await subscription("f", action_code="HLT-01")
    await subscription("g", last_certificate_id="second")
    chosen = rule(max_per_hour=2)
    await planned("d", chosen, "failed")
    await planned("g", chosen, "valid")

    found = await shown(database, chosen, limit=3)

    assert (found.state, found.holds, found.enroll, found.held, found.unmatched, found.planned) == ("pending", 5, 2, 1, 1, 1)
    assert found.by_status == {"NEW": 4, "EXPIRED": 1}
    assert [(row.subscription, row.outcome) for row in found.rows] == [("a", "enroll"), ("b", "enroll"), ("c", "unmatched")]
    assert found.unfilled == ["hse"]
    await filled()
    assert (await shown(database, chosen)).unfilled == []


async def test_it_changes_nothing(database: Database) -> None:
    await subscription("a")
    await shown(database, rule(), limit=10)

    assert (await listed([rule()], ACCOUNTS))[0].state == "pending"
    assert not await Need.all().exists()
    assert not await ActionSubscription.filter(changes_at__not_isnull=True).exists()


ACCEPTING: dict[str, Any] = {"max_per_hour": 3, "pass": {"accept_since": "2020-01-01"}}
RULES = (
    rule(max_per_hour=4),
    rule(enroll=[{"account": "lms", "course": "FIRE"}, {"account": "lms", "course": "MORE", "after": "FIRE", "approve": True}]),
    rule(enroll={"account": "lms", "course": "FIRE", "approve": True}),
    rule(**ACCEPTING),
    rule(enroll=None, observe={"account": "ispring", "checklist": "c"}),
)


async def _peopled(dice: random.Random, chosen: Rule) -> None:
    """Some people, each with two subscriptions, who have passed already, wait in a need, or are known to nobody."""
    for number in range(24):
        who = f"C{number // 2}"
        said: dict[str, Any] = {"subscriber_code": dice.choice([who, who, who, None]), "subscriber_id": f"p{number // 2}"}
        said |= {"status": dice.choice(["NEW", "EXPIRED", "VALID"]), "last_certificate_id": dice.choice([None, None, "c1"])}
        await subscription(f"s{dice.randrange(1000):03}-{number}", first_seen_at=NOON, fetch_covers=NOON, **said)
    for row in await ActionSubscription.all():
        if (state := dice.choice([None, None, None, "undone", "undone", "valid", "planned"])) is not None:
            reason = dice.choice([None, CANCELLED]) if state == "undone" else None
            cycle = dice.choice([INITIAL, row.last_certificate_id or INITIAL])
            await planned(row.action_subscription_id, chosen, state, cycle, reason)
    for number in range(0, 12, 4):
        reached: dict[str, Any] = {
            "learner": f"C{number}",
            "course": "FIRE",
            "activity": "",
            "attempt": 0,
            "version": 1,
            "withdrawn": False,
        }
        await CourseResult.create(account="lms", **reached, completed=True, completed_at=NOON, observed_at=NOON)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("chosen", RULES, ids=["guarded", "chain", "approved", "accepting", "observed"])
async def test_its_numbers_are_those_of_what_applying_the_rule_then_does(
    database: Database, monkeypatch: pytest.MonkeyPatch, chosen: Rule, seed: int
) -> None:
    monkeypatch.setattr(previews, "PART", 5)
    other = rule("other", max_per_hour=2)
    await filled()
    await _peopled(random.Random(seed), chosen)
    await apply(database, [other], NOON, "ada")
    before = {one.id: one.state for one in await Need.filter(rule="fire")}
    found = await shown(database, chosen, other, limit=100)

    await apply(database, [chosen], NOON, "ada")
    await Walks(database, Followups([chosen, other], ACCOUNTS), lambda: NOON, part=5).walk()

    over = ("valid", "undone")
    begun = [one for one in await Need.filter(rule="fire") if before.get(one.id, "undone") in over and one.state not in over]
    states = Counter({"unmatched": "unmatched", "held": "held"}.get(one.state, "enroll") for one in begun)
    assert Counter(row.outcome for row in found.rows if row.outcome != "planned") == states
    assert {"enroll": found.enroll, "held": found.held, "unmatched": found.unmatched} == {"enroll": 0, "held": 0, "unmatched": 0} | states
    assert {row.subscription for row in found.rows if row.outcome != "planned"} == {one.action_subscription_id for one in begun}
    assert found.holds == found.planned + len(begun) == len(found.rows)
