"""Follow-ups while everything around them dies: each exactly once at the vendors, and rows and vendors agree in the end."""

import asyncio
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from subprocess import Popen

import asyncpg

from schemas.delivery import now_utc
from tests.faults import agreement
from tests.faults.company import Company, Employee, company
from tests.faults.hasty import SHORTEST
from tests.faults.load import reached
from tests.faults.others import RULES
from tests.faults.trial import HEARTBEAT, Figures, Ground, percentile
from tests.services import free_port, listens, until
from tests.services.muster import Muster
from workers.statements import as_time

WORKERS = 2
#: Seconds between two new duties, and without any change after which what is not settled never will be.
_PACE, _STANDSTILL = 0.3, 30.0
#: For so many of them a duty of another kind, too.
_OTHERS = 0.3
#: So many tries for each kill that has to hit something.
_TRIES = 3
#: Longer than any lease of the hasty on what is to be done at a vendor.
_FROZEN = 2.25 * SHORTEST
_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, sqlite3.Error)


async def followups(ground: Ground) -> Figures:
    """Two workers and a receiver killed, frozen, and cut off from broker and database, between vendors that fail in every way."""
    return await _followups(ground, "followups", embedded=False)


async def followups_embedded(ground: Ground) -> Figures:
    """`muster serve` on SQLite, killed and frozen between vendors that fail in every way."""
    return await _followups(ground, "followups-embedded", embedded=True)


