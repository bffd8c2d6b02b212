"""RabbitMQ as an inlet, against the real one: acknowledged is what is settled and nothing else, whatever happens to the broker."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import aio_pika
import aiormq
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel

from schemas import topology
from schemas.broker_faults import BROKER_FAULTS
from schemas.delivery import Delivery, encode, fingerprint, seal
from schemas.settings import WorkerSettings
from schemas.states import Reason
from tests.services.rabbitmq import RabbitMQ
from tests.workers.made import NOON, created, deleted, delivery, handed, states, until
from workers.consumer import Consumer, TopologyDiffers, declare_at
from workers.database import Database
from workers.envelopes import UNREADABLE, readmitted
from workers.lane import Batch, Held, Lane
from workers.log import HeldEnvelope, LoggedDelivery, hold
from workers.operations.health import queue_depths
from workers.pipeline import Pipeline


@asynccontextmanager
async def channel_at(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel of our own."""
    connection = await aio_pika.connect(url, timeout=10)
    try:
        yield await connection.channel(on_return_raises=True)
    finally:
        await connection.close()


async def publish(url: str, *messages: bytes, exchange: str = topology.DELIVERIES) -> None:
    """Publish messages and wait for their confirms."""
    async with channel_at(url) as channel:
        target = await channel.get_exchange(exchange)
        for body in messages:
            await target.publish(aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), "4hse.hse")


def sealed(*deliveries: Delivery) -> bytes:
    """An envelope."""
    return seal(map(encode, deliveries))


Running = TypeVar("Running", bound=Consumer)


@asynccontextmanager
async def running(consumer: Running) -> AsyncIterator[Running]:
    """A consumer that keeps its connection."""
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def consuming(url: str, **changed: float) -> AsyncIterator[Consumer]:
    """A consumer that has connected, and so declared the topology."""
    async with running(Consumer(url, WorkerSettings.model_validate(changed))) as consumer:
        await until(lambda: consumer.away is None, "connecting", 30)
        yield consumer


async def taken(consumer: Consumer, timeout: float = 20) -> Batch:
    """The next batch."""
    return await asyncio.wait_for(consumer.take(), timeout)


async def waiting(url: str, queue: str = topology.DELIVERIES) -> int:
    """How many messages are there to be handed out."""
    return {depth.name: depth.messages for depth in await queue_depths(url)}[queue]


@pytest.fixture(scope="module")
def vhost(rabbitmq: RabbitMQ) -> str:
    """One virtual host for this module: making one takes seconds."""
    return rabbitmq.vhost()


@pytest_asyncio.fixture
async def broker_url(vhost: str) -> str:
    """That virtual host, without topology."""
    async with channel_at(vhost) as channel:
        for queue in topology.QUEUES:
            await channel.queue_delete(queue.name)
        for exchange in topology.EXCHANGES:
            await channel.exchange_delete(exchange.name)
    return vhost


# The topology.


