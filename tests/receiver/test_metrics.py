"""What a receiver counts is what it answered, under configured names alone, and its gauges are its state."""

from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import Metric as Family

from receiver import app
from receiver.endpoints import Hook
from receiver.errors import NotVerified, Overloaded, Refusal, Unavailable
from receiver.metrics import OUTCOMES, Answers, Gauges
from receiver.publisher import Publisher
from receiver.recent import Recent
from receiver.rejects import Rejects
from receiver.sources import sources
from receiver.spool import Spool, Spooled, SpoolFull
from schemas import metrics
from schemas.metrics import OF_RECEIVERS
from schemas.settings import ReceiverSettings, RejectedSettings, Settings
from tests.services import free_port

SOURCES = sources(
    Settings.model_validate(
        {"sources": {name: {"vendor": "4hse", "account": name, "verify": {"secrets": ["s3cret"]}} for name in ("hse", "other-hse")}}
    )
)
MEBIBYTE = 2**20


class Kept:
    """Keeps everything, or nothing."""

    def __init__(self, *, full: bool = False) -> None:
        self._full = full

    async def keep(self, _: Spooled) -> None:
        if self._full:
            raise SpoolFull


async def ready() -> tuple[bool, dict[str, object]]:
    return True, {}


def client(registry: CollectorRegistry, **given: Any) -> httpx2.AsyncClient:
    """A client of a receiver that counts."""
    hook = Hook(ReceiverSettings(), SOURCES, given.get("keeper", Kept()), Recent(), told=Answers(registry, SOURCES).told)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app.public(hook, ready)), base_url="http://hooks.example")


