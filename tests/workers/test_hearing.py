"""A consumer that hears nothing is called, and what cannot be told is not held against it."""

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from schemas import topology
from tests.services import free_port
from workers.consumer import declare_at
from workers.hearing import Ear, deaf


async def acknowledged(message: AbstractIncomingMessage) -> None:
    """Another worker."""
    await message.ack()


async def test_without_consumers_a_queue_is_unheard_and_nothing_is_left_in_it(broker_url: str) -> None:
    await declare_at(broker_url)
    async with await aio_pika.connect(broker_url) as connection:
        assert await deaf(broker_url, connection, [Ear(topology.DELIVERIES)]) == [topology.DELIVERIES]
        channel = await connection.channel()
        found = await channel.declare_queue(topology.DELIVERIES, passive=True)

    assert found.declaration_result.message_count == 0


@pytest.mark.parametrize("callable_", [True, False], ids=["the call is lost", "nobody can be called"])
async def test_an_ear_that_another_consumer_hides_is_deaf_where_it_could_be_called(broker_url: str, *, callable_: bool) -> None:
    await declare_at(broker_url)
    url = broker_url if callable_ else f"amqp://127.0.0.1:{free_port()}/"
    async with await aio_pika.connect(broker_url) as connection:
        queue = await (await connection.channel()).get_queue(topology.DELIVERIES)
        await queue.consume(acknowledged)

        assert await deaf(url, connection, [Ear(topology.DELIVERIES)]) == [topology.DELIVERIES] * callable_


async def test_an_ear_that_has_heard_is_not_called_before_the_next_look(broker_url: str) -> None:
    await declare_at(broker_url)
    ear = Ear(topology.DELIVERIES)
    ear.heard.set()
    async with await aio_pika.connect(broker_url) as connection:
        queue = await (await connection.channel()).get_queue(topology.DELIVERIES)
        await queue.consume(acknowledged)

        assert await deaf(broker_url, connection, [ear]) == []
        assert ear.silent