async def test_the_topology_is_declared_as_its_rows_say(rabbitmq: RabbitMQ, broker_url: str) -> None:
    await declare_at(broker_url)
    await declare_at(broker_url)

    def listed(kind: str, *columns: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(
            rabbitmq.ctl(f"list_{kind}", "-p", broker_url.rpartition("/")[2], *columns, "--formatter=json")
        )
        return found

    queues = {queue["name"]: queue for queue in listed("queues", "name", "durable", "type", "arguments")}
    assert queues.keys() == {row.name for row in topology.QUEUES}
    exchanges = {exchange["name"]: (exchange["type"], exchange["durable"]) for exchange in listed("exchanges", "name", "type", "durable")}
    for exchange in topology.EXCHANGES:
        assert exchanges[exchange.name] == (exchange.type, True)
    bindings = {tuple(binding.values()) for binding in listed("bindings", "source_name", "destination_name", "routing_key")}
    for row in topology.QUEUES:
        assert (queues[row.name]["durable"], queues[row.name]["type"]) == (True, "quorum")
        assert {argument[0]: argument[2] for argument in queues[row.name]["arguments"]} == row.arguments  # type: ignore[attr-defined]
        assert (row.exchange, row.name, row.routing_key) in bindings


@pytest.mark.parametrize("kind", ["queue", "exchange"])
async def test_a_topology_with_other_arguments_is_refused_with_what_to_do(broker_url: str, kind: str) -> None:
    async with channel_at(broker_url) as channel:
        if kind == "queue":
            await channel.declare_queue(topology.DELIVERIES, durable=True)
        else:
            await channel.declare_exchange(topology.DELIVERIES, "fanout", durable=True)

    with pytest.raises(
        TopologyDiffers, match=r"muster\.deliveries exists .* other arguments.*delete_queue muster\.deliveries.*`muster init`"
    ):
        await declare_at(broker_url)
    with pytest.raises(TopologyDiffers):
        await asyncio.wait_for(Consumer(broker_url, WorkerSettings()).run(), 20)


# Batches and acknowledgements.


async def test_messages_are_gathered_into_one_batch_in_their_order(broker_url: str) -> None:
    deliveries = [created(f"s{number}") for number in range(9)]
    async with consuming(broker_url, linger=1):
        pass
    await publish(broker_url, *(sealed(*deliveries[start : start + 3]) for start in (0, 3, 6)))
    async with consuming(broker_url, linger=0.5) as consumer:
        batch = await taken(consumer)

    assert batch.fresh == deliveries
    assert (batch.suspects, batch.dead, batch.held) == ([], [], [])


async def test_a_batch_is_bounded(broker_url: str) -> None:
    await declare_at(broker_url)
    await publish(broker_url, *(sealed(created(), created(), created()) for _ in range(10)))
    async with consuming(broker_url, linger=0.5, batch=7) as consumer:
        sizes = [len(await taken(consumer)) for _ in range(3)]

    assert sizes == [9, 9, 9]  # whole messages, up to and over the bound


async def test_no_more_is_handed_out_than_the_prefetch_allows(broker_url: str) -> None:
    await declare_at(broker_url)
    await publish(broker_url, *(sealed(created()) for _ in range(10)))
    async with consuming(broker_url, linger=0.3, prefetch=4) as consumer:
        await until(lambda: consumer._live.qsize() == 4, "the arrival of four")
        batch = await taken(consumer)
        assert len(batch) == 4
        assert await waiting(broker_url) == 6
        await consumer.settle(batch)
        await until(lambda: consumer._live.qsize() == 4, "the arrival of the next")
        assert len(await taken(consumer)) == 4


async def test_what_is_settled_is_gone_and_what_is_not_comes_back_as_suspect(broker_url: str) -> None:
    one, two = created("s1"), created("s2")
    await declare_at(broker_url)
    async with consuming(broker_url, linger=0) as consumer:
        await publish(broker_url, sealed(one))
        await consumer.settle(await taken(consumer))
        await publish(broker_url, sealed(two))
        assert (await taken(consumer)).fresh == [two]
    async with consuming(broker_url) as consumer:
        again = await taken(consumer)

    assert (again.fresh, again.suspects) == ([], [two])


async def test_nothing_is_acknowledged_before_its_commit(broker_url: str, database: Database) -> None:
    one = created()
    async with consuming(broker_url) as consumer:
        lane = Lane(consumer, Pipeline(database), database)
        working = asyncio.create_task(lane.run())
        async with database.transaction() as connection:
            if database.dialect == "postgres":
                await connection.execute_query("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
            await publish(broker_url, sealed(one))
            await asyncio.sleep(0.3)
            working.cancel()
            assert await waiting(broker_url) == 0  # it is handed out
            assert lane.tally == {}
        await lane.finish(20)
    assert await waiting(broker_url) == 0
    assert await states(one) == [("applied", None)]


async def test_what_dies_before_its_commit_is_still_the_brokers(broker_url: str) -> None:
    await declare_at(broker_url)
    await publish(broker_url, sealed(created()))
    async with consuming(broker_url) as consumer:
        await taken(consumer)
        assert await waiting(broker_url) == 0

    assert await waiting(broker_url) == 1


async def test_a_consumer_that_is_paused_leaves_the_messages_to_others_and_resumes(broker_url: str) -> None:
    one = created()
    async with consuming(broker_url) as consumer:
        await consumer.pause()
        await until(lambda: consumer.away == "paused", "pausing")
        await publish(broker_url, sealed(one))
        async with consuming(broker_url) as other:
            assert (await taken(other)).fresh == [one]
        assert consumer.away == "paused"
        await consumer.resume()
        assert (await taken(consumer)).suspects == [one]


async def test_an_acknowledgement_on_a_lost_channel_is_harmless(rabbitmq: RabbitMQ, broker_url: str) -> None:
    one = created()
    async with consuming(broker_url) as consumer:
        await publish(broker_url, sealed(one))
        batch = await taken(consumer)
        await asyncio.to_thread(cut, rabbitmq, broker_url)
        await until(lambda: consumer.away is not None, "losing the connection")
        await consumer.settle(batch)
        again = await taken(consumer)
        assert again.suspects == [one]
        await consumer.settle(batch)
        await consumer.settle(again)
    assert await waiting(broker_url) == 0


# The two lanes.


async def test_replays_wait_on_their_own_queue_and_live_deliveries_on_theirs(broker_url: str) -> None:
    await declare_at(broker_url)
    await publish(broker_url, sealed(created("live")))
    await publish(broker_url, *(sealed(created(f"replay{number}")) for number in range(3)), exchange=topology.REPLAYS)

    assert (await waiting(broker_url), await waiting(broker_url, topology.REPLAYS)) == (1, 3)


async def test_replays_are_taken_message_by_message_when_nothing_live_waits(broker_url: str) -> None:
    live, replays = [created(f"s{number}") for number in range(6)], [created(f"r{number}") for number in range(6)]
    await declare_at(broker_url)
    await publish(broker_url, *(sealed(*replays[start : start + 2]) for start in (0, 2, 4)), exchange=topology.REPLAYS)
    await publish(broker_url, *(sealed(*live[start : start + 2]) for start in (0, 2, 4)))
    async with consuming(broker_url, linger=0.3) as consumer:
        await until(lambda: (consumer._live.qsize(), consumer._replays.qsize()) == (3, 3), "their arrival")
        batches = await handed(consumer, 4)

    assert [batch.replays for batch in batches] == [False, True, True, True]
    assert [one for batch in batches for one in batch.fresh] == [*live, *replays]
    assert [len(batch) for batch in batches] == [6, 2, 2, 2]


async def test_replays_wait_while_live_deliveries_are_worked_off(broker_url: str) -> None:
    await declare_at(broker_url)
    await publish(broker_url, sealed(created("r")), exchange=topology.REPLAYS)
    await publish(broker_url, sealed(created("s")))
    async with consuming(broker_url) as consumer:
        await consumer.settle(await taken(consumer))
        replays = asyncio.create_task(consumer.take_replays())
        await until(lambda: consumer._replays.qsize() == 1, "the arrival of the replay")
        await asyncio.sleep(0.1)
        before = replays.done()
        with suppress(TimeoutError):
            await taken(consumer, 0.1)

        assert (before, len(await replays)) == (False, 1)


async def test_what_came_while_another_batch_was_worked_off_is_taken_at_once_and_the_first_after_a_pause_lingers(broker_url: str) -> None:
    async with consuming(broker_url, linger=1) as consumer:
        await publish(broker_url, sealed(created("s1")))
        await until(lambda: consumer._live.qsize() == 1, "its arrival")
        assert len(await taken(consumer, 0.9)) == 1
        lingering = asyncio.create_task(taken(consumer))
        for number in range(2):
            await publish(broker_url, sealed(created(f"t{number}")))
        assert len(await lingering) == 2


async def test_replays_have_a_small_share_behind_a_backlog_of_live_deliveries(broker_url: str) -> None:
    await declare_at(broker_url)
    await publish(broker_url, *(sealed(created(f"r{number}")) for number in range(5)), exchange=topology.REPLAYS)
    await publish(broker_url, *(sealed(created(f"s{number}")) for number in range(40)))
    async with consuming(broker_url, linger=0, batch=1, prefetch=40) as consumer:
        await until(lambda: (consumer._live.qsize(), consumer._replays.qsize()) == (40, 4), "their arrival")
        batches = await handed(consumer, 27)

    assert [batch.replays for batch in batches] == [*[False] * 8, True] * 3


async def test_replays_do_not_linger_and_no_more_of_them_are_handed_out_than_their_own_prefetch_allows(broker_url: str) -> None:
    await declare_at(broker_url)
    await publish(broker_url, *(sealed(created(f"r{number}")) for number in range(9)), exchange=topology.REPLAYS)
    async with consuming(broker_url, linger=1, prefetch=50, replay_prefetch=2) as consumer:
        await until(lambda: consumer._replays.qsize() == 2, "the arrival of two")
        assert len(await asyncio.wait_for(consumer.take_replays(), 0.9)) == 1
        await asyncio.sleep(0.2)
        assert await waiting(broker_url, topology.REPLAYS) == 7


async def test_a_replay_that_is_handed_out_again_is_suspect_and_still_a_replay(broker_url: str) -> None:
    one = created(replay_of=UUID(int=1))
    await declare_at(broker_url)
    await publish(broker_url, sealed(one), exchange=topology.REPLAYS)
    async with consuming(broker_url) as consumer:
        assert (await asyncio.wait_for(consumer.take_replays(), 20)).fresh == [one]
    async with consuming(broker_url) as consumer:
        again = await asyncio.wait_for(consumer.take_replays(), 20)

    assert (again.suspects, again.fresh, again.replays) == ([one], [], True)


async def test_a_replay_that_is_handed_out_too_often_is_dead_lettered_as_a_delivery_is(broker_url: str) -> None:
    one = created(replay_of=UUID(int=1))
    await declare_at(broker_url)
    await publish(broker_url, sealed(one), exchange=topology.REPLAYS)
    async with channel_at(broker_url) as channel:
        queue = await channel.get_queue(topology.REPLAYS)
        for _ in range(topology.DELIVERY_LIMIT + 1):
            await (await queue.get(timeout=5)).nack(requeue=True)
    async with consuming(broker_url) as consumer:
        batch = await taken(consumer)

    assert [(delivery, reason) for delivery, reason, _ in batch.dead] == [(one, Reason.DEAD_LETTERED)]


# The broker's faults.


class Forgotten(Consumer):
    """A worker of whose consumers the broker can be made to know nothing, which it is not told."""

    channel: AbstractChannel
    connected = 0
    deaf = False

    async def _consume(self, channel: AbstractChannel) -> None:
        self.channel, self.connected = channel, self.connected + 1
        await super()._consume(channel)
        if self.deaf:
            await self.deafen()

    async def deafen(self, *queues: str) -> None:
        """Cancel the consumers of these queues, or all, by their tags alone."""
        underlay = await self.channel.get_underlay_channel()
        assert isinstance(underlay, aiormq.Channel)
        for ear, tag in zip(list(self._ears), list(underlay.consumers), strict=True):
            if ear.queue in (queues or [ear.queue]):
                await underlay.basic_cancel(tag)


async def test_a_consumer_that_the_broker_sees_nothing_of_is_unready_and_connects_again_until_it_is_seen(broker_url: str) -> None:
    async with running(Forgotten(broker_url, WorkerSettings(), watch=0.2)) as consumer:
        await until(lambda: consumer.away is None, "connecting")
        consumer.deaf = True
        await consumer.deafen()
        await until(lambda: consumer.away is not None, "noticing")
        assert consumer.away == "nothing of muster.deliveries and muster.dead and muster.replays reaches this worker"
        await until(lambda: consumer.connected >= 3, "connecting again, twice")
        assert consumer.away is not None, "connected is not yet believed"
        consumer.deaf = False
        await until(lambda: consumer.away is None, "being seen")
        one = created()
        await publish(broker_url, sealed(one))

        assert (await taken(consumer)).fresh == [one]


@pytest.mark.parametrize("queue", [topology.DELIVERIES, topology.REPLAYS, topology.DEAD])
async def test_a_deaf_worker_is_unready_and_connects_again_although_another_hears(broker_url: str, queue: str) -> None:
    async with (
        running(Forgotten(broker_url, WorkerSettings(), watch=0.2)) as one,
        running(Forgotten(broker_url, WorkerSettings(), watch=0.2)) as other,
    ):
        await until(lambda: one.away is other.away is None, "connecting")
        await one.deafen(queue)
        await until(lambda: one.away is not None, "noticing", 20)
        assert one.away == f"nothing of {queue} reaches this worker"
        await until(lambda: one.away is None, "hearing again")

        assert (one.connected, other.connected, other.away) == (2, 1, None)
        assert await waiting(broker_url, queue) == 0


async def test_a_worker_with_all_that_it_may_have_in_its_hands_is_not_deaf(broker_url: str) -> None:
    await declare_at(broker_url)
    await publish(broker_url, sealed(created("s1")), sealed(created("s2")))
    async with running(Forgotten(broker_url, WorkerSettings(prefetch=1), watch=0.1)) as consumer:
        batch = await taken(consumer)
        await asyncio.sleep(6)
        assert (consumer.away, consumer.connected) == (None, 1)
        await consumer.settle(batch)

        assert len(await taken(consumer)) == 1


async def test_while_the_broker_takes_nothing_nobody_is_thought_deaf(
    rabbitmq: RabbitMQ, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.hearing.ANSWER", 1)
    async with running(Forgotten(broker_url, WorkerSettings(), watch=0.1)) as consumer:
        await until(lambda: consumer.away is None, "connecting")
        await asyncio.to_thread(rabbitmq.alarm, raised=True)
        try:
            await asyncio.sleep(5)
            assert (consumer.away, consumer.connected) == (None, 1)
        finally:
            await asyncio.to_thread(rabbitmq.alarm, raised=False)


async def test_the_oldest_is_of_all_that_is_in_hand_and_no_replay(broker_url: str) -> None:
    await declare_at(broker_url)
    await publish(broker_url, sealed(created("s1", received_at=NOON)), exchange=topology.REPLAYS)
    later = [created(f"s{minute}", received_at=NOON + timedelta(minutes=minute)) for minute in (3, 2, 5)]
    async with consuming(broker_url, batch=1, linger=0) as consumer:
        assert consumer.oldest is None
        await publish(broker_url, *map(sealed, later))
        await until(lambda: consumer._live.qsize() == 3, "their arrival")
        oldest = [consumer.oldest]
        for _ in range(2):
            await consumer.settle(await taken(consumer))
            oldest.append(consumer.oldest)

    assert oldest == [NOON + timedelta(minutes=minute) for minute in (2, 2, 5)]


async def test_a_consumer_that_the_broker_sees_stays_connected(broker_url: str) -> None:
    async with running(Forgotten(broker_url, WorkerSettings(), watch=0.05)) as consumer:
        await until(lambda: consumer.away is None, "connecting")
        await asyncio.sleep(1)

        assert (consumer.away, consumer.connected) == (None, 1)


async def test_a_stop_that_comes_in_the_moment_of_connecting_is_not_lost(broker_url: str, connects_whatever_comes: asyncio.Event) -> None:
    consuming = asyncio.create_task(Consumer(broker_url, WorkerSettings()).run())
    await connects_whatever_comes.wait()
    consuming.cancel()
    await asyncio.wait([consuming], timeout=10)

    assert consuming.cancelled()


def cut(node: RabbitMQ, url: str) -> None:
    """Close every connection of a virtual host from the broker's side."""
    node.ctl("close_all_connections", "--vhost", url.rpartition("/")[2], "test")


async def test_a_connection_that_the_broker_closes_is_restored(rabbitmq: RabbitMQ, broker_url: str) -> None:
    async with consuming(broker_url) as consumer:
        for _ in range(2):
            await asyncio.to_thread(cut, rabbitmq, broker_url)
            await until(lambda: consumer.away is not None, "losing the connection")
            await until(lambda: consumer.away is None, "connecting again")
        one = created()
        await publish(broker_url, sealed(one))

        assert (await taken(consumer)).fresh == [one]


async def test_a_queue_that_is_deleted_is_declared_and_consumed_again(broker_url: str) -> None:
    async with consuming(broker_url) as consumer:
        async with channel_at(broker_url) as channel:
            await channel.queue_delete(topology.DELIVERIES)
        await until(lambda: consumer.away is not None, "noticing")
        await until(lambda: consumer.away is None, "consuming again")
        one = created()
        await publish(broker_url, sealed(one))

        assert (await taken(consumer)).fresh == [one]


async def _applied_all() -> bool:
    return await LoggedDelivery.filter(state="applied").count() == 300


async def _emptied(url: str) -> bool:
    return await waiting(url) == 0


async def test_cutting_connections_under_work_loses_nothing(rabbitmq: RabbitMQ, broker_url: str, database: Database) -> None:
    deliveries = [created(f"s{number}") for number in range(300)]
    async with consuming(broker_url, batch=20, prefetch=3) as consumer:
        lane = Lane(consumer, Pipeline(database), database)
        working = asyncio.create_task(lane.run())
        await publish(broker_url, *(sealed(*deliveries[start : start + 5]) for start in range(0, 300, 5)))
        for _ in range(2):
            await asyncio.to_thread(cut, rabbitmq, broker_url)
        await until(_applied_all, "application", 60)
        await until(lambda: _emptied(broker_url), "the last acknowledgement")
        working.cancel()
        await lane.finish(20)

    assert await waiting(broker_url) == 0
    assert await LoggedDelivery.all().count() == 300


@pytest.fixture(scope="module")
def mortal(rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    """A node that is this module's to stop and kill; the other one says whether there is RabbitMQ at all."""
    node = RabbitMQ()
    node.start()
    yield node
    node.remove()


async def _confirmed(url: str, message: bytes) -> bool:
    """Whether a message was taken; right after its start a node may refuse it, for want of a leader."""
    try:
        await publish(url, message)
    except BROKER_FAULTS:
        return False
    return True


async def test_a_node_that_is_killed_and_started_again_is_consumed_again_and_has_lost_nothing(mortal: RabbitMQ) -> None:
    first, second, third = created("s1"), created("s2"), created("s3")
    async with consuming(mortal.url(), linger=0) as consumer:
        await publish(mortal.url(), sealed(first))
        batch = await taken(consumer)
        await publish(mortal.url(), sealed(second))
        await asyncio.sleep(2)  # RabbitMQ 3.10 does not survive a kill within half a second of a queue's declaration
        await asyncio.to_thread(mortal.kill)
        await until(lambda: consumer.away is not None, "losing the connection")
        await consumer.settle(batch)
        await asyncio.to_thread(mortal.start)
        await until(lambda: _confirmed(mortal.url(), sealed(third)), "a confirm from the new node", 60)

        found: set[UUID] = set()
        while len(found) < 3:
            batch = await taken(consumer, 60)
            found |= {one.id for one in (*batch.fresh, *batch.suspects)}
            await consumer.settle(batch)
        await until(lambda: consumer.away is None, "consuming from both queues")
    assert found == {first.id, second.id, third.id}
    assert await waiting(mortal.url()) == 0


async def test_a_broker_that_is_not_there_is_waited_for_and_said_to_be_away() -> None:
    async with running(Consumer("amqp://guest:guest@127.0.0.1:1/", WorkerSettings())) as consumer:
        await until(lambda: consumer.away not in {None, "not connected yet"}, "the first failure")

        assert "Connection" in (consumer.away or "")


# What is on the queue.


@asynccontextmanager
async def at_work(url: str, database: Database) -> AsyncIterator[Lane]:
    """A consumer and a lane."""
    async with consuming(url) as consumer:
        lane = Lane(consumer, Pipeline(database), database)
        working = asyncio.create_task(lane.run())
        try:
            yield lane
        finally:
            working.cancel()
            await lane.finish(20)


UNKNOWN = [
    pytest.param(b'{"version": 2, "kind": "deliveries", "deliveries": []}', id="a version"),
    pytest.param(b'{"version": 1, "kind": "parcels", "what": 1}', id="a kind"),
    pytest.param(b'{"version": 99999999999999999999, "kind": "\\u0000"}', id="a version and a kind of nobody's"),
]


@pytest.mark.parametrize("message", UNKNOWN)
async def test_an_envelope_from_the_future_is_held_verbatim_and_acknowledged(broker_url: str, database: Database, message: bytes) -> None:
    one = created()
    async with at_work(broker_url, database) as lane:
        await publish(broker_url, message, sealed(one))
        await until(lambda: lane.tally["applied"], "the next message's application")

    assert [bytes(held.message) for held in await HeldEnvelope.all()] == [message]
    assert await LoggedDelivery.all().count() == 1
    assert await waiting(broker_url) == 0


async def test_held_envelopes_that_can_be_opened_now_are_readmitted_and_others_stay(database: Database) -> None:
    one, two = created("s1"), deleted("s2")
    await hold(database, 2, "deliveries", b'{"version": 2, "kind": "deliveries"}')
    await hold(database, 1, "deliveries", sealed(one, two))

    ((row, batch),) = await readmitted()
    assert (batch.fresh, batch.held) == ([one, two], ())
    assert (await HeldEnvelope.get(id=row)).version == 1


BROKEN = [
    pytest.param(b"\xff\0 no JSON", "not JSON", id="no JSON"),
    pytest.param(b"", "not JSON", id="nothing"),
    pytest.param(b"[]", "not JSON with a version", id="no envelope"),
    pytest.param(b'{"version": 1, "kind": "deliveries", "deliveries": []}', "deliveries: ", id="an envelope without deliveries"),
    pytest.param(b'{"version": 1, "kind": "deliveries", "deliveries": [{"id": 1}]}', "deliveries.0.", id="a delivery that is none"),
]


@pytest.mark.parametrize("exchange", [topology.DELIVERIES, topology.DEAD])
@pytest.mark.parametrize(("message", "detail"), BROKEN)
async def test_a_message_that_is_no_envelope_is_logged_dead_verbatim_and_once(
    broker_url: str, database: Database, exchange: str, message: bytes, detail: str
) -> None:
    async with at_work(broker_url, database) as lane:
        await publish(broker_url, message, exchange=exchange)
        await until(lambda: lane.tally["dead"] == 1, "its burial")
        await publish(broker_url, message, exchange=exchange)
        await until(lambda: lane.tally["dead"] == 2, "its burial again")

    (row,) = await LoggedDelivery.all()
    assert (row.source, row.state, row.reason) == (UNREADABLE, "dead", "unreadable_envelope")
    assert (row.detail or "").startswith(detail)
    assert (bytes(row.body or b""), bytes(row.fingerprint).hex()) == (message, fingerprint(None, message))
    assert await waiting(broker_url, exchange) == 0


async def test_what_the_broker_gave_up_on_is_unpacked_into_the_log(broker_url: str, database: Database) -> None:
    one, two, before = created("s1"), delivery(b"no JSON"), created("s3")
    await Pipeline(database).together([before])
    async with at_work(broker_url, database) as lane:
        await publish(broker_url, sealed(one, two, before), exchange=topology.DEAD)
        await until(lambda: lane.tally["dead"] == 2, "burial")

    assert await states(one, two, before) == [("dead", "dead_lettered")] * 2 + [("applied", None)]
    assert await waiting(broker_url, topology.DEAD) == 0


async def test_a_message_that_is_handed_out_too_often_ends_in_the_log(broker_url: str, database: Database) -> None:
    one = created()
    await declare_at(broker_url)
    await publish(broker_url, sealed(one))
    async with channel_at(broker_url) as channel:
        queue = await channel.get_queue(topology.DELIVERIES)
        for _ in range(topology.DELIVERY_LIMIT + 1):
            message = await queue.get(timeout=5)
            await message.nack(requeue=True)
        assert await queue.get(fail=False) is None
    async with at_work(broker_url, database) as lane:
        await until(lambda: lane.tally["dead"], "burial")

    assert await states(one) == [("dead", "dead_lettered")]
    assert await waiting(broker_url) == await waiting(broker_url, topology.DEAD) == 0


async def test_an_envelope_from_the_future_that_was_dead_lettered_is_held_too(broker_url: str) -> None:
    message = b'{"version": 2, "kind": "deliveries"}'
    async with consuming(broker_url) as consumer:
        await publish(broker_url, message, exchange=topology.DEAD)

        assert (await taken(consumer)).held == [Held(2, "deliveries", message)]
