"""The worker's loop: take a batch, apply it, settle it, for ever; hold it while the database is away.

Where batches come from is an Inlet: RabbitMQ (`workers/consumer.py`) or, embedded, the receiver's spool (`workers/cli/embedded.py`).
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import stamina
import structlog

from schemas.delivery import Delivery, now_utc
from schemas.logs import Log
from schemas.states import Reason
from workers.database import Database, DatabaseAway
from workers.log import hold
from workers.pipeline import Pipeline, Tally

log = structlog.get_logger()

#: Seconds that the database may be away before the inlet is told to stop handing out.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Held:
    """A message that this version cannot open."""

    version: int
    kind: str
    message: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What an inlet hands out at once; the inlet knows by its own `ticket` what to settle."""

    fresh: Sequence[Delivery] = ()
    #: Handed out before, to a worker that never settled them.
    suspects: Sequence[Delivery] = ()
    #: What the broker, or the envelope's reader, gave up on, and why.
    dead: Sequence[tuple[Delivery, Reason, str | None]] = ()
    held: Sequence[Held] = ()
    ticket: object = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.fresh) + len(self.suspects) + len(self.dead) + len(self.held)


class Inlet(Protocol):
    """Where batches come from."""

    async def run(self) -> None:
        """Do what it takes to have batches, for ever; cancelled when the last one is settled."""

    async def take(self) -> Batch:
        """Wait for the next batch."""

    async def settle(self, batch: Batch) -> None:
        """The batch is committed: it need not be handed out again. Failing to say so is harmless."""

    async def pause(self) -> None:
        """Hand out nothing for now; what is handed out already stays with the lane."""

    async def resume(self) -> None:
        """Hand out again."""


class Lane:
    """One batch at a time from an inlet through the pipeline."""

    def __init__(self, inlet: Inlet, pipeline: Pipeline, database: Database, patience: float = PATIENCE) -> None:
        self._inlet, self._pipeline, self._database, self._patience = inlet, pipeline, database, patience
        self._idle = asyncio.Event()
        self._idle.set()
        #: Why the database cannot be used; None while it can.
        self.held_up: str | None = None
        self.tally = Tally()

    async def run(self) -> None:
        """Work until cancelled; a batch that is under way is finished by `finish`."""
        while True:
            batch = await self._inlet.take()
            self._idle.clear()
            await asyncio.shield(self._work(batch))

    async def finish(self, grace: float) -> None:
        """Wait for the batch under way, at most `grace` seconds; unsettled it is handed out again, which is harmless."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._idle.wait()

    async def _work(self, batch: Batch) -> None:
        try:
            tally = await self._applied(batch)
            await self._inlet.settle(batch)
            self.tally += tally
            log.info(Log.BATCH_APPLIED, **tally)
        finally:
            self._idle.set()

    async def _applied(self, batch: Batch) -> Tally:
        """Apply the batch, however long the database stays away; never raises for its sake."""
        began, paused = asyncio.get_running_loop().time(), False
        async for attempt in stamina.retry_context(DatabaseAway, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0):
            with attempt:
                try:
                    tally = await self._once(batch)
                except DatabaseAway as away:
                    self._hold_up(away, len(batch))
                    if not paused and asyncio.get_running_loop().time() - began > self._patience:
                        await self._inlet.pause()
                        paused = True
                    raise
        if self.held_up is not None:
            self.held_up = None
            log.info(Log.DATABASE_BACK)
        if paused:
            await self._inlet.resume()
        return tally

    async def _once(self, batch: Batch) -> Tally:
        for one in batch.held:
            await hold(self._database, one.version, one.kind, one.message)
        tally = await self._pipeline.together(batch.fresh)
        tally += await self._pipeline.one_by_one(batch.suspects)
        for delivery, reason, detail in batch.dead:
            tally += await self._pipeline.bury([delivery], reason, detail)
        return tally

    def _hold_up(self, away: DatabaseAway, size: int) -> None:
        reason = str(away)
        if self.held_up != reason:
            log.error(Log.DATABASE_AWAY, error=reason, held=size, since=now_utc().isoformat(timespec="seconds"))
        self.held_up = reason
