"""Facts into versions: a new one wherever a vendor says something else, and the same current ones in any order of the evidence."""

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from tortoise.models import Model

from schemas.asyncapi import data_schema
from schemas.events import EventType
from tests.workers.made import NOON
from tests.workers.mirror.test_apply import hint
from tests.workers.test_outbox import drift
from workers.database import Database, close_database, open_database
from workers.followups.plan import Followups
from workers.mirror.apply import Mirror
from workers.mirror.changes import told
from workers.mirror.evidence import aim
from workers.mirror.facts import ATTENDANCE, COURSE_RESULT, OBSERVATION, SESSION_ENROLLMENT, Fact, FactKind, observe
from workers.mirror.tables import Attendance, CourseResult, Observation, SessionEnrollment
from workers.mirror.versions import Version, changed, found
from workers.outbox import OutboxEvent, append

SEEN = {"checklist_id": "c1", "employee_id": "e1", "observer_id": "o1", "status": "PASSED"}


def later(seconds: float) -> datetime:
    """A while after noon."""
    return NOON + timedelta(seconds=seconds)


def graded(grade: float | None = 67, *, learner: str = "l1", course: str = "c1", at: float = 0, **said: Any) -> Fact:
    """A learner's grade in a course, as evidence of so many seconds after noon has it."""
    activity = said.pop("activity", "")
    return Fact(COURSE_RESULT, "lms", (learner, course, activity, 0), later(at), {"grade": grade, "completed": True} | said)


async def see(
    database: Database, *facts: Fact, at: float = 0, within: Mapping[str, Any] | None = None, kind: FactKind = COURSE_RESULT
) -> int:
    """Observe facts in a transaction of their own."""
    async with database.transaction() as connection:
        return len(await observe(connection, database.dialect, kind, "lms", facts, later(at), within))


async def versions(**of: Any) -> list[tuple[Any, ...]]:
    """Grade, whether withdrawn and whether current of every version, the oldest first."""
    rows = await CourseResult.filter(**of).order_by("learner", "course", "activity", "version")
    return [(row.grade, row.withdrawn, row.superseded_at is None) for row in rows]


async def test_the_first_that_is_said_is_version_one(database: Database) -> None:
    started = NOON.astimezone(timezone(timedelta(hours=9)))
    assert (
        await see(database, graded(name="Fire è", passed=False, expired=True, finished=False, started_at=started, completed_at=NOON)) == 1
    )

    row = await CourseResult.get()
    assert (row.account, row.learner, row.course, row.activity, row.attempt) == ("lms", "l1", "c1", "", 0)
    assert (row.version, row.observed_at, row.superseded_at, row.withdrawn) == (1, NOON, None, False)
    assert (row.name, row.grade, row.passed, row.completed, row.expired, row.finished) == ("Fire è", 67.0, False, True, True, False)
    assert (row.started_at, row.completed_at) == (NOON, NOON)


async def test_the_same_again_changes_nothing_but_when_it_was_last_seen(database: Database) -> None:
    assert await see(database, graded(started_at=NOON)) == 1
    assert await see(database, graded(started_at=NOON)) == 0
    assert await see(database, graded(started_at=NOON, at=9)) == 0

    (row,) = await CourseResult.all()
    assert (row.version, row.observed_at) == (1, later(9))


async def test_a_correction_is_a_new_version_and_the_one_before_tells_when_it_ended(database: Database) -> None:
    await see(database, graded(67))
    assert await see(database, graded(80, at=5)) == 1

    first, second = await CourseResult.all().order_by("version")
    assert (first.grade, first.observed_at, first.superseded_at) == (67.0, NOON, later(5))
    assert (second.version, second.grade, second.observed_at, second.superseded_at) == (2, 80.0, later(5), None)


async def test_a_value_that_comes_back_is_a_new_version(database: Database) -> None:
    for at, grade in enumerate((67, 80, 67)):
        await see(database, graded(grade, at=at))

    assert await versions() == [(67.0, False, False), (80.0, False, False), (67.0, False, True)]


