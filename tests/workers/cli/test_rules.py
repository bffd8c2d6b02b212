"""`muster rules` and what `muster check` says of rules, as real commands."""

from pathlib import Path

import pytest_asyncio

from tests.workers.cli.ruled import RULE, Desk, ruled
from tests.workers.followups.mirrored import filled, need, rule, subscription


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await ruled(tmp_path)


async def test_a_rule_is_previewed_applied_and_then_applied(desk: Desk) -> None:
    await desk.stored(lambda: subscription("a"), lambda: subscription("b", subscriber_code=None), filled)

    before, shown = await desk.muster("rules", "list"), await desk.muster("rules", "preview", "--limit", "1")
    refused = await desk.muster("rules", "apply", "fire", answer="n\n")
    still = (await desk.muster("rules", "list", "--json")).json
    done = await desk.muster("rules", "apply", "fire", "--yes")
    after = (await desk.muster("rules", "list", "--json")).json

    assert before.out.splitlines()[1].split()[:2] == ["fire", "pending"]
    assert "fire (pending): holds for 2 now: NEW 2" in shown.out
    assert "would enroll 1  unmatched 1  planned already 0" in shown.out
    assert "C-a" in shown.out
    assert (refused.code, still[0]["state"]) == (1, "pending")
    assert (done.code, after[0]["state"]) == (0, "applied"), done.err
    assert "holds for 2 now" in done.out


async def test_applying_asks_and_takes_yes_for_an_answer(desk: Desk) -> None:
    done = await desk.muster("rules", "apply", "fire", answer="y\n")

    assert done.code == 0
    assert "the first back-fill of hse is not over" in done.out
    assert (await desk.muster("rules", "list", "--json")).json[0]["state"] == "applied"


async def test_a_rule_that_is_not_there_is_wrong_usage(desk: Desk) -> None:
    done = await desk.muster("rules", "apply", "water", "--yes")

    assert (done.code, done.err) == (2, "muster: no rule water in the settings; there are fire\n")


async def test_a_subscription_is_explained(desk: Desk) -> None:
    await desk.stored(lambda: subscription("a", status="VALID"), lambda: need("a", rule(), reason="nobody knows C-a"))

    done, said = await desk.muster("rules", "explain", "a"), (await desk.muster("rules", "explain", "a", "--json")).json
    nobody = await desk.muster("rules", "explain", "nobody")

    assert "fire: does not hold (pending)\n  status is VALID, not NEW or EXPIRING or EXPIRED\n" in done.out
    assert "need of cycle initial: unmatched since" in done.out
    assert "nobody knows C-a" in done.out
    assert (said[0]["holds"], said[0]["needs"][0]["state"]) == (False, "unmatched")
    assert (nobody.code, nobody.err) == (1, "muster: the mirror holds no subscription nobody\n")


async def test_check_warns_of_vanished_rules_and_changed_targets_that_needs_hold(desk: Desk) -> None:
    await desk.stored(lambda: need("a", rule("gone")), lambda: need("a", rule()))
    desk.settings(RULE.replace('"FIRE"', '"OTHER"'))

    done = await desk.muster("check", "--role", "worker")

    assert "warning: rule gone has vanished, and 1 needs go on as it planned them" in done.err
    assert "warning: rules.fire (line 13): its targets have changed" in done.err
    assert "rules.fire (line 13): pending, it is new" in done.out


async def test_check_refuses_what_cannot_work_with_name_and_line(desk: Desk) -> None:
    desk.settings(RULE.replace('"FST-*"', '"FST-*", action_type = "MAINTENANCE"'))

    done = await desk.muster("check", "--role", "worker")

    assert done.code == 2
    assert "rules.fire.when.action_type (line 13): an LMS knows persons, and MAINTENANCE is for none" in done.err
