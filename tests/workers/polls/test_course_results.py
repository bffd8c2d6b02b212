"""Whose webhook was lost is found all the same: results are asked for as long as a seat is open."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from schemas.states import RefreshKind, TargetKind
from tests.workers.followups.enrolling import COURSE, LEARNER, Scene, enrolling
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.tables import CourseResult
from workers.polls.course_results import poll
from workers.refresher import Refresher
from workers.refreshes import Refresh


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with enrolling(database, tmp_path) as made:
        yield made


async def test_a_result_of_which_no_webhook_told_is_fetched(scene: Scene) -> None:
    mirror = Mirror(frozenset({"lms"}))
    await scene.wants(TargetKind.COURSE)
    await scene.work("lms")
    scene.environment.complete(LEARNER, COURSE, 90)
    await poll(scene.database, mirror, scene.account("lms"), scene.now)
    scene.time += mirror.clock_skew * 2
    await Refresher(scene.database, mirror, scene.accounts, scene.now).round(scene.account("lms"), RefreshKind.COURSE_RESULT)

    found = await CourseResult.get(activity="")
    assert (found.learner, found.course, found.completed, found.grade) == (LEARNER, COURSE, True, 90.0)


async def test_only_open_seats_of_the_account_are_asked_for_each_once(scene: Scene) -> None:
    for learner, state in ((LEARNER, "enrolled"), ("AB002", "closed"), ("AB003", "planned")):
        await scene.wants(TargetKind.COURSE, learner=learner, state=state)
    await scene.wants(TargetKind.COURSE, account="another", state="enrolled")
    await scene.wants(TargetKind.SESSION, state="enrolled")
    for _ in range(2):
        await poll(scene.database, Mirror(frozenset({"lms"})), scene.account("lms"), scene.now)

    assert [(one.account, one.kind, one.subject, one.scope) for one in await Refresh.all()] == [("lms", "course-result", LEARNER, COURSE)]