async def test_evidence_older_than_the_last_confirmation_changes_nothing(database: Database) -> None:
    await see(database, graded(67))
    await see(database, graded(67, at=10))

    assert await see(database, graded(50, at=5)) == 0
    assert await versions() == [(67.0, False, True)]


async def test_what_a_complete_answer_lacks_is_withdrawn_and_may_come_back(database: Database) -> None:
    await see(database, graded(67), graded(90, activity="a1"))
    assert await see(database, graded(67, at=1), at=1, within={"learner": "l1", "course": "c1"}) == 1
    assert await see(database, graded(67, at=2), at=2, within={"learner": "l1", "course": "c1"}) == 0
    assert await see(database, graded(67, at=3), graded(90, activity="a1", at=3), at=3, within={"learner": "l1", "course": "c1"}) == 1

    assert await versions(activity="a1") == [(90.0, False, False), (90.0, True, False), (90.0, False, True)]
    assert await versions(activity="") == [(67.0, False, True)]


async def test_only_what_stands_inside_is_withdrawn(database: Database) -> None:
    await see(database, graded(course="c1"), graded(course="c2"), graded(learner="l2", course="c2"))

    assert await see(database, at=1, within={"learner": "l1", "course": "c2"}) == 1
    assert [row.learner + row.course for row in await CourseResult.filter(withdrawn=True)] == ["l1c2"]
    assert await see(database, at=2, within={}) == 2
    assert await CourseResult.filter(withdrawn=False, superseded_at=None).count() == 0


async def test_an_older_complete_answer_withdraws_nothing(database: Database) -> None:
    await see(database, graded(at=5))

    assert await see(database, at=4, within={}) == 0
    assert await see(database, at=5, within={}) == 0
    assert await versions() == [(67.0, False, True)]


async def test_of_two_facts_of_one_call_the_later_holds(database: Database) -> None:
    assert await see(database, graded(80, at=2), graded(67, at=1)) == 1

    assert await versions() == [(80.0, False, True)]


@pytest.mark.parametrize(
    ("kind", "model"),
    [(COURSE_RESULT, CourseResult), (OBSERVATION, Observation), (ATTENDANCE, Attendance), (SESSION_ENROLLMENT, SessionEnrollment)],
)
def test_a_kind_of_fact_names_every_column_of_its_table(kind: FactKind, model: type[Model]) -> None:
    versioned = {"id", "account", "version", "observed_at", "superseded_at", "withdrawn"}

    assert model._meta.db_table == kind.table
    assert model._meta.fields == versioned | set(kind.key) | set(kind.content)


async def test_every_kind_of_fact_is_kept_and_found_again(database: Database) -> None:
    given = [
        Fact(OBSERVATION, "lms", ("s1",), NOON, SEEN | {"planned_at": NOON, "result": 60}),
        Fact(ATTENDANCE, "lms", (2**40, 7), NOON, {"status": "present"}),
        Fact(SESSION_ENROLLMENT, "lms", ("e1",), NOON, {"done": 1, "date_begin": date(2024, 3, 15)}),
    ]
    for fact in given:
        assert [await see(database, fact, at=at, within={}, kind=fact.kind) for at in (0, 1)] == [1, 0]

    assert (await Observation.get()).planned_at == NOON
    assert (await Attendance.get()).intervention_id == 2**40
    assert (await SessionEnrollment.get()).date_begin == date(2024, 3, 15)


