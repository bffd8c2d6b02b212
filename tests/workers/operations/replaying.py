"""Outlets that need no broker: a worker that is there at once, and one that has gone away."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from schemas.delivery import Delivery
from workers.database import Database
from workers.operations.replays import carry_on
from workers.pipeline import Pipeline
from workers.replay_lane import LaneAway, Outlet
from workers.replays import ReplayRun


@dataclass(slots=True)
class Worked:
    """What is put is worked off before `put` returns, as often as it is put."""

    database: Database
    put_so_far: list[UUID] = field(default_factory=list)
    #: Breaks off after so many deliveries, as Ctrl-C does.
    at_most: int | None = None
    #: Says so many times that the lane is away.
    away: int = 0

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        if self.away:
            self.away -= 1
            raise LaneAway("the broker is away")
        if self.at_most is not None and len(self.put_so_far) + len(deliveries) > self.at_most:
            raise KeyboardInterrupt
        self.put_so_far += [one.id for one in deliveries]
        await Pipeline(self.database).together(deliveries)

    async def held(self) -> Collection[UUID]:
        return ()

    async def unattended(self) -> str | None:
        return None


@dataclass(slots=True)
class Unattended:
    """Keeps what is put, and nobody works it off; full after so many."""

    room: int = 1_000_000
    kept: list[Delivery] = field(default_factory=list)

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        if len(self.kept) + len(deliveries) > self.room:
            raise LaneAway("the spool is full")
        self.kept += deliveries

    async def held(self) -> Collection[UUID]:
        return {one.id for one in self.kept}

    async def unattended(self) -> str | None:
        return "no `muster serve` runs"


async def carried(database: Database, run: ReplayRun, outlet: Outlet, **how: Any) -> ReplayRun:
    """The run after a sitting at it."""
    await carry_on(database, run, outlet, **how)
    return run