def requests(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    """How often something was answered, where it was at all."""
    (family,) = (one for one in registry.collect() if one.name == "muster_requests")
    return {(one.labels["source"], one.labels["outcome"]): one.value for one in family.samples if one.name.endswith("_total") and one.value}


async def test_a_request_counts_once_under_its_source_and_what_became_of_it() -> None:
    registry = CollectorRegistry()
    async with client(registry) as sender:
        for path in ("hse/E?token=s3cret", "hse?token=s3cret", "other-hse/E?token=s3cret", "hse/E?token=wrong", "nobody/E", "nobody2/E"):
            await sender.post(f"/hooks/{path}", content=b"{}")
        await sender.get("/hooks/hse/E")
    async with client(CollectorRegistry(), keeper=Kept(full=True)) as sender:
        assert (await sender.post("/hooks/hse/E?token=s3cret", content=b"{}")).status_code == 503

    assert requests(registry) == {
        ("hse", "accepted"): 2,
        ("other-hse", "accepted"): 1,
        ("hse", "not_verified"): 1,
        ("hse", "not_post"): 1,
        ("other", "unknown_source"): 2,
    }
    assert registry.get_sample_value("muster_ack_seconds_count", {"source": "hse"}) == 2
    assert 0 < (registry.get_sample_value("muster_ack_seconds_sum", {"source": "hse"}) or 0) < 60


def test_answers_are_counted_as_the_library_would() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    answers = Answers(ours, ["hse"])
    histogram = Histogram(*metrics.ACK.named, buckets=metrics.ACK.buckets, registry=theirs).labels("hse")
    for seconds in (0.0, 0.0025, 0.0026, 3.0, 3.0, 11.0):
        answers.told("hse", None, seconds)
        histogram.observe(seconds)

    assert [one for one in series(ours) if one[0].startswith("muster_ack")] == series(theirs)


def series(registry: CollectorRegistry) -> list[tuple[str, str, float]]:
    """Everything, but for when each was first counted."""
    samples = [sample for family in registry.collect() for sample in family.samples]
    return sorted((one.name, str(sorted(one.labels.items())), one.value) for one in samples if not one.name.endswith("_created"))


def test_every_refusal_that_can_be_raised_has_a_name_of_its_own_and_a_series_from_the_start() -> None:
    registry = CollectorRegistry()
    Answers(registry, ["hse"])

    assert OUTCOMES[NotVerified] == "not_verified"
    assert OUTCOMES[Overloaded] == "overloaded"
    assert {Refusal, Unavailable}.isdisjoint(OUTCOMES)
    assert len(set(OUTCOMES.values())) == len(OUTCOMES)
    assert registry.get_sample_value("muster_requests_total", {"source": "hse", "outcome": "not_durable"}) == 0


@asynccontextmanager
async def watched(directory: Path, *, broker: bool = False) -> Any:
    """A spool, and the gauges over it."""
    registry, spool = CollectorRegistry(), Spool.open(directory, 8 * MEBIBYTE, owner=True)
    rejects = Rejects(directory, RejectedSettings())
    publisher = Publisher(f"amqp://127.0.0.1:{free_port()}/", spool, 1.0) if broker else None
    hook = Hook(ReceiverSettings(), SOURCES, Kept(), Recent())
    try:
        yield registry, spool, rejects, hook, Gauges(registry, hook, spool, 8 * MEBIBYTE, publisher, rejects)
    finally:
        await rejects.close()
        await spool.close()


def figures(registry: CollectorRegistry) -> dict[str, float]:
    """What the gauges show now."""
    families: Iterator[Family] = iter(registry.collect())
    return {sample.name.removeprefix("muster_"): sample.value for family in families for sample in family.samples}


async def test_the_spool_is_shown_with_its_depth_age_size_and_bound(tmp_path: Path) -> None:
    async with watched(tmp_path) as (registry, spool, rejects, hook, gauges):
        await gauges.look()
        before = figures(registry)
        await spool.append(Spooled("4hse", "hse", b"x" * 90_000))
        hook.in_flight, rejects.lost, spool.full = 3, 2, True
        await gauges.look()
        after = figures(registry)

    assert before == {
        "requests_in_flight": 0,
        "spool_deliveries": 0,
        "spool_oldest_age_seconds": 0,
        "spool_bytes": before["spool_bytes"],
        "spool_limit_bytes": 8 * MEBIBYTE,
        "spool_full": 0,
        "rejects_kept": 0,
        "rejects_lost_total": 0,
    }
    assert (after["spool_deliveries"], after["spool_full"], after["requests_in_flight"], after["rejects_lost_total"]) == (1, 1, 3, 2)
    assert 0 < after["spool_oldest_age_seconds"] < 60
    assert before["spool_bytes"] + 90_000 <= after["spool_bytes"] < MEBIBYTE


async def test_a_request_that_was_kept_after_it_failed_verification_is_counted(tmp_path: Path) -> None:
    async with watched(tmp_path) as (registry, _, rejects, hook, _gauges):
        hook.rejected = rejects.add
        transport = httpx2.ASGITransport(app.public(hook, ready))
        async with httpx2.AsyncClient(transport=transport, base_url="http://hooks.example") as sender:
            await sender.post("/hooks/hse/E?token=wrong", content=b"{}")
        await rejects.close()

        assert figures(registry)["rejects_kept"] == 1


@pytest.mark.parametrize("broker", [False, True])
async def test_a_broker_is_shown_where_there_is_one(tmp_path: Path, broker: bool) -> None:
    async with watched(tmp_path, broker=broker) as (registry, *_):
        assert figures(registry).get("broker_connected") == (0 if broker else None)


async def test_all_that_a_receiver_is_said_to_show_it_shows_and_nothing_else(tmp_path: Path) -> None:
    async with watched(tmp_path, broker=True) as (registry, *_):
        Answers(registry, ["hse"])
        shown = {one.name + "_total" * (one.type == "counter"): one for one in registry.collect()}

    assert shown.keys() == {one.name for one in OF_RECEIVERS}
    for metric in OF_RECEIVERS:
        assert (shown[metric.name].type, shown[metric.name].documentation) == (metric.kind, metric.help)
        assert {label for sample in shown[metric.name].samples for label in sample.labels} - {"le"} == set(metric.labels)
