"""What a write changes about action subscriptions, told as events: the rows are locked and read before it, and read again after it."""

import json
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal
from zlib import crc32

from schemas.events import EVENTS, Event, EventType, Subscription
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import SubscriptionState
from workers.bulk import Upsert
from workers.database import Connection, Dialect
from workers.outbox import append

Key = tuple[str, str]
Row = Mapping[str, Any]

_COMPARED = (*SUBSCRIPTION_FIELDS, "state")
_COLUMNS = ", ".join(f"s.{name}" for name in ("account", *_COMPARED))
_READ = {
    "postgres": f"""
        SELECT {_COLUMNS} FROM unnest($1::text[], $2::text[]) AS given (account, subject)
        JOIN action_subscriptions AS s ON s.account = given.account AND s.action_subscription_id = given.subject
        ORDER BY given.account COLLATE "C", given.subject COLLATE "C" FOR UPDATE OF s""",
    "sqlite": f"""
        SELECT {_COLUMNS} FROM json_each(?1) AS account JOIN json_each(?2) AS subject USING (key)
        CROSS JOIN action_subscriptions AS s ON s.account = account.value AND s.action_subscription_id = subject.value""",
}

#: What leads from somebody to a subscription, to whoever they are elsewhere and to what they were certified by.
_LEADING = ("subscriber_id", "subscriber_code", "last_certificate_id")
_FORMER = Upsert(
    "former_holders",
    dict.fromkeys(_FORMER_KEY := ("account", "subscriber_id", "action_subscription_id", *_LEADING[1:]), "text"),
    key=_FORMER_KEY,
)

#: What is made is made behind one of so many doors, for whoever makes something else behind the same one waits. A transaction locks as many
#: as it makes things, a batch at most; the server has places for some six thousand locks, `max_connections * max_locks_per_transaction`.
_DOORS = 1 << 16
#: Any number beside which no other program locks in the same database.
_ADVISORY_LOCK = 0x6D757265
_RESERVE = """
    SELECT pg_advisory_xact_lock($1, door) FROM (
        SELECT DISTINCT given.door FROM unnest($2::text[], $3::text[], $4::int[]) AS given (account, subject, door)
        WHERE NOT EXISTS (
            SELECT 1 FROM action_subscriptions AS s WHERE s.account = given.account AND s.action_subscription_id = given.subject
        ) ORDER BY given.door
    ) AS doors"""

#: What became of a subscription's state; anything else that becomes of a live one is a change.
_MOVED = {
    (None, SubscriptionState.LIVE): EventType.SUBSCRIPTION_CREATED,
    (SubscriptionState.DELETED, SubscriptionState.LIVE): EventType.SUBSCRIPTION_CREATED,
    (None, SubscriptionState.DELETED): EventType.SUBSCRIPTION_DELETED,
    (SubscriptionState.LIVE, SubscriptionState.DELETED): EventType.SUBSCRIPTION_DELETED,
    (SubscriptionState.MISSING, SubscriptionState.DELETED): EventType.SUBSCRIPTION_DELETED,
    (SubscriptionState.LIVE, SubscriptionState.MISSING): EventType.SUBSCRIPTION_MISSING,
    (SubscriptionState.DELETED, SubscriptionState.MISSING): EventType.SUBSCRIPTION_MISSING,
}


@asynccontextmanager
async def told(
    connection: Connection,
    dialect: Dialect,
    keys: Mapping[Key, datetime],
    by: Literal["vendor", "clock"] = "vendor",
    *,
    quietly: bool = False,
    forgetfully: bool = False,
) -> AsyncIterator[None]:
    """Tell, unless `quietly`, what the writes inside change about these subscriptions; each key with the time of its evidence.

    Nobody else can change them from here to the transaction's end, so every change is told once, from what was told before.
    Where they overwrite whose one is, that is kept, unless `forgetfully`: an erasure must still find it.
    """
    if dialect == "postgres" and keys:  # SQLite has one writer at a time
        await _reserve(connection, keys)
    before = await _read(connection, dialect, keys)
    yield
    after = await _read(connection, dialect, keys)
    lost = [] if forgetfully else [before[key] for key in sorted(before) if overwritten(before[key], after[key])]
    await _FORMER.execute(connection, dialect, [{name: row[name] or "" for name in _FORMER_KEY} for row in lost])
    told = () if quietly else sorted(after)
    await append(connection, dialect, [one for key in told for one in changes(before.get(key), after[key], keys[key], by)])


def overwritten(before: Row, after: Row) -> bool:
    """Whether a row does not lead any more to whom it led before. Pure."""
    return before["subscriber_id"] is not None and any(before[name] not in (None, after[name]) for name in _LEADING)


def changes(before: Row | None, after: Row, at: datetime, by: Literal["vendor", "clock"] = "vendor") -> Iterator[Event]:
    """The events that lead from a row to a row. Pure."""
    differing = [] if before is None else [name for name in _COMPARED if before[name] != after[name]]
    moved = _MOVED.get((before["state"] if before else None, after["state"]))
    if moved is not None:
        yield _event(moved, after, at)
    elif differing and after["state"] == SubscriptionState.LIVE:
        yield _event(EventType.SUBSCRIPTION_CHANGED, after, at, changed=differing)
    if before is not None and "status" in differing and after["state"] == SubscriptionState.LIVE:
        yield _event(EventType.STATUS_CHANGED, after, at, before=before["status"], by=by)


def _event(type: EventType, row: Row, at: datetime, **more: Any) -> Event:  # noqa: A002 - the spec's name
    data = EVENTS[type](**{name: row[name] for name in Subscription.model_fields}, **more)
    return Event(type, row["account"], row["action_subscription_id"], at, data)


async def _reserve(connection: Connection, keys: Collection[Key]) -> None:
    """Have what is not there to ourselves, for there is no row to lock: before any row, so that nobody waits for us who holds one."""
    doors = [crc32("/".join(key).encode()) % _DOORS for key in keys]
    await connection.execute_query(_RESERVE, [_ADVISORY_LOCK, *_columns(keys), doors])


def _columns(keys: Collection[Key]) -> list[list[str]]:
    return [[account for account, _ in keys], [subject for _, subject in keys]]


async def _read(connection: Connection, dialect: Dialect, keys: Collection[Key]) -> dict[Key, Row]:
    """The rows as the database gives them, locked; in both dialects the same value reads the same."""
    if not keys:
        return {}
    values = _columns(keys) if dialect == "postgres" else [json.dumps(one) for one in _columns(keys)]
    rows = await connection.execute_query_dict(_READ[dialect], values)
    return {(row["account"], row["action_subscription_id"]): row for row in rows}
