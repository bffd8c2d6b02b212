"""`muster status` as an operator reads it."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.delivery import now_utc
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
