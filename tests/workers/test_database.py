"""Transactions survive cancellation, and the database's own faults are told from a delivery's."""

import asyncio
import itertools
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from schemas.delivery import now_utc
from tests.services import free_port
from tests.services.postgres import Postgres
from workers.database import Connection, Database, DatabaseRefused, close_database, is_transient, open_database
from workers.log import HeldEnvelope
from workers.migrations import migrate


async def hold(count: int = 1, kind: str = "any") -> None:
    """Write rows of a table that is at hand."""
    for _ in range(count):
        await HeldEnvelope.create(version=1, kind=kind, message=b"", held_at=now_utc())


async def test_a_transaction_commits_at_its_end(database: Database) -> None:
    async with database.transaction():
        await hold(2)

    assert await HeldEnvelope.all().count() == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError], ids=lambda error: error.__name__)
async def test_a_transaction_that_is_left_by_an_error_leaves_nothing(database: Database, error: type[BaseException]) -> None:
    with pytest.raises(error):
        async with database.transaction():
            await hold()
            raise error

    assert await HeldEnvelope.all().count() == 0


async def test_what_a_transaction_wrote_is_seen_by_others_only_after_its_commit(database: Database) -> None:
    async with database.transaction() as connection:
        await hold()
        assert await connection.execute_query_dict("SELECT kind FROM held_envelopes") == [{"kind": "any"}]
        others = asyncio.create_task(_count(database), context=_outside)
        if database.dialect == "postgres":  # SQLite has one connection, which is the transaction's for as long as it lasts
            assert await others == 0

    assert await others == (0 if database.dialect == "postgres" else 1)


async def _count(database: Database) -> int:
    rows = await database.connection.execute_query_dict("SELECT count(*) AS n FROM held_envelopes")
    return int(rows[0]["n"])
