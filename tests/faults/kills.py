"""kill -9 of muster's own processes, under load, each shown to have hit work in flight; one that hit nothing is repeated."""

import asyncio
import signal

import asyncpg

from tests.faults.load import Load
from tests.faults.trial import Figures, Ground, Trial, trial

#: So many tries for each kill that has to hit something.
_TRIES = 3


async def receiver(ground: Ground) -> Figures:
    """`muster receive`, restarted each time on the same data_dir."""
    async with trial(ground, "receiver") as one:
        async with one.load(pause=0.02) as load:
            await _kill_answering(one, load, "receive")
        return one.close(load, await one.settled())


async def embedded(ground: Ground) -> Figures:
    """`muster serve`: receiver, spool and worker at once, on SQLite."""
    async with trial(ground, "embedded", embedded=True) as one:
        async with one.load(pause=0.05) as load:
            await _kill_answering(one, load, "serve")
        return one.close(load, await one.settled())


async def worker(ground: Ground) -> Figures:
    """`muster work`, with messages in hand or a transaction open."""
    async with trial(ground, "worker") as one:
        async with one.load(pause=0.05) as load:
            await _kill_working(one, load)
        return one.close(load, await one.settled())


async def _kill_answering(one: Trial, load: Load, command: str) -> None:
    """Kill a process that answers requests; a kill hits if it cuts some of them off."""
    figures, cut_off = one.figures, 0
    for _ in range(one.ground.kills * _TRIES):
        await load.flows()
        await asyncio.sleep(one.rng.uniform(0.0, 0.5))
        await one.kill(command)
        hit = len(await load.cut_off())
        await one.start(command)
        figures.faults, figures.hit, cut_off = figures.faults + 1, figures.hit + (hit > 0), cut_off + hit
        if figures.hit == one.ground.kills:
            break
    await load.flows()
    figures.notes.append(f"the kills cut off {cut_off} requests")
    _expect_hits(one)


async def _kill_working(one: Trial, load: Load) -> None:
    """Freeze the worker, look what it has in hand, then kill it; a kill hits a transaction or unacknowledged messages."""
    figures, transactions = one.figures, 0
    await load.flows()
    for _ in range(one.ground.kills * _TRIES):
        await asyncio.sleep(one.rng.uniform(0.2, 0.8))
        one.signal("work", signal.SIGSTOP)
        transaction = await _transaction_is_open(one)
        hit = transaction or await one.queued("messages_unacknowledged") > 0
        await one.kill("work")
        await one.start("work")
        figures.faults, figures.hit, transactions = figures.faults + 1, figures.hit + hit, transactions + transaction
        if figures.hit == one.ground.kills:
            break
    figures.notes.append(f"{transactions} kills hit an open transaction, the others messages in hand")
    _expect_hits(one)


async def _transaction_is_open(one: Trial) -> bool:
    connection = await asyncpg.connect(one.ground.postgres.url())
    try:
        return bool(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend' AND xact_start IS NOT NULL",
                one.own,
            )
        )
    finally:
        await connection.close()


def _expect_hits(one: Trial) -> None:
    if one.figures.hit < one.ground.kills:
        one.figures.problems.append(f"only {one.figures.hit} of {one.figures.faults} kills hit work in flight")
