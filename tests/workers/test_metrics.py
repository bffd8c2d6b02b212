"""What a worker counts is what became of deliveries, batches and calls; its gauges are its state, and what others told of theirs."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from schemas import metrics
from schemas.accounts import FourhseAccount
from schemas.metrics import OF_WORKERS, Metric
from schemas.settings import WorkerSettings
from tests.services import free_port
from tests.workers.made import NOON, created, delivery, replayed, until
from workers.consumer import Consumer
from workers.database import Database, DatabaseAway
from workers.envelopes import UNREADABLE
from workers.lane import Batch, Lane
from workers.metrics import SOURCES, Gauges, Names, Outside, Work
from workers.operations.figures import QUESTIONS, Answer, Asked, Moment
from workers.pipeline import Pipeline
from workers.vendors.accounts import OpenAccounts
from workers.vendors.errors import Unavailable
from workers.vendors.fourhse import Fourhse


def account(key: Path, **limits: Any) -> FourhseAccount:
    """An account at a vendor that is not there."""
    key.write_text("k3y")
    made = {"vendor": "4hse", "access_token_file": key, "base_url": f"http://127.0.0.1:{free_port()}", "insecure": True}
    return FourhseAccount.model_validate(made | {"limits": {"attempts": 1} | limits})


def counted(registry: CollectorRegistry, metric: Metric) -> dict[tuple[str, ...], float]:
    """A counter's or a gauge's series by their labels, but for those at nought."""
    samples = [one for family in registry.collect() for one in family.samples if one.name == metric.name]
    return {tuple(one.labels[label] for label in metric.labels): one.value for one in samples if one.value}


async def test_a_delivery_counts_once_under_its_source_its_lane_and_what_became_of_it(database: Database) -> None:
    registry = CollectorRegistry()
    work = Work(registry, [], lambda: NOON + timedelta(seconds=2))
    pipeline, first, second = Pipeline(database, told=work.settled), created("s1"), created("s2", source="hse2")
    await pipeline.together([first, second, first, delivery(b"{}", "PERSON::CREATE"), delivery(b"no JSON")])
    await pipeline.together([first, replayed(second)])
    await pipeline.one_by_one([second])

    assert counted(registry, metrics.DELIVERIES) == {
        ("hse", "live", "applied"): 1,
        ("hse2", "live", "applied"): 1,
        ("hse", "live", "suppressed"): 2,
        ("hse", "live", "ignored"): 1,
        ("hse", "live", "dead"): 1,
        ("hse2", "replay", "applied"): 1,
    }


async def test_the_latency_is_from_a_live_deliverys_arrival_to_its_commit(database: Database) -> None:
    registry = CollectorRegistry()
    pipeline = Pipeline(database, told=Work(registry, [], lambda: NOON + timedelta(seconds=2)).settled)
    one = created(received_at=NOON)
    await pipeline.together([one])
    await pipeline.together([replayed(one), created("s2", received_at=NOON + timedelta(hours=1)), created("s3", effects=False)])

    assert registry.get_sample_value("muster_apply_latency_seconds_count") == 2
    assert registry.get_sample_value("muster_apply_latency_seconds_sum") == 2  # a clock that is behind counts nothing, and never less


async def test_a_batch_is_counted_with_its_size_and_its_time(database: Database) -> None:
    registry, handed = CollectorRegistry(), asyncio.Queue[Batch]()
    handed.put_nowait(Batch(fresh=[created("s1"), created("s2")], suspects=[created("s3")]))

    class Given:
        async def take(self) -> Batch:
            return await handed.get()

        async def take_replays(self) -> Batch:
            return await asyncio.Queue[Batch]().get()

        async def settle(self, batch: Batch) -> None:
            """Nothing to do."""

        run = pause = resume = None

    lane = Lane(Given(), Pipeline(database), database, told=Work(registry, [], lambda: NOON).batch)  # type: ignore[arg-type]
    working = asyncio.create_task(lane.run())
    await until(lambda: lane.tally.total() == 3, "the batch's application")
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working

    assert registry.get_sample_value("muster_batch_deliveries_sum") == 3
    assert registry.get_sample_value("muster_batch_seconds_count") == 1


async def test_every_call_counts_under_its_account_and_a_breaker_that_opens_is_seen(tmp_path: Path) -> None:
    key, registry = tmp_path / "key", CollectorRegistry()
    configured = {"hse": account(key, breaker_failures=2), "other": account(key)}
    work = Work(registry, configured, lambda: NOON)
    accounts = OpenAccounts(configured, lambda: NOON, work.called)
    Gauges(registry, Lane(None, None, None), None, accounts, lambda: NOON)  # type: ignore[arg-type]
    before = counted(registry, metrics.BREAKER)
    client = accounts["hse"].client
    assert isinstance(client, Fourhse)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await client.login()
    await accounts.close()

    assert before == {("hse", "closed"): 1, ("other", "closed"): 1}
    assert counted(registry, metrics.BREAKER) == {("hse", "open"): 1, ("other", "closed"): 1}
    assert counted(registry, metrics.CALLS) == {("hse", "unavailable"): 2}
    assert registry.get_sample_value("muster_vendor_call_seconds_count", {"account": "hse"}) == 2
    assert registry.get_sample_value("muster_vendor_calls_total", {"account": "other", "outcome": "ok"}) == 0


async def test_the_oldest_that_is_not_settled_is_of_the_live_batch_under_way() -> None:
    registry, lane, accounts = CollectorRegistry(), Lane(None, None, None), OpenAccounts({}, lambda: NOON)  # type: ignore[arg-type]
    Gauges(registry, lane, Consumer("amqp://unused", WorkerSettings()), accounts, lambda: NOON + timedelta(minutes=5))
    late, later = created(received_at=NOON), created(received_at=NOON + timedelta(minutes=2))

    def oldest() -> float | None:
        return registry.get_sample_value(metrics.OLDEST.name)

    assert oldest() == 0
    lane.live = Batch(fresh=[later], suspects=[late])
    assert oldest() == 300
    assert registry.get_sample_value(metrics.BROKER.name) == 0


def test_names_that_only_deliveries_tell_are_bounded() -> None:
    names = Names(2)

    assert [names(one) for one in ("a", "b", "c", "a", UNREADABLE)] == ["a", "b", "other", "a", "other"]


async def test_a_flood_of_made_up_sources_makes_no_flood_of_series() -> None:
    registry = CollectorRegistry()
    work = Work(registry, [], lambda: NOON)
    work.settled([created(source=f"s{number}") for number in range(SOURCES + 50)], [])

    assert len(counted(registry, metrics.DELIVERIES)) == SOURCES + 1
    assert counted(registry, metrics.DELIVERIES)["other", "live", "suppressed"] == 50


async def test_what_database_and_broker_told_is_shown_and_nothing_of_one_that_is_away() -> None:
    registry, answers = CollectorRegistry(), dict[str, Answer]()

    def asked(whom: str) -> Asked:
        async def ask() -> Answer:
            if whom not in answers:
                raise DatabaseAway("ConnectionRefusedError")
            return answers[whom]

        return Asked(ask, every=0)

    questions = {"deliveries": asked("log"), "followups": asked("tables")}
    outside = Outside(registry, asked("database"), questions, asked("broker"))

    async def shown() -> Mapping[str, float]:
        await outside.look()
        samples = [one for family in registry.collect() for one in family.samples]
        return {one.labels["question"] if one.name == metrics.UNANSWERED.name else one.name: one.value for one in samples}

    answers["log"] = {metrics.DEAD: {(): 2}}
    assert await shown() == {"muster_database_up": 0, "deliveries": 0, "followups": 1, "broker": 1}, "as it was before it went"
    answers |= {"broker": {metrics.QUEUE: {("muster.deliveries",): 7}}, "database": {}}
    up = {"muster_database_up": 1, "deliveries": 0, "broker": 0, "muster_queue_messages": 7, "muster_deliveries_dead": 2}
    assert await shown() == up | {"followups": 1}
    answers["tables"] = {metrics.HELD: {(): 3}}
    assert await shown() == up | {"followups": 0, "muster_held_envelopes": 3}
    del answers["log"]
    assert (await shown()).keys() == {
        "deliveries",
        "followups",
        "broker",
        "muster_database_up",
        "muster_queue_messages",
        "muster_held_envelopes",
    }


async def test_a_question_that_takes_too_long_takes_no_other_with_it_and_a_busy_database_is_not_away(database: Database) -> None:
    registry = CollectorRegistry()

    async def ping() -> Answer:
        await database.ping()
        return {}

    async def slow() -> Answer:
        await asyncio.sleep(60)
        return {}

    questions = {name: Asked(partial(question, Moment(NOON, {}))) for name, (question, _) in QUESTIONS.items()}
    await Outside(registry, Asked(ping), questions | {"followups": Asked(slow, patience=0.1)}, None).look()

    assert counted(registry, metrics.UNANSWERED) == {("followups",): 1}
    assert registry.get_sample_value(metrics.DATABASE.name) == 1
    assert registry.get_sample_value(metrics.OUTBOX.name) == 0


def test_what_it_counts_itself_is_there_from_the_start() -> None:
    registry = CollectorRegistry()
    Work(registry, ["hse"], lambda: NOON)
    shown = {one.name + "_total" * (one.type == "counter"): one for one in registry.collect()}

    assert shown.keys() == {one.name for one in OF_WORKERS if one.kind != "gauge"}
    assert all(shown[one.name].documentation == one.help for one in OF_WORKERS if one.kind != "gauge")
