"""How many deliveries a second a worker applies on PostgreSQL, in batches as the consumer makes them, and one by one."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass

import aio_pika
import click
import uvloop
from uuid_utils.compat import uuid4

from schemas import topology
from schemas.delivery import KIND, unseal
from schemas.settings import LogSettings, WorkerSettings
from tests.bench import deliveries, report, store
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ
from workers.cli.logging import configure
from workers.consumer import Consumer, declare_at
from workers.database import Database
from workers.lane import Lane
from workers.pipeline import Pipeline

BATCH = WorkerSettings().batch
#: Deliveries a message: what a busy receiver sends (`accept` tells), and a quiet one.
BUSY, QUIET = 32, 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to apply deliveries: takes a database and encoded deliveries, returns the seconds it took."""

    name: str
    apply: Callable[[Database, list[bytes]], Coroutine[None, None, float]]
    deliveries: int


def measure(runs: int, *, quick: bool) -> None:
    """Measure the pipeline by itself, and behind a real queue."""
    configure(LogSettings(level="error"))
    node, cluster = RabbitMQ(), Postgres(durable=True)
    try:
        node.start()
        cluster.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_measure(runs, _candidates(node.url(), quick=quick), cluster.create("bench"), node.ctl("version").strip()))
    finally:
        cluster.remove()
        node.remove()


def _candidates(broker: str, *, quick: bool) -> list[Candidate]:
    few, many = (500, 2_000) if quick else (5_000, 20_000)
    return [
        Candidate(f"one transaction each, {store.AT_ONCE} at once", one_each, few),
        Candidate("batches of 100", lambda database, encoded: in_batches(database, encoded, 100), many),
        Candidate(f"batches of {BATCH}", lambda database, encoded: in_batches(database, encoded, BATCH), many),
        Candidate(f"from a queue, {BUSY} a message", lambda database, encoded: from_queue(database, encoded, broker, BUSY), many),
        Candidate(f"from a queue, {QUIET} a message", lambda database, encoded: from_queue(database, encoded, broker, QUIET), many),
    ]


async def _measure(runs: int, candidates: list[Candidate], url: str, rabbitmq: str) -> None:
    figures: list[list[float]] = [[] for _ in candidates]
    async with store.opened(url) as database:
        report.machine(f"{await store.version(database)}, fsync on, all settings at their defaults", f"RabbitMQ {rabbitmq}, one node")
        for run in range(runs + 1):
            for found, candidate in zip(figures, candidates, strict=True):
                rate = await _run(database, candidate)
                if run:  # the first is for warming up
                    found.append(rate)
    rows = [report.Row(candidate.name, found) for candidate, found in zip(candidates, figures, strict=True)]
    report.rates("apply", rows, "deliveries per second")
    report.ratios([report.Ratio(f"{row.name} / {rows[0].name}", row, rows[0], 4.0 if row is rows[2] else None) for row in rows[1:]])


async def _run(database: Database, candidate: Candidate) -> float:
    subjects = [str(uuid4()) for _ in range(candidate.deliveries)]
    encoded = deliveries.about(subjects)
    await store.empty(database)
    await store.settle(database)
    seconds = await candidate.apply(database, encoded)
    counted = await store.applied(database), await store.mirrored(database)
    if counted != (len(encoded), len(set(subjects))):
        raise RuntimeError(f"{candidate.name}: {counted} rows in log and mirror, of {len(encoded)} deliveries")
    click.echo(f"  {candidate.name}: {len(encoded) / seconds:,.0f}", err=True)
    return len(encoded) / seconds


async def in_batches(database: Database, encoded: list[bytes], size: int) -> float:
    """Envelopes opened, deliveries decided and written, a batch at a time."""
    pipeline, envelopes = Pipeline(database), list(deliveries.sealed(encoded, size))
    began = time.perf_counter()
    for envelope in envelopes:
        await pipeline.together(unseal(envelope))
    return time.perf_counter() - began


async def one_each(database: Database, encoded: list[bytes]) -> float:
    """The same pipeline with a transaction for each delivery, several under way."""
    pipeline, envelopes = Pipeline(database), deliveries.sealed(encoded, 1)

    async def work() -> None:
        for envelope in envelopes:
            await pipeline.together(unseal(envelope))

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(store.AT_ONCE)))
    return time.perf_counter() - began


async def from_queue(database: Database, encoded: list[bytes], broker: str, size: int) -> float:
    """The worker's own lane and consumer on a full queue, from its connecting to the last acknowledgement."""
    await declare_at(broker)
    await _publish(broker, list(deliveries.sealed(encoded, size)))
    consumer = Consumer(broker, WorkerSettings())
    lane = Lane(consumer, Pipeline(database), database)
    began = time.perf_counter()
    running = [asyncio.create_task(consumer.run()), asyncio.create_task(lane.run())]
    while lane.tally.total() < len(encoded):  # noqa: ASYNC110 - the lane tells nobody; it is asked, as the readiness page does
        await asyncio.sleep(0.005)
    seconds = time.perf_counter() - began
    for task in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return seconds


async def _publish(broker: str, envelopes: list[bytes]) -> None:
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(topology.DELIVERIES, ensure=False)
        for start in range(0, len(envelopes), 200):
            messages = [
                aio_pika.Message(envelope, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, type=KIND, message_id=str(start + number))
                for number, envelope in enumerate(envelopes[start : start + 200])
            ]
            await asyncio.gather(*(exchange.publish(one, topology.routing_key("4hse", deliveries.ACCOUNT)) for one in messages))
