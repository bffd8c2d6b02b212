"""What rules are, would do, and why, on both databases."""

from pathlib import Path
from typing import Any

from schemas.accounts import AnewspringAccount
from schemas.rules import Rule
from schemas.states import NeedState
from tests.workers.followups.mirrored import ACCOUNTS, NOON, filled, need, rule, subscription
from workers.database import Database
from workers.mirror.tables import CourseResult
from workers.operations.rules import Doubt, apply, changed_targets, explain, listed, unmarked
from workers.simulators.anewspring import Activity, Environment, simulator
from workers.simulators.server import served
from workers.vendors.anewspring import Anewspring

RESULT: dict[str, Any] = {
    "account": "lms",
    "learner": "JS001",
    "activity": "",
    "attempt": 0,
    "version": 1,
    "observed_at": NOON,
    "withdrawn": False,
    "completed": False,
}


async def test_a_rule_is_pending_until_applied_pending_again_when_changed_and_vanished_when_it_is_gone(database: Database) -> None:
    first, changed = rule(), rule(undo="expire")

    async def states(*rules: Rule) -> list[tuple[str, str, str | None]]:
        return [(one.name, one.state, one.reason) for one in await listed(rules, {})]

    assert await states(first) == [("fire", "pending", "it is new")]
    await apply(database, [first], NOON, "ada")
    assert await states(first) == [("fire", "applied", None)]
    assert await states(changed) == [("fire", "pending", "it has changed since it was applied")]
    assert await states() == [("fire", "vanished", "it is not in the settings any more; what it planned goes on as planned")]


async def test_a_rule_that_is_applied_is_pending_where_the_first_back_fill_is_not_over(database: Database) -> None:
    accounts, one = {**ACCOUNTS, "other": ACCOUNTS["hse"]}, rule()
    await apply(database, [one], NOON, "ada")

    async def told() -> tuple[str, str | None]:
        (found,) = await listed([one], accounts)
        return found.state, found.reason

    assert await told() == ("pending", "the first back-fill of hse, other is not over: it plans nothing there yet")
    await filled("hse")
    assert await told() == ("applied", "the first back-fill of other is not over: it plans nothing there yet")
    await filled("other")
    assert await told() == ("applied", None)


async def test_a_vanished_rule_is_told_with_its_needs_even_if_it_was_never_applied_here(database: Database) -> None:
    await need("s1", rule("gone"))
    await need("s2", rule("gone"))
    for state in (NeedState.VALID, NeedState.UNDONE):
        await need(state.value, rule("gone"), state=state.value)

    (found,) = await listed([], ACCOUNTS)

    assert (found.name, found.state, found.needs, found.applied_at) == ("gone", "vanished", 2, None)


async def test_changed_targets_are_told_and_other_changes_are_not(database: Database) -> None:
    await need("s1", rule("a"))
    await need("s1", rule("b"))
    await need("s1", rule("c"))
    await need("s1", rule("d"), state=NeedState.VALID.value)
    other = {"account": "lms", "course": "OTHER"}

    assert await changed_targets([rule("a", enroll=other), rule("b", max_per_hour=3), rule("c"), rule("d", enroll=other)]) == ["a"]


async def test_a_subscription_is_explained_rule_by_rule_with_its_needs(database: Database) -> None:
    row = await subscription("a")
    rules = [rule(), rule("health", when={"action_code": "HLT-*", "status": "EXPIRED"})]
    await need("a", rule(), reason="nobody knows C-a")
    await need("a", rule("gone"), state=NeedState.VALID.value)
    await need("another", rule())

    fire, health, gone = await explain(row, rules)

    assert (fire.holds, fire.state, [one["state"] for one in fire.needs]) == (True, "pending", ["unmatched"])
    assert fire.reasons == [
        "it is new: it plans nothing until `muster rules apply fire`",
        "the first back-fill of hse is not over: it plans nothing yet",
    ]
    assert health.reasons[:2] == ["action_code is FST-01, not HLT-*", "status is NEW, not EXPIRED"]
    assert (health.holds, health.needs) == (False, [])
    assert (gone.name, gone.state, gone.holds, [one["state"] for one in gone.needs]) == ("gone", "vanished", False, ["valid"])

    await filled()
    await apply(database, rules, NOON, "ada")
    assert [one.reasons for one in (await explain(row, rules))[:1]] == [[]]


async def test_marks_where_none_are_to_be_had_are_found_by_a_learner_who_is_known_there(database: Database, tmp_path: Path) -> None:
    environment = Environment("key", lambda: NOON)
    environment.add_user("JS001")
    courses = {"READING": (Activity("TEXT", "Lesson"),), "EXAM": (Activity("TEXT", "Lesson"), Activity("TEST", "Assessment", 2)), "NEW": ()}
    for course, activities in courses.items():
        environment.add_course(course, *activities)
    for course in ("READING", "EXAM"):
        environment.subscribe("JS001", course)
        await CourseResult.create(**RESULT, course=course)
    seats = {course: {"account": "lms", "course": course} for course in courses}
    marked = [rule(course.lower(), enroll=seat, **{"pass": {"grade": 80}}) for course, seat in seats.items()]
    scored = [
        rule(f"scored-{activity.lower()}", enroll=seats["EXAM"] | {"score": {"activity": activity, "value": 80}})
        for activity in ("TEXT", "TEST")
    ]
    (tmp_path / "key").write_text("key")
    async with served(simulator(environment)) as url:
        said = {"vendor": "anewspring", "insecure": True, "base_url": url, "api_key_file": tmp_path / "key"}
        client = Anewspring(AnewspringAccount.model_validate(said), lambda: NOON)
        try:
            found = await unmarked([*marked, *scored, rule("plain", enroll=seats["READING"])], "lms", client)
        finally:
            await client.close()

    assert found == [
        Doubt("reading", "pass.grade: READING holds only Lessons and the like, which have no mark", impossible=True),
        Doubt("new", "lms shows what NEW holds once somebody's result in it is known"),
        Doubt("scored-text", "enroll.score: TEXT is a Lesson or the like, which has no mark", impossible=True),
    ]
