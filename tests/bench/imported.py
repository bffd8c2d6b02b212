"""How many calls a bulk import costs: so many subscriptions of one office created at once, each with its webhook, then refreshed."""

import asyncio
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import click
from uuid_utils.compat import uuid4

from schemas.accounts import Limits
from schemas.delivery import now_utc
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import RefreshKind
from tests.bench import report, store
from tests.workers.vendors.acme import ACTION, PERSON, staged
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Effect, Touch
from workers.mirror.hints import Hint
from workers.mirror.tables import ActionSubscription
from workers.refresher import Refresher
from workers.refreshes import Refresh
from workers.vendors.accounts import OpenAccounts

_AT_ONCE = 1_000


async def measure(url: str, count: int) -> None:
    """Import, refresh until nothing is due, and count."""
    with tempfile.TemporaryDirectory() as folder:
        async with store.opened(url) as database, staged(Path(folder)) as stage:
            for _ in range(count):
                stage.tenancy.subscribe(ACTION, PERSON, action_subscription_id=str(uuid4()))
            accounts = OpenAccounts({"hse": stage.account(Limits(rate=1_000_000, concurrency=8))}, now_utc)
            mirror = Mirror(frozenset({"hse"}), timedelta(seconds=1))
            await _told(database, mirror, list(stage.tenancy.tables["action-subscription"].values()))
            began = time.perf_counter()
            refreshing = asyncio.create_task(Refresher(database, mirror, accounts, now_utc).run())
            while await Refresh.all().count():  # noqa: ASYNC110 - the refresher tells nobody
                await asyncio.sleep(0.1)
            refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await refreshing
            await accounts.close()
            fetched = await ActionSubscription.exclude(fetched_at=None).count()
            found = (f"{count:,} created, {fetched:,} fetched", f"{len(stage.faults.seen):,}", f"{time.perf_counter() - began:.0f} s")
    report.table(("import", "calls", "until all were fetched"), [found])
    click.echo()


async def _told(database: Database, mirror: Mirror, rows: list[dict[str, object]]) -> None:
    """The CREATE of each."""
    for start in range(0, len(rows), _AT_ONCE):
        effects: list[Effect] = []
        for row in rows[start : start + _AT_ONCE]:
            subject, at = str(row["action_subscription_id"]), now_utc()
            effects.append(Hint("hse", subject, False, at, b"\x01", dict.fromkeys(SUBSCRIPTION_FIELDS) | row))
            effects.append(Touch("hse", RefreshKind.ACTION_SUBSCRIPTION, subject, at))
        async with database.transaction() as connection:
            await mirror.apply(connection, database.dialect, effects)
