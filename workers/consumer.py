"""RabbitMQ as an inlet: the only place that acknowledges; what is in a message, `workers/envelopes.py` knows.

aio-pika cancels callbacks when a channel goes, so they only hand messages over to a queue of ours. A plain connection and
a supervisor instead of RobustConnection: connect with a deadline, declare, consume, wait for the end, wait, again.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime

import aio_pika
import stamina
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelPreconditionFailed

from schemas import topology
from schemas.broker_faults import BROKER_FAULTS, RECONNECT_PAUSE, as_broker_faults, told
from schemas.logs import Log
from schemas.settings import WorkerSettings
from schemas.states import Reason
from schemas.traces import HEADER, well_formed
from workers import envelopes
from workers.hearing import ANSWER, CALL, Ear, Handed, closed, deaf
from workers.lane import Batch, Turns
from workers.log import storable_time
from workers.pipeline import ids

log = structlog.get_logger()

#: What a worker consumes.
_CONSUMED = (topology.DELIVERIES, topology.DEAD, topology.REPLAYS)
#: Seconds from one look at whether this worker still hears to the next, and to the second where it did not.
WATCH, _SECOND_LOOK = 15.0, 1.0


class TopologyDiffers(Exception):
    """A queue or exchange of muster's exists with other arguments."""


class Deaf(ConnectionError):
    """The connection is up, and nothing of a queue reaches this worker."""


class Consumer:
    """An inlet over one connection, which it restores by itself."""

    def __init__(self, url: str, settings: WorkerSettings, watch: float = WATCH) -> None:
        self._url, self._settings, self._watch = url, settings, watch
        self._live: asyncio.Queue[Handed] = asyncio.Queue()
        self._replays: asyncio.Queue[Handed] = asyncio.Queue()
        self._turns = Turns()
        #: The consumers over the connection that stands, and whether to believe in those of a new one only once they hear.
        self._ears: list[Ear] = []
        self._doubted = False
        self._open = asyncio.Event()
        self._open.set()
        self._lost = asyncio.Event()
        #: Why nothing is consumed; None while it is.
        self.away: str | None = "not connected yet"

    @property
    def oldest(self) -> datetime | None:
        """When the first of the live deliveries arrived that were handed out and are not settled; None where there is none."""
        live = (one.since for ear in self._ears if ear.queue != topology.REPLAYS for one in ear.unsettled)
        return min(filter(None, live), default=None)

    async def run(self) -> None:
        """Keep consuming, for ever; cancel to stop. Raises TopologyDiffers."""
        while True:
            async for attempt in stamina.retry_context(BROKER_FAULTS, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0):
                with attempt:
                    await self._open.wait()
                    await self._connected()
            await asyncio.sleep(RECONNECT_PAUSE)

    async def take(self) -> Batch:
        """Gather what is there, and if nothing was what arrives within `linger`, up to `batch` deliveries."""
        linger = 0.0  # what has come while another batch was worked off has gathered already
        if self._live.empty():
            self._turns.idle()
            linger = self._settings.linger
        gathered = [await self._live.get()]
        self._turns.took_live()
        with suppress(TimeoutError):
            async with asyncio.timeout(linger):
                while sum(len(one.batch) for one in gathered) < self._settings.batch:
                    gathered.append(await self._live.get())
        return _together(gathered)

    async def take_replays(self) -> Batch:
        """One message of them, when it is their turn."""
        while self._replays.empty() or not self._turns.of_replays:
            await self._turns.move()
        self._turns.took_replays()
        return _together([self._replays.get_nowait()], replays=True)

    async def settle(self, batch: Batch) -> None:
        """Acknowledge; on a channel that is gone the broker hands the message out again, and its ids tell."""
        assert isinstance(batch.ticket, list)
        for one in batch.ticket:
            one.ear.unsettled.discard(one)
            try:
                with as_broker_faults():
                    await one.message.ack()
            except BROKER_FAULTS as fault:
                log.warning(Log.ACK_LOST, error=type(fault).__name__, deliveries=ids(batch.deliveries))
                return

    async def pause(self) -> None:
        """Leave the broker: what is handed out and not yet taken goes back to the queue."""
        self._open.clear()
        self._lost.set()

    async def resume(self) -> None:
        """Consume again."""
        self._open.set()

    async def _connected(self) -> None:
        connection = None
        try:
            with as_broker_faults():
                async with asyncio.timeout(ANSWER):
                    connection = await aio_pika.connect(self._url, timeout=10)
                    await declare(connection)
                    self._lost.clear()
                    await self._consume(await connection.channel())
            if self._doubted:
                await self._listen(connection)
            self.away = None
            log.info(Log.BROKER_UP)
            await self._lost_or_deaf(connection)
            self._gone("paused" if not self._open.is_set() else "the connection or the consumer was lost")
        except BROKER_FAULTS as fault:
            self._gone(str(fault) if isinstance(fault, Deaf) else told(fault))
            raise
        finally:
            for source in (self._live, self._replays):
                while not source.empty():
                    source.get_nowait()  # the broker takes these back with the channel
            self._ears = []
            await closed(connection)

    async def _consume(self, channel: AbstractChannel) -> None:
        channel.close_callbacks.add(lambda *_: self._lost.set())
        underlay = await channel.get_underlay_channel()
        # The broker cancels a consumer whose queue is deleted or loses its leader, and keeps the channel open.
        underlay.on_consumer_cancel_callbacks.add(lambda *_: self._lost.set())
        for name in _CONSUMED:
            # For each consumer by itself: it holds for those that come after.
            await channel.set_qos(prefetch_count=self._settings.replay_prefetch if name == topology.REPLAYS else self._settings.prefetch)
            queue = await channel.get_queue(name, ensure=False)
            self._ears.append(ear := Ear(name))
            await queue.consume(self._hand_over(ear))

    def _hand_over(self, ear: Ear) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
        into = self._replays if ear.queue == topology.REPLAYS else self._live

        async def hand_over(message: AbstractIncomingMessage) -> None:
            ear.heard.set()
            if message.type == CALL:
                await message.ack()
                return
            batch = _opened(message, dead_lettered=ear.queue == topology.DEAD)
            handed = Handed(message, ear, batch, min((storable_time(one.received_at) for one in batch.deliveries), default=None))
            ear.unsettled.add(handed)
            into.put_nowait(handed)
            self._turns.came()

        return hand_over

    async def _lost_or_deaf(self, connection: AbstractConnection) -> None:
        """Wait for the connection's end; raises Deaf where it stands and is of no use."""
        while not self._lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watch):
                    await self._lost.wait()
            if not self._lost.is_set():
                await self._listen(connection)

    async def _listen(self, connection: AbstractConnection) -> None:
        """Listen twice whether anything of each queue arrives: busy electing a leader, the broker may forget a consumer for a moment."""
        if await deaf(self._url, connection, self._ears):
            await asyncio.sleep(_SECOND_LOOK)
            unheard = await deaf(self._url, connection, self._ears)
            self._doubted = bool(unheard)
            if unheard:
                raise Deaf(f"nothing of {' and '.join(unheard)} reaches this worker")
        self._doubted = False

    def _gone(self, reason: str) -> None:
        if self.away != reason:
            log.warning(Log.BROKER_AWAY, reason=reason)
        self.away = reason


