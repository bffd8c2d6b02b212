"""A trial: one muster with its processes, under load, and the figures that it ends in."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from receiver import spool
from schemas.logs import Log
from tests.faults.ledger import Audit, Ledger, applied, books
from tests.faults.load import FORWARDER, Load
from tests.services.muster import Muster, Process
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ

#: Seconds without any progress after which what is not applied counts as lost.
_STANDSTILL = 20.0
#: Seconds, on the connections to the broker: a frozen one shall be noticed soon.
HEARTBEAT = 1


@dataclass(frozen=True, slots=True)
class Ground:
    """Where scenarios take place, and how many kills each gets. The servers are private: they are stopped and killed.

    Without servers only what is embedded can take place.
    """

    home: Path
    kills: int
    seed: int
    servers: tuple[RabbitMQ, Postgres] | None = None

    @property
    def rabbitmq(self) -> RabbitMQ:
        """The broker's node."""
        assert self.servers is not None
        return self.servers[0]

    @property
    def postgres(self) -> Postgres:
        """The database's cluster."""
        assert self.servers is not None
        return self.servers[1]


@dataclass(slots=True)
class Figures:
    """What a scenario found; it holds if there are no problems."""

    scenario: str
    faults: int = 0
    #: Faults that hit work in flight.
    hit: int = 0
    acknowledged: int = 0
    applied: int = 0
    suppressed: int = 0
    lost: int = 0
    refused: int = 0
    #: Milliseconds, over the whole scenario.
    p50: float = 0.0
    p99: float = 0.0
    #: What else is worth telling, a line each.
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Trial:
    """One muster: on RabbitMQ and PostgreSQL, or embedded on SQLite."""

    def __init__(self, ground: Ground, name: str, *, embedded: bool) -> None:
        self.ground, self.figures, self.ledger = ground, Figures(name), Ledger()
        self.rng = random.Random(f"{ground.seed}/{name}")
        #: Its own database, and the address of its own virtual host.
        self.own, self.broker = f"{name}{time.monotonic_ns()}", "" if embedded else ground.rabbitmq.vhost()
        self.muster = Muster(
            ground.home / name,
            broker=None if embedded else f"{self.broker}?heartbeat={HEARTBEAT}",
            database=None if embedded else ground.postgres.create(self.own),
            tables=FORWARDER,
        )
        self.embedded = embedded
        self.commands = ("serve",) if embedded else ("receive", "work")
        self.database = f"sqlite://{self.muster.data_dir / 'muster.sqlite3'}" if embedded else ground.postgres.url(self.own)
        self._processes: dict[str, Process] = {}

    async def start(self, command: str) -> None:
        """Start one of the processes, and wait until it listens."""
        self._processes[command] = await asyncio.to_thread(self.muster.start, command)

    async def kill(self, command: str) -> None:
        """kill -9."""
        self._processes[command].kill()
        await asyncio.to_thread(self._processes[command].wait, 10)

    def signal(self, command: str, number: int) -> None:
        """Send a signal to one of the processes."""
        self._processes[command].send_signal(number)

    def load(self, *, pause: float) -> Load:
        """A load that writes this trial's ledger."""
        return Load(self.muster.port, self.ledger, self.rng, pause=pause)

    async def readiness(self, port: int) -> tuple[int, dict[str, object]]:
        """Status and content of a local port's /readyz."""
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.get(f"http://127.0.0.1:{port}/readyz")
            return answer.status_code, answer.json()

    async def drained(self, within: float = 60.0) -> None:
        """Wait until the receiver trusts the broker again and its spool is empty; raises TimeoutError."""
        async with asyncio.timeout(within):
            while True:
                _, said = await self.readiness(self.muster.receiver_port)
                if (said["broker"], said["spooled"]) == ("up", 0):
                    return
                await asyncio.sleep(0.05)

    async def ready(self, port: int, within: float = 30.0) -> None:
        """Wait until a local port's /readyz says so; raises TimeoutError."""
        async with asyncio.timeout(within):
            while True:
                if (await self.readiness(port))[0] == 200:
                    return
                await asyncio.sleep(0.05)

    async def queued(self, kind: str = "messages") -> int:
        """Messages in the broker's queues: all, or those `messages_unacknowledged`."""
        if self.embedded:
            return 0
        listed = await asyncio.to_thread(self.ground.rabbitmq.ctl, "list_queues", "-p", self.broker.rpartition("/")[2], kind)
        return sum(int(line) for line in listed.split() if line.isdigit())

    async def settled(self) -> Audit:
        """Wait until everything is applied and nothing waits, or nothing moves any more; the audit tells which."""
        moved, seen = time.monotonic(), -1
        while time.monotonic() - moved < _STANDSTILL:
            now = await applied(self.database)
            if now >= len(self.ledger.acknowledged) and not spool.depth(self.muster.data_dir) and not await self.queued():
                audit = self.ledger.audit(await books(self.database))
                if not audit.problems:
                    return audit
            if now != seen:
                moved, seen = time.monotonic(), now
            await asyncio.sleep(0.3)
        return self.ledger.audit(await books(self.database))

    def told(self, command: str, event: Log) -> list[dict[str, object]]:
        """The log lines of one kind that a command's processes have written so far."""
        lines = [line for line in self.muster.log(command).splitlines() if f'"{event}"' in line and line.endswith("}")]
        return [said for said in map(json.loads, lines) if said["event"] == event]

    def close(self, load: Load, audit: Audit) -> Figures:
        """The figures, once everything has settled."""
        found, latencies = self.figures, load.latencies()
        found.acknowledged, found.applied, found.lost = audit.acknowledged, audit.applied, len(audit.lost)
        batches = [said for command in self.commands if command != "receive" for said in self.told(command, Log.BATCH_APPLIED)]
        found.suppressed = sum(int(str(said.get("suppressed", 0))) for said in batches)
        found.refused = len(load.refused)
        found.p50, found.p99 = percentile(latencies, 50), percentile(latencies, 99)
        found.problems += audit.problems
        if load.refused:
            found.problems.append(f"{len(load.refused)} refused, with {sorted(set(load.refused))}")
        return found


@asynccontextmanager
async def trial(ground: Ground, name: str, *, embedded: bool = False) -> AsyncIterator[Trial]:
    """A muster that is set up and running; killed at the end."""
    one = await asyncio.to_thread(lambda: Trial(ground, name, embedded=embedded))
    try:
        await asyncio.to_thread(one.muster.run, "init")
        for command in one.commands:
            await one.start(command)
        yield one
    finally:
        await asyncio.to_thread(one.muster.close)


def percentile(seconds: list[float], share: int) -> float:
    """The share-th percentile, in milliseconds."""
    return 1000 * sorted(seconds)[len(seconds) * share // 100] if seconds else 0.0
