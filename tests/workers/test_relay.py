"""The relay against a real RabbitMQ: in order per subject and at least once, whatever becomes of relays, connections and broker."""

import asyncio
import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from structlog.testing import capture_logs

from schemas import topology
from schemas.delivery import now_utc
from schemas.events import Event, EventType, Subscription
from schemas.logs import Log
from schemas.states import SubscriptionState
from tests.services.rabbitmq import RabbitMQ
from tests.workers.made import NOON, until
from tests.workers.test_outbox import drift, keep
from workers.consumer import TopologyDiffers, declare_at
from workers.database import Database
from workers.outbox import OutboxEvent, claim
from workers.outlets import REFUSALS, REFUSED, UNCONFIRMED
from workers.relay import Relay

TEAM = "team"


@asynccontextmanager
async def channel_at(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel of our own."""
    connection = await aio_pika.connect(url, timeout=10)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def listening(url: str, queue: str = TEAM, key: str = "#", arguments: dict[str, Any] | None = None) -> None:
    """A team's durable queue."""
    await declare_at(url)
    async with channel_at(url) as channel:
        declared = await channel.declare_queue(queue, durable=True, arguments=arguments)
        await declared.bind(topology.EVENTS, key)


async def messages(url: str, queue: str = TEAM) -> list[AbstractIncomingMessage]:
    """All that is in a team's queue, which is empty then."""
    found = []
    async with channel_at(url) as channel:
        declared = await channel.get_queue(queue)
        while (message := await declared.get(fail=False, no_ack=True)) is not None:
            found.append(message)
    return found


async def events(url: str, queue: str = TEAM) -> list[dict[str, Any]]:
    """The same, read."""
    return [json.loads(message.body) for message in await messages(url, queue)]


def by_subject(told: Iterable[dict[str, Any]]) -> dict[str, list[int]]:
    """The numbers of each subject in the order of their first coming."""
    found, seen = defaultdict(list), set()
    for event in told:
        if event["id"] not in seen:
            seen.add(event["id"])
            found[event["subject"]].append(int(event["sequence"]))
    return dict(found)


@asynccontextmanager
async def running(*relays: Relay) -> AsyncIterator[None]:
    """Relays that run."""
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def drained() -> bool:
    """Whether the outbox is empty."""
    return not await OutboxEvent.exists()


@pytest.fixture(scope="module")
def vhost(rabbitmq: RabbitMQ) -> str:
    """One virtual host for this module: making one takes seconds."""
    return rabbitmq.vhost()


@pytest_asyncio.fixture
async def broker_url(vhost: str) -> str:
    """That virtual host, without the exchange and the queues of these tests."""
    async with channel_at(vhost) as channel:
        for queue in (TEAM, "full", "our-team"):
            await channel.queue_delete(queue)
        await channel.exchange_delete(topology.EVENTS)
    return vhost


async def test_an_event_comes_as_a_persistent_cloudevent_under_its_routing_key(database: Database, broker_url: str, tmp_path: Path) -> None:
    await listening(broker_url)
    await keep(database, drift("a"))
    async with running(Relay(database, broker_url, tmp_path)):
        await until(drained, "the outbox' emptying")

    (message,) = await messages(broker_url)
    event = json.loads(message.body)
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.content_type, message.routing_key) == ("application/cloudevents+json; charset=utf-8", "drift.found.v1")
    assert (message.message_id, message.type) == (event["id"], event["type"]) == (event["id"], "muster.drift.found.v1")
    assert (event["specversion"], event["subject"], event["data"]["action_subscription_id"]) == ("1.0", "hse/a", "a")


async def test_a_team_hears_what_it_bound_to(database: Database, broker_url: str, tmp_path: Path) -> None:
    await listening(broker_url, key="subscription.*.v1")
    await keep(database, drift("a"), created("a"), drift("a"))
    async with running(Relay(database, broker_url, tmp_path)):
        await until(drained, "the outbox' emptying")

    assert [event["type"] for event in await events(broker_url)] == ["muster.subscription.created.v1"]


async def test_nobody_listening_is_no_error(database: Database, broker_url: str, tmp_path: Path) -> None:
    await keep(database, *(drift(f"s{number}") for number in range(5)))
    relay = Relay(database, broker_url, tmp_path)
    async with running(relay):
        await until(drained, "the outbox' emptying")

        assert relay.away is None


