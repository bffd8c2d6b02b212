"""How things stand: figures of the log, the mirror and the queues, and whether a worker is at work."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg

from schemas import topology
from schemas.accounts import FourhseAccount
from schemas.delivery import encode, seal
from schemas.settings import WorkerSettings
from schemas.states import DeliveryState, Reason, RefreshKind, SubscriptionState
from tests.services import free_port
from tests.services.postgres import Postgres
from tests.workers.made import NOON, created, deleted, delivery, until
from workers.consumer import Consumer, declare_at
from workers.database import Database
from workers.envelopes import UNREADABLE
from workers.followups.tables import Need
from workers.lane import Lane
from workers.log import LoggedDelivery, begin_attempt, hold
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Touch
from workers.mirror.tables import ReconcileRun
from workers.operations.health import Backlog, Watch, queue_depths, status, worker_readiness
from workers.pipeline import Pipeline
from workers.refreshes import Refresh

HOUR = timedelta(hours=1)
HSE = FourhseAccount.model_validate({"vendor": "4hse", "access_token_file": "key"})


async def ran(**changed: Any) -> None:
    """A run of reconcile."""
    columns = {name: None if field.null else 0 for name, field in ReconcileRun._meta.fields_map.items()}
    made = {"id": uuid4(), "holder": uuid4(), "account": "hse", "asked": {}, "state": "done", "step_at": NOON}
    await ReconcileRun(**(columns | made | changed)).save(force_create=True)


async def test_nothing_is_counted_where_nothing_came(database: Database) -> None:
    found = await status(NOON, {})

    assert found.deliveries == dict.fromkeys(DeliveryState, 0)
    assert found.subscriptions == dict.fromkeys(SubscriptionState, 0)
    assert (found.refreshes, found.reconciles, found.without_api) == (Backlog(0, 0, None), [], [])
    assert (found.as_of, found.oldest_waiting, found.held_envelopes, found.last_received) == (NOON, None, 0, None)


async def test_the_log_and_the_mirror_are_counted_by_state(database: Database) -> None:
    last = delivery(b"", received_at=NOON + timedelta(hours=2))
    ignored = delivery(b'{"type": "USER_REGISTERED", "payloads": []}', "USER_REGISTERED", vendor="ispring")
    await Pipeline(database).together([created("s1"), deleted("s2"), deleted("s3"), ignored, last])
    for hours in (1, 2):
        await begin_attempt(database, one := created(received_at=NOON - timedelta(days=9)))
        await LoggedDelivery.filter(id=one.id).update(state_at=NOON - timedelta(hours=hours))
    await hold(database, 2, "deliveries", b"message")
    found = await status(NOON, {})

    assert found.deliveries == {"received": 2, "applied": 3, "ignored": 1, "dead": 1, "settled": 0}
    assert found.subscriptions == {"live": 1, "missing": 0, "deleted": 2}
    assert (found.oldest_waiting, found.held_envelopes) == (NOON - timedelta(hours=2), 1)


async def test_the_last_delivery_is_the_one_that_arrived_last_whatever_unreadable_messages_are_called(database: Database) -> None:
    await Pipeline(database).bury([delivery(b"x", None, id="f" * 32, source=UNREADABLE, vendor=UNREADABLE)], Reason.UNREADABLE_ENVELOPE)
    await Pipeline(database).together([created(received_at=NOON + timedelta(hours=1))])

    assert (await status(NOON, {})).last_received == NOON + timedelta(hours=1)


async def test_what_is_touched_and_not_fetched_is_counted(database: Database) -> None:
    touches = [Touch("hse", RefreshKind.ACTION_SUBSCRIPTION, f"s{minutes}", NOON - timedelta(minutes=minutes)) for minutes in (1, 5, 3)]
    async with database.transaction() as connection:
        await Mirror(frozenset({"hse"})).apply(connection, database.dialect, touches)
    await Refresh.filter(subject="s1").update(attempts=2)

    assert (await status(NOON, {})).refreshes == Backlog(waiting=3, failing=1, oldest=NOON - timedelta(minutes=5))


async def test_an_account_that_no_api_is_configured_for_lives_on_hints_alone(database: Database) -> None:
    await Pipeline(database).together([created("s1", account="old"), created("s2", account="old"), created("s3", account="hse")])
    await Pipeline(database).together([delivery(b"{}", "PERSON::CREATE", account="silent")])

    assert (await status(NOON, {"hse": HSE})).without_api == ["old", "silent"]


async def test_the_last_run_of_reconcile_is_told_for_each_account(database: Database) -> None:
    for hours in (3, 1, 2):
        await ran(began_at=NOON - timedelta(hours=hours), missing=hours)
    await ran(account="old", began_at=NOON)
    shown = await status(NOON, {"hse": HSE})
    (found,) = shown.reconciles

    assert (found.account, found.state, found.began_at, found.missing, found.extra, found.different) == (
        "hse",
        "done",
        NOON - timedelta(hours=1),
        1,
        0,
        0,
    )
    assert shown.drift == {"hse": {"missing": 1, "extra": 0, "different": 0, "status": 0}}


async def test_readiness_names_what_is_quiet_and_looks_it_up_now_and_then(database: Database) -> None:
    lane = Lane(Consumer("amqp://unused", WorkerSettings()), Pipeline(database), database)
    await Pipeline(database).together([created(received_at=NOON)])
    moments = iter(NOON + 30 * HOUR + timedelta(seconds=second) for second in (0, 9, 10))
    watch = Watch({"hse": HSE}, lambda: next(moments))
    told = [await worker_readiness(database, lane, None, watch)]
    await Pipeline(database).together([created("s2", received_at=NOON + 30 * HOUR)])
    told += [await worker_readiness(database, lane, None, watch) for _ in range(2)]

    assert [ready for ready, _ in told] == [True] * 3
    quiet = ["source hse of hse: no delivery since 2026-03-01T12:00:00+00:00"]
    assert [details["quiet"] for _, details in told] == [quiet, quiet, []]


async def test_queues_are_as_deep_as_the_broker_says_and_missing_ones_are_left_out(broker_url: str) -> None:
    assert await queue_depths(broker_url) == []

    await declare_at(broker_url)
    connection = await aio_pika.connect(broker_url)
    exchange = await (await connection.channel()).get_exchange(topology.DELIVERIES)
    await exchange.publish(aio_pika.Message(seal([encode(created())])), "4hse.hse")
    await connection.close()

    assert {depth.name: (depth.messages, depth.consumers) for depth in await queue_depths(broker_url)} == {
        topology.DELIVERIES: (1, 0),
        topology.REPLAYS: (0, 0),
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


async def test_needs_and_enrollments_are_counted_by_their_states(database: Database) -> None:
    for number, state in enumerate(("enrolled", "overdue", "overdue", "held", "undone")):
        times = dict.fromkeys(("state_at", "opened_at", "created_at"), NOON) | ({} if state == "enrolled" else {"due_at": NOON})
        named: dict[str, Any] = {
            "account": "hse",
            "action_subscription_id": f"s{number}",
            "rule": "fire",
            "cycle": "initial",
            "digest": "d",
            "plan": {},
        }
        alarm = "it was due" if state == "held" else None
        await Need(id=uuid4(), state=state, attempt=1, approvals=[], alarm=alarm, **named, **times).save()

    found = await status(NOON, {})
    assert (found.followups, found.enrollments) == ({"enrolled": 1, "held": 1, "overdue": 2, "undone": 1}, {})
    assert (found.overdue, found.alarms) == (3, 1), "held and past its time is overdue too"
