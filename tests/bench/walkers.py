"""Who walks the index in a measurement, each in a process of its own: `python -m tests.bench.walkers read|walk|reconcile PORT DATABASE`.

read: a bare client that reads, parses and drops. walk: muster's client and walk, dropping, too. reconcile: all of it.
"""

import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import uvloop
from pydantic import AnyHttpUrl

from schemas.accounts import FourhseAccount, Limits
from schemas.delivery import now_utc
from schemas.settings import LogSettings
from tests.bench.deliveries import ACCOUNT
from tests.bench.index import PAGE
from workers.cli.logging import configure
from workers.database import close_database, open_database
from workers.mirror.apply import Mirror
from workers.mirror.reconcile import reconcile
from workers.mirror.runs import Asked
from workers.mirror.tables import ReconcileRun
from workers.mirror.walk import walk
from workers.vendors.accounts import OpenAccount
from workers.vendors.fourhse import Fourhse, Page

#: Requests that reconcile has under way; it may use half of what its account allows.
AT_ONCE = 8

Found = dict[str, Any]


def account(port: int | str, key: Path) -> FourhseAccount:
    """The vendor's account, with limits that limit nothing."""
    limits = Limits(rate=1_000_000, concurrency=2 * AT_ONCE)
    return FourhseAccount(
        vendor="4hse", insecure=True, base_url=AnyHttpUrl(f"http://127.0.0.1:{port}"), access_token_file=key, page_size=PAGE, limits=limits
    )


async def read(port: str, _: str, key: Path) -> Found:
    """As many requests under way as reconcile has; nothing is kept."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        async def page(number: int) -> tuple[int, int]:
            body = {"filter": {}, "per-page": PAGE, "page": number, "sort": "action_subscription_id", "history": True}
            answer = await client.post("/v2/action-subscription/index", json=body)
            return len(answer.json()), int(answer.headers["x-pagination-page-count"])

        rows, last = await page(1)
        numbers = iter(range(2, last + 1))

        async def work() -> int:
            return sum([(await page(number))[0] for number in numbers])

        return {"rows": rows + sum(await asyncio.gather(*(work() for _ in range(AT_ONCE))))}


async def drop(port: str, _: str, key: Path) -> Found:
    """Every page as reconcile gets it."""
    client = Fourhse(account(port, key), now_utc)

    async def fetch(number: int) -> tuple[Page, datetime]:
        return await client.resources["action-subscription"].page(number, sort="action_subscription_id", history=True), now_utc()

    try:
        async with aclosing(walk(fetch, 1, None, AT_ONCE)) as pages:
            return {"rows": sum([len(turned.page.rows) async for turned in pages])}
    finally:
        await client.close()


async def compare(port: str, url: str, key: Path) -> Found:
    """A run of reconcile, and how much memory it had when a tenth was done."""
    database, settings = await open_database(url), account(port, key)
    open_account = OpenAccount(ACCOUNT, settings, Fourhse(settings, now_utc))
    early: list[float] = []

    def told(run: ReconcileRun) -> None:
        if not early and run.total and run.seen >= run.total / 10:
            early.append(_memory("VmHWM"))

    try:
        run = await reconcile(database, Mirror(frozenset({ACCOUNT})), open_account, Asked(), now_utc, told=told)
    finally:
        await open_account.client.close()
        await close_database()
    drift = {name: getattr(run, name) for name in ("missing", "extra", "different", "unreadable")}
    return {"rows": run.seen, "calls": run.calls, "early": early[0], "peak": _memory("VmHWM"), "state": run.state, "drift": drift}


def _memory(what: str) -> float:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) / 1024


WALKERS: Mapping[str, Callable[[str, str, Path], Awaitable[Found]]] = {"read": read, "walk": drop, "reconcile": compare}


async def _timed(name: str, port: str, url: str) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "key"
        key.write_text("key")
        began = time.perf_counter()
        found = await WALKERS[name](port, url, key)
    return found | {"seconds": time.perf_counter() - began, "cpu": time.process_time()}


if __name__ == "__main__":
    configure(LogSettings(level="error"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(_timed(*sys.argv[1:]))))  # noqa: T201 - to the measuring process
