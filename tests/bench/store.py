"""The benchmark's database: opened as a worker opens it, emptied, put in order, and counted afterwards."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from workers.database import Database, close_database, open_database
from workers.migrations import migrate

#: Transactions that the alternative to batches has under way at once.
AT_ONCE = 16

_POPULATION = Path(__file__).with_name("population.sql")
_INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE tablename = 'deliveries' AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """A database with muster's schema, and connections enough for every candidate."""
    try:
        database = await open_database(f"{url}?minsize={AT_ONCE}&maxsize={AT_ONCE}")
        await migrate(database)
        yield database
    finally:
        await close_database()


async def empty(database: Database) -> None:
    """Remove every row."""
    await database.connection.execute_query("TRUNCATE deliveries, action_subscriptions, outbox, event_sequences")


async def populate(url: str, mirrored: int, logged: int) -> None:
    """Fill empty tables with so many rows; the log's indexes are built afterwards, which is many times faster."""
    script = _POPULATION.read_text(encoding="utf-8").replace("{mirrored}", str(mirrored)).replace("{logged}", str(logged))
    connection = await asyncpg.connect(url)  # a connection of its own: muster's own give up on a statement after a minute
    try:
        indexes = await connection.fetch(_INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['indexname']}")
        await connection.execute(script)
        for index in indexes:
            await connection.execute(index["indexdef"])
    finally:
        await connection.close()


async def disk(database: Database) -> str:
    """How much disk the database takes."""
    (row,) = await database.connection.execute_query_dict("SELECT pg_size_pretty(pg_database_size(current_database())) AS size")
    return str(row["size"])


async def settle(database: Database) -> None:
    """Bring statistics, visibility and disk up to date, so that no run pays for the one before it."""
    for statement in ("VACUUM (ANALYZE) deliveries", "VACUUM (ANALYZE) action_subscriptions", "CHECKPOINT"):
        await database.connection.execute_query(statement)


async def applied(database: Database) -> int:
    """How many deliveries the log holds as applied."""
    return await _count(database, "deliveries WHERE state = 'applied'")


async def mirrored(database: Database) -> int:
    """How many action subscriptions the mirror holds."""
    return await _count(database, "action_subscriptions")


async def _count(database: Database, what: str) -> int:
    (row,) = await database.connection.execute_query_dict(f"SELECT count(*) AS rows FROM {what}")
    return int(row["rows"])


async def version(database: Database) -> str:
    """The server's program and version."""
    (row,) = await database.connection.execute_query_dict("SELECT version() AS version")
    return " ".join(str(row["version"]).split()[:2])