async def test_order_and_completeness_survive_two_relays_whose_connections_are_killed(
    database: Database, rabbitmq: RabbitMQ, broker_url: str, tmp_path: Path
) -> None:
    await listening(broker_url)
    subjects, rounds, cut = [f"s{number}" for number in range(12)], 0, 0

    async def worker() -> None:
        nonlocal rounds
        while cut < 4:
            rounds += 1
            await keep(database, *map(drift, subjects))
            await asyncio.sleep(0.03)

    async with running(Relay(database, broker_url, tmp_path), Relay(database, broker_url, tmp_path)):
        working = asyncio.create_task(worker())
        while not working.done():
            await asyncio.to_thread(rabbitmq.ctl, "close_all_connections", "-p", broker_url.rpartition("/")[2], "a test")
            cut += 1
            await asyncio.sleep(0.2)
        await working
        await until(drained, "the outbox' emptying", 60)

    assert rounds > 4
    assert by_subject(await events(broker_url)) == {f"hse/{subject}": list(range(1, rounds + 1)) for subject in subjects}


async def test_a_stop_that_comes_in_the_moment_of_connecting_is_not_lost(
    database: Database, broker_url: str, tmp_path: Path, connects_whatever_comes: asyncio.Event
) -> None:
    relaying = asyncio.create_task(Relay(database, broker_url, tmp_path).run())
    await connects_whatever_comes.wait()
    relaying.cancel()
    await asyncio.wait([relaying], timeout=10)

    assert relaying.cancelled()


async def test_a_full_queue_that_rejects_holds_up_nobody_else_for_long(database: Database, broker_url: str, tmp_path: Path) -> None:
    await listening(broker_url)
    await listening(broker_url, "full", "subscription.#", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    await keep(database, created("a"), created("b"), created("c"), drift("a"), *(drift("d") for _ in range(8)))
    with capture_logs() as logs:
        async with running(Relay(database, broker_url, tmp_path)):
            await until(lambda: told_all("hse/d"), "what the full queue does not get", 2)
            await until(drained, "the outbox' emptying")

    found = await events(broker_url)
    assert by_subject(found) == {"hse/a": [1, 2], "hse/b": [1], "hse/c": [1], "hse/d": list(range(1, 9))}
    refused = [one["event_id"] for one in logs if one["event"] == Log.EVENT_REFUSED]
    assert Counter(event["id"] for event in found if event["id"] in refused) == dict.fromkeys(refused, REFUSALS)
    assert len(refused) == 3 - len(await events(broker_url, "full"))


async def told_all(subject: str) -> bool:
    """Whether nothing of a subject waits."""
    return not await OutboxEvent.filter(subject=subject).exists()


def created(subject: str) -> Event:
    """An event that some queues are bound to and others not."""
    live = Subscription(action_subscription_id=subject, state=SubscriptionState.LIVE)
    return Event(EventType.SUBSCRIPTION_CREATED, "hse", subject, NOON, live)


async def test_what_was_rejected_for_a_moment_comes_in_at_last_and_in_order(database: Database, broker_url: str, tmp_path: Path) -> None:
    await listening(broker_url, "full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    async with channel_at(broker_url) as channel:
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), "full")
    await keep(database, drift("a"), drift("a"))
    async with running(Relay(database, broker_url, tmp_path)):
        await until(lambda: OutboxEvent.filter(reason=REFUSED).exists(), "the rejection")
        found = await events(broker_url, "full")
        await until(lambda: OutboxEvent.filter(sequence=2, reason=REFUSED).exists(), "the next one's rejection")
        found += await events(broker_url, "full")
        await until(drained, "the outbox' emptying")

    assert [one.get("sequence") for one in [*found, *await events(broker_url, "full")]] == [None, "000000000001", "000000000002"]


@asynccontextmanager
async def deaf(rabbitmq: RabbitMQ, url: str, queue: str) -> AsyncIterator[None]:
    """A queue that takes nothing and confirms nothing, as one without its majority."""
    name = f'rabbit_misc:r(<<"{url.rpartition("/")[2]}">>, queue, <<"{queue}">>)'
    found = f"{{ok, Q}} = rabbit_amqqueue:lookup({name}), sys:{{}}(amqqueue:get_pid(Q))."
    await asyncio.to_thread(rabbitmq.ctl, "eval", found.replace("{}", "suspend"))
    try:
        yield
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "eval", found.replace("{}", "resume"))


