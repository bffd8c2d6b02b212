"""A replay whose own process and whose workers are killed at random: each delivery is replayed exactly once, whoever dies when."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from typing import Any

from uuid_utils.compat import uuid4

from receiver.spool import REPLAYS
from schemas.delivery import Delivery
from schemas.states import DeliveryState, Reason
from tests.faults.trial import Figures, Ground, Trial, trial
from tests.workers.made import created
from workers.database import Database, close_database, open_database
from workers.log import Entry, record
from workers.statements import as_uuid
from workers.statements import run as statement

#: Deliveries of so many kills squared: 100,000 of 50; and the least that takes as long as a few kills.
_EACH, _LEAST = 40, 12_000
#: So many tries for each kill that has to hit something.
_TRIES = 3
#: So many times a worker is stopped until it has something in its hands.
_GRABS = 6
#: A replay that nothing moves any more counts as lost: seconds.
_STANDSTILL = 120.0


async def replay(ground: Ground) -> Figures:
    """`muster replay` and `muster work`."""
    return await _replayed(ground, "replay", embedded=False)


async def replay_embedded(ground: Ground) -> Figures:
    """`muster replay` and `muster serve`."""
    return await _replayed(ground, "replay-embedded", embedded=True)


async def _replayed(ground: Ground, name: str, *, embedded: bool) -> Figures:
    async with trial(ground, name, embedded=embedded) as one:
        database = await open_database(one.database)
        try:
            given_up = await _given_up(database, max(_LEAST, _EACH * ground.kills**2))
            replaying = _Replaying(one, database)
            await replaying.killed(len(given_up))
            await replaying.ends()
            await _audit(one.figures, database, given_up)
        finally:
            await close_database()
    return one.figures


async def _given_up(database: Database, count: int) -> list[Delivery]:
    """A log of deliveries that an older version gave up on, each about another subscription."""
    made = [created(str(uuid4())) for _ in range(count)]
    for start in range(0, count, 1000):
        async with database.transaction() as connection:
            entries = [Entry(one, DeliveryState.DEAD, one.event, Reason.HANDLER_FAILED) for one in made[start : start + 1000]]
            await record(connection, database.dialect, entries)
    return made


class _Replaying:
    """The run, and the process that is at it."""

    def __init__(self, one: Trial, database: Database) -> None:
        self._one, self._database = one, database
        self._worker = "serve" if one.embedded else "work"
        self._process = self._started("--state", "dead", "--yes")

    async def killed(self, count: int) -> None:
        """Kill one or the other again and again on the run's way; a kill that hit nothing is repeated."""
        figures, rng, kills = self._one.figures, self._one.rng, self._one.ground.kills
        cut = dict.fromkeys(("replay", self._worker), 0)
        for _ in range(kills * _TRIES):
            left = count - await self._done()
            await self._passes(count - left + int(left * rng.uniform(0.3, 1.0) / (kills - figures.hit + 1)))
            if self._process.poll() is not None and (done := await self._done()) < count:  # it left, for nobody was there for long
                await self._resume()
                await self._passes(done + 1)
            victim = min(cut, key=lambda name: (cut[name], rng.random()))
            figures.faults, figures.hit = figures.faults + 1, figures.hit + await self._kill(victim, count)
            cut[victim] += 1
            if figures.hit == kills:
                break
        if figures.hit < kills:
            figures.problems.append(f"only {figures.hit} of {figures.faults} kills hit work in flight")
        figures.notes.append(f"{count:,} deliveries; killed " + ", ".join(f"{name} {number} times" for name, number in cut.items()))

    async def ends(self) -> None:
        """Wait until everything is replayed; where `serve` was away for long the process has left, and is begun again."""
        for _ in range(_TRIES):
            code = await asyncio.to_thread(self._process.wait, _STANDSTILL)
            if await self._rows("SELECT id FROM replay_runs WHERE state = 'done'"):
                return
            await self._resume()
        self._one.figures.problems.append(f"the last `muster replay` exited {code}: {self._one.muster.log('replay')[-500:]}")

    async def _kill(self, victim: str, count: int) -> bool:
        """kill -9, and begin again; whether it hit something under way."""
        if victim == self._worker:
            hit = await self._stopped_at_work()
            await self._one.kill(self._worker)
            await self._one.start(self._worker)
            return hit
        self._process.send_signal(signal.SIGSTOP)
        hit = self._process.poll() is None and await self._done() < count
        self._process.kill()
        await asyncio.to_thread(self._process.wait, 10)
        await self._resume()
        return hit

    async def _stopped_at_work(self) -> bool:
        """Stop the worker in its tracks, with something in its hands if that can be; whether there is."""
        for _ in range(_GRABS):
            self._one.signal(self._worker, signal.SIGSTOP)
            if await self._in_hand():
                return True
            self._one.signal(self._worker, signal.SIGCONT)
            await asyncio.sleep(self._one.rng.uniform(0.05, 0.3))
        return False

    async def _in_hand(self) -> bool:
        """Whether the worker, which stands still, was given replays that it did not settle."""
        if not self._one.embedded:
            return await self._one.queued("messages_unacknowledged") > 0
        with closing(sqlite3.connect(f"file:{self._one.muster.data_dir / REPLAYS}?mode=ro", uri=True)) as spool:
            return bool(spool.execute("SELECT count(*) FROM spool, handed_out WHERE seq <= upto").fetchone()[0])

    async def _resume(self) -> None:
        (run,) = await self._rows("SELECT id FROM replay_runs")
        self._process = self._started("--resume", str(run["id"]))

    def _started(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._one.muster.home / "replay.log").open("ab") as log:
            command = [sys.executable, "-m", "workers.cli", "replay", *arguments]
            return subprocess.Popen(command, env=self._one.muster._environment, stdout=log, stderr=log)

    async def _passes(self, mark: int) -> None:
        """Wait until so many have an outcome."""
        moved, seen = asyncio.get_running_loop().time(), -1
        while (done := await self._done()) < max(1, mark):
            if done != seen:
                moved, seen = asyncio.get_running_loop().time(), done
            if asyncio.get_running_loop().time() - moved > _STANDSTILL:
                raise TimeoutError(f"{done} of {mark} are replayed, and nothing moves: {self._one.muster.log('replay')[-500:]}")
            await asyncio.sleep(0.05)

    async def _done(self) -> int:
        (row,) = await self._rows("SELECT count(*) AS done FROM replay_items WHERE outcome IS NOT NULL")
        return int(row["done"])

    async def _rows(self, query: str) -> list[dict[str, Any]]:
        return await statement(self._database.connection, self._database.dialect, query)


