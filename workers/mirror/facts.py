"""Facts into versions: what vendors say of results, kept wherever it says something else than before."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from schemas.events import EVENTS, Event, EventType
from workers.bulk import Upsert
from workers.database import Connection, Dialect
from workers.mirror.versions import (
    ATTENDANCE,
    COURSE_RESULT,
    OBSERVATION,
    SESSION_ENROLLMENT,
    Fact,
    FactKind,
    Key,
    Version,
    changed,
    fitted,
    found,
)
from workers.outbox import append

__all__ = ["ATTENDANCE", "COURSE_RESULT", "OBSERVATION", "SESSION_ENROLLMENT", "Fact", "FactKind", "observe", "tell"]

_VERSION = {"version": "integer", "observed_at": "timestamptz", "superseded_at": "timestamptz", "withdrawn": "boolean"}

#: As what a new version is told.
_TOLD = {
    COURSE_RESULT: EventType.COURSE_RESULT,
    OBSERVATION: EventType.OBSERVATION_RESULT,
    SESSION_ENROLLMENT: EventType.SESSION_RESULT,
    ATTENDANCE: EventType.EXERCISE_RESULT,
}


async def observe(
    connection: Connection,
    dialect: Dialect,
    kind: FactKind,
    account: str,
    facts: Sequence[Fact],
    at: datetime,
    within: Mapping[str, Any] | None = None,
) -> list[Version]:
    """Keep what was found of an account as new versions where it says something else than the current ones; gives the new ones.

    `within` says that the answer of that time was complete where these columns hold these values ({}: in all of the account), so
    that what stands there and was not found was withdrawn.
    """
    if dialect == "postgres":
        # Two writers would both read the same current version. SQLite has one writer at a time.
        await connection.execute_query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [f"{kind.table} {account}"])
    seen = [found(kind, fact) for fact in facts]
    keys = {one.key for one in seen}
    current = await _inside(connection, dialect, kind, account, within) if within is not None else {}
    seen += [replace(current[key], observed_at=fitted("timestamptz", at), withdrawn=True) for key in current.keys() - keys]
    current |= await _named(connection, dialect, kind, account, keys - current.keys())
    written = changed(current, seen)
    await _upsert(kind).execute(connection, dialect, [_row(kind, account, one) for one in written])
    return [one for one in written if one.key not in current or one.number > current[one.key].number]


async def tell(connection: Connection, dialect: Dialect, kind: FactKind, account: str, new: Sequence[Version]) -> None:
    """Tell of new versions."""
    await append(connection, dialect, [_event(kind, account, one) for one in new])


def _event(kind: FactKind, account: str, one: Version) -> Event:
    """About the subscription that the result names, so that it is in order with what else is told of that; else about the result."""
    said = {**dict(zip(kind.key, one.key, strict=True)), **one.content, "version": one.number, "withdrawn": one.withdrawn}
    subject = said.get("action_subscription_id") or "/".join([kind.table.removesuffix("s"), *map(str, one.key)])
    return Event(_TOLD[kind], account, subject, one.observed_at, EVENTS[_TOLD[kind]](**said))


async def _named(connection: Connection, dialect: Dialect, kind: FactKind, account: str, keys: set[Key]) -> dict[Key, Version]:
    if not keys:
        return {}
    values: list[Any]
    if dialect == "postgres":
        arrays = ", ".join(f"${n}::{column}[]" for n, column in enumerate(kind.key.values(), 2))
        given, values = f"unnest({arrays}) AS given ({', '.join(kind.key)})", [list(column) for column in zip(*keys, strict=True)]
    else:
        picked = ", ".join(f"json_extract(value, '$[{n}]') AS {name}" for n, name in enumerate(kind.key))
        given, values = f"(SELECT {picked} FROM json_each(?2)) AS given", [json.dumps(list(keys))]
    # CROSS JOIN keeps SQLite to this order: a look at the index for each that is given.
    same = " AND ".join(f"old.{name} = given.{name}" for name in kind.key)
    return await _current(connection, dialect, kind, f"{given} CROSS JOIN {kind.table} AS old", account, values, f" AND {same}")


async def _inside(connection: Connection, dialect: Dialect, kind: FactKind, account: str, within: Mapping[str, Any]) -> dict[Key, Version]:
    holds = "".join(f" AND old.{name} = {_mark(dialect, n)}" for n, name in enumerate(within, 2))
    return await _current(connection, dialect, kind, f"{kind.table} AS old", account, list(within.values()), holds)


async def _current(
    connection: Connection, dialect: Dialect, kind: FactKind, source: str, account: str, values: Sequence[Any], holds: str = ""
) -> dict[Key, Version]:
    columns = ", ".join(f"old.{name}" for name in (*kind.key, *_VERSION, *kind.content))
    query = f"SELECT {columns} FROM {source} WHERE old.account = {_mark(dialect, 1)} AND old.superseded_at IS NULL{holds}"
    rows = await connection.execute_query_dict(query, [account, *values])
    return {version.key: version for version in (_version(kind, row) for row in rows)}


def _mark(dialect: Dialect, number: int) -> str:
    return f"{'$' if dialect == 'postgres' else '?'}{number}"


def _version(kind: FactKind, row: Mapping[str, Any]) -> Version:
    read = {name: fitted(column, row[name]) for name, column in {**kind.key, **_VERSION, **kind.content}.items()}
    key, content = tuple(read[name] for name in kind.key), {name: read[name] for name in kind.content}
    return Version(key, read["version"], read["observed_at"], content, read["withdrawn"])


def _upsert(kind: FactKind) -> Upsert:
    """A version that stands already changes in nothing but in its times."""
    return Upsert(
        kind.table,
        {"account": "text", **kind.key, **_VERSION, **kind.content},
        key=("account", *kind.key, "version"),
        update=("observed_at", "superseded_at"),
        when="old.superseded_at IS NULL",
    )


def _row(kind: FactKind, account: str, one: Version) -> dict[str, Any]:
    times = {"version": one.number, "observed_at": one.observed_at, "superseded_at": one.superseded_at, "withdrawn": one.withdrawn}
    return {"account": account, **dict(zip(kind.key, one.key, strict=True)), **times, **one.content}
