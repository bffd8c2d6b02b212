"""Replays on their way to the workers, over a real broker."""

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from schemas import topology
from schemas.delivery import unseal
from tests.services import free_port
from tests.workers.made import created, delivery
from workers.consumer import declare_at
from workers.replay_lane import BrokerOutlet, LaneAway


async def queued(url: str) -> list[list[str]]:
    """The bodies of the deliveries in each message that waits."""
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue(topology.REPLAYS, ensure=False)
        found = []
        while message := await queue.get(fail=False, no_ack=True):
            found.append([str(one.id) for one in unseal(message.body)])
        return found


async def _leave(_: AbstractIncomingMessage) -> None:
    """Take a message, and do nothing."""


async def test_what_is_put_together_shares_a_message_in_the_replays_own_queue(broker_url: str) -> None:
    await declare_at(broker_url)
    made = [created(f"s{number}") for number in range(3)]
    async with BrokerOutlet(broker_url) as outlet:
        await outlet.put(made)
        await outlet.put(made[:1])

    assert await queued(broker_url) == [[str(one.id) for one in made], [str(made[0].id)]]


async def test_large_deliveries_go_in_messages_of_their_own(broker_url: str) -> None:
    await declare_at(broker_url)
    made = [delivery(b"x" * size) for size in (10, 2_000_000, 10, 10)]
    async with BrokerOutlet(broker_url) as outlet:
        await outlet.put(made)

    assert sorted(map(len, await queued(broker_url))) == [1, 1, 2]


async def test_it_is_known_whether_a_worker_is_there(broker_url: str) -> None:
    await declare_at(broker_url)
    async with BrokerOutlet(broker_url) as outlet:
        alone = await outlet.unattended()
        async with await aio_pika.connect(broker_url) as connection:
            channel = await connection.channel()
            await (await channel.get_queue(topology.REPLAYS, ensure=False)).consume(_leave)
            attended = await outlet.unattended()

    assert (alone, attended) == ("no worker takes from the broker: start `muster work`", None)


async def test_a_broker_without_muster_and_none_at_all_are_told_apart_and_tried_again(broker_url: str) -> None:
    async with BrokerOutlet(broker_url) as outlet:
        with pytest.raises(LaneAway, match="run `muster init`"):
            await outlet.put([created()])
        with pytest.raises(LaneAway, match="run `muster init`"):
            await outlet.unattended()
        await declare_at(broker_url)
        await outlet.put([created()])
    async with BrokerOutlet(f"amqp://guest:guest@127.0.0.1:{free_port()}/") as outlet:
        with pytest.raises(LaneAway, match="the broker is away"):
            await outlet.put([created()])

    assert len(await queued(broker_url)) == 1
