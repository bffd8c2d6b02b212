"""Course results of a simulated aNewSpring over HTTP: corrected and withdrawn ones are new versions, unknown ones say so in the log."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.accounts import AnewspringAccount, Limits
from schemas.delivery import Delivery
from schemas.states import RefreshKind
from tests.workers.made import NOON, delivery, states
from workers.database import Database
from workers.handlers import Outcome, handle
from workers.mirror.apply import Mirror
from workers.mirror.course_results import fetch
from workers.mirror.tables import CourseResult
from workers.pipeline import Pipeline
from workers.refreshes import Refresh, claim
from workers.simulators.anewspring import Activity, Environment, simulator
from workers.simulators.faults import Faults, Instead, TooMany
from workers.simulators.server import served
from workers.vendors.accounts import OpenAccount
from workers.vendors.anewspring import Anewspring
from workers.vendors.errors import Throttled, Unavailable

KEY, LEARNER, COURSE = "k3y-planted", "JS 001", "FIRE è"
LIMITS = Limits(rate=1000, concurrency=8, timeout=10, attempts=1, breaker_failures=1000)
EXAM, LESSON, SURVEY = Activity("EXAM", "Assessment", 223, repeatable=True), Activity("READ", "Lesson", 5), Activity(None, "Evaluation", 7)


@dataclass
class Lms:
    """A served environment, and muster beside it with a clock of its own."""

    environment: Environment
    faults: Faults
    account: OpenAccount
    database: Database
    mirror: Mirror = field(default_factory=lambda: Mirror(frozenset({"lms"})))
    now: datetime = NOON

    async def told(self, learner: str = LEARNER, course: str = COURSE, **more: Any) -> Delivery:
        """A webhook tells of a result, a minute after the last."""
        self.now += timedelta(minutes=1)
        body = {"event": "course_completed", "created": str(self.now), "user": {"id": learner}, "course": {"id": course}} | more
        one = delivery(body, None, vendor="anewspring", account="lms", received_at=self.now)
        await Pipeline(self.database, self._handled, self.mirror).together([one])
        return one

    async def fetched(self) -> None:
        """What is due is fetched."""
        self.now += timedelta(seconds=10)
        claims = await claim(self.database, "lms", [RefreshKind.COURSE_RESULT], self.now, timedelta(minutes=5), 100)
        await fetch(self.database, self.mirror, self.account, claims, lambda: self.now)

    def _handled(self, one: Delivery) -> Outcome:
        return handle(one, {"lms": self.account.settings})


@pytest_asyncio.fixture
async def lms(database: Database, tmp_path: Path) -> AsyncIterator[Lms]:
    environment = Environment(KEY, lambda: datetime(2020, 2, 13, 16, 23, 55, tzinfo=UTC))
    environment.add_user(LEARNER)
    environment.add_course(COURSE, EXAM, LESSON, SURVEY)
    environment.subscribe(LEARNER, COURSE)
    (tmp_path / "key").write_text(KEY)
    faults = Faults(simulator(environment))
    async with served(faults) as url:
        made = {"vendor": "anewspring", "insecure": True, "base_url": url, "limits": LIMITS, "api_key_file": tmp_path / "key"}
        settings = AnewspringAccount.model_validate(made)
        client = Anewspring(settings, lambda: datetime.now(UTC))
        yield Lms(environment, faults, OpenAccount("lms", settings, client), database)
        await client.close()
    faults.off()
    await environment.close()


async def rows(**of: Any) -> list[tuple[Any, ...]]:
    """Activity, attempt, version, grade, passed and completed of what is held, the current versions alone unless asked for others."""
    found = CourseResult.filter(**({"superseded_at": None, "withdrawn": False} | of)).order_by("activity", "attempt", "version")
    return [(one.activity, one.attempt, one.version, one.grade, one.passed, one.completed) for one in await found]


async def test_a_result_is_kept_by_course_activity_and_attempt(lms: Lms) -> None:
    lms.environment.complete(LEARNER, COURSE, 67)
    told = await lms.told()
    await lms.fetched()

    assert await rows() == [
        ("", 0, 1, 67.0, None, True),
        ("#7", -1, 1, 67.0, None, True),
        ("#7", 0, 1, None, None, True),
        ("EXAM", 0, 1, 67.0, True, True),
        ("EXAM", 1, 1, 67.0, True, True),
        ("READ", -1, 1, 67.0, None, True),
        ("READ", 0, 1, 67.0, None, True),
    ]
    course = await CourseResult.get(activity="")
    assert (course.account, course.learner, course.course, course.name) == ("lms", LEARNER, COURSE, f"Course {COURSE}")
    assert (course.completed_at, course.observed_at) == (datetime(2020, 2, 13, 16, 23, 55, tzinfo=UTC), lms.now)
    assert await states(told) == [("applied", None)]
    assert await Refresh.all().count() == 0


async def test_a_completion_of_which_the_day_alone_is_told_was_on_that_day_as_early_as_can_be(lms: Lms) -> None:
    told = {"id": COURSE, "name": "Course", "completed": True, "completeDate": "2026-03-04", "grade": "80%"}
    read = {"id": "READ", "type": "Lesson", "completed": True, "completeDate": "2026-03-03"}
    lms.faults.on(Instead(path="/api/getResults/*", status=200, body=json.dumps(told | {"parts": [read]}).encode()))
    await lms.told()
    await lms.fetched()

    found = {one.activity: one.completed_at for one in await CourseResult.all()}
    assert found == {"": datetime(2026, 3, 4, tzinfo=UTC), "READ": datetime(2026, 3, 3, tzinfo=UTC)}


async def test_a_corrected_result_is_a_new_version(lms: Lms) -> None:
    for grade in (67, 80):
        lms.environment.complete(LEARNER, COURSE, grade)
        await lms.told()
        await lms.fetched()

    first, second = await CourseResult.filter(activity="").order_by("version")
    assert (first.version, first.grade, first.superseded_at) == (1, 67.0, lms.now)
    assert (second.version, second.grade, second.superseded_at, second.observed_at) == (2, 80.0, None, lms.now)


async def test_the_same_result_told_again_is_no_new_version(lms: Lms) -> None:
    lms.environment.complete(LEARNER, COURSE, 67)
    for _ in range(2):
        await lms.told()
        await lms.fetched()

    assert {version for _, _, version, *_ in await rows()} == {1}


async def test_an_attempt_that_is_gone_is_withdrawn_and_its_course_is_not(lms: Lms) -> None:
    lms.environment.complete(LEARNER, COURSE, 67)
    await lms.told()
    await lms.fetched()
    del lms.environment.seats[LEARNER, COURSE].attempts[EXAM.part_id]
    await lms.told()
    await lms.fetched()

    assert [row[:3] for row in await rows(withdrawn=True)] == [("EXAM", 1, 2)]
    assert [row[:3] for row in await rows(activity="EXAM")] == [("EXAM", 0, 2)]
    assert [row[:3] for row in await rows(activity="")] == [("", 0, 1)]


async def test_finished_is_not_completed(lms: Lms) -> None:
    lms.environment.seats[LEARNER, COURSE].ended = True
    await lms.told()
    await lms.fetched()

    course = await CourseResult.get(activity="")
    assert (course.finished, course.expired, course.completed, course.completed_at) == (True, False, False, None)


@pytest.mark.parametrize(("learner", "course"), [("nobody", COURSE), (LEARNER, "nothing")], ids=["learner", "course"])
async def test_deliveries_about_an_unknown_learner_or_course_are_ignored(lms: Lms, learner: str, course: str) -> None:
    known = await lms.told()
    unknown = [await lms.told(learner, course), await lms.told(learner, course, activity={"id": "EXAM"})]
    await lms.fetched()

    assert await states(known, *unknown) == [("applied", None), ("ignored", "unknown_subject"), ("ignored", "unknown_subject")]
    assert await CourseResult.filter(course=course, learner=learner).count() == 0
    assert await Refresh.all().count() == 0


async def test_what_was_unknown_can_be_told_again(lms: Lms) -> None:
    first = await lms.told("new", COURSE)
    await lms.fetched()
    lms.environment.add_user("new")
    lms.environment.subscribe("new", COURSE)
    second = await lms.told("new", COURSE)
    await lms.fetched()

    assert await states(first, second) == [("ignored", "unknown_subject"), ("applied", None)]
    assert await CourseResult.filter(learner="new", activity="").count() == 1


async def test_results_of_a_learner_that_is_unknown_by_now_are_withdrawn(lms: Lms) -> None:
    lms.environment.complete(LEARNER, COURSE, 67)
    first = await lms.told()
    await lms.fetched()
    del lms.environment.seats[LEARNER, COURSE]
    second = await lms.told()
    await lms.fetched()

    assert await rows() == []
    assert len(await rows(withdrawn=True)) == 7
    assert await states(first, second) == [("applied", None), ("ignored", "unknown_subject")]


async def test_what_cannot_be_read_holds_up_no_other(lms: Lms) -> None:
    await lms.told("other", COURSE)
    await lms.told()
    lms.faults.on(Instead(path="/api/getResults/other/*", status=500))
    with pytest.raises(Unavailable):
        await lms.fetched()

    assert [row.subject for row in await Refresh.all()] == ["other"]
    assert await CourseResult.filter(learner=LEARNER, activity="").count() == 1


async def test_what_a_throttled_account_asks_for_waits(lms: Lms) -> None:
    await lms.told("other", COURSE)
    await lms.told()
    lms.faults.on(TooMany(times=None))
    with pytest.raises(Throttled):
        await lms.fetched()

    assert await Refresh.all().count() == 2
