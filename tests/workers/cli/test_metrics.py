"""Every process shows its metrics on its local port, as Prometheus asks for them."""

import json
from contextlib import closing
from pathlib import Path

import httpx2
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text

from schemas.metrics import BROKER, CONSUMERS, OF_DATABASE, OF_RECEIVERS, OF_WORKERS, QUEUE, Metric
from tests.services import free_port, listens, until
from tests.services.muster import SECRET, Muster

OPEN = "application/openmetrics-text; version=1.0.0"
WITH_A_BROKER = {BROKER, QUEUE, CONSUMERS}


def scraped(port: int, accept: str = "") -> dict[str, Family]:
    """The families on a local port, under the names that their series have."""
    answer = httpx2.get(f"http://127.0.0.1:{port}/metrics", headers={"accept": accept}, timeout=15)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(accept or "text/plain; version=0.0.4")
    families = (open_metrics if accept else text)(answer.text)
    return {one.name + "_total" * (one.type == "counter"): one for one in families}


def value(port: int, name: str, **labels: str) -> float | None:
    """One series, summed over the labels that are not named."""
    found = [
        sample.value
        for family in scraped(port).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else None


def local_ports(muster: Muster) -> tuple[int, int]:
    """Where the receiver's and the workers' metrics are: embedded the same."""
    return muster.receiver_port, muster.worker_port if listens(muster.worker_port) else muster.receiver_port


def test_a_process_shows_what_it_is_said_to_show_and_nothing_else(muster: Muster) -> None:
    receiver, worker = local_ports(muster)
    until(lambda: value(worker, "muster_database_up") == 1 and "muster_vendor_breaker" in scraped(worker), 20, "the worker's start")
    expected: set[Metric] = {*OF_RECEIVERS, *OF_WORKERS, *OF_DATABASE} - (WITH_A_BROKER if receiver == worker else set())
    for accept in ("", OPEN):
        shown: dict[str, Family] = scraped(receiver, accept) | scraped(worker, accept)

        assert {name for name in shown if not name.startswith("process_")} == {one.name for one in expected}
        for one in expected:
            labels = {label for sample in shown[one.name].samples for label in sample.labels} - {"le"}
            assert (shown[one.name].type, shown[one.name].documentation) == (one.kind, one.help)
            assert labels <= set(one.labels)
    if receiver != worker:
        assert {*scraped(receiver)} >= {one.name for one in OF_RECEIVERS}
        assert {*scraped(worker)} >= {one.name for one in OF_WORKERS}


def test_a_delivery_is_seen_from_its_request_to_its_commit(muster: Muster) -> None:
    receiver, worker = local_ports(muster)
    muster.run("trigger", "hse", "ACTION_SUBSCRIPTION::CREATE")
    httpx2.post(muster.hook("ACTION_SUBSCRIPTION::CREATE").replace(SECRET, "wrong"), content=b"{}")
    httpx2.post(muster.hook("E", "nobody"), content=b"{}")
    until(lambda: value(worker, "muster_deliveries_total", source="hse", lane="live", outcome="applied") == 1, 60, "the application")

    assert value(receiver, "muster_requests_total", source="hse", outcome="accepted") == 1
    assert value(receiver, "muster_requests_total", source="hse", outcome="not_verified") == 1
    assert value(receiver, "muster_requests_total", source="other", outcome="unknown_source") == 1
    assert value(receiver, "muster_ack_seconds_count") == 1
    assert value(worker, "muster_apply_latency_seconds_count") == 1
    assert value(worker, "muster_batch_deliveries_sum") == 1
    if receiver != worker:
        until(lambda: value(worker, "muster_queue_consumers", queue="muster.deliveries") == 1, 30, "the broker's word")
        assert (value(receiver, "muster_broker_connected"), value(worker, "muster_broker_connected")) == (1, 1)


def test_a_scrape_with_database_and_broker_away_answers_what_it_knows(tmp_path: Path) -> None:
    muster = Muster(tmp_path, broker=f"amqp://127.0.0.1:{free_port()}/", database=f"postgres://127.0.0.1:{free_port()}/none")
    with closing(muster):
        muster.start("work")
        shown = scraped(muster.worker_port)

    assert [sample.value for sample in shown["muster_database_up"].samples] == [0]
    assert {"muster_deliveries_total", "muster_batch_seconds"} <= shown.keys()
    assert {one.name for one in (*OF_DATABASE, QUEUE)}.isdisjoint(shown)


def test_the_public_port_shows_none(tmp_path: Path) -> None:
    muster = Muster(tmp_path)
    with closing(muster):
        muster.start("serve")
        answer = httpx2.get(f"{muster.url}/metrics")

    assert answer.status_code == 404
    assert json.loads(answer.text)["status"] == 404
