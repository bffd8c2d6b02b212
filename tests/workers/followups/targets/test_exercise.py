"""Exercises: one is picked for the site and scheduled, whatever goes wrong; no two enrollments take the same."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.states import TargetKind
from tests.workers.followups.enrolling import LANDING, NOON, WRITE_FAULTS, Scene, enrolling, fault, told
from workers.database import Database
from workers.followups.tables import Enrollment
from workers.simulators.faults import Slow

KIND = TargetKind.EXERCISE
#: 10:00 in Rome, fourteen days on.
START, END = "2026-03-15T09:00:00.000Z", "2026-03-15T10:00:00.000Z"


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with enrolling(database, tmp_path) as made:
        yield made


def exercise(scene: Scene, *, site: int = 3, rule: int = 7, status: int = 0, **fields: Any) -> int:
    return scene.register.schedule(siteIds=[site], ruleId=rule, creationStatus=status, **fields)


def scheduled(scene: Scene) -> list[int]:
    return [number for number, row in scene.register.interventions.items() if row["creationStatus"] == 1]


async def test_the_one_of_this_site_and_rule_that_is_to_be_scheduled_is_picked(scene: Scene) -> None:
    for other in ({"site": 4}, {"rule": 8}, {"status": 2}, {"archivedAt": "2026-01-01T00:00:00.000Z"}):
        exercise(scene, **other)
    later, sooner = (exercise(scene, scheduledStart=f"2026-0{month}-01T10:00:00.000Z") for month in (6, 4))
    await scene.wants(KIND)
    await scene.work("kare")

    row, there = await scene.row(), scene.register.interventions
    assert (row.state, row.found, row.remote, str(row.start_on)) == ("enrolled", False, str(sooner), "2026-03-15")
    wanted = {"creationStatus": 1, "scheduledStart": START, "scheduledEnd": END, "assignedUserId": 12}
    assert wanted.items() <= there[sooner].items()
    assert there[later]["creationStatus"] == 0


@pytest.mark.parametrize(("wrong", "landing"), LANDING)
async def test_every_fault_of_the_update_ends_in_one_exercise(scene: Scene, wrong: str, landing: str) -> None:
    numbers = [exercise(scene) for _ in range(3)]
    scene.faults["kare"].on(fault(wrong, "*/training-exercise/*"))
    await scene.wants(KIND)
    await scene.enroller.round(scene.account("kare"))
    if landing == "after the first look":
        scene.time += timedelta(minutes=2)
        await scene.enroller.round(scene.account("kare"))
        await scene.faults["kare"].land()
    await scene.work("kare")
    await scene.faults["kare"].land()

    row = await scene.row()
    assert told(row.state, row.found, row.remote, row.wish) == ("enrolled", False, str(numbers[0]), None), row.error
    assert scheduled(scene) == numbers[:1]
    assert scene.register.interventions[numbers[0]]["scheduledStart"] == START


@pytest.mark.parametrize(
    ("planned", "asked"), [(date(2026, 2, 20), "2026-03-15"), (date(2026, 3, 1), "2026-03-15"), (date(2026, 3, 2), "2026-03-02")]
)
async def test_an_exercise_is_not_scheduled_in_the_past(scene: Scene, planned: date, asked: str) -> None:
    number = exercise(scene)
    await scene.wants(KIND, start_on=planned)
    await scene.work("kare")

    assert str((await scene.row()).start_on) == asked
    assert scene.register.interventions[number]["scheduledStart"].startswith(asked)


async def test_the_pick_stands_in_the_row_before_kare_is_asked(scene: Scene) -> None:
    exercise(scene)
    scene.faults["kare"].on(fault("lost after", "*/training-exercise/*"))
    await scene.wants(KIND)
    await scene.enroller.round(scene.account("kare"))

    row = await scene.row()
    assert (row.state, row.found, row.remote) == ("requested", False, "1")


async def test_one_that_is_scheduled_already_is_found_and_never_undone(scene: Scene) -> None:
    number = exercise(scene, status=1, scheduledStart="2026-03-20T10:00:00.000Z")
    wanted = await scene.wants(KIND)
    await scene.work("kare")
    found = await scene.row()
    await scene.unwanted(wanted)
    await scene.work("kare")

    assert (found.found, found.remote, (await scene.row()).state) == (True, str(number), "closed")
    assert scheduled(scene) == [number]
    assert scene.faults["kare"].count("*", "PATCH") == 0


async def test_one_of_an_earlier_cycle_is_not_this_ones(scene: Scene) -> None:
    exercise(scene, status=1, scheduledStart="2025-03-20T10:00:00.000Z")
    exercise(scene, status=2, actualEnd="2025-03-20T11:00:00.000Z")
    new = exercise(scene)
    await scene.wants(KIND)
    await scene.work("kare")

    assert (await scene.row()).remote == str(new)


async def test_what_somebody_scheduled_meanwhile_at_another_time_is_found(scene: Scene) -> None:
    number = exercise(scene)
    scene.faults["kare"].on(fault("lost before", "*/training-exercise/*"))
    await scene.wants(KIND)
    await scene.enroller.round(scene.account("kare"))
    scene.register.update(number, {"creationStatus": 1, "scheduledStart": "2026-03-20T10:00:00.000Z"})
    await scene.work("kare")

    row = await scene.row()
    assert (row.state, row.found) == ("enrolled", True)
    assert scene.register.interventions[number]["scheduledStart"] == "2026-03-20T10:00:00.000Z"


async def test_two_sites_of_one_exercise_schedule_it_once(scene: Scene) -> None:
    number = scene.register.schedule(siteIds=[3, 4], ruleId=7, creationStatus=0)
    scene.faults["kare"].on(Slow(path="/interventions/v2/rs", seconds=0.1, times=2))  # so that both see it free
    for site in ("3", "4"):
        await scene.wants(KIND, learner=site)
    other = scene.another()
    await asyncio.gather(scene.enroller.round(scene.account("kare")), other.round(scene.account("kare")))
    scene.time += timedelta(hours=1)
    await scene.work("kare")

    assert scheduled(scene) == [number]
    assert scene.faults["kare"].count("*", "PATCH") == 1
    assert sorted([bool(row.found) for row in await Enrollment.all()]) == [False, True]


async def test_without_one_it_waits_and_is_not_to_blame(scene: Scene) -> None:
    await scene.wants(KIND)
    await scene.enroller.round(scene.account("kare"))

    row = await scene.row()
    assert (row.state, row.attempts, row.due_at) == ("planned", 0, NOON + timedelta(hours=1))
    assert "no exercise of rule 7" in str(row.error)


@pytest.mark.parametrize("wrong", WRITE_FAULTS)
async def test_every_fault_of_an_undo_ends_in_nothing_scheduled(scene: Scene, wrong: str) -> None:
    exercise(scene)
    wanted = await scene.wants(KIND)
    await scene.work("kare")
    scene.faults["kare"].on(fault(wrong, "*/training-exercise/*"))
    await scene.unwanted(wanted)
    await scene.work("kare")
    await scene.faults["kare"].land()

    assert ((await scene.row()).state, scheduled(scene)) == ("undone", [])


async def test_what_took_place_is_not_undone(scene: Scene) -> None:
    number = exercise(scene)
    wanted = await scene.wants(KIND)
    await scene.work("kare")
    scene.register.attend(1, number)
    await scene.unwanted(wanted)
    await scene.work("kare")

    assert ((await scene.row()).state, scene.register.interventions[number]["creationStatus"]) == ("closed", 2)
