"""The receiver's spool as the workers' inlet: embedded, the spool is the queue, and beside it that of the replays is theirs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from pydantic import ValidationError

from receiver.spool import REPLAYS, Row, Spool
from schemas.delivery import decode
from schemas.settings import Settings
from schemas.states import Reason
from workers.envelopes import wrapped
from workers.lane import Batch, Turns

#: Replays in a batch: a live delivery that comes meanwhile waits for so many, as the database has one writer.
REPLAYS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class _Ticket:
    """Rows, and where they are."""

    spool: Spool
    seqs: Sequence[int]


class SpoolInlet:
    """Batches straight from the spools; a row is forgotten only after its batch was committed, with the next take from there."""

    def __init__(self, live: Spool, replays: Spool, batch: int) -> None:
        self._live, self._replays, self._batch = live, replays, batch
        self._turns = Turns()
        self._settled: dict[Spool, Sequence[int]] = {live: (), replays: ()}

    async def run(self) -> None:
        """Nothing to keep alive; when it ends, forget what was settled last."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for spool, settled in self._settled.items():
                await spool.forget(settled)

    async def take(self) -> Batch:
        """Wait for rows; what a process took and did not live to settle comes as suspects."""
        while not (rows := await self._rows(self._live)):
            self._turns.idle()
            await self._live.grown(1.0)
        self._turns.took_live()
        return _batch(rows, self._live)

    async def take_replays(self) -> Batch:
        """The same of replays, when it is their turn. Other processes append them, and nobody hears of it: they are looked for."""
        while not (self._turns.of_replays and (rows := await self._rows(self._replays))):
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._turns.move()
        self._turns.took_replays()
        return _batch(rows, self._replays, replays=True)

    async def settle(self, batch: Batch) -> None:
        """Remember to forget its rows."""
        assert isinstance(batch.ticket, _Ticket)
        self._settled[batch.ticket.spool] = batch.ticket.seqs

    async def pause(self) -> None:
        """Nothing to do: a spool hands out only when asked."""

    async def resume(self) -> None:
        """Nothing to do."""

    async def _rows(self, spool: Spool) -> Sequence[Row]:
        rows = await spool.take(self._batch if spool is self._live else REPLAYS_AT_ONCE, self._settled[spool])
        self._settled[spool] = ()
        return rows


@asynccontextmanager
async def spool_inlet(live: Spool, settings: Settings) -> AsyncIterator[SpoolInlet]:
    """An inlet from a receiver's spool, and from that of the replays, opened beside it; raises SpoolInUse."""
    replays = Spool.open(settings.data_dir, settings.worker.replays_max, owner=True, file=REPLAYS)
    try:
        yield SpoolInlet(live, replays, settings.worker.batch)
    finally:
        await replays.close()


def _batch(rows: Sequence[Row], spool: Spool, *, replays: bool = False) -> Batch:
    deliveries, dead = [], []
    for row in rows:
        try:
            deliveries.append(decode(row.spooled.delivery))
        except ValidationError:
            dead.append((wrapped(row.spooled.delivery), Reason.UNREADABLE_ENVELOPE, "a row of the spool"))
    ticket = _Ticket(spool, [row.seq for row in rows])
    if rows[0].suspect:
        return Batch(suspects=deliveries, dead=dead, replays=replays, ticket=ticket)
    return Batch(fresh=deliveries, dead=dead, replays=replays, ticket=ticket)
