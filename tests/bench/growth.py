"""Whether size matters: the apply rate in a database of millions beside a small one, and the receiver's memory under load."""

import asyncio
import random
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import uvloop
from uuid_utils.compat import uuid4

from schemas.settings import LogSettings, WorkerSettings
from tests.bench import broker, deliveries, load, report, store
from tests.bench.apply import in_batches
from tests.bench.receiver import Receiver
from tests.bench.senders import SENDERS, write_requests
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ
from workers.cli.logging import configure
from workers.database import Database

BATCH = WorkerSettings().batch
#: Of the deliveries applied, the part that is about a subscription the mirror does not have yet.
NEW = 0.1


@dataclass(frozen=True, slots=True)
class Size:
    """How much a database holds before deliveries are applied to it."""

    mirrored: int
    logged: int

    @property
    def name(self) -> str:
        """As the table shows it."""
        return f"{self.mirrored:,} mirrored, {self.logged:,} logged"


def measure(runs: int, *, quick: bool) -> None:
    """Measure the database's growth, then the receiver's."""
    configure(LogSettings(level="error"))
    _apply_rates(runs, quick=quick)
    _receiver_memory(quick=quick)


def _apply_rates(runs: int, *, quick: bool) -> None:
    small, large = Size(10_000, 10_000), Size(20_000, 100_000) if quick else Size(1_000_000, 5_000_000)
    each = 2_000 if quick else 20_000
    cluster = Postgres(durable=True)
    try:
        cluster.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            urls = {size: cluster.create(name) for size, name in ((small, "small"), (large, "large"))}
            runner.run(_populated(urls[large], large))
            figures: dict[Size, list[float]] = {small: [], large: []}
            for run in range(runs + 1):
                for size, found in figures.items():
                    rate = runner.run(_run(urls[size], size, each, anew=size is small))
                    click.echo(f"  {size.name}: {rate:,.0f}", err=True)
                    if run:  # the first is for warming up
                        found.append(rate)
        rows = [report.Row(size.name, found) for size, found in figures.items()]
        report.rates("apply in batches", rows, "deliveries per second")
        report.ratios([report.Ratio("large / small", rows[1], rows[0], 0.8)])
    finally:
        cluster.remove()


async def _populated(url: str, size: Size) -> None:
    async with store.opened(url) as database:
        report.machine(f"{await store.version(database)}, fsync on, all settings at their defaults")
        began = time.perf_counter()
        await store.populate(url, size.mirrored, size.logged)
        click.echo(f"{size.name}: {await store.disk(database)}, loaded in {time.perf_counter() - began:.0f} s\n")


async def _run(url: str, size: Size, count: int, *, anew: bool) -> float:
    """Apply deliveries about random subscriptions, most of them mirrored already; the small database is made anew each time."""
    known = [deliveries.subject(random.randint(1, size.mirrored)) for _ in range(int(count * (1 - NEW)))]
    subjects = known + [str(uuid4()) for _ in range(count - len(known))]
    random.shuffle(subjects)
    encoded = deliveries.about(subjects)
    async with store.opened(url) as database:
        if anew:
            await store.empty(database)
            await store.populate(url, size.mirrored, size.logged)
        await store.settle(database)
        before = await _counts(database)
        seconds = await in_batches(database, encoded, BATCH)
        after = await _counts(database)
    expected = (before[0] + count, before[1] + count - len(known))
    if after != expected:
        raise RuntimeError(f"{size.name}: {after} rows in log and mirror, not {expected}")
    return count / seconds


async def _counts(database: Database) -> tuple[int, int]:
    return await store.applied(database), await store.mirrored(database)


def _receiver_memory(*, quick: bool) -> None:
    """Send until so many deliveries were accepted, and look at the process each time."""
    marks = (2_000, 10_000, 20_000) if quick else (20_000, 100_000, 200_000)
    node = RabbitMQ()
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        receiver = Receiver(Path(folder) / "muster", node)
        try:
            node.start()
            broker.set_up(node.url())
            receiver.start()
            requests = write_requests(SENDERS, Path(folder))
            found = [("at the start", _resident(receiver.pid))]
            for mark in marks:
                while receiver.accepted < mark:
                    load.send(receiver.port, requests, 1)
                    broker.drain(node.url())
                found.append((f"after {receiver.accepted:,} deliveries", _resident(receiver.pid)))
            receiver.never_spooled()
        finally:
            receiver.close()
            node.remove()
    report.table(("receiver, eight sources", "resident MiB"), [(what, f"{size:.1f}") for what, size in found])
    report.table(("", "", "goal"), [("growth after the first mark", f"{found[-1][1] / found[1][1]:.3f}", "flat")])


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match is not None
    return int(match.group(1)) / 1024
