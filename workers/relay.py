"""The outbox to whoever listens: RabbitMQ's exchange `muster.events`, or embedded a file of JSON lines.

    claim: of each subject the oldest ▶ publish together ▶ the broker confirms ▶ the rows are gone ▶ their subjects' next
                                              └ unknown: the rows are free again, and the same events are told again

So events are in order per subject, whatever number of relays there is, and told at least once; their ids tell a repeated one.
Nobody listening is no error: the broker confirms and drops.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol

import aio_pika
import stamina
import structlog
from aio_pika.abc import AbstractConnection, AbstractExchange
from aiormq.exceptions import DeliveryError

from schemas import topology
from schemas.broker_faults import BROKER_FAULTS, RECONNECT_PAUSE, heartbeats_missed
from schemas.delivery import now_utc
from schemas.events import CONTENT_TYPE
from schemas.logs import Log
from workers.consumer import declare
from workers.database import Database, DatabaseAway
from workers.journal import LIMIT, NAME, Journal
from workers.outbox import Waiting, claim, settle

log = structlog.get_logger()

#: Events that are under way at once, and seconds until a confirm is not waited for any more: less than the lease.
GROUP, DEADLINE = 200, 10.0
#: Seconds between looks at an outbox in which nothing is due.
IDLE = 0.25


class Outlet(Protocol):
    """Where events go."""

    async def tell(self, events: Sequence[Waiting]) -> Sequence[Waiting]:
        """Those that are there for certain."""


class Relay:
    """Tells what is in the outbox: to the broker, or without one to the file in `data_dir`."""

    def __init__(
        self, database: Database, broker_url: str | None, data_dir: Path, now: Callable[[], datetime] = now_utc, limit: int = LIMIT
    ) -> None:
        self._database, self._now = database, now
        self._outlet: Callable[[], AbstractAsyncContextManager[Outlet]] = (
            partial(_on_disk, Journal(data_dir / NAME, limit)) if broker_url is None else partial(_at_broker, broker_url)
        )
        #: Why nothing is told; None while it is.
        self.away: str | None = "not connected yet"

    async def run(self) -> None:
        """Tell what there is, for ever; cancel to stop. Raises TopologyDiffers."""
        faults = (*BROKER_FAULTS, DatabaseAway)
        while True:
            async for attempt in stamina.retry_context(faults, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0):
                with attempt:
                    await self._connected()
            await asyncio.sleep(RECONNECT_PAUSE)

    async def _connected(self) -> None:
        served = False
        try:
            async with self._outlet() as outlet:
                while True:
                    self._back()
                    if not await self._tell(outlet):
                        await asyncio.sleep(IDLE)
                    served = True
        except (*BROKER_FAULTS, DatabaseAway) as fault:
            self._gone(str(fault) if isinstance(fault, DatabaseAway) else type(fault).__name__)
            if not served:
                raise  # the next attempt waits longer; after a connection that served, hardly at all

    async def _tell(self, outlet: Outlet) -> int:
        """Tell one group, and see to it that the rest of it is free again, also when this ends in the midst of it."""
        claimed = await claim(self._database, self._now(), GROUP)
        if not claimed:
            return 0
        told: Sequence[Waiting] = ()
        try:
            told = await outlet.tell(claimed)
        finally:
            there = {one.row for one in told}
            await settle(self._database, told, [one for one in claimed if one.row not in there], self._now())
        if len(told) < len(claimed):
            raise ConnectionError("the broker did not confirm")
        return len(told)

    def _back(self) -> None:
        if self.away is not None:
            self.away = None
            log.info(Log.RELAYING)

    def _gone(self, reason: str) -> None:
        if self.away != reason:
            log.warning(Log.RELAY_AWAY, reason=reason)
        self.away = reason


class _Broker:
    """An open connection to RabbitMQ."""

    def __init__(self, connection: AbstractConnection, exchange: AbstractExchange) -> None:
        self._connection, self._exchange = connection, exchange

    async def tell(self, events: Sequence[Waiting]) -> Sequence[Waiting]:
        """Publish together, and wait for each confirm."""
        confirmed = await asyncio.gather(*map(self._confirmed, events))
        return [one for one, there in zip(events, confirmed, strict=True) if there]

    async def _confirmed(self, one: Waiting) -> bool:
        message = aio_pika.Message(
            json.dumps(one.told, ensure_ascii=False, separators=(",", ":")).encode(),
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=str(one.id),
            type=one.type.value,
            app_id="muster",
        )
        try:
            with heartbeats_missed():
                async with asyncio.timeout(DEADLINE):
                    assert self._connection.transport is not None
                    # A blocked connection would still put the frame on the wire later: wait for it to be unblocked before writing.
                    await self._connection.transport.connection.ready()
                    await self._exchange.publish(message, one.type.routing_key, mandatory=False)
        except DeliveryError:
            # A queue that is full and rejects. The others have it; telling it again would hold them up, and double it for them.
            log.warning(Log.EVENT_REFUSED, event_id=str(one.id), type=one.type)
        except BROKER_FAULTS:
            return False
        return True


@asynccontextmanager
async def _at_broker(url: str) -> AsyncIterator[Outlet]:
    connection = None
    try:
        with heartbeats_missed():
            async with asyncio.timeout(10):
                connection = await aio_pika.connect(url, timeout=10)
                await declare(connection)
                channel = await connection.channel(publisher_confirms=True)
                exchange = await channel.get_exchange(topology.EVENTS, ensure=False)
        yield _Broker(connection, exchange)
    finally:
        if connection is not None:
            with suppress(*BROKER_FAULTS), heartbeats_missed():
                async with asyncio.timeout(5):
                    await connection.close()


class _File:
    """The file of JSON lines."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def tell(self, events: Sequence[Waiting]) -> Sequence[Waiting]:
        """Write all of them."""
        await asyncio.to_thread(self._journal.write, [one.told for one in events])
        return events


@asynccontextmanager
async def _on_disk(journal: Journal) -> AsyncIterator[Outlet]:
    yield _File(journal)
