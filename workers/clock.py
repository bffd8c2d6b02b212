"""What no webhook tells: the calendar changes statuses, and what the follow-ups wait for becomes due.

A row knows when it changes next, so that a sweep costs what is due and not what is stored. However many sweeps there are, one changes
a row: it holds the row's lock until the row says when the next is due. What came due while nobody swept is due still.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from schemas.logs import Log
from schemas.states import SubscriptionState
from workers.database import Connection, Database, DatabaseAway, Dialect
from workers.mirror.apply import Mirror
from workers.mirror.calendar import adopt, dispute, intervals, noted
from workers.mirror.changes import told
from workers.mirror.status import Calendar
from workers.mirror.tables import ActionSubscription
from workers.statements import as_time, run

log = structlog.get_logger()

#: Rows that are swept in one transaction.
BATCH = 500
#: Seconds between two sweeps, and until the next where the database is away.
SHORTEST, LONGEST, AWAY = 1.0, 5.0, 5.0
#: When what a sweep failed on, or left due, is looked at again.
LATER = timedelta(minutes=5)

Key = tuple[str, str]
Row = Mapping[str, Any]
#: A row, its status now, and when that changes next.
_Turned = tuple[Row, str | None, datetime | None]

_SHOWN = ("status", "last_certificate_id", "certificate_date_release", "certificate_date_expire", "flags")
_READ = ("id", "account", "action_subscription_id", "action_id", "state", "fetched_at", *_SHOWN)

_DUE = "SELECT id FROM action_subscriptions WHERE changes_at <= $1 ORDER BY changes_at LIMIT $2 FOR UPDATE SKIP LOCKED"
#: The subscription is what is locked: its needs are planned together.
_TO_LOOK_AT = """
    SELECT n.id, n.account, n.action_subscription_id FROM needs AS n
    JOIN action_subscriptions AS s ON s.account = n.account AND s.action_subscription_id = n.action_subscription_id
    WHERE n.look_at <= $1 ORDER BY n.look_at LIMIT $2 FOR UPDATE OF s SKIP LOCKED"""
_NEXT = "SELECT (SELECT min(changes_at) FROM action_subscriptions) AS change, (SELECT min(look_at) FROM needs) AS look"


class Clock:
    """Sweeps whenever something is due."""

    def __init__(
        self, database: Database, mirror: Mirror, now: Callable[[], datetime], *, batch: int = BATCH, longest: float = LONGEST
    ) -> None:
        self._database, self._mirror, self._now, self._batch, self._longest = database, mirror, now, batch, longest
        self._sweeps = (_Statuses(database, mirror), _Needs(database, mirror))

    async def run(self) -> None:
        """Sweep until cancelled."""
        adopted = False
        while True:
            try:
                if not adopted:
                    await adopt(self._database, self._mirror.calendars, self._now())
                    adopted = True
                await self.sweep()
                wait = await self._until_next()
            except DatabaseAway as away:
                log.error(Log.DATABASE_AWAY, error=str(away))
                wait = AWAY
            await asyncio.sleep(min(wait, self._longest))

    async def sweep(self) -> int:
        """Change what is due now; gives how many statuses changed."""
        return sum([await self._all(one) for one in self._sweeps])

    async def _all(self, sweep: "_Sweep") -> int:
        now, limit, changed, swept = self._now(), self._batch, 0, 0
        while True:
            rows = list[Row]()
            try:
                async with self._database.transaction() as connection:
                    rows = await sweep.claim(connection, now, limit)
                    done = await sweep.work(connection, rows, now)
            except DatabaseAway:
                raise
            except Exception as error:  # noqa: BLE001 - a mistake of ours ends neither the clock nor unseen
                log.error(Log.CLOCK_FAILED, what=sweep.table, rows=len(rows), error=type(error).__name__)
                if not rows:
                    break
                if limit == 1:
                    await self._put_off(sweep, rows, now)
                limit = 1  # so that what fails fails alone
                continue
            changed, swept = changed + done, swept + len(rows)
            if len(rows) < limit:
                break
        if swept:
            log.info(Log.CLOCK_SWEPT, what=sweep.table, rows=swept, changed=changed)
        return changed

    async def _put_off(self, sweep: "_Sweep", rows: Sequence[Row], now: datetime) -> None:
        async with self._database.transaction() as connection:
            await sweep.put_off(connection, rows, now)

    async def _until_next(self) -> float:
        (row,) = await run(self._database.connection, self._database.dialect, _NEXT)
        due = [as_time(one) for one in row.values() if one is not None]
        seconds = (min(due) - self._now()).total_seconds() if due else LONGEST
        return max(seconds, SHORTEST)


class _Sweep:
    """What comes due in one table."""

    table: str
    column: str
    due: str

    def __init__(self, database: Database, mirror: Mirror) -> None:
        self._dialect, self._mirror = database.dialect, mirror

    async def claim(self, connection: Connection, now: datetime, limit: int) -> list[Row]:
        """The rows that were due first, for us alone until the transaction ends."""
        return list(await run(connection, self._dialect, self.due, now, limit))

    async def work(self, connection: Connection, rows: Sequence[Row], now: datetime) -> int:
        """See to them; gives how many changed."""
        raise NotImplementedError

    async def put_off(self, connection: Connection, rows: Sequence[Row], now: datetime) -> None:
        """Look at those that are due still a while later."""
        query = f"UPDATE {self.table} SET {self.column} = $1 WHERE id = any($2) AND {self.column} <= $3"
        await run(connection, self._dialect, query, now + LATER, [row["id"] for row in rows], now)

    async def _plan(self, connection: Connection, keys: Collection[Key], now: datetime) -> None:
        if self._mirror.followups is not None and keys:
            await self._mirror.followups.plan(connection, self._dialect, sorted(keys), now)


class _Statuses(_Sweep):
    """Subscriptions whose status the calendar changes. A row that is not live has no date for it: it keeps its last status."""

    table, column, due = "action_subscriptions", "changes_at", _DUE

    async def work(self, connection: Connection, rows: Sequence[Row], now: datetime) -> int:
        chosen = ActionSubscription.filter(id__in=[row["id"] for row in rows]).using_db(connection)
        found = await chosen.values(*_READ) if rows else []
        turned = [one for account in {row["account"] for row in found} for one in await self._turned(connection, account, found, now)]
        changed = [(row["account"], row["action_subscription_id"]) for row, status, _ in turned if status != row["status"]]
        async with told(connection, self._dialect, dict.fromkeys(changed, now), by="clock"):
            await _write(connection, self._dialect, [(row["id"], status, changes_at) for row, status, changes_at in turned])
        # Also what did not change: it may be due because nobody could plan it (`workers/followups/walks.py`).
        await self._plan(connection, [(row["account"], row["action_subscription_id"]) for row in found], now)
        return len(changed)

    async def _turned(self, connection: Connection, account: str, rows: Sequence[Row], now: datetime) -> list[_Turned]:
        """An account's rows, with what each status is now and when it changes next."""
        mine, calendar = [row for row in rows if row["account"] == account], self._mirror.calendars.get(account, Calendar())
        known = await intervals(connection, account, (row["action_id"] for row in mine))
        turned = [_turned(row, calendar, known.get(row["action_id"]), now) for row in mine]
        # Where no day of the calendar has come since, the vendor's word stands.
        differing = [(row, status) for row, status, _ in turned if status != row["status"]]
        disputes = {row["id"]: dispute(row, status, known.get(row["action_id"]), calendar) for row, status in differing}
        standing = await noted(connection, disputes.values())
        return [(row, row["status"] if disputes.get(row["id"]) in standing else status, at) for row, status, at in turned]


