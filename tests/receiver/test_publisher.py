"""The publisher against a real broker: confirmed is on the quorum queue, anything else is in the spool, and neither waits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from receiver.publisher import Publisher, SpoolKeeper, topology_is_there
from receiver.spool import Spool, Spooled
from schemas import topology
from schemas.delivery import Delivery, decode, encode, fingerprint, named, now_utc, unseal
from schemas.heartbeat import Heartbeat
from schemas.heartbeat import decode as decode_heartbeat
from tests.services import free_port
from tests.services.rabbitmq import RabbitMQ

DEADLINE = 2.0
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Side:
    """A publisher that runs, and its spool."""

    publisher: Publisher
    spool: Spool

    async def keep(self, *bodies: str | bytes, source: str = "hse") -> None:
        """Keep deliveries, all at once."""
        await asyncio.gather(*(self.publisher.keep(made(body, source)) for body in bodies))


def made(body: str | bytes, source: str = "hse") -> Spooled:
    """A delivery as the endpoint hands it over."""
    raw = body if isinstance(body, bytes) else body.encode()
    one = Delivery(
        id=uuid7(),
        source=source,
        account=source,
        vendor="4hse",
        event=None,
        received_at=now_utc(),
        headers={},
        body=raw,
        fingerprint=fingerprint(None, raw),
    )
    return Spooled("4hse", source, encode(one))


async def eventually(condition: Callable[[], object], what: str, timeout: float = 20) -> None:
    """Wait until a condition holds."""
    try:
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen") from None


async def declared(url: str, *, bound: bool = True) -> str:
    """Declare muster's topology, or its exchange alone."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for exchange in topology.EXCHANGES:
            await channel.declare_exchange(exchange.name, exchange.type, durable=True)
        for queue in topology.QUEUES if bound else ():
            made_ = await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))
            await made_.bind(queue.exchange, queue.routing_key)
    return url


async def removed(url: str) -> str:
    """Remove muster's topology with everything on it."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        for queue in topology.QUEUES:
            await channel.queue_delete(queue.name)
        for exchange in topology.EXCHANGES:
            await channel.exchange_delete(exchange.name)
    return url


async def on_queue(url: str) -> list[AbstractIncomingMessage]:
    """Take every message from the queue."""
    found = []
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue(topology.DELIVERIES, ensure=False)
        while (message := await queue.get(fail=False)) is not None:
            await message.ack()
            found.append(message)
    return found


def bodies(messages: list[AbstractIncomingMessage]) -> list[str]:
    """The bodies of the deliveries in messages, in order."""
    return [one.body.decode() for message in messages for one in unseal(message.body)]


@asynccontextmanager
async def running(url: str, data_dir: Path, deadline: float = DEADLINE) -> AsyncIterator[Side]:
    """A publisher with its spool, closed as the process closes them."""
    spool = Spool.open(data_dir, 256 * MEBIBYTE, owner=True)
    publisher = Publisher(url, spool, deadline)
    task = asyncio.create_task(publisher.run())
    try:
        yield Side(publisher, spool)
        assert not task.done(), "the publisher gave up"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await spool.close()


@asynccontextmanager
async def connected(url: str, data_dir: Path, deadline: float = DEADLINE) -> AsyncIterator[Side]:
    """A publisher that can publish."""
    async with running(url, data_dir, deadline) as side:
        await eventually(lambda: side.publisher.away is None, "the connection")
        yield side


@pytest.fixture(scope="module")
def vhost(rabbitmq: RabbitMQ) -> str:
    """A virtual host for this module: making one takes seconds."""
    return rabbitmq.vhost()


@pytest_asyncio.fixture
async def bare_url(vhost: str) -> str:
    """A virtual host without muster's topology."""
    return await removed(vhost)


@pytest_asyncio.fixture
async def url(bare_url: str) -> str:
    """A virtual host with muster's topology, and nothing on its queues."""
    return await declared(bare_url)


# A broker that works.


async def test_a_stop_that_comes_in_the_moment_of_connecting_is_not_lost(
    url: str, tmp_path: Path, connects_whatever_comes: asyncio.Event
) -> None:
    spool = Spool.open(tmp_path, 256 * MEBIBYTE, owner=True)
    publishing = asyncio.create_task(Publisher(url, spool, DEADLINE).run())
    await connects_whatever_comes.wait()
    publishing.cancel()
    await asyncio.wait([publishing], timeout=10)
    await spool.close()

    assert publishing.cancelled()


