"""The benchmark's look at the broker: what is in the queue, taken out and counted."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from schemas import topology
from schemas.delivery import KIND, unseal
from workers.consumer import declare_at

#: Seconds without a message after which the queue is empty.
_SILENCE = 0.7


@dataclass(frozen=True, slots=True)
class Drained:
    """What was in the queue."""

    messages: int
    #: By their ids: a delivery that stands in the queue twice is one.
    deliveries: int

    @property
    def shared(self) -> float:
        """Deliveries a message."""
        return self.deliveries / self.messages if self.messages else 0.0


def set_up(url: str) -> None:
    """Declare muster's topology."""
    asyncio.run(declare_at(url))


def drain(url: str) -> Drained:
    """Empty the queue, and count what it held."""
    return asyncio.run(_drain(url))


async def _drain(url: str) -> Drained:
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    ids: set[str] = set()
    messages = 0
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1000)
        queue = await channel.get_queue(topology.DELIVERIES, ensure=False)
        await queue.consume(arrived.put)
        with suppress(TimeoutError):
            while True:
                message = await asyncio.wait_for(arrived.get(), _SILENCE)
                messages += 1
                ids.update(_ids(message))
                await message.ack(multiple=True)
    return Drained(messages, len(ids))


def _ids(message: AbstractIncomingMessage) -> list[str]:
    """The ids of the deliveries in a message of muster's; an alternative's message is one delivery."""
    return [str(one.id) for one in unseal(message.body)] if message.type == KIND else [str(message.message_id)]
