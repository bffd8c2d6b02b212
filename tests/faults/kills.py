"""kill -9 of muster's own processes, under load, each shown to have hit work in flight; one that hit nothing is repeated."""

import asyncio
import signal
import sqlite3
from contextlib import closing

import asyncpg

from receiver.spool import FILE
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
        async with one.load(pause=0.02) as load:
            await _kill_answering(one, load, "serve")
        return one.close(load, await one.settled())


async def worker(ground: Ground) -> Figures:
    """`muster work`, with a transaction open or messages in hand."""
    async with trial(ground, "worker") as one:
        async with one.load(pause=0.05) as load:
            await _kill_working(one, load)
        return one.close(load, await one.settled())


async def _kill_answering(one: Trial, load: Load, command: str) -> None:
    """Kill a process that answers requests; a kill hits if it cuts some of them off, and is repeated if not."""
    figures, cut_off, batches = one.figures, 0, 0
    for _ in range(one.ground.kills * _TRIES):
        await load.flows()
        await asyncio.sleep(one.rng.uniform(0.0, 0.5))
        pending = set(load.in_flight)
        await one.kill(command)
        hit = len(await load.cut_off(pending))
        batches += one.embedded and _handed_out(one) > 0
        await one.start(command)
        figures.faults, figures.hit, cut_off = figures.faults + 1, figures.hit + (hit > 0), cut_off + hit
        if figures.hit == one.ground.kills:
            break
    await load.flows()
    figures.notes.append(
        f"the kills cut off {cut_off} requests" + f", and {batches} of them the worker with a batch in hand" * one.embedded
    )
    _expect_hits(one)


async def _kill_working(one: Trial, load: Load) -> None:
    """Freeze the worker to see what it has in hand, then kill it: two times of three in a transaction, else with messages in hand."""
    figures, transactions = one.figures, 0
    await load.flows()
    for _ in range(one.ground.kills * _TRIES):
        await asyncio.sleep(one.rng.uniform(0.1, 0.6))
        transaction = one.rng.random() < 2 / 3 and await _frozen_in_transaction(one)
        if not transaction:
            one.signal("work", signal.SIGSTOP)
        figures.hit += transaction or await one.queued("messages_unacknowledged") > 0
        await one.kill("work")
        await one.start("work")
        figures.faults, transactions = figures.faults + 1, transactions + transaction
        if figures.hit == one.ground.kills:
            break
    figures.notes.append(f"{transactions} kills hit an open transaction, the others messages in hand")
    _expect_hits(one)


async def _frozen_in_transaction(one: Trial) -> bool:
    """Stop the worker in its tracks at a moment when it holds a transaction open; False if none was found soon."""
    for _ in range(100):
        one.signal("work", signal.SIGSTOP)
        if await _transaction_is_open(one):
            return True
        one.signal("work", signal.SIGCONT)
        await asyncio.sleep(one.rng.uniform(0.002, 0.02))
    return False


async def _transaction_is_open(one: Trial) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend' AND xact_start IS NOT NULL"
    connection = await asyncpg.connect(one.ground.postgres.url())
    try:
        return bool(await connection.fetchval(query, one.own))
    finally:
        await connection.close()


def _handed_out(one: Trial) -> int:
    """How many rows a dead process' spool holds that its worker had been given."""
    with closing(sqlite3.connect(f"file:{one.muster.data_dir / FILE}?mode=ro", uri=True)) as spool:
        return int(spool.execute("SELECT count(*) FROM spool, handed_out WHERE seq <= upto").fetchone()[0])


def _expect_hits(one: Trial) -> None:
    if one.figures.hit < one.ground.kills:
        one.figures.problems.append(f"only {one.figures.hit} of {one.figures.faults} kills hit work in flight")
