"""A statement says the same in both dialects, whatever its values are."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from workers.database import Database
from workers.statements import as_time, run

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = [(UUID(int=n), n, f"it's {n}", AT + timedelta(days=n), date(2026, 3, n)) for n in (1, 2, 3)]


@pytest_asyncio.fixture
async def things(database: Database) -> AsyncIterator[Database]:
    """A database with a table of three rows, written by statements."""
    types = ("UUID", "INT", "TEXT", "TIMESTAMPTZ", "DATE") if database.dialect == "postgres" else ("TEXT", "INT", "TEXT", "TEXT", "TEXT")
    columns = ", ".join(map(" ".join, zip(("id", "rank", "name", "at", "day"), types, strict=True)))
    await database.connection.execute_query(f"CREATE TABLE things ({columns})")
    for row in ROWS:
        await run(database.connection, database.dialect, "INSERT INTO things (id, rank, name, at, day) VALUES ($1, $2, $3, $4, $5)", *row)
    yield database
    await database.connection.execute_query("DROP TABLE things")


@pytest.mark.parametrize("column", range(5), ids=("id", "rank", "name", "at", "day"))
async def test_a_value_alone_and_values_in_a_list_find_the_same_rows(things: Database, column: int) -> None:
    name, (one, two, _) = ("id", "rank", "name", "at", "day")[column], [row[column] for row in ROWS]

    async def found(condition: str, value: Any) -> list[int]:
        rows = await run(things.connection, things.dialect, f"SELECT rank FROM things WHERE {name} {condition} ORDER BY rank", value)
        return [row["rank"] for row in rows]

    assert await found("= $1", one) == [1]
    assert await found("= any($1)", [one, two]) == [1, 2]
    assert await found("= any($1)", []) == []


async def test_rows_are_locked_where_the_database_locks_rows(things: Database) -> None:
    query = 'SELECT t.id FROM things AS t WHERE t.rank > $1 ORDER BY t.name COLLATE "C" LIMIT $2 FOR UPDATE OF t SKIP LOCKED'
    async with things.transaction() as connection:
        rows = await run(connection, things.dialect, query, 1, 10)

    assert [str(row["id"]) for row in rows] == [str(UUID(int=2)), str(UUID(int=3))]


async def test_a_time_comes_back_as_it_was_given_in_whatever_zone(things: Database) -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=9)))
    await run(things.connection, things.dialect, "UPDATE things SET at = $1", elsewhere)

    assert {as_time(row["at"]) for row in await run(things.connection, things.dialect, "SELECT at FROM things")} == {AT}
