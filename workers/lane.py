"""The worker's loop: take a batch, apply it, settle it, for ever; hold it while the database is away.

Where batches come from is an Inlet: RabbitMQ (`workers/consumer.py`) or, embedded, the receiver's spool (`workers/cli/embedded.py`).
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import stamina
import structlog

from schemas.delivery import Delivery, now_utc
from schemas.heartbeat import Heartbeat
from schemas.logs import Log
from schemas.states import Reason
from workers.database import Database, DatabaseAway
from workers.log import hold
from workers.pipeline import Pipeline, Tally, ids
from workers.receivers import note

log = structlog.get_logger()

#: Seconds that the database may be away before the inlet is told to stop handing out.
PATIENCE = 5.0
#: Live batches of a backlog before replays have a turn all the same.
_PRECEDENCE = 8


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
    #: Receivers' signs of life, which are no deliveries and do not count.
    heartbeats: Sequence[Heartbeat] = ()
    #: Whether it comes from the lane of the replays; none mixes the two.
    replays: bool = False
    ticket: object = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.fresh) + len(self.suspects) + len(self.dead) + len(self.held)

    @property
    def deliveries(self) -> Iterable[Delivery]:
        """All that it holds, but for what cannot be opened."""
        return itertools.chain(self.fresh, self.suspects, (delivery for delivery, *_ in self.dead))


class Turns:
    """Whose turn it is: that of replays while no live delivery waits or is worked off, and in a backlog of those after eight batches."""

    def __init__(self) -> None:
        self._idle, self._in_a_row, self._moved = True, 0, asyncio.Event()

    @property
    def of_replays(self) -> bool:
        """Whether replays may be taken."""
        return self._idle or self._in_a_row >= _PRECEDENCE

    def idle(self) -> None:
        """No live delivery waits, and none is worked off."""
        self._idle, self._in_a_row = True, 0
        self._moved.set()

    def took_live(self) -> None:
        """A batch of live deliveries is to be worked off."""
        self._idle, self._in_a_row = False, self._in_a_row + 1
        self._moved.set()

    def took_replays(self) -> None:
        """So is one of replays."""
        self._in_a_row = 0

    def came(self) -> None:
        """There is something new to be taken."""
        self._moved.set()

    async def move(self) -> None:
        """Wait until any of this happens."""
        self._moved.clear()
        await self._moved.wait()


class Inlet(Protocol):
    """Where batches come from: live deliveries and replays, each to be taken and settled by itself."""

    async def run(self) -> None:
        """Do what it takes to have batches, for ever; cancelled when the last one is settled."""

    async def take(self) -> Batch:
        """Wait for the next batch of live deliveries."""

    async def take_replays(self) -> Batch:
        """Wait for the next of replays, and for their turn."""

    async def settle(self, batch: Batch) -> None:
        """The batch is committed: it need not be handed out again. Failing to say so is harmless."""

    async def pause(self) -> None:
        """Hand out nothing for now; what is handed out already stays with the lane."""

    async def resume(self) -> None:
        """Hand out again."""


def nobody(_deliveries: int, _seconds: float) -> None:
    """Is told of a batch, and does nothing."""


class Lane:
    """From an inlet through the pipeline: live deliveries a batch at a time, and beside them replays a batch at a time.

    So a live delivery waits for none of the replays, whose turn it was before it came; where the database has one writer, for one batch.
    `told` hears how large each batch was, and how long it took.
    """

    def __init__(
        self,
        inlet: Inlet,
        pipeline: Pipeline,
        database: Database,
        patience: float = PATIENCE,
        told: Callable[[int, float], None] = nobody,
    ) -> None:
        self._inlet, self._pipeline, self._database, self._patience, self._told = inlet, pipeline, database, patience, told
        #: The live deliveries that are under way.
        self.live = Batch()
        self._under_way = set[asyncio.Task[None]]()
        #: Why the database cannot be used; None while it can.
        self.held_up: str | None = None
        self.tally = Tally()

    async def run(self) -> None:
        """Work until cancelled; what is under way is finished by `finish`."""
        both = [asyncio.create_task(self._work_off(take)) for take in (self._inlet.take, self._inlet.take_replays)]
        try:
            await asyncio.gather(*both)
        finally:
            for one in both:
                one.cancel()

    async def finish(self, grace: float) -> None:
        """Wait for what is under way, at most `grace` seconds; unsettled it is handed out again, which is harmless."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace)

    async def _work_off(self, take: Callable[[], Awaitable[Batch]]) -> None:
        while True:
            work = asyncio.create_task(self._work(await take()))
            self._under_way.add(work)
            work.add_done_callback(self._under_way.discard)
            await asyncio.shield(work)

    async def _work(self, batch: Batch) -> None:
        began = asyncio.get_running_loop().time()
        if not batch.replays:
            self.live = batch
        try:
            tally = await self._applied(batch)
            await self._inlet.settle(batch)
            self.tally += tally
            seconds = asyncio.get_running_loop().time() - began
            if batch:
                self._told(len(batch), seconds)
                log.info(Log.BATCH_APPLIED, **tally, seconds=round(seconds, 3), deliveries=ids(batch.deliveries))
        finally:
            if not batch.replays:
                self.live = Batch()

    async def _applied(self, batch: Batch) -> Tally:
        """Apply the batch, however long the database stays away; never raises for its sake."""
        began, paused = asyncio.get_running_loop().time(), False
        async for attempt in stamina.retry_context(DatabaseAway, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0):
            with attempt:
                try:
                    tally = await self._once(batch)
                except DatabaseAway as away:
                    self._hold_up(away, batch)
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
        if batch.heartbeats:
            await note(self._database, batch.heartbeats, now_utc())
        for one in batch.held:
            await hold(self._database, one.version, one.kind, one.message)
        tally = await self._pipeline.together(batch.fresh)
        tally += await self._pipeline.one_by_one(batch.suspects)
        for delivery, reason, detail in batch.dead:
            tally += await self._pipeline.bury([delivery], reason, detail)
        return tally

    def _hold_up(self, away: DatabaseAway, batch: Batch) -> None:
        reason = str(away)
        if self.held_up != reason:
            log.error(Log.DATABASE_AWAY, error=reason, held=len(batch), deliveries=ids(batch.deliveries))
        self.held_up = reason
