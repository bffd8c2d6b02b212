"""What befalls muster's processes and servers while they are at it, each kill shown to have hit work in flight."""

import asyncio
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial

import asyncpg

from schemas.delivery import now_utc
from tests.faults import rows
from tests.faults.company import Company
from tests.faults.hasty import SHORTEST
from tests.faults.load import reached
from tests.faults.trial import Figures, Ground
from tests.services import free_port, listens, until
from tests.services.muster import Muster, Process
from workers.statements import as_time

#: So many tries for each kill of a receiver, which has to cut a webhook off; and seconds for a worker to be at something.
_TRIES, _PATIENCE = 9, 30.0
#: Seconds for calls of the kind that is waited for; after them any will do.
_SOON = 10.0
#: Longer than any lease of the hasty on what is to be done at a vendor.
_FROZEN = 2.25 * SHORTEST
#: What the database raises while it is away.
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, sqlite3.Error)
_WROTE = "kills of a worker that was changing something at a vendor"
#: What has not failed before and is due in the future is leased: no try that failed is waited out.
_UNDER_WAY = """
    SELECT due_at FROM enrollments WHERE wish IS NOT NULL AND due_at IS NOT NULL AND error IS NULL
    UNION ALL SELECT due_at FROM recordings WHERE state = 'planned' AND error IS NULL"""


class Strikes:
    """A receiver and workers, or one process that is both, each worker at doors of its own; and what is done to them."""

    def __init__(self, ground: Ground, muster: Muster, company: Company, database: str, figures: Figures, *, embedded: bool) -> None:
        self.ground, self.muster, self.company, self.database, self.figures = ground, muster, company, database, figures
        self.rng, self.embedded = company.rng, embedded
        self.hits: Counter[str] = Counter()
        self._ports = [free_port() for _ in company.doors]
        self._workers: list[Process] = []
        self._receiver: Process | None = None

    async def start(self) -> None:
        """Start all of them."""
        if not self.embedded:
            self._receiver = await asyncio.to_thread(self.muster.start, "receive")
        self._workers = [await self._started(number) for number in range(len(self._ports))]

    async def befall(self) -> None:
        """All of it, in any order."""
        kills = self.ground.kills
        receivers, outages = 0 if self.embedded else kills // 4, max(1, kills // 10)
        strikes: list[Callable[[], Awaitable[None]]] = [self._kill_receiver] * receivers
        # Two of three are to hit a change that is under way at a vendor.
        strikes += [partial(self._kill_worker, writing=number % 3 < 2) for number in range(kills - receivers)]
        strikes += [self._freeze_worker] * outages
        if not self.embedded:
            strikes += [self._restart_broker, self._restart_database] * outages
        self.rng.shuffle(strikes)
        for one in strikes:
            await one()
            self.figures.problems += [f"{command} ended by itself" for command in self._ended()]

    def missed(self) -> Iterator[str]:
        """What should have been hit, and was not."""
        figures, wrote = self.figures, self.hits[_WROTE]
        if figures.hit < self.ground.kills:
            yield f"only {figures.hit} of {figures.faults} kills hit work in flight"
        if wrote < max(1, self.ground.kills // 5):
            yield f"only {wrote} kills hit a write that was open at a vendor"

    async def _kill_worker(self, *, writing: bool) -> None:
        """kill -9 of a worker, once it is seen to have something in hand: a change under way at a vendor, if asked for and any comes soon.

        It is frozen to be looked at, and let go again if it is at nothing.
        """
        too_late = time.monotonic() + _PATIENCE
        while True:
            number = await self._caught(writing=writing)
            worker = self._workers[number]
            worker.send_signal(signal.SIGSTOP)
            asked, wrote = self._calls(number), self._calls(number, writing=True)
            # From the look at a change to the kill nothing else runs in this process, so that it is still under way. What is leased may
            # be another worker's: where this one asks for nothing at all, it is.
            leased = not wrote and asked and await self._leased() > 0
            if wrote or leased or time.monotonic() > too_late:
                break
            worker.send_signal(signal.SIGCONT)
            await asyncio.sleep(self.rng.uniform(0.002, 0.02))
        worker.kill()
        await asyncio.to_thread(worker.wait, 10)
        self.hits[_WROTE] += wrote
        self.hits["kills of a worker that asked, while an enrollment or a step was leased"] += leased
        self._workers[number] = await self._started(number)
        self._counted(wrote or leased, "kills of a worker")

    async def _kill_receiver(self) -> None:
        """kill -9 of the receiver; it hits if a webhook is cut off."""
        postman, receiver = self.company.postman, self._receiver
        assert postman is not None
        for _ in range(_TRIES):
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
        number = await self._caught(writing=True)
        self._workers[number].send_signal(signal.SIGSTOP)
        await asyncio.sleep(_FROZEN)
        self._workers[number].send_signal(signal.SIGCONT)
        self.hits["times a worker lost its leases"] += 1

    async def _restart_broker(self) -> None:
        await asyncio.to_thread(self.ground.rabbitmq.kill)
        await asyncio.to_thread(self.ground.rabbitmq.start)
        self.hits["crashes of the broker"] += 1

    async def _restart_database(self) -> None:
        await asyncio.to_thread(self.ground.postgres.stop, "immediate")
        await asyncio.sleep(self.rng.uniform(0.2, 1.0))
        await asyncio.to_thread(self.ground.postgres.start)
        self.hits["crashes of the database"] += 1

    def _ended(self) -> Iterator[str]:
        """What does not run any more, though nobody ended it."""
        if self._receiver is not None and self._receiver.poll() is not None:
            yield "receive"
        for number, worker in enumerate(self._workers):
            if worker.poll() is not None:
                yield "serve" if self.embedded else f"worker {number}"

    async def _caught(self, *, writing: bool) -> int:
        """Wait, not for long, until calls of any worker's are under way, and give its number: one that was refused asks for nothing."""
        numbers = range(len(self._workers))
        with suppress(TimeoutError):
            await reached(lambda: any(self._calls(number, writing=writing) for number in numbers), _SOON)
        asked = [number for number in numbers if self._calls(number)]
        return self.rng.choice([number for number in asked if self._calls(number, writing=writing)] or asked or numbers)

    def _calls(self, number: int, *, writing: bool = False) -> bool:
        """Whether calls of a worker's are under way, or such that change something."""
        return any(door.writing() if writing else door.under_way for door in self.company.doors[number].values())

    def _counted(self, hit: bool, what: str) -> bool:
        self.figures.faults, self.figures.hit = self.figures.faults + 1, self.figures.hit + hit
        self.hits[f"{what} that hit"] += hit
        return hit

    def _cut_off(self) -> int:
        assert self.company.postman is not None
        return self.company.postman.cut_off + sum(one.status is None for one in self.company.environment.sender.tries)

    async def _leased(self) -> int:
        """How much is leased at this moment."""
        with suppress(*AWAY):
            (found,) = await rows.read(self.database, _UNDER_WAY)
            return sum(as_time(one["due_at"]) > now_utc() for one in found)
        return 0

    async def _started(self, number: int) -> Process:
        if self.embedded:
            return await asyncio.to_thread(self.muster.start, "serve")
        environment = self.company.environment_of(number) | {"MUSTER_LOCAL__WORKER_PORT": str(self._ports[number])}
        process = await asyncio.to_thread(self.muster.start, "work", environment)
        await asyncio.to_thread(until, lambda: listens(self._ports[number]) or process.poll() is not None, 60, "a worker's start")
        if process.poll() is not None:
            raise RuntimeError(f"work exited {process.returncode}: {self.muster.log('work')[-2000:]}")
        return process
