"""The worker killed while it relays, and the database crashed: a team's queue holds every event, each subject's in order."""

import asyncio
import json
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any
from uuid import UUID

import aio_pika

from schemas import topology
from tests.faults.trial import Figures, Ground, Trial, trial
from tests.workers.test_outbox import drift, keep
from workers.database import Database, close_database, open_database, patiently
from workers.outbox import LEASE
from workers.statements import run as statement

#: Subjects that are new with each kill, for those that it hits wait until the dead worker's lease ends; events in one transaction.
_SUBJECTS, _TOGETHER = 60, 40
#: So many tries for each kill that has to hit something, and so many looks for a moment in which it would.
_TRIES, _LOOKS = 3, 100
#: Seconds after which what does not come counts as lost: more than a lease.
_STANDSTILL = LEASE.total_seconds() + 30.0


async def relay(ground: Ground) -> Figures:
    """`muster work`, told of events without a pause."""
    async with trial(ground, "relay") as one:
        database = await open_database(one.database)
        try:
            async with _listening(one.broker) as heard:
                telling = _Telling(one, database)
                async with telling.at_it():
                    await telling.killed()
                await _audit(one.figures, database, heard)
        finally:
            await close_database()
    return one.figures


Heard = list[tuple[str, int, UUID]]


@asynccontextmanager
async def _listening(url: str) -> AsyncIterator[Heard]:
    """What comes into a team's quorum queue, in its order: subject, number, id."""
    heard: Heard = []
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=500)
        queue = await channel.declare_queue("a-team", durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind(topology.EVENTS, "#")

        async def hear(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            event = json.loads(message.body)
            heard.append((event["subject"], int(event["sequence"]), UUID(event["id"])))
            await message.ack()

        await queue.consume(hear)
        yield heard


class _Telling:
    """Events without a pause, and kills of the worker that relays them."""

    def __init__(self, one: Trial, database: Database) -> None:
        self._one, self._database, self._round = one, database, 0

    @asynccontextmanager
    async def at_it(self) -> AsyncIterator[None]:
        """Keep events while the block runs, as consumers and pollers do."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping

    async def _keep(self) -> None:
        rng = self._one.rng
        while True:
            # Of some whose events wait for a lease that was left, too.
            rounds = [self._round if rng.random() < 0.8 else rng.randrange(self._round + 1) for _ in range(_TOGETHER)]
            events = [drift(f"r{number}-{rng.randrange(_SUBJECTS)}") for number in rounds]
            await patiently(partial(keep, self._database, *events))
            await asyncio.sleep(rng.uniform(0.0, 0.05))

    async def killed(self) -> None:
        """Kill the worker again and again with events in its hands; every fifth time the database crashes as well."""
        figures, kills, crashes = self._one.figures, self._one.ground.kills, 0
        for _ in range(kills * _TRIES):
            await asyncio.sleep(self._one.rng.uniform(0.2, 0.7))
            hit = await self._frozen_with_events()
            await self._one.kill("work")
            figures.faults, figures.hit = figures.faults + 1, figures.hit + hit
            self._round += 1
            if figures.faults % 5 == 3:
                await self._crash()
                crashes += 1
            await self._one.start("work")
            if figures.hit == kills:
                break
        figures.notes.append(f"{crashes} times the database crashed, too")
        if figures.hit < kills:
            figures.problems.append(f"only {figures.hit} of {figures.faults} kills hit events under way")

    async def _frozen_with_events(self) -> bool:
        """Stop the worker in its tracks at a moment when it holds events; False if none was found soon."""
        for _ in range(_LOOKS):
            self._one.signal("work", signal.SIGSTOP)
            (row,) = await self._rows("SELECT count(*) AS held FROM outbox WHERE due_at > now() + interval '29 seconds'")
            if row["held"]:
                return True
            self._one.signal("work", signal.SIGCONT)
            await asyncio.sleep(self._one.rng.uniform(0.002, 0.02))
        return False

    async def _crash(self) -> None:
        await asyncio.to_thread(self._one.ground.postgres.stop, "immediate")
        await asyncio.to_thread(self._one.ground.postgres.start)

    async def _rows(self, query: str) -> list[dict[str, Any]]:
        return await statement(self._database.connection, self._database.dialect, query)


async def _audit(figures: Figures, database: Database, heard: Heard) -> None:
    """Every subject's numbers have come, without a gap and in order if repeated ones are left out, each always with the same id."""
    rows = await patiently(lambda: statement(database.connection, database.dialect, "SELECT subject, number FROM event_sequences"))
    kept = {row["subject"]: int(row["number"]) for row in rows}
    await _comes(heard, sum(kept.values()))
    ids, came = defaultdict[tuple[str, int], set[UUID]](set), defaultdict[str, list[int]](list)
    for subject, number, id_ in heard:
        if not ids[subject, number]:
            came[subject].append(number)
        ids[subject, number].add(id_)
    figures.acknowledged, figures.applied, figures.suppressed = sum(kept.values()), len(ids), len(heard) - len(ids)
    figures.lost = sum(len({*range(1, last + 1)} - {*came[subject]}) for subject, last in kept.items())
    figures.notes.append(f"{len(kept):,} subjects")
    wrong = {
        "subjects that were not told in order": sum(numbers != sorted(numbers) for numbers in came.values()),
        "events that nobody kept": len(ids) + figures.lost - figures.acknowledged,
        "events that came with several ids": sum(len(found) > 1 for found in ids.values()),
        "events that never came": figures.lost,
    }
    figures.problems += [f"{number} {what}" for what, number in wrong.items() if number]


async def _comes(heard: Heard, count: int) -> None:
    """Wait until so many different events have come, or none comes any more."""
    moved, seen = time.monotonic(), -1
    while (found := len({event[:2] for event in heard})) < count and time.monotonic() - moved < _STANDSTILL:
        if found != seen:
            moved, seen = time.monotonic(), found
        await asyncio.sleep(0.3)
