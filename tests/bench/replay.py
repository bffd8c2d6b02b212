"""How many deliveries a second `muster replay` has processed, and what live deliveries beside it notice of that.

All of muster's own processes, on one machine with broker and database; 200 live webhooks a second all the while. The time that counts is
from the moment at which a webhook is due to PostgreSQL's commit of what became of it (`pg_xact_commit_timestamp`).
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import click
from uuid_utils.compat import uuid4

from schemas.delivery import decode
from schemas.states import DeliveryState, Reason
from tests.bench import deliveries, report, store
from tests.services.muster import Muster
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ
from workers.database import Database
from workers.log import Entry, record

#: Live webhooks a second.
LIVE = 200
#: The sources of what stands in the log, and of what is sent meanwhile: it is replayed by source.
PAST, NOW = "past", "hse"
_ROOT = Path(__file__).parents[2]

Found = TypeVar("Found")


@dataclass(slots=True)
class Window:
    """What live deliveries took, of each run in milliseconds."""

    name: str
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def add(self, seconds: Sequence[float]) -> None:
        """One run's."""
        if len(seconds) < LIVE:
            raise RuntimeError(f"{self.name}: {len(seconds)} live deliveries are too few for a percentile")
        took = sorted(seconds)
        self.p50.append(1000 * took[len(took) // 2])
        self.p99.append(1000 * took[len(took) * 99 // 100])


def measure(runs: int, *, quick: bool) -> None:
    """Live alone, then live beside a replay; run after run, each over the same log."""
    count, alone = (3_000, 5.0) if quick else (100_000, 40.0)
    node, cluster = RabbitMQ(), Postgres(durable=True)
    try:
        node.start()
        cluster.start()
        url = _with_commit_times(cluster)
        with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
            _measure(Scene(Path(folder), node, url, count, alone), 1 if quick else runs)
    finally:
        cluster.remove()
        node.remove()


def _measure(scene: "Scene", runs: int) -> None:
    quiet, busy = Window("live alone"), Window("live beside a replay")
    rates = []
    try:
        programs = scene.set_up()
        report.machine(*programs)
        for _ in range(runs):
            rates.append(scene.run(quiet, busy))
            click.echo(f"  {rates[-1]:,.0f} a second; p99 {quiet.p99[-1]:.1f} ms alone, {busy.p99[-1]:.1f} ms beside it", err=True)
    finally:
        scene.close()
    report.rates("replay", [report.Row(f"{scene.count:,} deliveries, {LIVE} a second live", rates)], "deliveries per second")
    for name in ("p50", "p99"):
        report.rates(f"POST to applied, {name}", [report.Row(one.name, getattr(one, name)) for one in (quiet, busy)], "ms")
    over, under = report.Row(busy.name, busy.p99), report.Row(quiet.name, quiet.p99)
    report.ratios([report.Ratio("p99 beside a replay / alone", over, under, at_most=2.0)])
    report.ratios([report.Ratio("replayed a second / 1,000", report.Row("", rates), report.Row("", [1000.0]), at_least=1.0)])


class Scene:
    """A receiver, a worker, and a log to be replayed."""

    def __init__(self, home: Path, node: RabbitMQ, url: str, count: int, alone: float) -> None:
        self._home, self._node, self._url, self.count, self._alone = home, node, url, count, alone
        self._muster = Muster(home / "muster", broker=node.url(), database=url, forks=False)

    def set_up(self) -> tuple[str, str]:
        """Processes and log; says what they run on."""
        self._muster.run("init")
        version = asyncio.run(_on(self._url, self._fill))
        self._muster.start("receive")
        self._muster.start("work")
        return f"{version}, fsync on, all settings at their defaults", f"RabbitMQ {self._node.ctl('version').strip()}, one node"

    def run(self, quiet: Window, busy: Window) -> float:
        """One run: live deliveries before and while all of the log is replayed; gives the replay's deliveries a second."""
        asyncio.run(_on(self._url, _reset))
        with self._live() as sent:
            time.sleep(self._alone)
            self._replay()
        due = {id_: float(moment) for id_, moment, _ in map(str.split, sent.read_text().splitlines())}
        began, ended, took = asyncio.run(_on(self._url, lambda database: self._found(database, due)))
        busy.add([seconds for moment, seconds in took if began <= moment <= ended])
        # Half a second before it is neither; after it, what it left to be told and vacuumed is still under way.
        quiet.add([seconds for moment, seconds in took if moment < began - 0.5])
        return self.count / (ended - began)

    def close(self) -> None:
        """Kill the processes."""
        self._muster.close()

    def _replay(self) -> None:
        command = [sys.executable, "-m", "workers.cli", "replay", "--source", PAST, "--yes"]
        subprocess.run(command, env=self._muster._environment, check=True, capture_output=True, timeout=3600)

    @contextmanager
    def _live(self) -> Iterator[Path]:
        """Live deliveries all the while; a file of when each was due."""
        file = self._home / "live"
        command = [
            sys.executable,
            "-m",
            "tests.bench.live",
            self._muster.hook("ACTION_SUBSCRIPTION%3A%3ACREATE", NOW),
            str(LIVE),
            str(file),
        ]
        sender = subprocess.Popen(command, env=os.environ, cwd=_ROOT)
        try:
            yield file
            sender.send_signal(signal.SIGTERM)
            if sender.wait(60):
                raise RuntimeError("a live delivery was not accepted")
        finally:
            sender.kill()

    async def _fill(self, database: Database) -> str:
        """A log of deliveries that were given up, each about another subscription."""
        encoded = deliveries.about([str(uuid4()) for _ in range(self.count)])
        for start in range(0, len(encoded), 1000):
            made = [decode(one).model_copy(update={"source": PAST}) for one in encoded[start : start + 1000]]
            async with database.transaction() as connection:
                entries = [Entry(one, DeliveryState.DEAD, one.event, Reason.HANDLER_FAILED, "KeyError") for one in made]
                await record(connection, database.dialect, entries)
        return await store.version(database)

    async def _found(self, database: Database, due: Mapping[str, float]) -> tuple[float, float, list[tuple[float, float]]]:
        """When the replay began and ended, and of each live delivery its moment and the seconds until its commit.

        Whatever of the log was not applied, or was acknowledged and is not, is an error: who skips work gets no figure.
        """
        (run,) = await database.connection.execute_query_dict("SELECT * FROM replay_runs")
        if (run["state"], run["applied"]) != ("done", self.count):
            raise RuntimeError(f"the replay did not apply all of the log: {run}")
        async with asyncio.timeout(120):
            while len(rows := await database.connection.execute_query_dict(_COMMITTED)) < len(due):  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(1.0)
        committed = {str(row["id"]): row["at"].timestamp() for row in rows}
        return run["began_at"].timestamp(), run["ended_at"].timestamp(), [(moment, committed[id_] - moment) for id_, moment in due.items()]


_COMMITTED = f"SELECT id, pg_xact_commit_timestamp(xmin) AS at FROM deliveries WHERE source = '{NOW}' AND state = 'applied'"


async def _reset(database: Database) -> None:
    """The log as it was, the mirror empty, and nothing left to do for anybody."""
    for statement in (
        f"DELETE FROM deliveries WHERE source = '{NOW}' OR replay_of IS NOT NULL",
        "UPDATE deliveries SET state = 'dead'",
        "TRUNCATE action_subscriptions, outbox, event_sequences, replay_runs, replay_items",
    ):
        await database.connection.execute_query(statement)
    await store.settle(database)


def _with_commit_times(cluster: Postgres) -> str:
    """A database that remembers when it committed what."""
    url = cluster.create("bench")

    async def remember() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        await connection.close()

    asyncio.run(remember())
    cluster.stop()
    cluster.start()
    return url


async def _on(url: str, act: Callable[[Database], Coroutine[Any, Any, Found]]) -> Found:
    async with store.opened(url) as database:
        return await act(database)
