"""RabbitMQ as an inlet: the only place that acknowledges, and the only one in the workers that knows envelopes.

aio-pika cancels callbacks when a channel goes, so they only hand messages over to a queue of ours. A plain connection and
a supervisor instead of RobustConnection: connect with a deadline, declare, consume, wait for the end, wait, again.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import aio_pika
import stamina
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelPreconditionFailed

from schemas import topology
from schemas.broker_faults import BROKER_FAULTS, RECONNECT_PAUSE, heartbeats_missed
from schemas.delivery import Delivery, UnknownEnvelope, UnreadableEnvelope, fingerprint, now_utc, unseal
from schemas.logs import Log
from schemas.settings import WorkerSettings
from schemas.states import Reason
from workers.lane import Batch, Held
from workers.log import HeldEnvelope

log = structlog.get_logger()

#: The source and account under which a message is logged that is no envelope of muster's.
UNREADABLE = "(unreadable)"


class TopologyDiffers(Exception):
    """A queue or exchange of muster's exists with other arguments."""


@dataclass(frozen=True, slots=True)
class _Handed:
    """One AMQP message as it came, and from which queue."""

    message: AbstractIncomingMessage
    dead_lettered: bool


class Consumer:
    """An inlet over one connection, which it restores by itself."""

    def __init__(self, url: str, settings: WorkerSettings) -> None:
        self._url, self._settings = url, settings
        self._arrived: asyncio.Queue[_Handed] = asyncio.Queue()
        self._open = asyncio.Event()
        self._open.set()
        self._lost = asyncio.Event()
        #: Why nothing is consumed; None while it is.
        self.away: str | None = "not connected yet"

    async def run(self) -> None:
        """Keep consuming, for ever; cancel to stop. Raises TopologyDiffers."""
        while True:
            async for attempt in stamina.retry_context(BROKER_FAULTS, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0):
                with attempt:
                    await self._open.wait()
                    await self._connected()
            await asyncio.sleep(RECONNECT_PAUSE)

    async def take(self) -> Batch:
        """Gather what is there, and what arrives within `linger`, up to `batch` deliveries."""
        gathered = [await self._arrived.get()]
        opened = [_opened(gathered[0])]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.linger):
                while sum(map(len, opened)) < self._settings.batch:
                    gathered.append(await self._arrived.get())
                    opened.append(_opened(gathered[-1]))
        return Batch(
            fresh=[*itertools.chain.from_iterable(one.fresh for one in opened)],
            suspects=[*itertools.chain.from_iterable(one.suspects for one in opened)],
            dead=[*itertools.chain.from_iterable(one.dead for one in opened)],
            held=[*itertools.chain.from_iterable(one.held for one in opened)],
            ticket=[one.message for one in gathered],
        )

    async def settle(self, batch: Batch) -> None:
        """Acknowledge; on a channel that is gone the broker hands the message out again, and its ids tell."""
        assert isinstance(batch.ticket, list)
        for message in batch.ticket:
            try:
                with heartbeats_missed():
                    await message.ack()
            except BROKER_FAULTS as fault:
                log.warning(Log.ACK_LOST, error=type(fault).__name__)
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
            with heartbeats_missed():
                async with asyncio.timeout(10):
                    connection = await aio_pika.connect(self._url, timeout=10)
                    await declare(connection)
                    self._lost.clear()
                    channel = await connection.channel()
                    await channel.set_qos(prefetch_count=self._settings.prefetch)
                    await self._consume(channel)
                self.away = None
                log.info(Log.BROKER_UP)
                await self._lost.wait()
            self._gone("paused" if not self._open.is_set() else "the connection or the consumer was lost")
        except BROKER_FAULTS as fault:
            self._gone(type(fault).__name__)
            raise
        finally:
            while not self._arrived.empty():
                self._arrived.get_nowait()  # the broker takes these back with the channel
            if connection is not None:
                with suppress(*BROKER_FAULTS), heartbeats_missed():
                    async with asyncio.timeout(5):
                        await connection.close()

    async def _consume(self, channel: AbstractChannel) -> None:
        channel.close_callbacks.add(lambda *_: self._lost.set())
        underlay = await channel.get_underlay_channel()
        # The broker cancels a consumer whose queue is deleted or loses its leader, and keeps the channel open.
        underlay.on_consumer_cancel_callbacks.add(lambda *_: self._lost.set())
        for name in (topology.DELIVERIES, topology.DEAD):
            queue = await channel.get_queue(name, ensure=False)
            await queue.consume(self._hand_over(dead_lettered=name == topology.DEAD))

    def _hand_over(self, *, dead_lettered: bool) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
        async def hand_over(message: AbstractIncomingMessage) -> None:
            self._arrived.put_nowait(_Handed(message, dead_lettered))

        return hand_over

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


async def readmitted() -> list[tuple[int, Batch]]:
    """Envelopes that an older version held and this one can open, each with its row's id."""
    opened = [(held.id, _opened_message(bytes(held.message), suspect=False)) for held in await HeldEnvelope.all().order_by("id")]
    return [(row, batch) for row, batch in opened if not batch.held]


def _opened(handed: _Handed) -> Batch:
    message = handed.message
    batch = _opened_message(message.body, suspect=bool(message.redelivered))
    if not handed.dead_lettered:
        return batch
    return Batch(dead=[(one, Reason.DEAD_LETTERED, None) for one in (*batch.fresh, *batch.suspects)] + list(batch.dead), held=batch.held)


def _opened_message(message: bytes, *, suspect: bool) -> Batch:
    try:
        deliveries = unseal(message)
    except UnknownEnvelope as error:
        log.error(Log.ENVELOPE_HELD, version=error.version, kind=error.kind)
        return Batch(held=[Held(error.version, error.kind, message)])
    except UnreadableEnvelope as error:
        log.error(Log.ENVELOPE_UNREADABLE)
        return Batch(dead=[(wrapped(message), Reason.UNREADABLE_ENVELOPE, str(error))])
    return Batch(suspects=deliveries) if suspect else Batch(fresh=deliveries)


def wrapped(message: bytes) -> Delivery:
    """What cannot be read as a delivery, so that the log keeps it verbatim; the same bytes have the same id, older than any other."""
    return Delivery(
        id=UUID(f"{fingerprint(None, message)[:24]:0>32}"),
        source=UNREADABLE,
        account=UNREADABLE,
        vendor=UNREADABLE,
        event=None,
        received_at=now_utc(),
        headers={},
        body=message,
        fingerprint=fingerprint(None, message),
    )