ODD: list[Mapping[str, Any]] = [
    {"grade": math.nan},
    {"grade": -math.inf},
    {"grade": 10**400},
    {"name": "a\0b \ud800"},
    {"completed_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))},
    {"completed_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))},
]


@pytest.mark.parametrize("odd", ODD)
async def test_a_value_that_no_database_keeps_is_kept_as_well_as_can_be_and_once(database: Database, odd: dict[str, Any]) -> None:
    fact = Fact(COURSE_RESULT, "lms", ("l\0", "c", "\ud800", 2**70), NOON, {"completed": False} | odd)
    again = Fact(fact.kind, fact.account, fact.key, later(1), fact.content)

    assert [await see(database, fact), await see(database, again)] == [1, 0]
    assert (await CourseResult.get()).attempt == 2**31 - 1


async def test_facts_of_deliveries_are_applied_by_account(database: Database) -> None:
    other = Fact(COURSE_RESULT, "other", ("l1", "c1", "", 0), NOON, {"completed": True})
    async with database.transaction() as connection:
        await Mirror().apply(connection, database.dialect, [graded(), other, graded(80, at=1)])

    rows = await CourseResult.all().order_by("account")
    assert [(row.account, row.grade) for row in rows] == [("lms", 80.0), ("other", None)]


async def test_facts_that_were_news_are_given_and_told_unless_quietly(database: Database) -> None:
    facts = [graded(), graded(learner="l2"), graded(80, at=1, learner="l\0")]
    async with database.transaction() as connection:
        assert await Mirror().apply(connection, database.dialect, facts[1:], quietly=True) == {aim(one) for one in facts[1:]}
    assert await OutboxEvent.all().count() == 0
    async with database.transaction() as connection:
        assert await Mirror().apply(connection, database.dialect, facts) == {aim(facts[0])}

    assert await OutboxEvent.all().count() == 1


#: A result, as what it is told, about what, and some of what is said.
TOLD: dict[FactKind, tuple[Fact, EventType, str, dict[str, Any]]] = {
    COURSE_RESULT: (
        graded(completed_at=NOON),
        EventType.COURSE_RESULT,
        "lms/course_result/l1/c1//0",
        {"learner": "l1", "activity": "", "grade": 67.0, "completed": True, "completed_at": "2026-03-01T12:00:00Z"},
    ),
    OBSERVATION: (
        Fact(OBSERVATION, "lms", ("o1",), NOON, SEEN | {"checklist_title": "Scaffolds", "result": 60}),
        EventType.OBSERVATION_RESULT,
        "lms/observation/o1",
        {"session_id": "o1", "employee_id": "e1", "status": "PASSED", "result": 60.0},
    ),
    SESSION_ENROLLMENT: (
        Fact(SESSION_ENROLLMENT, "lms", ("e1",), NOON, {"action_subscription_id": "s1", "done": 1, "date_begin": date(2024, 3, 15)}),
        EventType.SESSION_RESULT,
        "lms/s1",
        {"action_session_subscription_id": "e1", "action_subscription_id": "s1", "done": 1, "date_begin": "2024-03-15"},
    ),
    ATTENDANCE: (
        Fact(ATTENDANCE, "lms", (7, 12), NOON, {"status": "present", "ended_at": NOON}),
        EventType.EXERCISE_RESULT,
        "lms/attendance/7/12",
        {"intervention_id": 7, "user_id": 12, "status": "present", "ended_at": "2026-03-01T12:00:00Z"},
    ),
}


@pytest.mark.parametrize("kind", TOLD, ids=lambda kind: kind.table)
async def test_each_version_is_told_once_under_its_type_and_so_is_its_withdrawal(database: Database, kind: FactKind) -> None:
    fact, type_, subject, said = TOLD[kind]
    for at, facts in ((0, [fact]), (1, [replace(fact, at=later(1))]), (2, [])):
        async with database.transaction() as connection:
            await Mirror().observe(connection, database.dialect, kind, "lms", facts, later(at), {})

    first, last = await OutboxEvent.all().order_by("id")
    assert {(row.type, row.account, row.subject) for row in (first, last)} == {(type_.value, "lms", subject)}
    assert [(row.sequence, row.at, row.data["version"], row.data["withdrawn"]) for row in (first, last)] == [
        (1, NOON, 1, False),
        (2, later(2), 2, True),
    ]
    for row in (first, last):
        Draft202012Validator(data_schema(type_), format_checker=FormatChecker()).validate(row.data)
        assert said.items() <= row.data.items()
        assert "Scaffolds" not in str(row.data)


async def test_a_session_result_is_told_in_order_with_what_else_is_told_of_its_subscription(database: Database) -> None:
    """Who tells of a subscription holds it: else this one's result, and that one's change, would wait for each other."""
    fact, *_ = TOLD[SESSION_ENROLLMENT]
    followups = Mirror(followups=Followups((), {}))

    async def observed() -> None:
        async with database.transaction() as connection:
            await followups.observe(connection, database.dialect, SESSION_ENROLLMENT, "lms", [fact], NOON)

    async with database.transaction() as connection:
        await Mirror().apply(connection, database.dialect, [hint("s1", account="lms")])
    async with database.transaction() as connection, told(connection, database.dialect, {("lms", "s1"): NOON}):
        observing = asyncio.create_task(observed())
        await asyncio.sleep(0.5)
        await append(connection, database.dialect, [drift("s1", account="lms")])
    await observing

    rows = await OutboxEvent.filter(subject="lms/s1").order_by("sequence")
    assert [row.type for row in rows] == ["muster.subscription.created.v1", "muster.drift.found.v1", "muster.result.session.v1"]


STEPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([None, 50.0, 67.0]), st.integers(0, 3)),
    min_size=1,
    max_size=8,
)


