"""How things stand: figures of the log, the mirror and the queues, and whether a worker is at work."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import aio_pika
import asyncpg

from schemas import topology
from schemas.delivery import encode, seal
from schemas.settings import WorkerSettings
from schemas.states import DeliveryState, Reason, SubscriptionState
from tests.services import free_port
from tests.services.postgres import Postgres
from tests.workers.made import NOON, created, deleted, delivery, until
from workers.consumer import UNREADABLE, Consumer, declare_at
from workers.database import Database
from workers.lane import Lane
from workers.log import begin_attempt, hold
from workers.operations.health import queue_depths, status, worker_readiness
from workers.pipeline import Pipeline


async def test_nothing_is_counted_where_nothing_came(database: Database) -> None:
    found = await status(NOON)

    assert found.deliveries == dict.fromkeys(DeliveryState, 0)
    assert found.subscriptions == dict.fromkeys(SubscriptionState, 0)
    assert (found.as_of, found.oldest_waiting, found.held_envelopes, found.last_received) == (NOON, None, 0, None)


async def test_the_log_and_the_mirror_are_counted_by_state(database: Database) -> None:
    last = delivery(b"", received_at=NOON + timedelta(hours=2))
    await Pipeline(database).together([created("s1"), deleted("s2"), deleted("s3"), delivery(b"{}", "PERSON::CREATE"), last])
    for hours in (1, 2):
        await begin_attempt(database, created(received_at=NOON - timedelta(hours=hours)))
    await hold(database, 2, "deliveries", b"message")
    found = await status(NOON)

    assert found.deliveries == {"received": 2, "applied": 3, "ignored": 1, "dead": 1, "settled": 0}
    assert found.subscriptions == {"live": 1, "deleted": 2}
    assert (found.oldest_waiting, found.held_envelopes) == (NOON - timedelta(hours=2), 1)


async def test_the_last_delivery_is_the_one_that_arrived_last_whatever_unreadable_messages_are_called(database: Database) -> None:
    await Pipeline(database).bury([delivery(b"x", None, id="f" * 32, source=UNREADABLE, vendor=UNREADABLE)], Reason.UNREADABLE_ENVELOPE)
    await Pipeline(database).together([created(received_at=NOON + timedelta(hours=1))])

    assert (await status(NOON)).last_received == NOON + timedelta(hours=1)


async def test_queues_are_as_deep_as_the_broker_says_and_missing_ones_are_left_out(broker_url: str) -> None:
    assert await queue_depths(broker_url) == []

    await declare_at(broker_url)
    connection = await aio_pika.connect(broker_url)
    exchange = await (await connection.channel()).get_exchange(topology.DELIVERIES)
    await exchange.publish(aio_pika.Message(seal([encode(created())])), "4hse.hse")
    await connection.close()

    assert {depth.name: (depth.messages, depth.consumers) for depth in await queue_depths(broker_url)} == {
        topology.DELIVERIES: (1, 0),
        topology.DEAD: (0, 0),
    }


async def test_an_embedded_worker_is_ready_while_its_database_is(database: Database) -> None:
    lane = Lane(Consumer("amqp://unused", WorkerSettings()), Pipeline(database), database)
    assert await worker_readiness(database, lane, None) == (True, {"database": "up", "broker": "embedded", "applied": {}})

    lane.held_up = "ConnectionResetError"
    assert await worker_readiness(database, lane, None) == (
        False,
        {"database": "ConnectionResetError", "broker": "embedded", "applied": {}},
    )


async def test_a_database_that_went_away_unnoticed_is_noticed(spoilt_postgres: Database, postgres: Postgres) -> None:
    lane = Lane(Consumer("amqp://unused", WorkerSettings()), Pipeline(spoilt_postgres), spoilt_postgres)
    (name,) = (await spoilt_postgres.connection.execute_query_dict("SELECT current_database()"))[0].values()
    operator = await asyncpg.connect(postgres.url())
    await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await operator.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    await operator.close()
    ready, details = await worker_readiness(spoilt_postgres, lane, None)

    assert not ready
    assert details["database"] != "up"


async def test_a_worker_is_ready_only_while_it_consumes(database: Database, broker_url: str) -> None:
    for url, expected in ((broker_url, True), (f"amqp://guest:guest@127.0.0.1:{free_port()}/", False)):
        consumer = Consumer(url, WorkerSettings())
        running = asyncio.create_task(consumer.run())
        await until(lambda known=consumer: known.away != "not connected yet", "a first connection or failure")  # type: ignore[misc]
        ready, details = await worker_readiness(database, Lane(consumer, Pipeline(database), database), consumer)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

        assert ready is expected
        assert (details["broker"] == "up") is expected
