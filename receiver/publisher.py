"""Deliveries to the broker, confirmed, or to the spool while the broker cannot take them.

Requests that wait share an AMQP message while an earlier one of their source awaits its confirm (group commit); a lone
request goes at once. One failed confirm sends everybody to the spool at once; draining the spool is the probe that finds
out when the broker can be trusted again. A message that failed is *unknown*: it may arrive too, and the delivery's id tells.
"""

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol

import aio_pika
import stamina
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aiormq.exceptions import ChannelNotFoundEntity, PublishError

from receiver.spool import Row, Spool, Spooled
from schemas import topology
from schemas.broker_faults import BROKER_FAULTS, RECONNECT_PAUSE, as_broker_faults, told
from schemas.delivery import ENVELOPE_OVERHEAD, KIND, VERSION, named, seal, traces
from schemas.heartbeat import Heartbeat
from schemas.logs import Log
from schemas.traces import HEADER, OFF, Attributes, SpanName, Tracer

log = structlog.get_logger()

GROUP_COUNT = 256
GROUP_BYTES = 1024 * 1024 - ENVELOPE_OVERHEAD
#: Messages of one source that may await their confirm at a time; while that many do, requests gather for the next one.
WINDOW = 4
#: What waits is dealt out over the window, but not into less than this: one message of all that wait would have everybody
#: wait for one confirm, answer in one burst and come back in one burst, and the processor rest in between.
GROUP_LEAST = 16


class TopologyMissing(ConnectionError):
    """The broker has no exchange of muster's: run `muster init`."""


class Keeper(Protocol):
    """Whatever makes a delivery durable."""

    async def keep(self, spooled: Spooled) -> None:
        """Return once the delivery is durable; raises SpoolFull."""


