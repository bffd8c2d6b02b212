"""`muster events` and `muster schemas`: what another team sees of muster on the command line."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aio_pika
import pytest

from schemas import topology
from schemas.events import CONTENT_TYPE, EventType, cloud_event
from tests.schemas.test_events import ID, NOON, SAMPLES
from tests.services.muster import Muster
from workers.consumer import declare_at
from workers.journal import Journal


@contextmanager
def tailing(muster: Muster, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`muster events tail`, listening."""
    command = [sys.executable, "-m", "workers.cli", "events", "tail", *options]
    process = subprocess.Popen(command, env=muster._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert "listening at" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    """What it prints next."""
    assert process.stdout is not None
    return process.stdout.readline()


async def tell(muster: Muster, broker: str | None, *kinds: EventType) -> None:
    """Tell samples as the relay does."""
    told = [
        cloud_event(id=ID, type=kind, account="hse", subject="hse/s1", sequence=n, at=NOON, data=SAMPLES[kind].model_dump(mode="json"))
        for n, kind in enumerate(kinds, 1)
    ]
    if broker is None:
        muster.data_dir.mkdir(exist_ok=True)
        Journal(muster.data_dir / "events.jsonl").write(told)
        return
    async with await aio_pika.connect(broker) as connection:
        exchange = await (await connection.channel()).get_exchange(topology.EVENTS)
        for event in told:
            kind = EventType(event["type"])
            await exchange.publish(
                aio_pika.Message(json.dumps(event).encode(), content_type=CONTENT_TYPE), kind.routing_key, mandatory=False
            )


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> str | None:
    """Where events go: None is the file."""
    return request.getfixturevalue("broker_url") if request.param == "rabbitmq" else None


async def test_tail_prints_the_types_that_match_as_json_and_for_people(tmp_path: Path, broker: str | None) -> None:
    muster = Muster(tmp_path, broker=broker)
    if broker is not None:
        await declare_at(broker)
    kinds = [EventType.DRIFT_FOUND, EventType.STATUS_CHANGED, EventType.SUBSCRIPTION_CREATED]
    with tailing(muster, "--json", "--type", "*.subscription.*") as whole, tailing(muster) as short:
        await tell(muster, broker, *kinds)
        printed, shown = [json.loads(line(whole)) for _ in range(2)], [line(short) for _ in range(3)]

    assert [event["type"] for event in printed] == kinds[1:]
    assert printed[0]["data"] == SAMPLES[EventType.STATUS_CHANGED].model_dump(mode="json")
    assert [kind in text for kind, text in zip(kinds, shown, strict=True)] == [True] * 3
    assert "hse/s1 #2" in shown[1]
    assert "before=EXPIRING" in shown[1]


async def test_tail_passes_over_what_others_put_on_the_exchange(tmp_path: Path, broker_url: str) -> None:
    await declare_at(broker_url)
    muster = Muster(tmp_path, broker=broker_url)
    with tailing(muster) as shown:
        async with await aio_pika.connect(broker_url) as connection:
            exchange = await (await connection.channel()).get_exchange(topology.EVENTS)
            for body in (b"hello", b"{}", b"\xff"):
                await exchange.publish(aio_pika.Message(body), "of.somebody.else", mandatory=False)
        await tell(muster, broker_url, EventType.DRIFT_FOUND)

        assert EventType.DRIFT_FOUND in line(shown)


def test_tail_without_a_broker_that_answers_says_so(tmp_path: Path) -> None:
    done = Muster(tmp_path, broker="amqp://guest:hidden@127.0.0.1:1/").run("events", "tail", check=False)

    assert done.returncode == 1
    assert "amqp://127.0.0.1:1/ cannot be listened to" in done.stderr
    assert "hidden" not in done.stderr


def test_export_writes_a_schema_for_each_type_and_the_asyncapi_document(tmp_path: Path) -> None:
    done = Muster(tmp_path / "home").run("schemas", "export", str(tmp_path / "made" / "here"))

    files = {path.name: json.loads(path.read_text()) for path in (tmp_path / "made" / "here").iterdir()}
    assert done.stdout.split() == [
        str(tmp_path / "made" / "here" / name) for name in ["asyncapi.json", *(f"{kind}.json" for kind in EventType)]
    ]
    assert set(files) == {"asyncapi.json", *(f"{kind}.json" for kind in EventType)}
    assert files["asyncapi.json"]["asyncapi"] == "3.0.0"


def test_a_webhook_is_seen_by_who_listens(muster: Muster) -> None:
    """From POST to `events tail`, on every transport and database."""
    with tailing(muster, "--json") as listening:
        body = json.dumps({"action_subscription_id": "s9"} | dict.fromkeys(_REQUIRED, "x")).encode()
        urllib.request.urlopen(urllib.request.Request(muster.hook("ACTION_SUBSCRIPTION::CREATE"), body), timeout=10).close()  # noqa: S310
        event = json.loads(line(listening))

    assert (event["type"], event["subject"], int(event["sequence"])) == ("muster.subscription.created.v1", "hse/s9", 1)


_REQUIRED = ("action_id", "subscriber_id", "subscriber_type", "subtenant_id", "tenant_id")
