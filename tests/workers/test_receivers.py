"""Heartbeats become rows: the newest of each receiver, whatever the order, and no heartbeat is ever a delivery."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import aio_pika
import pytest

from schemas import topology
from schemas.delivery import encode, now_utc, seal
from schemas.heartbeat import Heartbeat
from schemas.settings import WorkerSettings
from tests.workers.made import NOON, created, states, until
from workers import envelopes
from workers.consumer import Consumer, declare_at
from workers.database import Database
from workers.envelopes import readmitted
from workers.freshness import SourceFreshness
from workers.lane import Batch, Lane
from workers.log import HeldEnvelope, LoggedDelivery, hold
from workers.operations.freshness import freshness
from workers.pipeline import Pipeline
from workers.receivers import REMEMBERED, Receiver, note

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def beat(name: str = "web-1", at: datetime = NOON, **changed: Any) -> Heartbeat:
    """A heartbeat of a receiver that is well."""
    return Heartbeat(**({"name": name, "at": at, "began_at": NOON - HOUR, "every": 30, "program": "0.1.0", "spooled": 0} | changed))


async def rows() -> list[tuple[str, datetime, int]]:
    """What is known of each receiver."""
    return [(row.name, row.at, row.spooled) for row in await Receiver.all().order_by("name")]


async def test_a_heartbeat_becomes_a_row(database: Database) -> None:
    told: dict[str, Any] = {
        "spooled": 3,
        "spooled_since": NOON - HOUR,
        "spool_full": True,
        "rejected": 7,
        "rejected_last": NOON - SECOND,
        "rejected_lost": 2,
        "stopping": True,
    }
    await note(database, [beat(**told)], NOON)
    (row,) = await Receiver.all()

    assert {name: getattr(row, name) for name in told} == told
    assert (row.name, row.at, row.began_at, row.every, row.program) == ("web-1", NOON, NOON - HOUR, 30, "0.1.0")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0, 2, 1, 0)])
async def test_the_newest_stays_in_whatever_order_and_however_often_they_come(database: Database, order: tuple[int, ...]) -> None:
    for number in order:
        await note(database, [beat(at=NOON + number * SECOND, spooled=number), beat("web-2")], NOON + HOUR)

    assert await rows() == [("web-1", NOON + 2 * SECOND, 2), ("web-2", NOON, 0)]


async def test_those_of_one_batch_may_be_of_the_same_receiver(database: Database) -> None:
    await note(database, [beat(at=NOON + number * SECOND, spooled=number) for number in (0, 2, 1)], NOON + HOUR)

    assert await rows() == [("web-1", NOON + 2 * SECOND, 2)]


async def test_a_clock_that_is_ahead_does_not_make_a_receiver_immortal(database: Database) -> None:
    await note(database, [beat(at=NOON + HOUR)], NOON)
    await note(database, [beat(at=NOON + SECOND, spooled=1)], NOON + SECOND)

    assert await rows() == [("web-1", NOON + SECOND, 1)]


async def test_who_is_gone_for_good_is_forgotten_when_another_is_heard(database: Database) -> None:
    await note(database, [beat("gone"), beat("away", NOON + SECOND)], NOON + SECOND)
    await note(database, [beat("here", NOON + SECOND + REMEMBERED)], NOON + SECOND + REMEMBERED)

    assert [name for name, *_ in await rows()] == ["away", "here"]


@pytest.mark.parametrize(
    ("seconds", "changed", "quiet"),
    [
        pytest.param(90, {}, False, id="three heartbeats have not come"),
        pytest.param(91, {}, True, id="and a fourth is due"),
        pytest.param(31, {"every": 10}, True, id="it beats faster"),
        pytest.param(9999, {"stopping": True}, False, id="it said that it stops"),
    ],
)
async def test_a_receiver_is_quiet_when_three_heartbeats_have_not_come(
    database: Database, seconds: int, changed: dict[str, Any], quiet: bool
) -> None:
    await note(database, [beat(**changed)], NOON)
    found = await freshness(NOON + seconds * SECOND, {})

    assert [(one.name, one.as_of, one.quiet) for one in found.receivers] == [("web-1", NOON, quiet)]
    assert found.quiet == ["receiver web-1: no heartbeat since 2026-03-01T12:00:00+00:00"] * quiet


async def test_heartbeats_that_are_heard_late_one_after_the_other_are_no_silence(database: Database) -> None:
    for number in range(3):
        now = NOON + HOUR + number * SECOND
        await note(database, [beat(at=NOON + number * 30 * SECOND)], now)
        assert (await freshness(now, {})).quiet == []
    silent = await freshness(now + 91 * SECOND, {})

    assert silent.quiet == ["receiver web-1: no heartbeat since 2026-03-01T12:01:00+00:00"]


async def test_an_old_heartbeat_that_comes_again_says_nothing_new(database: Database) -> None:
    for second in (0, 80):
        await note(database, [beat()], NOON + second * SECOND)

    assert (await freshness(NOON + 91 * SECOND, {})).receivers[0].quiet


async def test_what_an_older_worker_heard_counts_from_when_it_was_sent(database: Database) -> None:
    await note(database, [beat()], NOON + HOUR)
    await Receiver.all().update(heard_at=None)

    assert (await freshness(NOON + 91 * SECOND, {})).receivers[0].quiet


def opened(message: bytes) -> Batch:
    """A message as the consumer opens it."""
    return envelopes.opened(message, suspect=False)


def test_a_heartbeat_is_no_delivery_and_does_not_count() -> None:
    batch = opened(beat().model_dump_json().encode())

    assert (batch.heartbeats, len(batch)) == ([beat()], 0)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b'{"version": 2, "kind": "heartbeat"}', id="of a version from the future"),
        pytest.param(b'{"version": 1, "kind": "heartbeat", "name": "a b"}', id="that makes no sense"),
    ],
)
def test_one_that_cannot_be_read_is_let_go_for_the_next_tells_the_same(message: bytes) -> None:
    assert opened(message) == Batch()


async def test_those_that_an_older_worker_held_are_let_go_and_do_no_harm(database: Database) -> None:
    await hold(database, 1, "heartbeat", beat().model_dump_json().encode())

    assert [row for row, _ in await readmitted()] == [(await HeldEnvelope.get()).id]


async def test_on_their_way_through_broker_and_worker_they_are_no_delivery_of_any_source(database: Database, broker_url: str) -> None:
    await declare_at(broker_url)
    one, now = created(), now_utc()
    async with await aio_pika.connect(broker_url) as connection:
        target = await (await connection.channel()).get_exchange(topology.DELIVERIES)
        for key, message in (
            (topology.heartbeat_key("web-1"), beat(at=now).model_dump_json().encode()),
            (topology.routing_key("4hse", "hse"), seal([encode(one)])),
            (topology.heartbeat_key("web-2"), beat("web-2", now).model_dump_json().encode()),
        ):
            await target.publish(aio_pika.Message(message), key)
    consumer = Consumer(broker_url, WorkerSettings())
    lane = Lane(consumer, Pipeline(database), database)
    tasks = [asyncio.create_task(duty) for duty in (consumer.run(), lane.run())]
    try:
        await until(lambda: Receiver.all().count(), "the hearing")
        await until(lambda: lane.tally["applied"], "the delivery")
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    assert await rows() == [("web-1", now, 0), ("web-2", now, 0)]
    assert await states(one) == [("applied", None)]
    assert [row.source for row in await SourceFreshness.all()] == ["hse"]
    assert (await LoggedDelivery.all().count(), await HeldEnvelope.all().count(), dict(lane.tally)) == (1, 0, {"applied": 1})
