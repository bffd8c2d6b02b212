"""What the mirror holds, and what waits to be fetched, read many rows at a time: plain rows, for there may be a million."""

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from schemas.states import RefreshKind, SubscriptionState
from workers.database import Connection, Database, Dialect
from workers.mirror.drift import COLUMNS, JSON, Held, Stored, parsed
from workers.mirror.tables import ActionSubscription, ReconcileRun
from workers.statements import as_time, run

_DATES = ("certificate_date_release", "certificate_date_expire", "last_session_date")
_TIMES = ("hint_last_at", "fetched_at")

#: How each column that is not read as it is comes out of the database, dates as text from either.
_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys((*JSON, "flags"), parsed),
    **dict.fromkeys(_DATES, date.fromisoformat),
    **dict.fromkeys(("owned_active", "parent_active"), bool),
    **dict.fromkeys(_TIMES, as_time),
}

_SELECTED = ", ".join(f"CAST({name} AS TEXT)" if name in _DATES else name for name in COLUMNS)
_HELD = f"SELECT {_SELECTED} FROM action_subscriptions WHERE account = "
_HELD_IN: Mapping[Dialect, str] = {
    "postgres": f"{_HELD} $1 AND action_subscription_id = any($2)",
    "sqlite": f"{_HELD} ?1 AND action_subscription_id IN (SELECT value FROM json_each(?2))",
}


async def stored(database: Database, account: str, subjects: Sequence[str]) -> dict[str, Stored]:
    """The mirror's rows of these subscriptions, by id."""
    chosen = list(subjects) if database.dialect == "postgres" else json.dumps(subjects)
    rows: Sequence[Any] = (await database.connection.execute_query(_HELD_IN[database.dialect], [account, chosen]))[1]
    return {row[0]: row for row in rows}


def read(row: Stored) -> Held:
    """A row's values as a sighting's fields have them."""
    held = dict(zip(COLUMNS, row, strict=True))
    return held | {name: value(held[name]) for name, value in _READERS.items() if held[name] is not None}


def shown(row: ActionSubscription) -> Held:
    """One row, read as a model."""
    return {name: getattr(row, name) for name in COLUMNS}


_WAITING = "SELECT kind, subject FROM refreshes WHERE account = $1 AND kind = any($2) AND subject = any($3)"


async def waiting(database: Database, account: str, touches: Iterable[tuple[RefreshKind, str]]) -> set[tuple[RefreshKind, str]]:
    """Which of these touches wait to be fetched."""
    asked = set(touches)
    kinds, subjects = sorted({kind.value for kind, _ in asked}), sorted({subject for _, subject in asked})
    rows = await run(database.connection, database.dialect, _WAITING, account, kinds, subjects) if asked else []
    return {(RefreshKind(row["kind"]), row["subject"]) for row in rows} & asked


_SUSPECTS = f"""
    FROM action_subscriptions AS s
    WHERE s.account = $1 AND s.state <> '{SubscriptionState.DELETED}'
        AND (s.fetched_at IS NULL OR s.fetched_at < $2) AND (s.hint_last_at IS NULL OR s.hint_last_at < $3)
        AND NOT EXISTS (
            SELECT 1 FROM refreshes AS f
            WHERE f.account = $1 AND f.kind = '{RefreshKind.ACTION_SUBSCRIPTION}' AND f.subject = s.action_subscription_id)"""
_SEEN = "FROM reconcile_seen AS r CROSS JOIN jsonb_array_elements_text(r.subjects) AS seen WHERE r.run = "
#: Suspects that are looked for at once: each look goes over all that was seen.
_LOOK = 10_000


class Suspects:
    """The mirror's rows that a run's walk did not see, in the order of their ids. A row that was fetched or told of since the run began,
    or waits to be fetched, is none: that is later evidence.
    """

    def __init__(self, database: Database, of: ReconcileRun, clock_skew: timedelta) -> None:
        self._database, self._run_id = database, of.id
        self._values = [of.account, of.began_at, of.began_at - clock_skew, *of.asked.values()]
        self._where = " ".join([_SUSPECTS, *(f"AND s.{name} = ${number}" for number, name in enumerate(of.asked, 4))])
        self._last = f"${len(self._values) + 1}"
        self._unseen = f"{self._where} AND NOT EXISTS (SELECT 1 {_SEEN} {self._last} AND seen.value = s.action_subscription_id)"

    async def count(self) -> int:
        """How many there are."""
        return int((await self._found(f"SELECT count(*) AS found {self._unseen}", self._run_id))[0])

    async def batches(self, size: int) -> AsyncGenerator[list[ActionSubscription]]:
        """All of them, so many at a time."""
        last = 0
        while ids := await self._found(f"SELECT s.id AS found {self._unseen} AND s.id > {last} ORDER BY s.id LIMIT {_LOOK}", self._run_id):
            last = ids[-1]
            for start in range(0, len(ids), size):
                still = await self._found(f"SELECT s.id AS found {self._where} AND s.id = any({self._last})", ids[start : start + size])
                yield await ActionSubscription.filter(id__in=still).order_by("id")

    async def _found(self, query: str, last: Any) -> list[Any]:
        return [row["found"] for row in await run(self._database.connection, self._database.dialect, query, *self._values, last)]


async def count_seen(connection: Connection, dialect: Dialect, of: ReconcileRun) -> int:
    """How many different rows a run saw."""
    (row,) = await run(connection, dialect, f"SELECT count(*) AS count FROM (SELECT DISTINCT seen.value {_SEEN} $1) AS seen", of.id)
    return int(row["count"])
