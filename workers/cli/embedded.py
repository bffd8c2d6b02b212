"""The receiver's spool as the workers' inlet: embedded, the spool is the queue."""

import asyncio
from collections.abc import Sequence

from pydantic import ValidationError

from receiver.spool import Row, Spool
from schemas.delivery import decode
from schemas.states import Reason
from workers.consumer import wrapped
from workers.lane import Batch


class SpoolInlet:
    """Batches straight from the spool; a row is forgotten only after its batch was committed, with the next take."""

    def __init__(self, spool: Spool, batch: int) -> None:
        self._spool, self._batch = spool, batch
        self._settled: Sequence[int] = ()

    async def run(self) -> None:
        """Nothing to keep alive; when it ends, forget what was settled last."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._spool.forget(self._settled)

    async def take(self) -> Batch:
        """Wait for rows; what a process took and did not live to settle comes as suspects."""
        while True:
            settled, self._settled = self._settled, ()
            rows = await self._spool.take(self._batch, settled)
            if rows:
                return _batch(rows)
            await self._spool.grown(1.0)

    async def settle(self, batch: Batch) -> None:
        """Remember to forget its rows."""
        assert isinstance(batch.ticket, list)
        self._settled = batch.ticket

    async def pause(self) -> None:
        """Nothing to do: the spool hands out only when asked."""

    async def resume(self) -> None:
        """Nothing to do."""


def _batch(rows: Sequence[Row]) -> Batch:
    deliveries, dead = [], []
    for row in rows:
        try:
            deliveries.append(decode(row.spooled.delivery))
        except ValidationError:
            dead.append((wrapped(row.spooled.delivery), Reason.UNREADABLE_ENVELOPE, "a row of the spool"))
    ticket = [row.seq for row in rows]
    if rows[0].suspect:
        return Batch(suspects=deliveries, dead=dead, ticket=ticket)
    return Batch(fresh=deliveries, dead=dead, ticket=ticket)
