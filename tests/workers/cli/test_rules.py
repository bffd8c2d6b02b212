"""`muster rules` and what `muster check` says of rules, as real commands."""

import functools
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.delivery import now_utc
from tests.workers.cli.ruled import RULE, Desk, ruled
from tests.workers.followups.mirrored import filled, need, rule, subscription
from workers.mirror.tables import CourseResult
from workers.simulators.anewspring import Activity, Environment, simulator
from workers.simulators.server import served


@pytest_asyncio.fixture
async def desk(tmp_path: Path, database_url: str) -> Desk:
    return await ruled(tmp_path, database_url)


async def test_a_rule_is_previewed_applied_and_then_applied(desk: Desk) -> None:
    await desk.stored(lambda: subscription("a"), lambda: subscription("b", subscriber_code=None), filled)

    before, shown = await desk.muster("rules", "list"), await desk.muster("rules", "preview", "--limit", "1")
    refused = await desk.muster("rules", "apply", "fire", answer="n\n")
    still = (await desk.muster("rules", "list", "--json")).json
    done = await desk.muster("rules", "apply", "fire", "--yes")
    after = (await desk.muster("rules", "list", "--json")).json

    assert before.out.splitlines()[1].split()[:2] == ["fire", "pending"]
    assert "fire (pending): holds for 2 now: NEW 2" in shown.out
    assert "would enroll 1  held 0  unmatched 1  planned already 0" in shown.out
    assert "C-a" in shown.out
    assert (refused.code, still[0]["state"]) == (1, "pending")
    assert (done.code, after[0]["state"]) == (0, "applied"), done.err
    assert "holds for 2 now" in done.out


async def test_applying_asks_and_takes_yes_for_an_answer(desk: Desk) -> None:
    done = await desk.muster("rules", "apply", "fire", answer="y\n")

    assert done.code == 0
    assert "the first back-fill of hse is not over" in done.out
    (listed,) = (await desk.muster("rules", "list", "--json")).json
    assert (listed["state"], listed["reason"]) == ("pending", "the first back-fill of hse is not over: it plans nothing there yet")
    assert listed["applied_at"] is not None


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
    over = [functools.partial(need, id_, rule("gone"), state=state) for id_, state in (("b", "valid"), ("c", "undone"))]
    await desk.stored(lambda: need("a", rule("gone")), lambda: need("a", rule()), *over)
    desk.settings(RULE.replace('"FIRE"', '"OTHER"'))

    done = await desk.muster("check", "--role", "worker")

    assert "warning: rule gone has vanished, and 1 needs go on as it planned them" in done.err
    assert "warning: rules.fire (line 14): its targets have changed" in done.err
    assert "rules.fire (line 14): pending, it is new" in done.out


DRILL = """\
[[rules]]
name = "fire"
when = { action_code = "DRILL", subscriber_type = "PERSON" }
exercise = { account = "kare", rule_id = 7, start = "+1d 10:00", length = "1h" }
"""


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (
            RULE.replace('"FST-*"', '"FST-*", action_type = "MAINTENANCE"'),
            "when.action_type (line 14): an LMS knows persons, and MAINTENANCE is for none",
        ),
        (DRILL, "when.subscriber_type (line 14): an exercise is an office's"),
    ],
)
async def test_check_refuses_what_cannot_work_with_name_and_line(desk: Desk, rules: str, problem: str) -> None:
    desk.settings(rules)

    done = await desk.muster("check", "--role", "worker")

    assert done.code == 2
    assert f"rules.fire.{problem}" in done.err


RESULT: dict[str, Any] = {
    "account": "lms",
    "learner": "JS001",
    "course": "FIRE",
    "activity": "",
    "attempt": 0,
    "version": 1,
    "completed": False,
    "withdrawn": False,
}


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (False, "lms shows what FIRE holds once somebody's result in it is known"),
        (True, "lms could not be asked what FIRE holds: Unavailable: "),
    ],
)
async def test_check_says_what_of_a_mark_it_could_not_ask(desk: Desk, known: bool, why: str) -> None:
    if known:
        await desk.stored(lambda: CourseResult.create(**RESULT, observed_at=now_utc()))
    desk.settings(RULE + "pass = { grade = 80 }\n")

    done = await desk.muster("check", "--role", "worker")

    assert done.code == 1  # as neither account can be reached
    assert f"warning: rules.fire (line 14): {why}" in done.err


async def test_check_refuses_a_mark_on_a_lesson_with_name_and_line(desk: Desk) -> None:
    environment = Environment("key", now_utc)
    environment.add_user("JS001")
    environment.add_course("FIRE", Activity("READ", "Lesson"))
    environment.subscribe("JS001", "FIRE")
    await desk.stored(lambda: CourseResult.create(**RESULT, observed_at=now_utc()))
    async with served(simulator(environment)) as url:
        desk.settings(RULE + "pass = { grade = 80 }\n")
        path = desk.home / "muster.toml"
        path.write_text(
            path.read_text().replace('vendor = "anewspring"\nbase_url = "http://127.0.0.1:9"', f'vendor = "anewspring"\nbase_url = "{url}"')
        )
        done = await desk.muster("check", "--role", "worker")

    assert done.code == 2
    assert "rules.fire (line 14): pass.grade: FIRE holds only Lessons and the like, which have no mark" in done.err