async def _audit(figures: Figures, database: Database, given_up: list[Delivery]) -> None:
    """Every original was replayed under one id and is settled, every replay is applied and noted so, and each was told of once."""

    async def rows(query: str) -> list[dict[str, Any]]:
        return await statement(database.connection, database.dialect, query)

    originals = {one.id for one in given_up}
    replays = Counter(as_uuid(row["of"]) for row in await rows("SELECT replay_of AS of FROM deliveries WHERE replay_of IS NOT NULL"))
    settled = {as_uuid(row["id"]) for row in await rows("SELECT id FROM deliveries WHERE state = 'settled'")}
    applied = await rows(
        "SELECT replay FROM replay_items AS i JOIN deliveries AS d ON d.id = i.replay AND d.state = 'applied' WHERE i.outcome = 'applied'"
    )
    (run,) = await rows("SELECT state, selected, applied, unchanged, dead, gone FROM replay_runs")
    told = Counter(row["told"] for row in await rows("SELECT number AS told FROM event_sequences"))
    figures.acknowledged, figures.applied = len(originals), len(applied)
    figures.lost = len(originals) - len(settled & originals)
    wrong = {
        "not replayed": len(originals - replays.keys()),
        "replayed under more than one id": sum(number > 1 for number in replays.values()),
        "replayed, and never selected": len(replays.keys() - originals),
        "applied and not noted so": len(originals) - len(applied),
        "subscriptions that were told of more or less than once": told.total() - told[1] + abs(len(originals) - told.total()),
    }
    figures.problems += [f"{number} {what}" for what, number in wrong.items() if number]
    counted = {"state": "done", "selected": len(originals), "applied": len(originals), "unchanged": 0, "dead": 0, "gone": 0}
    if run != counted:
        figures.problems.append(f"the run says {run}")