def _current(evidence: Sequence[Fact]) -> dict[Any, Version]:
    held: dict[Any, Version] = {}
    for fact in evidence:
        held |= {one.key: one for one in changed(held, [found(COURSE_RESULT, fact)]) if one.superseded_at is None}
    return held


@given(STEPS, st.randoms())
def test_any_order_of_the_evidence_ends_in_the_same_current_versions(steps: list[tuple[str, float | None, int]], chance: Any) -> None:
    evidence = [graded(grade, learner=learner, at=at) for learner, grade, at in steps]
    shuffled = evidence * 2
    chance.shuffle(shuffled)

    def said(held: dict[Any, Version]) -> dict[Any, Any]:
        return {key: (one.observed_at, one.content) for key, one in held.items()}

    together = changed({}, [found(COURSE_RESULT, fact) for fact in evidence])
    assert said(_current(evidence)) == said(_current(shuffled)) == {one.key: (one.observed_at, one.content) for one in together}


async def test_two_at_once_make_each_version_once(database: Database) -> None:
    facts = [graded(grade, learner=f"l{n}", at=grade) for n in range(5) for grade in range(10)]
    await asyncio.gather(*(see(database, *facts[n:], *facts[:n], at=99, within={}) for n in range(0, 50, 10)))

    rows = await CourseResult.filter(superseded_at=None)
    assert sorted((row.learner, row.grade, row.version) for row in rows) == [(f"l{n}", 9.0, 1) for n in range(5)]


async def _other(url: str) -> None:
    database = await open_database(url)
    try:
        for n in range(60):
            await see(database, graded(n % 7, at=n), at=n, within={})
    finally:
        await close_database()


async def test_two_workers_at_once_leave_one_current_version(spoilt_database: Database, database_url: str) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.workers.mirror.test_facts", database_url]
    other = await asyncio.create_subprocess_exec(*command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE)
    for n in range(60):
        await see(spoilt_database, graded(n % 7, at=n), at=n, within={})
    _, complaint = await other.communicate()

    assert other.returncode == 0, complaint.decode()
    rows = await CourseResult.all().order_by("version")
    assert [row.version for row in rows] == list(range(1, len(rows) + 1))
    assert [row.superseded_at is None for row in rows] == [False] * (len(rows) - 1) + [True]
    assert (rows[-1].grade, rows[-1].observed_at) == (59 % 7, later(59))


if __name__ == "__main__":
    asyncio.run(_other(sys.argv[1]))