class SpoolKeeper:
    """Embedded: the spool is the queue."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    async def keep(self, spooled: Spooled) -> None:
        """Return once the delivery is on disk."""
        await self._spool.append(spooled)


class Publisher:
    """One connection to the broker, its probe, and the spool behind it."""

    def __init__(self, url: str, spool: Spool, deadline: float, tracer: Tracer = OFF) -> None:
        self._url, self._spool, self._deadline, self._tracer = url, spool, deadline, tracer
        self._lanes: dict[str, _Lane] = {}
        self._exchange: AbstractExchange | None = None
        self._connection: AbstractConnection | None = None
        self._ids = map(f"{secrets.token_hex(8)}-{{}}".format, itertools.count())
        #: Why the broker cannot be used; None while it can.
        self.away: str | None = "not connected yet"

    async def keep(self, spooled: Spooled) -> None:
        """Return once the broker confirmed the delivery, or the spool has it on disk; raises SpoolFull."""
        if self.away is None and await self._lane(spooled).confirmed(spooled.delivery):
            return
        await self._spool.append(spooled)

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """Tell the workers that this receiver lives; False if nobody confirmed it, which says nothing of deliveries."""
        envelope, key = heartbeat.model_dump_json().encode(), topology.heartbeat_key(heartbeat.name)
        try:
            await self._send(envelope, heartbeat.kind, heartbeat.version, key)
        except BROKER_FAULTS:
            return False
        return True

    async def run(self) -> None:
        """Keep the connection and drain the spool, for ever; cancel to stop."""
        while True:
            async for attempt in stamina.retry_context(BROKER_FAULTS, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0):
                with attempt:
                    await self._connected()
            await asyncio.sleep(RECONNECT_PAUSE)

    async def _connected(self) -> None:
        served = False
        try:
            with as_broker_faults():
                async with asyncio.timeout(10):
                    self._connection = await aio_pika.connect(self._url, timeout=10)
                    if not await topology_is_there(self._connection):
                        raise TopologyMissing
                    channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                    self._exchange = await channel.get_exchange(topology.DELIVERIES, ensure=False)
            if self._spool.depth == 0:  # otherwise what waits there is the probe: connected is not yet confirmed
                self._trust()
            served = True
            await self._drain_while_open(channel)
        except BROKER_FAULTS as fault:
            self._distrust(fault)
            if not served:
                raise  # the next attempt waits longer; after a connection that served, hardly at all
        finally:
            self._exchange, connection, self._connection = None, self._connection, None
            if connection is not None:
                with suppress(*BROKER_FAULTS), as_broker_faults():
                    async with asyncio.timeout(5):
                        await connection.close()

    async def _drain_while_open(self, channel: AbstractChannel) -> None:
        while True:
            if channel.is_closed:
                raise ConnectionError("the channel was closed")
            rows = await self._spool.oldest(GROUP_COUNT)
            if rows:
                await self._drain(rows)
            elif self.away is not None and self._spool.depth == 0 and await self._nothing_to_probe_with():
                self._trust()
            else:
                await self._spool.grown(0.5)

    async def _drain(self, rows: list[Row]) -> None:
        group = _first_group(rows)
        deliveries = [row.spooled.delivery for row in group]
        try:
            await self._publish(group[0].spooled, deliveries)
        except BROKER_FAULTS as fault:
            self._distrust(fault, deliveries)
            await asyncio.sleep(1.0)
        else:
            await self._spool.forget([row.seq for row in group])
            self._trust()
            if self._spool.depth <= 0:
                log.info(Log.SPOOL_DRAINED)

    async def _nothing_to_probe_with(self) -> bool:
        """Wait a moment for what just failed to reach the spool; without it, trust again and see."""
        await self._spool.grown(1.0)
        return self._spool.depth == 0

    def _lane(self, spooled: Spooled) -> "_Lane":
        lane = self._lanes.get(spooled.source)
        if lane is None:
            lane = self._lanes[spooled.source] = _Lane(lambda group: self._confirm(spooled, group))
        return lane

    async def _confirm(self, like: Spooled, group: list[bytes]) -> bool:
        if self.away is not None:
            return False
        try:
            await self._publish(like, group)
        except BROKER_FAULTS as fault:
            self._distrust(fault, group)
            return False
        return True

    async def _publish(self, like: Spooled, group: list[bytes]) -> None:
        """Publish one envelope and wait for its confirm; raises one of BROKER_FAULTS."""
        about: Attributes = {"muster.source": like.source, "messaging.system": "rabbitmq", "messaging.batch.message_count": len(group)}
        with self._tracer.follow(SpanName.PUBLISH, traces(group) if self._tracer.on else (), about) as span:
            await self._send(seal(group), KIND, VERSION, topology.routing_key(like.vendor, like.source), span.trace)

    async def _send(self, envelope: bytes, kind: str, version: int, key: str, trace: str | None = None) -> None:
        exchange, connection = self._exchange, self._connection
        if exchange is None or connection is None or connection.transport is None:
            raise ConnectionError("not connected")
        message = aio_pika.Message(
            envelope,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            # Unique for every attempt: returns are matched by it (aio-pika), and the deliveries carry ids of their own.
            message_id=next(self._ids),
            type=kind,
            headers={"version": version} | ({HEADER: trace} if trace else {}),
        )
        with as_broker_faults():
            async with asyncio.timeout(self._deadline):
                # A blocked connection would still put the frame on the wire later: wait for it to be unblocked before writing.
                await connection.transport.connection.ready()
                await exchange.publish(message, key, mandatory=True)

    def _trust(self) -> None:
        if self.away is not None:
            self.away = None
            log.info(Log.BROKER_UP, spooled=self._spool.depth)

    def _distrust(self, fault: BaseException, unknown: Sequence[bytes] = ()) -> None:
        """Say why, once, and of which deliveries nobody knows whether it has them."""
        reason = _explained(fault)
        if self.away != reason:
            missing = isinstance(fault, _MISSING)
            log.warning(Log.TOPOLOGY_MISSING if missing else Log.BROKER_AWAY, reason=reason, deliveries=named(unknown))
        self.away = reason


class _Lane:
    """The requests of one source on their way to the broker."""

    def __init__(self, publish: Callable[[list[bytes]], Coroutine[Any, Any, bool]]) -> None:
        self._publish = publish
        self._waiting: deque[tuple[bytes, asyncio.Future[bool]]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def confirmed(self, delivery: bytes) -> bool:
        """Tell whether the broker confirmed the delivery; False means unknown."""
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, outcome))
        if not self._scheduled:
            # Once this turn of the event loop is over: what arrives together goes together, what is alone goes at once.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._send)
        return await outcome

    def _send(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._under_way) < WINDOW:
            task = asyncio.create_task(self._send_group(self._group()))
            self._under_way.add(task)
            task.add_done_callback(self._landed)

    def _group(self) -> list[tuple[bytes, asyncio.Future[bool]]]:
        most = min(GROUP_COUNT, max(GROUP_LEAST, len(self._waiting) // WINDOW))
        group = [self._waiting.popleft()]
        size = len(group[0][0])
        while self._waiting and len(group) < most and size + len(self._waiting[0][0]) <= GROUP_BYTES:
            group.append(self._waiting.popleft())
            size += len(group[-1][0])
        return group

    async def _send_group(self, group: list[tuple[bytes, asyncio.Future[bool]]]) -> None:
        outcome = False
        try:
            outcome = await self._publish([delivery for delivery, _ in group])
        finally:
            for _, future in group:
                if not future.done():
                    future.set_result(outcome)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._send()


#: The exchange is not there, or leads to no queue.
_MISSING = (TopologyMissing, ChannelNotFoundEntity, PublishError)


async def topology_is_there(connection: AbstractConnection) -> bool:
    """Look for the exchange without touching it, on a channel of its own: a refusal closes that. Needs no right but to log in."""
    channel = await connection.channel()
    try:
        await channel.declare_exchange(topology.DELIVERIES, "topic", durable=True, passive=True)
    except ChannelNotFoundEntity:
        return False
    await channel.close()
    return True


def _first_group(rows: list[Row]) -> list[Row]:
    """The rows of the oldest one's source, in their order, as many as fit into a message: sources that take turns must not
    make it one message each.
    """
    group, size = rows[:1], len(rows[0].spooled.delivery)
    for row in rows[1:]:
        if (row.spooled.vendor, row.spooled.source) != (rows[0].spooled.vendor, rows[0].spooled.source):
            continue
        size += len(row.spooled.delivery)
        if size > GROUP_BYTES:
            break
        group.append(row)
    return group


def _explained(fault: BaseException) -> str:
    if isinstance(fault, _MISSING):
        return "its topology is missing: run `muster init`"
    if isinstance(fault, TimeoutError):
        return "it did not confirm in time (blocked by an alarm, or too slow)"
    return told(fault)
