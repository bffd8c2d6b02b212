"""Making the mark of an erasure, and lifting its block."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID, uuid4

import stamina

from workers import audit
from workers.bulk import Upsert
from workers.database import Connection, Database, DatabaseAway, Dialect
from workers.erasures import Key, digest, new_key
from workers.statements import as_time, as_uuid, run

Done = TypeVar("Done")

#: Before any delivery.
NONE = UUID(int=0)


class Unsettled(Exception):
    """A transaction that began before the mark is open still, and may write what the mark keeps out: end it, and repeat the command."""


@dataclass(slots=True)
class Work:
    """An erasure under way: how far it is, and what was erased so far, by table."""

    id: UUID
    key: bytes
    at: datetime
    block: bool
    scanned: UUID
    erased: Counter[str] = field(default_factory=Counter)


async def known_key(connection: Connection, dialect: Dialect) -> bytes | None:
    """The key of the digests; None before the first mark."""
    rows = await run(connection, dialect, "SELECT key FROM erasure_keys")
    return bytes(rows[0]["key"]) if rows else None


_KEY = "INSERT INTO erasure_keys (id, key) VALUES (1, $1) ON CONFLICT (id) DO NOTHING"
#: What was cut short goes on where it was; what was done is done again from its beginning, for whatever has come since.
_MARK = """
    INSERT INTO erasures AS old (id, account, subscriber, at, block, state, erased)
    VALUES ($1, $2, $3, $4, $5, 'running', '{}') ON CONFLICT (account, subscriber) DO UPDATE SET
        at = excluded.at, block = old.block OR excluded.block, state = excluded.state, ended_at = NULL,
        scanned = CASE WHEN old.state = 'running' THEN old.scanned END,
        erased = CASE WHEN old.state = 'running' THEN old.erased ELSE excluded.erased END
    RETURNING id, at, block, scanned, erased"""


async def mark(
    connection: Connection, dialect: Dialect, who: Key, at: datetime, ids: Iterable[Key], *, block: bool, by: str, reason: str | None
) -> Work:
    """Mark somebody, by every id that is known of them, and say so in the audit log."""
    await run(connection, dialect, _KEY, new_key())
    key = await known_key(connection, dialect)
    assert key is not None
    (row,) = await run(connection, dialect, _MARK, uuid4(), who[0], digest(key, *who), at, block)
    scanned = NONE if row["scanned"] is None else as_uuid(row["scanned"])
    erased = json.loads(row["erased"]) if isinstance(row["erased"], str) else row["erased"]
    work = Work(as_uuid(row["id"]), key, as_time(row["at"]), bool(row["block"]), scanned, Counter(erased))
    await remember(connection, dialect, work, ids)
    await audit.record(connection, dialect, by, "erase", f"erasure {work.id}", reason, {"account": who[0], "block": work.block})
    return work


_MARKS = Upsert("erasure_marks", {"digest": "text", "erasure": "uuid"}, key=("digest", "erasure"))


async def remember(connection: Connection, dialect: Dialect, work: Work, ids: Iterable[Key]) -> None:
    """Keep the digests of what somebody is known by."""
    await _MARKS.execute(
        connection, dialect, [{"digest": one, "erasure": work.id} for one in sorted(digest(work.key, *id_) for id_ in ids)]
    )


_UNBLOCK = "UPDATE erasures SET block = FALSE WHERE account = $1 AND subscriber = $2 AND block RETURNING id"


async def unblock(database: Database, who: Key, *, by: str, reason: str | None) -> bool:
    """Let somebody in again: what arrives from now on counts. Whether they were kept out."""
    async with database.transaction() as connection:
        key = await known_key(connection, database.dialect)
        found = await run(connection, database.dialect, _UNBLOCK, who[0], digest(key, *who)) if key else []
        for row in found:
            await audit.record(connection, database.dialect, by, "erase --unblock", f"erasure {as_uuid(row['id'])}", reason)
    return bool(found)


async def save(connection: Connection, dialect: Dialect, work: Work, counts: Mapping[str, int]) -> Counter[str]:
    """Add to what was erased so far, in the transaction that erases it; gives all of it."""
    erased = work.erased + Counter(counts)
    await run(connection, dialect, "UPDATE erasures SET erased = $2 WHERE id = $1", work.id, json.dumps(erased))
    return erased


_END = "UPDATE erasures SET state = 'done', ended_at = $2 WHERE id = $1"


async def end(connection: Connection, dialect: Dialect, work: Work, now: datetime, *, by: str, reason: str | None) -> None:
    """It is done."""
    await run(connection, dialect, _END, work.id, now)
    await audit.record(connection, dialect, by, "erased", f"erasure {work.id}", reason, dict(work.erased))


#: The transactions that are under way here: each holds a lock on its own number as long as it lasts, which, unlike when it began, every
#: role may see. One without a user is the server's own work.
_OPEN = """
    SELECT l.virtualtransaction AS number FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid() AND a.datname = current_database() AND a.usesysid IS NOT NULL"""


async def settled(database: Database, patience: float) -> None:
    """Wait for the end of every transaction that may have begun without knowing of the mark; raises Unsettled.

    SQLite has one writer at a time, and each knows what the one before it has written.
    """
    if database.dialect == "sqlite":
        return
    loop = asyncio.get_running_loop()
    until, older = loop.time() + patience, await _open(database)
    while older := older & await _open(database):
        if loop.time() > until:
            raise Unsettled(Unsettled.__doc__)
        await asyncio.sleep(0.1)


async def _open(database: Database) -> set[str]:
    return {row["number"] for row in await run(database.connection, database.dialect, _OPEN)}


async def insistently(work: Callable[[], Awaitable[Done]]) -> Done:
    """Do something that two writers may hinder each other in, a few times; raises DatabaseAway."""
    async for attempt in stamina.retry_context(DatabaseAway, attempts=10, timeout=30, wait_initial=0.1, wait_max=2.0):
        with attempt:
            return await work()
    raise AssertionError("the last attempt has raised")