class _Needs(_Sweep):
    """Needs that the planner wanted to look at again."""

    table, column, due = "needs", "look_at", _TO_LOOK_AT

    async def work(self, connection: Connection, rows: Sequence[Row], now: datetime) -> int:
        await self._plan(connection, {(row["account"], row["action_subscription_id"]) for row in rows}, now)
        await self.put_off(connection, rows, now)  # whatever the planner made of them, not at once again
        return 0


def _turned(row: Row, calendar: Calendar, interval: int | None, now: datetime) -> _Turned:
    if row["state"] != SubscriptionState.LIVE or row["fetched_at"] is None:
        return row, row["status"], None  # a hint tells neither status nor dates
    status = calendar.status(row, interval, now)
    return row, row["status"] if status is None else status.value, calendar.changes_at(row, interval, now)


_WRITE = """
    UPDATE action_subscriptions AS s SET status = given.status, changes_at = given.changes_at
    FROM unnest($1::bigint[], $2::text[], $3::timestamptz[]) AS given (id, status, changes_at) WHERE s.id = given.id"""
_WRITE_ONE = "UPDATE action_subscriptions SET status = $2, changes_at = $3 WHERE id = $1"


async def _write(connection: Connection, dialect: Dialect, rows: Sequence[tuple[int, str | None, datetime | None]]) -> None:
    if dialect == "postgres" and rows:
        await connection.execute_query(_WRITE, [list(column) for column in zip(*rows, strict=True)])
        return
    for row in rows:
        await run(connection, dialect, _WRITE_ONE, *row)
