"""Where events go: RabbitMQ's exchange `muster.events`, or embedded a file of JSON lines."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection, AbstractExchange
from aiormq.exceptions import DeliveryError

from schemas import topology
from schemas.broker_faults import as_broker_faults
from schemas.events import CONTENT_TYPE
from schemas.logs import Log
from workers.consumer import declare
from workers.hearing import closed
from workers.journal import Journal
from workers.outbox import Waiting

log = structlog.get_logger()

#: Seconds until an answer of the broker's is not waited for any more: three in a row are less than an event's lease.
DEADLINE = 8.0
#: How often an event is told that is rejected. The broker does so for a queue that is full, and also for one that has just failed.
REFUSALS = 3
#: Why an event waits.
REFUSED, UNCONFIRMED = "a queue at the broker rejects it", "a queue at the broker does not confirm it"

#: Events that are told together, and what becomes of them: None once they are there for certain, or why they wait. What it raises is the
#: outlet's fault and none of theirs.
Part = tuple[Sequence[Waiting], Coroutine[Any, Any, str | None]]


class Outlet(Protocol):
    """Where events go."""

    def tell(self, events: Sequence[Waiting]) -> Iterable[Part]:
        """Begin, in parts of which none waits for another."""


class _Broker:
    """An open connection to RabbitMQ."""

    def __init__(self, connection: AbstractConnection, exchange: AbstractExchange, deadline: float) -> None:
        self._connection, self._exchange, self._deadline = connection, exchange, deadline
        self._refusals = Counter[UUID]()
        #: When the broker last answered anything, and who asks it.
        self._heard, self._asking = 0.0, asyncio.Lock()

    def tell(self, events: Sequence[Waiting]) -> Iterable[Part]:
        """Each for itself."""
        return [([one], self._becomes(one)) for one in events]

    async def _becomes(self, one: Waiting) -> str | None:
        with as_broker_faults():
            async with asyncio.timeout(self._deadline):
                assert self._connection.transport is not None
                # A blocked connection would still put the frame on the wire later: wait for it to be unblocked before writing.
                await self._connection.transport.connection.ready()
            began = _clock()
            try:
                async with asyncio.timeout(self._deadline):
                    await self._exchange.publish(_message(one), one.type.routing_key, mandatory=False)
            except TimeoutError:
                await self._answers(began)
                return UNCONFIRMED
            except DeliveryError:
                return self._refused(one)
        self._heard = _clock()
        self._refusals.pop(one.id, None)
        return None

    def _refused(self, one: Waiting) -> str | None:
        """Tell it again, for it may have been the broker's mistake; but not for ever: the others have it, and it doubles for them."""
        self._heard = _clock()
        self._refusals[one.id] += 1
        if self._refusals[one.id] < REFUSALS:
            return REFUSED
        del self._refusals[one.id]
        log.warning(Log.EVENT_REFUSED, event_id=str(one.id), type=one.type)
        return None

    async def _answers(self, began: float) -> None:
        """Raises TimeoutError unless the broker answers, or has answered anything since: then an event is not the connection's fault."""
        async with self._asking:
            if self._heard < began:
                async with asyncio.timeout(self._deadline):
                    await (await self._connection.channel()).close()
                self._heard = _clock()


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _message(one: Waiting) -> aio_pika.Message:
    return aio_pika.Message(
        one.body,
        content_type=CONTENT_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=str(one.id),
        type=one.type.value,
        app_id="muster",
    )


@asynccontextmanager
async def at_broker(url: str, deadline: float = DEADLINE) -> AsyncIterator[Outlet]:
    """The exchange, over a connection of its own; raises one of BROKER_FAULTS, or TopologyDiffers."""
    connection = None
    try:
        with as_broker_faults():
            async with asyncio.timeout(10):
                connection = await aio_pika.connect(url, timeout=10)
                await declare(connection)
                channel = await connection.channel(publisher_confirms=True)
                exchange = await channel.get_exchange(topology.EVENTS, ensure=False)
        yield _Broker(connection, exchange, deadline)
    finally:
        await closed(connection)


class _File:
    """The file of JSON lines."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def tell(self, events: Sequence[Waiting]) -> Iterable[Part]:
        """All together."""
        return [(events, self._written(events))] if events else []

    async def _written(self, events: Sequence[Waiting]) -> None:
        await asyncio.to_thread(self._journal.write, [one.told for one in events])


@asynccontextmanager
async def on_disk(journal: Journal) -> AsyncIterator[Outlet]:
    """The file."""
    yield _File(journal)
