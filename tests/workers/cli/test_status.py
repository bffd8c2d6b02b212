"""`muster status` as an operator reads it."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from schemas.delivery import now_utc
from tests.services import until
from tests.services.muster import Muster
from tests.workers.made import created
from workers.database import close_database, open_database
from workers.mirror.apply import Mirror
from workers.pipeline import Pipeline
from workers.schedules import Schedule
from workers.subscribers import WebhookSubscriber

ACCOUNTS = """
[accounts.hse]
vendor = "4hse"
access_token_file = "key"
polls = { reconcile = "off", sessions = "off", actions = "15m" }
"""


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Muster]:
    """An embedded muster with an account, nothing running."""
    made = Muster(tmp_path, tables=ACCOUNTS)
    made.run("init")
    yield made
    made.close()


@pytest_asyncio.fixture
async def eventful(embedded: Muster) -> Muster:
    """The same where something has happened."""
    database = await open_database(f"sqlite://{embedded.data_dir / 'muster.sqlite3'}")
    try:
        await happened(Pipeline(database, mirror=Mirror(frozenset({"hse"}))))
    finally:
        await close_database()
    return embedded


async def happened(pipeline: Pipeline) -> None:
    """Two days ago the source spoke last; a poll fails since; a subscriber is unconfirmed; another account has no API."""
    now = now_utc()
    await pipeline.together([created("s1", received_at=now - timedelta(days=2)), created("s2", account="old", received_at=now)])
    await scheduled("actions", now - timedelta(days=3), failures=4, error="422: page: too large")
    await scheduled("session_enrollments", now)
    await WebhookSubscriber.create(account="lms", name="muster-a", event="USER_REGISTERED", state="unconfirmed", state_at=now)


async def scheduled(name: str, success: datetime, failures: int = 0, error: str | None = None) -> None:
    """A poll that succeeded last then."""
    row = Schedule(account="hse", name=name, created_at=success, due_at=success, last_success=success, failures=failures, error=error)
    await row.save()


def test_what_is_quiet_stands_out_with_the_vendors_words(eventful: Muster) -> None:
    shown = {" ".join(line.split()) for line in eventful.run("status").stdout.splitlines()}

    assert {
        "source QUIET hse of hse: last delivery 2 d ago",
        "poll QUIET actions of hse: last success 3 d ago, 4 failures since: 422: page: too large",
        "subscriber QUIET muster-a of lms: unconfirmed, for USER_REGISTERED",
        "to be fetched 1, the oldest touched 2 d ago, 0 failing",
        "hints alone old: no API is configured that could confirm what webhooks say",
    } <= shown
    assert any(line.startswith("poll session_enrollments of hse: last success") for line in shown)


def test_a_script_finds_the_same(eventful: Muster) -> None:
    figures = json.loads(eventful.run("status", "--json").stdout)

    assert [line.partition(":")[0] for line in figures["quiet"]] == [
        "source hse of hse",
        "poll actions of hse",
        "subscriber muster-a of lms",
    ]
    assert {one["name"]: (one["quiet"], one["failures"]) for one in figures["freshness"]["polls"]} == {
        "actions": (True, 4),
        "session_enrollments": (False, 0),
    }
    assert (figures["without_api"], figures["refreshes"]["waiting"], figures["reconciles"]) == (["old"], 1, [])


def test_nothing_is_quiet_where_nothing_came(embedded: Muster) -> None:
    assert "QUIET" not in embedded.run("status").stdout
    assert json.loads(embedded.run("status", "--json").stdout)["quiet"] == []


def receivers(muster: Muster) -> list[dict[str, Any]]:
    """What is known of the receivers."""
    found: list[dict[str, Any]] = json.loads(muster.run("status", "--json").stdout)["freshness"]["receivers"]
    return found


def shown_receiver(muster: Muster) -> str:
    """The one receiver's line."""
    (line,) = (" ".join(line.split()) for line in muster.run("status").stdout.splitlines() if line.startswith("receiver"))
    return line


def test_a_receiver_is_shown_as_of_its_last_heartbeat_a_lost_one_is_an_alarm_and_a_stopped_one_is_not(
    tmp_path: Path, broker_url: str
) -> None:
    muster = Muster(tmp_path, broker=broker_url, receiver='heartbeat = 0.5\nname = "web-1"')
    with closing(muster):
        muster.run("init")
        receiver, _ = muster.start("receive"), muster.start("work")
        assert httpx2.post(f"{muster.url}/hooks/hse/E?token=wrong").status_code == 401
        until(lambda: [one["rejected"] for one in receivers(muster)] == [1], 30, "the heartbeat")
        shown, (told,) = shown_receiver(muster), receivers(muster)
        receiver.kill()
        receiver.wait(10)
        until(lambda: receivers(muster)[0]["quiet"], 30, "the silence")
        until(lambda: quiet_at(muster), 30, "the worker's finding")
        lost, alarm = shown_receiver(muster), json.loads(muster.run("status", "--json").stdout)["quiet"]
        muster.start("receive").terminate()
        until(lambda: receivers(muster)[0]["stopped"], 30, "the last heartbeat")
        stopped = shown_receiver(muster)

    assert re.fullmatch(r"receiver web-1: as of \d s ago, 0 spooled, 1 rejected, the last \d+ s ago", shown)
    assert (told["name"], told["program"], told["quiet"], told["spool_full"]) == ("web-1", version("muster"), False, False)
    assert lost.startswith("receiver QUIET web-1: as of ")
    assert [line.partition(" since")[0] for line in alarm] == ["receiver web-1: no heartbeat"]
    assert stopped.startswith("receiver web-1: stopped ")


def quiet_at(muster: Muster) -> Any:
    """What the worker's readiness tells of silence."""
    return httpx2.get(f"http://127.0.0.1:{muster.worker_port}/readyz").json().get("quiet")


def test_embedded_the_receiver_tells_of_itself_without_a_broker(tmp_path: Path) -> None:
    muster = Muster(tmp_path, receiver="heartbeat = 0.5")
    with closing(muster):
        muster.run("init")
        muster.start("serve")
        until(lambda: len(receivers(muster)), 30, "the heartbeat")
        (told,) = receivers(muster)

    assert told["name"] == f"{gethostname()}:{muster.port}"