async def test_a_queue_that_confirms_nothing_holds_up_its_own_subjects_alone(
    database: Database, rabbitmq: RabbitMQ, broker_url: str, tmp_path: Path
) -> None:
    await listening(broker_url)
    await listening(broker_url, "full", "subscription.#")
    relay = Relay(database, broker_url, tmp_path, deadline=1)
    with capture_logs() as logs:
        async with deaf(rabbitmq, broker_url, "full"), running(relay):
            await keep(database, created("a"), drift("a"))
            await until(lambda: OutboxEvent.filter(attempts=1).exists(), "its telling")
            for _ in range(4):
                await keep(database, drift("b"), drift("c"))
                await until(lambda: told_all("hse/b"), "the other subjects", 0.9)
            await until(lambda: OutboxEvent.filter(subject="hse/a", reason=UNCONFIRMED).exists(), "the end of patience")
            waiting = await OutboxEvent.all().count()
        async with running(relay):
            await until(drained, "the outbox' emptying")

    assert waiting == 2
    assert by_subject(await events(broker_url)) == {"hse/a": [1, 2], "hse/b": [1, 2, 3, 4], "hse/c": [1, 2, 3, 4]}
    assert [one["event"] for one in logs if one["event"] in (Log.RELAY_AWAY, Log.RELAYING)] == [Log.RELAYING]


async def test_what_cannot_be_read_holds_up_nobody_else(database: Database, broker_url: str, tmp_path: Path) -> None:
    await listening(broker_url)
    await keep(database, drift("a"), drift("b"), drift("a"), drift("b"))
    await OutboxEvent.filter(subject="hse/a", sequence=1).update(type="muster.weather.changed.v1")
    with capture_logs() as logs:
        async with running(Relay(database, broker_url, tmp_path)):
            await until(lambda: told_all("hse/b"), "the other subject")

    assert by_subject(await events(broker_url)) == {"hse/b": [1, 2]}
    assert {one["reason"] for one in logs if one["event"] == Log.EVENT_UNREADABLE} == {"this version knows no such type"}


async def test_an_exchange_of_another_type_is_told_with_what_to_do(database: Database, broker_url: str, tmp_path: Path) -> None:
    async with channel_at(broker_url) as channel:
        await channel.declare_exchange(topology.EVENTS, "fanout", durable=True)
    try:
        with pytest.raises(TopologyDiffers, match=r"muster\.events exists"):
            await asyncio.wait_for(Relay(database, broker_url, tmp_path).run(), 20)
    finally:
        async with channel_at(broker_url) as channel:
            await channel.exchange_delete(topology.EVENTS)


async def test_an_exchange_that_is_deleted_is_made_again(database: Database, broker_url: str, tmp_path: Path) -> None:
    async with running(Relay(database, broker_url, tmp_path)):
        await keep(database, drift("a"))
        await until(drained, "the outbox' emptying")
        async with channel_at(broker_url) as channel:
            await channel.exchange_delete(topology.EVENTS)
        await keep(database, drift("a"))
        await until(drained, "the outbox' emptying")