async def test_a_confirmed_delivery_is_on_the_quorum_queue_persistent_and_addressed(url: str, tmp_path: Path) -> None:
    spooled = made("a")
    async with connected(url, tmp_path) as side:
        await side.publisher.keep(spooled)
        depth = side.spool.depth
    (message,) = await on_queue(url)

    assert depth == 0
    assert unseal(message.body) == [decode(spooled.delivery)]
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.exchange, message.routing_key) == ("muster.deliveries", "4hse.hse")
    assert (message.type, message.content_type, message.headers["version"]) == ("deliveries", "application/json", 1)


async def test_the_queue_is_a_quorum_queue(url: str, rabbitmq: RabbitMQ) -> None:
    listed = rabbitmq.ctl("list_queues", "-p", url.rpartition("/")[2], "name", "type")

    assert "muster.deliveries\tquorum" in listed


async def test_every_message_has_an_id_of_its_own_also_over_several_publishers(url: str, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        async with connected(url, tmp_path / folder) as side:
            for number in range(5):
                await side.keep(str(number))
    messages = await on_queue(url)

    assert len({message.message_id for message in messages}) == len(messages) == 10
    assert all(message.message_id for message in messages)


async def test_a_lone_delivery_goes_at_once_and_waiting_ones_share_a_message(url: str, tmp_path: Path) -> None:
    everything = [str(number) for number in range(600)]
    async with connected(url, tmp_path) as side:
        await side.keep("lone")
        await side.keep(*everything)
    messages = await on_queue(url)

    assert bodies(messages[:1]) == ["lone"]
    shared = [len(unseal(message.body)) for message in messages[1:]]
    assert max(shared) <= 256
    assert len(shared) < len(everything) / 10
    assert bodies(messages[1:]) == everything


async def test_a_message_holds_at_most_a_mebibyte_and_a_larger_delivery_goes_alone(url: str, tmp_path: Path) -> None:
    sizes = [10, 300_000, 300_000, 300_000, 10, 1_500_000, 10]
    async with connected(url, tmp_path) as side:
        await side.keep(*(b"x" * size for size in sizes))
    messages = await on_queue(url)
    groups = [[len(one.body) for one in unseal(message.body)] for message in messages]

    assert [size for group in groups for size in group] == sizes
    assert all(len(message.body) <= MEBIBYTE for message, group in zip(messages, groups, strict=True) if group != [1_500_000])
    assert [1_500_000] in groups
    assert len(groups) < len(sizes)


async def test_a_message_holds_deliveries_of_one_source_under_its_key(url: str, tmp_path: Path) -> None:
    async with connected(url, tmp_path) as side:
        await asyncio.gather(*(side.keep(*map(str, range(40)), source=source) for source in ("a", "b", "c")))
    messages = await on_queue(url)

    assert {message.routing_key for message in messages} == {"4hse.a", "4hse.b", "4hse.c"}
    assert len(messages) < 120
    for message in messages:
        assert {f"4hse.{one.source}" for one in unseal(message.body)} == {message.routing_key}


async def test_a_request_that_is_cancelled_while_it_waits_harms_no_other(url: str, tmp_path: Path) -> None:
    async with connected(url, tmp_path) as side:
        tasks = [asyncio.create_task(side.keep(str(number))) for number in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    arrived = bodies(await on_queue(url))

    assert outcomes[1::2] == [None] * 20
    assert set(arrived) >= {str(number) for number in range(1, 40, 2)}
    assert len(arrived) == len(set(arrived))


BEAT = Heartbeat(name="web-1", at=now_utc(), began_at=now_utc(), every=30, program="0.1.0", spooled=0)


async def test_a_heartbeat_goes_the_way_of_the_deliveries_under_a_key_of_its_own(url: str, tmp_path: Path) -> None:
    async with connected(url, tmp_path) as side:
        assert await side.publisher.beat(BEAT)
    (message,) = await on_queue(url)

    assert (message.exchange, message.routing_key) == ("muster.deliveries", "heartbeat.web-1")
    assert (message.type, message.headers["version"], decode_heartbeat(message.body)) == ("heartbeat", 1, BEAT)


async def test_a_heartbeat_that_nobody_hears_is_not_spooled_and_says_nothing_of_deliveries(bare_url: str, tmp_path: Path) -> None:
    async with running(f"amqp://guest:guest@127.0.0.1:{free_port()}/", tmp_path / "away") as side:
        assert not await side.publisher.beat(BEAT)
        assert side.spool.depth == 0
    await declared(bare_url, bound=False)
    async with connected(bare_url, tmp_path) as side:
        assert not await side.publisher.beat(BEAT)
        assert (side.spool.depth, side.publisher.away) == (0, None)


# A topology that is not there.


async def test_without_topology_deliveries_are_spooled_and_the_remedy_is_named(bare_url: str, tmp_path: Path) -> None:
    async with running(bare_url, tmp_path) as side:
        await eventually(lambda: "muster init" in (side.publisher.away or ""), "the finding")
        await asyncio.wait_for(side.keep("a", "b"), 1.5)

        assert side.spool.depth == 2
        await declared(bare_url)
        await eventually(lambda: side.spool.depth == 0, "the draining")
        assert side.publisher.away is None
    assert bodies(await on_queue(bare_url)) == ["a", "b"]


async def test_an_unroutable_delivery_is_spooled_not_lost(bare_url: str, tmp_path: Path) -> None:
    await declared(bare_url, bound=False)
    async with connected(bare_url, tmp_path) as side:
        await side.keep("a")

        assert side.spool.depth == 1
        assert "muster init" in (side.publisher.away or "")
        await declared(bare_url)
        await eventually(lambda: side.spool.depth == 0, "the draining")
    assert bodies(await on_queue(bare_url)) == ["a"]


async def test_a_broker_is_not_trusted_before_it_has_taken_what_waits(bare_url: str, tmp_path: Path) -> None:
    await declared(bare_url, bound=False)
    with capture_logs() as logged:
        async with running(bare_url, tmp_path) as side:
            await side.keep("a")
            await eventually(lambda: "muster init" in (side.publisher.away or ""), "the finding")
            assert "broker.connected" not in [one["event"] for one in logged]

            await declared(bare_url)
            await eventually(lambda: side.publisher.away is None, "the trust")
    assert bodies(await on_queue(bare_url)) == ["a"]


async def test_an_exchange_that_disappears_while_connected_loses_nothing(url: str, tmp_path: Path) -> None:
    async with connected(url, tmp_path) as side:
        async with await aio_pika.connect(url) as connection:
            await (await connection.channel()).exchange_delete(topology.DELIVERIES)
        await side.keep("a", "b", "c")
        await eventually(lambda: "muster init" in (side.publisher.away or ""), "the finding")

        assert side.spool.depth == 3
        await declared(url)
        await eventually(lambda: side.spool.depth == 0, "the draining")
    assert sorted(bodies(await on_queue(url))) == ["a", "b", "c"]


# A user that may only publish.


async def test_a_user_that_may_only_publish_is_enough_and_can_do_nothing_else(url: str, tmp_path: Path, rabbitmq: RabbitMQ) -> None:
    vhost = url.rpartition("/")[2]
    rabbitmq.ctl("add_user", f"only-{vhost}", "publish")
    rabbitmq.ctl("set_permissions", "-p", vhost, f"only-{vhost}", "^$", r"^muster\.deliveries$", "^$")
    restricted = rabbitmq.url(vhost, f"only-{vhost}:publish")
    async with connected(restricted, tmp_path) as side:
        await side.keep("a", "b")
        assert side.spool.depth == 0

    with pytest.raises(ChannelAccessRefused):
        await on_queue(restricted)
    with pytest.raises(ChannelAccessRefused):
        await declared(restricted)
    assert bodies(await on_queue(url)) == ["a", "b"]


async def test_looking_for_the_topology_declares_nothing(bare_url: str) -> None:
    async with await aio_pika.connect(bare_url) as connection:
        assert not await topology_is_there(connection)
        assert not await topology_is_there(connection)
        await declared(bare_url)
        assert await topology_is_there(connection)


# A broker that is away.


async def test_a_broker_that_stops_sends_everybody_to_the_spool_at_once_and_gets_it_in_order(
    mortal_rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    url = await declared(await removed(mortal_rabbitmq.url()))
    async with connected(url, tmp_path) as side:
        await side.keep("before")
        # RabbitMQ writes a new quorum queue's name down within a second or so; killed before, it would never serve it again.
        await asyncio.sleep(2)
        await asyncio.to_thread(mortal_rabbitmq.kill)
        await eventually(lambda: side.publisher.away is not None, "the noticing")
        async with asyncio.timeout(DEADLINE):  # for thirty, one after the other: none has waited for the broker
            for number in range(30):
                await side.keep(str(number))
        assert side.spool.depth == 30
    # The receiver is started anew, while the broker is still away.
    async with running(url, tmp_path) as side:
        assert side.spool.depth == 30
        await side.keep("30")
        await asyncio.to_thread(mortal_rabbitmq.start)
        await eventually(lambda: side.spool.depth == 0, "the draining", timeout=40)
        await eventually(lambda: side.publisher.away is None, "the trust")
        await side.keep("after")
    messages = await on_queue(url)

    assert bodies(messages) == ["before", *map(str, range(31)), "after"]
    assert len(messages) < 33, "what was spooled shares messages"


async def test_a_broker_that_was_never_there_is_spooled_for(tmp_path: Path) -> None:
    async with running(f"amqp://guest:guest@127.0.0.1:{free_port()}/", tmp_path) as side:
        await asyncio.wait_for(side.keep(*map(str, range(50))), 1.5)

        assert side.spool.depth == 50
        assert side.publisher.away is not None


async def test_a_broker_with_an_alarm_delays_the_first_by_the_deadline_and_nobody_after_it(
    mortal_rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    url = await declared(await removed(mortal_rabbitmq.url()))
    loop = asyncio.get_running_loop()
    async with connected(url, tmp_path) as side:
        await side.keep("before")
        await asyncio.to_thread(mortal_rabbitmq.alarm, raised=True)
        try:
            began = loop.time()
            with capture_logs() as logged:
                await side.keep(*(f"first-{number}" for number in range(5)))
            first = loop.time() - began
            for number in range(20):
                await side.keep(f"later-{number}")
            later = loop.time() - began - first

            assert first < DEADLINE + 1.5
            assert later < DEADLINE / 2
            assert side.spool.depth == 25
            assert "alarm" in (side.publisher.away or "")
            (away,) = (line for line in logged if line["event"] == "broker.away")
            assert set(away["deliveries"]) <= set(named(row.spooled.delivery for row in await side.spool.oldest(5)))
            assert away["deliveries"]
        finally:
            await asyncio.to_thread(mortal_rabbitmq.alarm, raised=False)
        await eventually(lambda: side.spool.depth == 0, "the draining")
        await side.keep("after")
    arrived = bodies(await on_queue(url))

    assert set(arrived) == {"before", "after", *(f"first-{number}" for number in range(5)), *(f"later-{number}" for number in range(20))}
    in_order = [body for body in dict.fromkeys(arrived) if body.startswith("later")]
    assert in_order == [f"later-{number}" for number in range(20)]


async def test_ending_while_the_broker_is_blocked_is_prompt_and_keeps_what_it_has(mortal_rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    url = await declared(await removed(mortal_rabbitmq.url()))
    loop = asyncio.get_running_loop()
    try:
        async with connected(url, tmp_path) as side:
            await asyncio.to_thread(mortal_rabbitmq.alarm, raised=True)
            await side.keep("a", "b")
            began = loop.time()
        took = loop.time() - began
    finally:
        await asyncio.to_thread(mortal_rabbitmq.alarm, raised=False)
    async with connected(url, tmp_path) as side:
        await eventually(lambda: side.spool.depth == 0, "the draining")

    assert took < 4
    assert set(bodies(await on_queue(url))) == {"a", "b"}


# Embedded.


async def test_without_a_broker_the_spool_is_what_keeps(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, MEBIBYTE, owner=True)
    await SpoolKeeper(spool).keep(made("a"))
    rows = await spool.oldest(9)
    await spool.close()

    assert [decode(row.spooled.delivery).body for row in rows] == [b"a"]
