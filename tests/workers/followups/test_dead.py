"""Recordings that were given up, with the planner behind them: what is due again goes on, and what is dropped holds up nothing."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from schemas.states import NeedState, RefreshKind
from tests.workers.followups.mirrored import rule
from tests.workers.followups.test_plan import World, applied, passed
from workers.database import Connection, Database
from workers.followups import dead, recordings
from workers.followups.tables import Need, Recording
from workers.refreshes import Refresh

SKEW = timedelta(seconds=5)


@pytest_asyncio.fixture
async def world(database: Database) -> World:
    """A need that was passed, whose outcome is to be written in three steps."""
    made = await applied(database, rule(record={}))
    await made.sighted("s1")
    await made.enrolled()
    await made.observed(passed(made.at + timedelta(seconds=30)))
    await one_more(made, "session")
    return made


async def one_more(world: World, step: str) -> None:
    """Another step of the same need."""
    written = await Recording.first()
    assert written is not None
    told: dict[str, Any] = {"state": "planned", "body": {}, "remote": "seat", "due_at": world.at, "attempts": 0, "state_at": world.at}
    await Recording.create(id=uuid4(), need=written.need, account="hse", step=step, **told)


async def planned(world: World, connection: Connection) -> None:
    """What follows from it, in the same transaction."""
    assert world.mirror.followups is not None
    await world.mirror.followups.plan(connection, world.database.dialect, [("hse", "s1")], world.at)


async def refused(world: World, *steps: str, done: Collection[str] = ()) -> None:
    """4HSE refused these, and took those before."""
    await Recording.filter(step__in=[*done]).update(state="done", due_at=None)
    await Recording.filter(step__in=[*steps]).update(state="dead", due_at=None, error="422: no such luck", attempts=3)
    await world.enrolled()


async def again(world: World) -> int:
    async with world.database.transaction() as connection:
        uses = await dead.hold_needs_of(connection, world.database.dialect, [one.id for one in await Recording.filter(state="dead")])
        done = await dead.recordings_again(connection, world.database.dialect, uses, world.at)
        await planned(world, connection)
    return len(done)


async def dropped(world: World) -> None:
    async with world.database.transaction() as connection:
        uses = await dead.hold_needs_of(connection, world.database.dialect, [one.id for one in await Recording.filter(state="dead")])
        await dead.recordings_dropped(connection, world.database.dialect, uses, world.at, SKEW)
        await planned(world, connection)


async def due(world: World) -> list[str]:
    """The steps that a recorder would take now."""
    return [one.step for one in await recordings.claim(world.database, "hse", world.at, 10)]


async def need() -> str:
    """Where the need stands."""
    return (await Need.get()).state


async def test_what_is_due_again_goes_on_where_it_was(world: World) -> None:
    await refused(world, "certificate_action", done=["certificate"])
    assert (await need(), await due(world)) == (NeedState.DEAD, [])

    assert await again(world) == 1
    assert (await need(), await due(world)) == (NeedState.PASSED, ["certificate_action"])
    assert await again(world) == 0


async def test_a_session_that_is_told_nothing_holds_up_no_need_and_the_subscription_is_fetched(world: World) -> None:
    await refused(world, "session", done=["certificate", "certificate_action"])
    assert await need() == NeedState.DEAD

    await dropped(world)
    assert await need() == NeedState.RECORDED
    assert [(one.kind, one.subject) for one in await Refresh.filter(kind=RefreshKind.ACTION_SUBSCRIPTION.value)] == [
        (RefreshKind.ACTION_SUBSCRIPTION.value, "s1")
    ]


async def test_a_failure_that_is_not_told_lets_the_steps_after_it_go_on(world: World) -> None:
    await Recording.filter(step="session").update(step="failed 1")
    await one_more(world, "session")
    await refused(world, "failed 1", done=["certificate", "certificate_action"])
    await dropped(world)

    assert (await need(), await due(world)) == (NeedState.PASSED, ["session"])
    assert await Refresh.filter(kind=RefreshKind.ACTION_SUBSCRIPTION.value).count() == 0


@pytest.mark.parametrize("step", ["certificate", "certificate_action"])
async def test_only_what_makes_a_subscription_valid_keeps_its_need_dead(world: World, step: str) -> None:
    await refused(world, step, "session")
    async with world.database.transaction() as connection:
        ids = [one.id for one in await Recording.filter(state="dead")]
        uses = await dead.hold_needs_of(connection, world.database.dialect, ids)
    steps = {one.id: one.step for one in await Recording.all()}

    assert {steps[use.id]: use.blocked for use in uses} == {step: True, "session": False}