async def test_rows_wait_while_the_broker_is_down_and_go_when_it_is_back(
    database: Database, mortal_rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    url = mortal_rabbitmq.vhost()
    await listening(url)
    relay = Relay(database, url, tmp_path)
    async with running(relay):
        await keep(database, drift("a"))
        await until(drained, "the first event's going")
        # A node that is killed may have forgotten a binding of the second before.
        await asyncio.sleep(3)
        await asyncio.to_thread(mortal_rabbitmq.kill)
        await keep(database, drift("a"), drift("b"), drift("a"))
        await until(lambda: relay.away is not None, "the relay's noticing")
        waiting = await OutboxEvent.all().count()
        await asyncio.to_thread(mortal_rabbitmq.start)
        await until(drained, "the outbox' emptying", 60)

        assert relay.away is None
    assert waiting == 3
    assert by_subject(await events(url)) == {"hse/a": [1, 2, 3], "hse/b": [1]}


async def test_a_broker_that_answers_nothing_counts_as_away_and_no_event_is_blamed(
    database: Database, mortal_rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    relay = Relay(database, mortal_rabbitmq.url(), tmp_path, deadline=1)
    async with running(relay):
        await until(lambda: relay.away is None, "connecting", 30)
        mortal_rabbitmq.freeze(frozen=True)
        try:
            await keep(database, drift("a"))
            await until(lambda: relay.away == "TimeoutError", "the relay's noticing")
            row = await OutboxEvent.get()
        finally:
            mortal_rabbitmq.freeze(frozen=False)
        await until(drained, "the outbox' emptying", 60)

    assert row.reason is None


async def test_a_relay_that_is_stopped_in_the_midst_lets_go_of_its_events(
    database: Database, mortal_rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    url = mortal_rabbitmq.vhost()
    relay = Relay(database, url, tmp_path)
    async with running(relay):
        await until(lambda: relay.away is None, "connecting", 30)
        mortal_rabbitmq.freeze(frozen=True)
        try:
            await keep(database, drift("a"))
            await until(lambda: OutboxEvent.filter(attempts=1).exists(), "the claim")
        finally:
            thawing = asyncio.get_running_loop().call_later(1, lambda: mortal_rabbitmq.freeze(frozen=False))
    await asyncio.sleep(max(0, thawing.when() - asyncio.get_running_loop().time()) + 0.1)

    assert len(await claim(database, now_utc(), 10)) == 1


# Embedded.


def lines(path: Path) -> list[dict[str, Any]]:
    """The events in a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_without_a_broker_events_are_lines_of_a_file_in_their_order(database: Database, tmp_path: Path) -> None:
    await keep(database, drift("a"), drift("b"), drift("a"))
    async with running(Relay(database, None, tmp_path)):
        await until(drained, "the outbox' emptying")

    assert by_subject(lines(tmp_path / "events.jsonl")) == {"hse/a": [1, 2], "hse/b": [1]}


async def test_the_file_is_put_aside_at_its_size_and_nothing_is_lost_between(database: Database, tmp_path: Path) -> None:
    async with running(Relay(database, None, tmp_path, limit=500)):
        for _ in range(2):
            await keep(database, drift("a"))
            await until(drained, "the outbox' emptying")
        await keep(database, drift("a"))
        await until(drained, "the outbox' emptying")

    old, new = lines(tmp_path / "events.jsonl.1"), lines(tmp_path / "events.jsonl")
    assert by_subject([*old, *new]) == {"hse/a": [1, 2, 3]}
    assert old
    assert new


async def test_a_folder_that_cannot_be_written_to_is_waited_for(database: Database, tmp_path: Path) -> None:
    relay = Relay(database, None, tmp_path / "later")
    await keep(database, drift("a"))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(relay))
        await until(lambda: relay.away == "FileNotFoundError", "the relay's noticing")
        (tmp_path / "later").mkdir()
        await until(drained, "the outbox' emptying")

    assert by_subject(lines(tmp_path / "later" / "events.jsonl")) == {"hse/a": [1]}


# The README.


async def test_the_readmes_consumer_listens_as_written(database: Database, broker_url: str, tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    found = re.search(r"^## Listen$.*?^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert found is not None
    assert len([line for line in found[1].splitlines() if line.strip()]) <= 15
    await declare_at(broker_url)
    command = [sys.executable, "-c", found[1]]
    consumer = await asyncio.create_subprocess_exec(*command, env=os.environ | {"BROKER": broker_url}, stdout=asyncio.subprocess.PIPE)
    try:
        await until(lambda: _bound(broker_url), "the consumer's queue")
        live = Subscription(action_subscription_id="a", state=SubscriptionState.LIVE, status="EXPIRING")
        await keep(database, drift("a"), Event(EventType.SUBSCRIPTION_CREATED, "hse", "a", NOON, live))
        (event,) = [row.event for row in await OutboxEvent.filter(type="muster.subscription.created.v1")]
        async with running(Relay(database, broker_url, tmp_path)):
            assert consumer.stdout is not None
            printed = await asyncio.wait_for(consumer.stdout.readline(), 20)
    finally:
        consumer.kill()
        await consumer.wait()

    assert printed.decode().split() == [str(event), "muster.subscription.created.v1", "hse/a", "EXPIRING"]


async def _bound(url: str) -> bool:
    """Whether the README's queue gets what is published."""
    with suppress(aio_pika.exceptions.AMQPError):
        async with channel_at(url) as channel:
            queue = await channel.declare_queue("our-team", passive=True)
            if queue.declaration_result.consumer_count:
                return True
    return False
