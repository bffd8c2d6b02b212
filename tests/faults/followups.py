"""Follow-ups while everything around them dies: each exactly once at the vendors, and rows and vendors agree in the end."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

from tests.faults import agreement, rows
from tests.faults.company import COURSE, Company, Employee, company
from tests.faults.load import reached
from tests.faults.others import RULES
from tests.faults.strikes import AWAY, Strikes
from tests.faults.trial import HEARTBEAT, Figures, Ground, percentile
from tests.faults.trouble import FAULTS, befallen, misbehave
from tests.services.muster import Muster

WORKERS = 2
#: Seconds between two new duties, and without any change after which what is not settled never will be: the hasty wait for up to 86 s
#: with what failed four times.
_PACE, _STANDSTILL = 0.3, 90.0
#: Seconds for which all has to stay as it was meant: longer than what lands late, and than any lease.
_CALM = 3.0
#: For so many of them a duty of another kind, too.
_OTHERS = 0.3
#: Seconds for the first fault that hits a write.
_PATIENCE = 30.0


async def followups(ground: Ground) -> Figures:
    """Two workers and a receiver killed, frozen, and cut off from broker and database, between vendors that fail in every way."""
    return await _followups(ground, "followups", embedded=False)


async def followups_embedded(ground: Ground) -> Figures:
    """`muster serve` on SQLite, killed and frozen between vendors that fail in every way."""
    return await _followups(ground, "followups-embedded", embedded=True)


async def _followups(ground: Ground, name: str, *, embedded: bool) -> Figures:
    async with _scene(ground, name, embedded=embedded) as scene:
        began, one = time.monotonic(), scene.company
        doing = [asyncio.create_task(duty) for duty in (scene.hire(), scene.watch(), misbehave(one.faults, one.rng))]
        try:
            await scene.strikes.befall()
            with suppress(TimeoutError):
                await reached(lambda: bool(befallen(one.faults, writes=True)), _PATIENCE)
        finally:
            for task in doing:
                task.cancel()
            ended = await asyncio.gather(*doing, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome
        scene.figures.notes.append(f"{len(one.employees) + len(one.others.duties)} duties in {time.monotonic() - began:.0f} s of trouble")
        return await scene.close()


async def settled(look: Callable[[], Awaitable[list[str]]], standstill: float = _STANDSTILL, calm: float = _CALM) -> list[str]:
    """Wait until everything is as it was meant and stays so, or nothing moves any more; gives what is not."""
    moved, problems = time.monotonic(), [""]
    while time.monotonic() - moved < (standstill if problems else calm):
        before, problems = problems, await look()
        moved = moved if problems == before else time.monotonic()
        await asyncio.sleep(min(0.3, calm / 10))
    return problems


class Scene:
    """A company, a muster of three processes or of one, and what befalls them."""

    def __init__(self, ground: Ground, name: str, one: Company, *, embedded: bool) -> None:
        self.company, self.figures = one, Figures(name)
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
        self.strikes = Strikes(ground, self.muster, one, self.database, self.figures, embedded=embedded)

    async def begin(self) -> None:
        """Set up, start, say yes to the rules."""
        self.company.others.begin()
        await asyncio.to_thread(self.muster.run, "init")
        await self.strikes.start()
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
        """See who has a seat, and what is needed, by muster's rows, until cancelled."""
        while True:
            with suppress(*AWAY):
                await self._look()
            await asyncio.sleep(0.2)

    async def close(self) -> Figures:
        """Let everything come to rest, and hold what happened against what was meant."""
        await self.company.behave()
        figures, problems = self.figures, await settled(self._problems)
        employees = self.company.employees
        postman = self.company.postman
        assert postman is not None
        figures.problems += problems[:20]
        figures.acknowledged, figures.refused = postman.delivered, len([status for status in postman.refused if status < 500])
        figures.lost = len({line.partition(" ")[0] for line in problems})
        figures.applied = len(employees) + len(self.company.others.duties) - figures.lost
        took = list(_latencies(employees, self.company.books.first))
        figures.p50, figures.p99 = percentile(took, 50), percentile(took, 99)
        figures.notes.append(", ".join(f"{count} {name}" for name, count in sorted(self.strikes.hits.items())))
        every, writes = befallen(self.company.faults), befallen(self.company.faults, writes=True)
        figures.notes.append(self.company.others.told())
        figures.notes.append("faults that hit a write, of all: " + ", ".join(f"{name} {writes[name]}/{every[name]}" for name in FAULTS))
        figures.notes.append(
            f"{postman.lost} webhooks lost, {postman.cut_off} cut off; fates {Counter(str(one.fate) for one in employees)}"
        )
        figures.problems += self.strikes.missed()
        figures.problems += [] if writes else ["no fault hit a write"]
        return figures

    async def _problems(self) -> list[str]:
        try:
            found = await self._look()
        except AWAY as error:
            return [f"the rows cannot be read: {error!r}"]
        lives = [f"{one.learner} lives on" for one in self.company.employees if not one.over]
        lives += [f"{one.subscription} lives on" for one in self.company.others.duties if not one.over]
        return agreement.audit(self.company, found) + rows.unsettled(found) + lives

    async def _look(self) -> rows.Rows:
        found = await rows.rows(self.database)
        self.company.others.vendors.needed.update(key for key, row in found.of.items() if row.needs)
        by_subscription = {one.subscription: one.learner for one in self.company.employees}
        having = (key for key, row in found.of.items() if "enrolled" in row.enrollments)
        self.company.enrolled.update(by_subscription[key] for key in having if key in by_subscription)
        return found


@asynccontextmanager
async def _scene(ground: Ground, name: str, *, embedded: bool) -> AsyncIterator[Scene]:
    async with company(random.Random(f"{ground.seed}/{name}"), 1 if embedded else WORKERS) as one:
        scene = await asyncio.to_thread(Scene, ground, name, one, embedded=embedded)
        try:
            await scene.begin()
            yield scene
        finally:
            await asyncio.to_thread(scene.muster.close)


def _latencies(employees: list[Employee], first: dict[tuple[str, ...], float]) -> Iterator[float]:
    """Seconds from a duty to its seat."""
    for one in employees:
        if (at := first.get(("subscribe", one.learner, COURSE))) is not None:
            yield at - one.began