async def _followups(ground: Ground, name: str, *, embedded: bool) -> Figures:
    async with _scene(ground, name, embedded=embedded) as scene:
        began = time.monotonic()
        doing = [asyncio.create_task(duty) for duty in (scene.hire(), scene.watch(), scene.company.misbehave())]
        try:
            await scene.strike()
        finally:
            for task in doing:
                task.cancel()
            ended = await asyncio.gather(*doing, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome
        scene.figures.notes.append(f"{len(scene.company.employees)} duties in {time.monotonic() - began:.0f} s of trouble")
        return await scene.close()


class Scene:
    """A company, a muster of three processes or of one, and what befalls them."""

    def __init__(self, ground: Ground, name: str, one: Company, *, embedded: bool) -> None:
        self.ground, self.company, self.embedded, self.figures = ground, one, embedded, Figures(name)
        self.rng = one.rng
        own, home = f"{name}{time.monotonic_ns()}", ground.home / name
        home.mkdir(parents=True)
        self.muster = Muster(
            home,
            broker=None if embedded else f"{ground.rabbitmq.vhost()}?heartbeat={HEARTBEAT}",
            database=None if embedded else ground.postgres.create(own),
            tables=one.settings(home / "key", wide=True),
            program="tests.faults.hasty",
        )
        self.database = f"sqlite://{self.muster.data_dir / 'muster.sqlite3'}" if embedded else ground.postgres.url(own)
        self._ports = [free_port() for _ in one.doors]
        self._workers: list[Popen[bytes]] = []
        self._receiver: Popen[bytes] | None = None
        self._hits: Counter[str] = Counter()

    async def begin(self) -> None:
        """Set up, start, say yes to the rules."""
        self.company.others.begin()
        await asyncio.to_thread(self.muster.run, "init")
        if not self.embedded:
            self._receiver = await asyncio.to_thread(self.muster.start, "receive")
        self._workers = [await self._started(number) for number in range(len(self._ports))]
        await asyncio.to_thread(self.muster.run, "rules", "apply", "fire-basics", *RULES, "--yes")
        self.company.tell(self.muster.url)

    async def hire(self) -> None:
        """New duties, until cancelled."""
        while True:
            self.company.hire()
            if self.rng.random() < _OTHERS:
                self.company.others.hire()
            await asyncio.sleep(self.rng.expovariate(1 / _PACE))

    async def watch(self) -> None:
        """See who has a seat by muster's rows, until cancelled."""
        while True:
            with suppress(*_AWAY):
                await self._look()
            await asyncio.sleep(0.2)

    async def strike(self) -> None:
        """All of it, in any order."""
        kills = self.ground.kills
        receivers, outages = 0 if self.embedded else kills // 4, max(1, kills // 10)
        strikes = [self._kill_worker] * (kills - receivers) + [self._kill_receiver] * receivers
        strikes += [self._freeze_worker] * outages
        if not self.embedded:
            strikes += [self._restart_broker, self._restart_database] * outages
        self.rng.shuffle(strikes)
        for one in strikes:
            await one()

    async def close(self) -> Figures:
        """Let everything come to rest, and hold what happened against what was meant."""
        await self.company.behave()
        figures, problems = self.figures, await self._settled()
        employees = self.company.employees
        postman = self.company.postman
        assert postman is not None
        figures.problems += problems[:20]
        figures.acknowledged, figures.refused = postman.delivered, len([status for status in postman.refused if status < 500])
        figures.lost = len({line.partition(" ")[0] for line in problems})
        figures.applied = len(employees) + len(self.company.others.duties) - figures.lost
        took = list(_latencies(employees, self.company.books.first))
        figures.p50, figures.p99 = percentile(took, 50), percentile(took, 99)
        figures.notes.append(", ".join(f"{count} {name}" for name, count in sorted(self._hits.items())))
        others = Counter("exercises" if one.exercises else "seats in a classroom" for one in self.company.others.duties)
        figures.notes.append(", ".join(f"{count} {name}" for name, count in sorted(others.items())))
        figures.notes.append(
            f"{postman.lost} webhooks lost, {postman.cut_off} cut off; fates {Counter(str(one.fate) for one in employees)}"
        )
        if figures.hit < self.ground.kills:
            figures.problems.append(f"only {figures.hit} of {figures.faults} kills hit work in flight")
        return figures

    async def _settled(self) -> list[str]:
        """Wait until everything is as it was meant, or nothing moves any more; gives what is not."""
        moved, before = time.monotonic(), [""]
        problems = before
        while problems and time.monotonic() - moved < _STANDSTILL:
            with suppress(*_AWAY):
                found = await self._look()
                lives = [f"{one.learner} lives on" for one in self.company.employees if not one.over]
                lives += [f"{one.subscription} lives on" for one in self.company.others.duties if not one.over]
                problems = agreement.audit(self.company, found) + agreement.unsettled(found) + lives
            if problems != before:
                moved, before = time.monotonic(), problems
            await asyncio.sleep(0.3)
        return problems

    async def _look(self) -> agreement.Rows:
        found = await agreement.rows(self.database)
        by_subscription = {one.subscription: one.learner for one in self.company.employees}
        having = (key for key, row in found.of.items() if "enrolled" in row.enrollments)
        self.company.enrolled.update(by_subscription[key] for key in having if key in by_subscription)
        return found

    # What befalls muster

    async def _kill_worker(self) -> None:
        """kill -9 of a worker; it hits if calls of its own are under way, two times of three such that change something."""
        for _ in range(_TRIES):
            number, writing = self.rng.randrange(len(self._workers)), self.rng.random() < 2 / 3
            await self._caught(number, writing=writing)
            # From here to the kill nothing else runs in this process, so that nothing ends meanwhile.
            self._workers[number].send_signal(signal.SIGSTOP)
            hit, wrote = self._calls(number), self._calls(number, writing=True)
            self._workers[number].kill()
            await asyncio.to_thread(self._workers[number].wait, 10)
            self._hits["kills of a worker that was changing something at a vendor"] += wrote
            self._hits["kills of a worker while an enrollment was requested or a step leased"] += await self._leased() > 0
            self._workers[number] = await self._started(number)
            if self._counted(hit, "kills of a worker"):
                return

    async def _kill_receiver(self) -> None:
        """kill -9 of the receiver; it hits if a webhook is cut off."""
        postman, receiver = self.company.postman, self._receiver
        assert postman is not None
        for _ in range(3 * _TRIES):
            assert receiver is not None
            cut_off = self._cut_off()
            with suppress(TimeoutError):
                await reached(lambda: postman.under_way, 3.0)
            receiver.kill()
            await asyncio.to_thread(receiver.wait, 10)
            await asyncio.sleep(0.2)
            hit = self._cut_off() > cut_off
            receiver = self._receiver = await asyncio.to_thread(self.muster.start, "receive")
            if self._counted(hit, "kills of the receiver"):
                return

    async def _freeze_worker(self) -> None:
        """A worker stands still until its leases are others', and goes on as if nothing were."""
        number = self.rng.randrange(len(self._workers))
        await self._caught(number, writing=True)
        self._workers[number].send_signal(signal.SIGSTOP)
        await asyncio.sleep(_FROZEN)
        self._workers[number].send_signal(signal.SIGCONT)
        self._hits["times a worker lost its leases"] += 1

    async def _restart_broker(self) -> None:
        await asyncio.to_thread(self.ground.rabbitmq.kill)
        await asyncio.to_thread(self.ground.rabbitmq.start)
        self._hits["crashes of the broker"] += 1

    async def _restart_database(self) -> None:
        await asyncio.to_thread(self.ground.postgres.stop, "immediate")
        await asyncio.sleep(self.rng.uniform(0.2, 1.0))
        await asyncio.to_thread(self.ground.postgres.start)
        self._hits["crashes of the database"] += 1

    async def _caught(self, number: int, *, writing: bool) -> None:
        """Wait, not for long, until calls of a worker's are under way."""
        with suppress(TimeoutError):
            await reached(lambda: self._calls(number, writing=writing), 2.0)

    def _calls(self, number: int, *, writing: bool = False) -> bool:
        """Whether calls of a worker's are under way, or such that change something."""
        return any(door.writing() if writing else door.under_way for door in self.company.doors[number].values())

    def _counted(self, hit: bool, what: str) -> bool:
        self.figures.faults, self.figures.hit = self.figures.faults + 1, self.figures.hit + hit
        self._hits[f"{what} that hit"] += hit
        return hit

    def _cut_off(self) -> int:
        assert self.company.postman is not None
        return self.company.postman.cut_off + sum(one.status is None for one in self.company.environment.sender.tries)

    async def _leased(self) -> int:
        """How much is asked for, or leased, at this moment."""
        with suppress(*_AWAY):
            (found,) = await agreement.read(self.database, _UNDER_WAY)
            return sum(one["state"] == "requested" or as_time(one["due_at"]) > now_utc() for one in found)
        return 0

    async def _started(self, number: int) -> Popen[bytes]:
        if self.embedded:
            return await asyncio.to_thread(self.muster.start, "serve")
        environment = self.company.environment_of(number) | {"MUSTER_LOCAL__WORKER_PORT": str(self._ports[number])}
        process = await asyncio.to_thread(self.muster.start, "work", environment)
        await asyncio.to_thread(until, lambda: listens(self._ports[number]) or process.poll() is not None, 20, "a worker's start")
        if process.poll() is not None:
            raise RuntimeError(f"work exited {process.returncode}: {self.muster.log('work')[-2000:]}")
        return process


_UNDER_WAY = """
    SELECT state, due_at FROM enrollments WHERE wish IS NOT NULL AND due_at IS NOT NULL
    UNION ALL SELECT state, due_at FROM recordings WHERE state = 'planned'"""


@asynccontextmanager
async def _scene(ground: Ground, name: str, *, embedded: bool) -> AsyncIterator[Scene]:
    async with company(random.Random(f"{ground.seed}/{name}"), 1 if embedded else WORKERS) as one:
        scene = await asyncio.to_thread(Scene, ground, name, one, embedded=embedded)
        try:
            await scene.begin()
            yield scene
        finally:
            await asyncio.to_thread(scene.muster.close)


def _latencies(employees: list[Employee], first: dict[tuple[str, str], float]) -> Iterator[float]:
    """Seconds from a duty to its seat."""
    for one in employees:
        if (at := first.get(("subscribe", one.learner))) is not None:
            yield at - one.began