async def declare(connection: AbstractConnection) -> None:
    """Declare the topology, each row on a channel of its own, which a refusal closes; raises TopologyDiffers."""
    for row in (*topology.EXCHANGES, *topology.QUEUES):
        channel = await connection.channel()
        try:
            if isinstance(row, topology.Exchange):
                await channel.declare_exchange(row.name, row.type, durable=True)
            else:
                queue = await channel.declare_queue(row.name, durable=True, arguments=dict(row.arguments))
                await queue.bind(row.exchange, row.routing_key)
        except ChannelPreconditionFailed:
            raise TopologyDiffers(
                f"{row.name} exists on the broker with other arguments. Let its messages be worked off, delete it "
                f"(`rabbitmqctl delete_queue {row.name}` for a queue), and run `muster init`"
            ) from None
        await channel.close()


async def declare_at(url: str) -> None:
    """Declare the topology over a connection of its own; raises TopologyDiffers, or one of BROKER_FAULTS."""
    connection = await aio_pika.connect(url, timeout=10)
    try:
        await declare(connection)
    finally:
        await connection.close()


def _together(gathered: Sequence[Handed], *, replays: bool = False) -> Batch:
    opened = [one.batch for one in gathered]
    return Batch(
        fresh=[*itertools.chain.from_iterable(one.fresh for one in opened)],
        suspects=[*itertools.chain.from_iterable(one.suspects for one in opened)],
        dead=[*itertools.chain.from_iterable(one.dead for one in opened)],
        held=[*itertools.chain.from_iterable(one.held for one in opened)],
        heartbeats=[*itertools.chain.from_iterable(one.heartbeats for one in opened)],
        replays=replays,
        ticket=gathered,
    )


def _opened(message: AbstractIncomingMessage, *, dead_lettered: bool) -> Batch:
    batch = envelopes.opened(message.body, suspect=bool(message.redelivered), trace=well_formed(message.headers.get(HEADER)))
    if not dead_lettered:
        return batch
    return Batch(dead=[(one, Reason.DEAD_LETTERED, None) for one in (*batch.fresh, *batch.suspects)] + list(batch.dead), held=batch.held)
