"""How fast a mirror with 1 % drift is reconciled, beside a client that only reads, parses and drops the pages; and an import's calls."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import click
import uvloop

from schemas.delivery import now_utc
from schemas.settings import LogSettings
from tests.bench import imported, report, schedule, store
from tests.bench.deliveries import ACCOUNT
from tests.services import free_port, listens, until
from tests.services.postgres import Postgres
from workers.cli.logging import configure
from workers.mirror.drift import COLUMNS

#: Of the rows, so many are not in the mirror, say something else there, or are there and not at the vendor.
MISSING, DIFFERENT, EXTRA = 0.0045, 0.0045, 0.001

_COLUMNS = ("account", *COLUMNS, "fetch_covers")


def measure(runs: int, *, quick: bool, rows: int) -> None:
    """Measure the walk, then the calls of an import."""
    configure(LogSettings(level="error"))
    rows, runs = (10_000, 1) if quick else (rows, runs)
    cluster = Postgres(durable=True)
    try:
        cluster.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, _vendor(rows) as port:
            url = cluster.create("bench")
            runner.run(_filled(url, rows))
            figures = _interleaved(runs, runner, port, url, rows)
            _tell(figures, rows)
            runner.run(imported.measure(cluster.create("imported"), 2_000 if quick else 20_000))
    finally:
        cluster.remove()


def _interleaved(runs: int, runner: asyncio.Runner, port: int, url: str, rows: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {"read": [], "walk": [], "reconcile": []}
    for run in range(runs + 1):
        for name, figures in found.items():
            if name == "reconcile":
                runner.run(_spoilt(url, rows, run))
            figure = _walked(name, port, url)
            click.echo(f"  {name}: {figure['rows'] / figure['seconds']:,.0f}", err=True)
            if run:  # the first is for warming up
                figures.append(figure)
    for figure in found["reconcile"]:
        expected = {"missing": int(rows * MISSING), "different": int(rows * DIFFERENT), "extra": int(rows * EXTRA), "unreadable": 0}
        if (figure["state"], figure["drift"]) != ("done", expected):
            raise RuntimeError(f"{figure['state']} with {figure['drift']}, not {expected}")
    return found


def _tell(found: dict[str, list[dict[str, Any]]], rows: int) -> None:
    names = {"read": "read, parsed and dropped", "walk": "the same by muster's client", "reconcile": "reconciled, 1 % drift"}
    made = {key: report.Row(name, [one["rows"] / one["seconds"] for one in found[key]]) for key, name in names.items()}
    report.rates(f"{rows:,} rows", list(made.values()), "rows per second")
    report.ratios([report.Ratio("reconciled / read", made["reconcile"], made["read"], 0.5)])
    last = found["reconcile"][-1]
    memory = f"{last['early']:.0f} after a tenth, {last['peak']:.0f} at the most"
    report.table(("reconcile", ""), [("calls", f"{last['calls']:,}"), ("resident MiB", memory), ("seconds", f"{last['seconds']:.1f}")])


@contextlib.contextmanager
def _vendor(rows: int) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.index", str(port), str(rows)])
    try:
        until(lambda: listens(port) or process.poll() is not None, 600, "the vendor's start")
        yield port
    finally:
        process.kill()
        process.wait()


def _walked(name: str, port: int, url: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "tests.bench.walkers", name, str(port), url], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def _filled(url: str, rows: int) -> None:
    """A mirror that says what the vendor says, as a back-fill leaves it."""
    async with store.opened(url) as database:
        report.machine(f"{await store.version(database)}, fsync on, all settings at their defaults")
    began, ids = time.perf_counter(), schedule.ids(rows)
    await _copied(url, [(number, id_) for number, id_ in enumerate(ids)])
    click.echo(f"mirror of {rows:,} rows loaded in {time.perf_counter() - began:.0f} s\n")


async def _spoilt(url: str, rows: int, run: int) -> None:
    """What webhooks would have told, had they come: the same number each time, of other rows."""
    ids = schedule.ids(rows)
    step = int(1 / (MISSING + DIFFERENT))
    chosen = ids[run % step :: step]
    missing, different = chosen[: int(rows * MISSING)], chosen[int(rows * MISSING) :][: int(rows * DIFFERENT)]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DELETE FROM action_subscriptions WHERE state = 'deleted' OR action_subscription_id = ANY($1)", missing)
        await connection.execute("UPDATE action_subscriptions SET status = 'LOST' WHERE action_subscription_id = ANY($1)", different)
        await connection.execute("TRUNCATE drifts, reconcile_runs, reconcile_seen")
        gone = schedule.ids(int(rows * EXTRA), first=rows + 1 + run * rows)
        await _copied(url, [(number, id_) for number, id_ in enumerate(gone)])
        await connection.execute("VACUUM (ANALYZE) action_subscriptions")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _copied(url: str, numbered: list[tuple[int, str]]) -> None:
    at = now_utc() - timedelta(days=1)
    constant = {"hint_last_at": None, "fetched_at": at, "fetch_covers": at - timedelta(seconds=5), "account": ACCOUNT}
    records = (schedule.mirrored(number, id_, _COLUMNS, constant) for number, id_ in numbered)
    connection = await asyncpg.connect(url)
    try:
        await connection.copy_records_to_table("action_subscriptions", records=records, columns=_COLUMNS)
    finally:
        await connection.close()
