"""For how long it is kept what was worked off: bodies and headers, then the rows of the log, and the runs of replays.

What is dead or waits stays, however old. So does the mirror: a tombstone outlives whatever told of it. A few rows at a time, with rests
that leave the database to others; a row that somebody else has just locked is left to the next pass.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from schemas.logs import Log
from schemas.settings import RetentionSettings
from schemas.states import DeliveryState
from workers.database import Database
from workers.schedules import OURS, Turn
from workers.statements import as_time, run

log = structlog.get_logger()

#: How often there is a pass, by one worker at a time.
TURN = Turn(OURS, "retention", timedelta(hours=6))
#: Rows that are seen to in one transaction, and how many times as long as it took the database then rests.
BATCH, REST = 500, 4.0

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
#: What is over: anything else somebody may still want as it came.
_OVER = (DeliveryState.APPLIED, DeliveryState.IGNORED, DeliveryState.SETTLED)

#: By the index over state and arrival, from one place in it to the next, so that no step is long however many rows have no body any more.
_NEXT = """
    SELECT max(received_at) AS at FROM (
        SELECT received_at FROM deliveries WHERE state = $1 AND received_at > $2 AND received_at <= $3 ORDER BY received_at LIMIT $4
    ) AS next"""
#: A run that did not end can still be resumed, and wants what it selected.
_BETWEEN = """
    SELECT id FROM deliveries WHERE state = $1 AND received_at > $2 AND received_at <= $3 AND id NOT IN (
        SELECT i.original FROM replay_runs AS r JOIN replay_items AS i ON i.run = r.id WHERE r.ended_at IS NULL AND i.outcome IS NULL)"""
_DROP = f"""
    UPDATE deliveries SET body = NULL, headers = '{{}}' WHERE id IN ({_BETWEEN} AND body IS NOT NULL FOR UPDATE SKIP LOCKED)
    RETURNING 1 AS done"""
_FORGET = f"DELETE FROM deliveries WHERE id IN ({_BETWEEN} FOR UPDATE SKIP LOCKED) RETURNING 1 AS done"
#: A replay that died has no body of its own: what is dead of it is its original.
_FORGET_REPLAYS = f"DELETE FROM deliveries WHERE id IN ({_BETWEEN} AND replay_of IS NOT NULL FOR UPDATE SKIP LOCKED) RETURNING 1 AS done"
_FORGET_ITEMS = """
    DELETE FROM replay_items WHERE replay IN (
        SELECT i.replay FROM replay_items AS i JOIN replay_runs AS r ON r.id = i.run WHERE r.ended_at <= $1 LIMIT $2
    ) RETURNING 1 AS done"""
_FORGET_RUNS = "DELETE FROM replay_runs WHERE ended_at <= $1 RETURNING 1 AS done"


class Retention:
    """A pass over everything, whenever it is called."""

    def __init__(
        self, database: Database, keep: RetentionSettings, now: Callable[[], datetime], *, batch: int = BATCH, rest: float = REST
    ) -> None:
        self._database, self._keep, self._now = database, keep, now
        self._batch, self._rest = batch, rest

    async def __call__(self) -> Mapping[str, int]:
        """Drop and forget what is old enough; gives how many of each. It may be cut short anywhere."""
        keep = self._keep
        rows = await self._swept(_FORGET, keep.keep_log) + await self._swept(_FORGET_REPLAYS, keep.keep_log, (DeliveryState.DEAD,))
        replays = await self._replays_forgotten(keep.keep_log)
        counts = {"bodies": await self._swept(_DROP, keep.keep_bodies), "rows": rows, "replays": replays}
        if any(counts.values()):
            log.info(Log.RETAINED, **counts)
        return counts

    async def _swept(self, statement: str, keep: timedelta | None, states: Sequence[DeliveryState] = _OVER) -> int:
        """Do something to every row of the log that is in one of the states and older than that."""
        if keep is None:
            return 0
        done, until = 0, self._now() - keep
        for state in states:
            since = _BEFORE_ALL
            while (reached := await self._next(state, since, until)) is not None:
                done += await self._rested(statement, state.value, since, reached)
                since = reached
        return done

    async def _next(self, state: DeliveryState, since: datetime, until: datetime) -> datetime | None:
        (row,) = await run(self._database.connection, self._database.dialect, _NEXT, state.value, since, until, self._batch)
        return as_time(row["at"]) if row["at"] is not None else None

    async def _replays_forgotten(self, keep: timedelta | None) -> int:
        """Forget runs that ended longer ago, with their items; one that did not end can still be resumed."""
        if keep is None:
            return 0
        until = self._now() - keep
        while await self._rested(_FORGET_ITEMS, until, self._batch):
            pass
        return await self._rested(_FORGET_RUNS, until)

    async def _rested(self, statement: str, *values: Any) -> int:
        """One short transaction, and the rest after it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self._database.transaction() as connection:
            done = len(await run(connection, self._database.dialect, statement, *values))
        await asyncio.sleep(self._rest * (loop.time() - began))
        return done
