"""Whether what is on the broker's queues reaches this worker: a connection may stand whose consumers the broker has forgotten.

How many consumers a queue has, other workers' count in. So a consumer that hears nothing is called: with as many small messages as the
queue has consumers, which the broker hands to one after the other. What a call cannot tell, for the broker takes none, is not held
against it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from schemas import topology
from schemas.broker_faults import BROKER_FAULTS, as_broker_faults
from schemas.heartbeat import KIND
from workers.lane import Batch

#: Seconds for each answer of the broker's, and for what was called to be heard.
ANSWER, ECHO = 10, 3.0
#: The type of a call. A worker of an older version takes it for a heartbeat that it cannot read, and drops it.
CALL = "call"
_BODY = b'{"version":1,"kind":"%s"}' % KIND.encode()
#: Messages beyond one for each consumer: somebody may begin to consume meanwhile.
_SPARE = 2
_EXCHANGES = {queue.name: queue.exchange for queue in topology.QUEUES}


@dataclass(slots=True, eq=False)
class Ear:
    """A consumer of ours, of one queue over one connection."""

    queue: str
    #: Whether anything came since it was last asked.
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    #: What was handed out and is not settled; it may be all that the prefetch allows.
    unsettled: "set[Handed]" = field(default_factory=set)

    @property
    def silent(self) -> bool:
        """Whether nothing says that it hears."""
        return not self.heard.is_set() and not self.unsettled


@dataclass(frozen=True, slots=True, eq=False)
class Handed:
    """One AMQP message as it came, by which ear, and opened."""

    message: AbstractIncomingMessage
    ear: Ear
    batch: Batch
    #: When the first of its deliveries arrived at the receiver.
    since: datetime | None


async def deaf(url: str, connection: AbstractConnection, ears: Sequence[Ear]) -> list[str]:
    """The queues of which nothing reaches these ears, as far as that can be told."""
    consumers = await _consumers(connection, [ear.queue for ear in ears])
    unseen = [ear for ear in ears if not consumers[ear.queue]]
    doubtful = [ear for ear in ears if ear.silent and ear not in unseen]
    called = bool(doubtful) and await _called(url, doubtful, consumers)
    if called:
        with suppress(TimeoutError):
            async with asyncio.timeout(ECHO):
                await asyncio.gather(*(ear.heard.wait() for ear in doubtful))
    unheard = [ear for ear in doubtful if called and ear.silent]
    for ear in ears:
        ear.heard.clear()
    return [ear.queue for ear in ears if ear in unseen or ear in unheard]


async def _consumers(connection: AbstractConnection, queues: Sequence[str]) -> dict[str, int]:
    """How many consumers the broker sees of each queue, ours or another worker's."""
    with as_broker_faults():
        async with asyncio.timeout(ANSWER):
            channel = await connection.channel()
            found = [await channel.declare_queue(name, passive=True) for name in queues]
            await channel.close()
    return {queue.name: queue.declaration_result.consumer_count or 0 for queue in found}


async def _called(url: str, ears: Sequence[Ear], consumers: Mapping[str, int]) -> bool:
    """Whether the broker took the calls. Over a connection of their own: while an alarm is up, it reads nothing from one that publishes."""
    connection = None
    try:
        with as_broker_faults():
            async with asyncio.timeout(ANSWER):
                connection = await aio_pika.connect(url, timeout=ANSWER)
                channel = await connection.channel(on_return_raises=True)
                for ear in ears:
                    exchange = await channel.get_exchange(_EXCHANGES[ear.queue], ensure=False)
                    for _ in range(consumers[ear.queue] + _SPARE):
                        await exchange.publish(aio_pika.Message(_BODY, type=CALL), CALL)
    except BROKER_FAULTS:
        return False
    finally:
        await closed(connection)
    return True


async def closed(connection: AbstractConnection | None) -> None:
    """Close a connection, and do not wait long for the broker to say so."""
    if connection is not None:
        with suppress(*BROKER_FAULTS), as_broker_faults():
            async with asyncio.timeout(5):
                await connection.close()
