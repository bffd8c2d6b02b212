"""Where replays are handed out: the lane that workers take from when no live delivery waits."""

import asyncio
import itertools
import secrets
from collections.abc import Collection, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange
from aiormq.exceptions import ChannelNotFoundEntity, PublishError

from schemas import topology
from schemas.broker_faults import BROKER_FAULTS, as_broker_faults
from schemas.delivery import ENVELOPE_OVERHEAD, KIND, VERSION, Delivery, encode, seal
from workers.hearing import closed

#: Bytes of a message; a delivery that is larger goes alone.
MESSAGE = 1024 * 1024 - ENVELOPE_OVERHEAD
_CONNECT, _CONFIRM = 10.0, 30.0


class LaneAway(Exception):
    """Nothing can be handed out now, and later perhaps; the message says why."""


class Outlet(Protocol):
    """Takes what is to be worked off."""

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        """Return once all of them are durable; raises LaneAway, and then some of them may be, too."""

    async def held(self) -> Collection[UUID]:
        """What was put and is not worked off, as far as can be told."""

    async def unattended(self) -> str | None:
        """Why nobody works off what is put, as far as can be told; None if somebody does. Raises LaneAway."""


class BrokerOutlet:
    """The exchange of the replays, over a connection that is made when it is needed; a context, to be closed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None
        self._ids = map(f"{secrets.token_hex(8)}-{{}}".format, itertools.count())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._close()

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        """Publish, and wait for the broker's confirms."""
        try:
            with as_broker_faults():
                exchange = self._exchange or await self._connected()
                async with asyncio.timeout(_CONFIRM):
                    await asyncio.gather(*(self._publish(exchange, group) for group in _messages(deliveries)))
        except BROKER_FAULTS as fault:
            await self._close()
            raise LaneAway(_explained(fault)) from fault

    async def held(self) -> Collection[UUID]:
        """Nobody can look into a queue and leave it as it is."""
        return ()

    async def unattended(self) -> str | None:
        """As the broker sees it: whether anybody consumes."""
        try:
            with as_broker_faults():
                await self._connected()
                assert self._connection is not None
                async with asyncio.timeout(_CONNECT):
                    channel = await self._connection.channel()
                    queue = await channel.declare_queue(topology.REPLAYS, passive=True)
                    await channel.close()
        except BROKER_FAULTS as fault:
            await self._close()
            raise LaneAway(_explained(fault)) from fault
        return None if queue.declaration_result.consumer_count else "no worker takes from the broker: start `muster work`"

    async def _connected(self) -> AbstractExchange:
        if self._connection is None or self._exchange is None:
            async with asyncio.timeout(_CONNECT):
                self._connection = await aio_pika.connect(self._url, timeout=_CONNECT)
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._exchange = await channel.declare_exchange(topology.REPLAYS, passive=True)
        return self._exchange

    async def _publish(self, exchange: AbstractExchange, group: Sequence[bytes]) -> None:
        message = aio_pika.Message(
            seal(group),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=next(self._ids),
            type=KIND,
            headers={"version": VERSION},
        )
        await exchange.publish(message, "", mandatory=True)

    async def _close(self) -> None:
        connection, self._connection, self._exchange = self._connection, None, None
        await closed(connection)


def _messages(deliveries: Sequence[Delivery]) -> Iterator[list[bytes]]:
    """Encoded, as many together as fit into a message."""
    group: list[bytes] = []
    for encoded in map(encode, deliveries):
        if group and sum(map(len, group)) + len(encoded) > MESSAGE:
            yield group
            group = []
        group.append(encoded)
    if group:
        yield group


def _explained(fault: BaseException) -> str:
    if isinstance(fault, (ChannelNotFoundEntity, PublishError)):
        return "the broker has no place for replays: run `muster init`"
    return f"the broker is away ({type(fault).__name__})"
