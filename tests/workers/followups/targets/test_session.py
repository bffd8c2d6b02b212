"""Sessions: whatever goes wrong, the subscription has one seat under our own id, or the one that somebody gave it."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.states import TargetKind
from tests.workers.followups.enrolling import (
    ACTION,
    LANDING,
    NOON,
    OFFICE,
    SESSION,
    SUBSCRIPTION,
    WRITE_FAULTS,
    Scene,
    enrolling,
    fault,
    told,
)
from workers.database import Database
from workers.followups.tables import Enrollment
from workers.mirror import tables
from workers.simulators.acme import PLACE
from workers.simulators.faults import Instead

KIND, PATH = TargetKind.SESSION, "action-session-subscription"


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with enrolling(database, tmp_path) as made:
        mirrored: dict[str, Any] = {"state": "live", "action_id": ACTION, "flags": [], **PLACE}
        await tables.ActionSubscription.create(account="hse", action_subscription_id=SUBSCRIPTION, **mirrored)
        await planned(made, SESSION, date(2024, 3, 15))
        await planned(made, "tomorrow", date(2026, 3, 2))
        await planned(made, "in-may", date(2026, 5, 4))
        yield made


async def planned(scene: Scene, session: str, day: date, **changed: Any) -> None:
    """A session, there and in the mirror."""
    if session not in scene.tenancy.tables["action-session"]:
        scene.tenancy.create("action-session", {"action_session_id": session, "action_id": ACTION, "date_begin": day.isoformat(), **PLACE})
    row: dict[str, Any] = {"action_id": ACTION, "date_begin": day, "gone": False, "fetched_at": NOON, **PLACE} | changed
    await tables.ActionSession.create(account="hse", action_session_id=session, **row)


def seats(scene: Scene) -> list[tuple[str, str]]:
    """Id and session of every seat that there is."""
    return [(seat, row["action_session_id"]) for seat, row in scene.tenancy.tables[PATH].items()]


async def test_the_next_planned_session_is_taken_under_our_own_id(scene: Scene) -> None:
    wanted = await scene.wants(KIND)
    await scene.work("hse")

    row = await scene.row()
    assert (row.state, row.found, row.remote) == ("enrolled", False, str(wanted))
    assert seats(scene) == [(str(wanted), "tomorrow")]
    assert scene.tenancy.tables[PATH][str(wanted)]["subtenant_id"] == OFFICE


async def test_a_named_session_is_taken_whenever_it_is(scene: Scene) -> None:
    wanted = await scene.wants(KIND, target="in-may", terms={"within_days": None})
    await scene.work("hse")

    assert seats(scene) == [(str(wanted), "in-may")]


@pytest.mark.parametrize(("wrong", "landing"), LANDING)
async def test_every_fault_of_a_create_ends_in_one_seat(scene: Scene, wrong: str, landing: str) -> None:
    scene.faults["hse"].on(fault(wrong, f"/v2/{PATH}/create"))
    wanted = await scene.wants(KIND)
    await scene.enroller.round(scene.account("hse"))
    if landing == "after the first look":
        scene.time += timedelta(minutes=2)
        await scene.enroller.round(scene.account("hse"))
        await scene.faults["hse"].land()
    await scene.work("hse")
    await scene.faults["hse"].land()

    row = await scene.row()
    assert told(row.state, row.found, row.remote, row.wish) == ("enrolled", False, str(wanted), None), row.error
    assert seats(scene) == [(str(wanted), "tomorrow")]


@pytest.mark.parametrize("wrong", WRITE_FAULTS)
async def test_every_fault_of_an_undo_ends_in_no_seat(scene: Scene, wrong: str) -> None:
    wanted = await scene.wants(KIND)
    await scene.work("hse")
    scene.faults["hse"].on(fault(wrong, f"/v2/{PATH}/delete/*"))
    await scene.unwanted(wanted)
    await scene.work("hse")
    await scene.faults["hse"].land()

    assert ((await scene.row()).state, seats(scene)) == ("undone", [])


@pytest.mark.parametrize("target", ["next", "in-may"])
async def test_a_seat_that_somebody_gave_is_found_and_never_undone(scene: Scene, target: str) -> None:
    theirs = scene.tenancy.enroll("in-may", SUBSCRIPTION)
    wanted = await scene.wants(KIND, target=target)
    await scene.work("hse")
    found = await scene.row()
    await scene.unwanted(wanted)
    await scene.work("hse")

    assert (found.found, found.remote, (await scene.row()).state) == (True, theirs, "closed")
    assert seats(scene) == [(theirs, "in-may")]


async def test_a_seat_of_an_earlier_cycle_is_not_this_ones(scene: Scene) -> None:
    scene.tenancy.record(scene.tenancy.enroll(SESSION, SUBSCRIPTION), 1)
    await scene.wants(KIND)
    await scene.work("hse")

    assert [session for _, session in seats(scene)] == [SESSION, "tomorrow"]


async def test_after_a_failure_the_next_round_is_in_another_session(scene: Scene) -> None:
    first = await scene.wants(KIND)
    await scene.work("hse")
    scene.tenancy.record(str(first), 0)
    await Enrollment.filter(id=first).update(state="closed", state_at=scene.time)
    second = await scene.wants(KIND, round=2)
    await scene.work("hse")

    assert seats(scene) == [(str(first), "tomorrow"), (str(second), "in-may")]


async def test_what_has_an_outcome_is_not_undone(scene: Scene) -> None:
    wanted = await scene.wants(KIND)
    await scene.work("hse")
    scene.tenancy.record(str(wanted), 1)
    await scene.unwanted(wanted)
    await scene.work("hse")

    assert ((await scene.row()).state, len(seats(scene))) == ("closed", 1)


@pytest.mark.parametrize("within", [0, None])
async def test_without_a_planned_session_it_waits_and_is_not_to_blame(scene: Scene, within: int | None) -> None:
    await tables.ActionSession.filter(action_session_id="tomorrow").update(gone=True)
    if within is None:
        await tables.ActionSession.filter(action_session_id="in-may").update(action_id="another")
    await scene.wants(KIND, terms={"within_days": within})
    await scene.enroller.round(scene.account("hse"))
    waiting = await scene.row()
    await planned(scene, "at last", (scene.time + timedelta(hours=2)).date())
    scene.time += timedelta(hours=2)
    await scene.enroller.round(scene.account("hse"))

    assert (waiting.state, waiting.attempts, waiting.due_at) == ("planned", 0, NOON + timedelta(hours=1))
    assert "no session is planned" in str(waiting.error)
    assert [session for _, session in seats(scene)] == ["at last"]


async def test_what_4hse_refuses_is_dead_with_its_words(scene: Scene) -> None:
    body = b'[{"field": "action_session_id", "message": "The session is full."}]'
    scene.faults["hse"].on(Instead(path="*/create", status=422, body=body))
    await scene.wants(KIND)
    await scene.work("hse")

    row = await scene.row()
    assert (row.state, row.reason) == ("dead", "422: action_session_id: The session is full.")
