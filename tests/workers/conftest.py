"""Open databases of each kind, with the schema in them."""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.services.postgres import Postgres
from workers.database import Database, Dialect, close_database, open_database
from workers.migrations import migrate

_numbers = itertools.count(1)
_TABLES: Mapping[Dialect, str] = {
    "postgres": "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_versions'",
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'schema_versions'",
}


@asynccontextmanager
async def _migrated(url: str) -> AsyncIterator[Database]:
    opened = await open_database(url)
    try:
        await migrate(opened)
        yield opened
    finally:
        await close_database()


@pytest_asyncio.fixture(scope="module", params=["sqlite", "postgres"])
async def opened_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Database]:
    """A migrated database for a module, once of each kind: what Tortoise prepares when one is opened takes longer than most tests."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").create(f"opened{next(_numbers)}")
    else:
        url = f"sqlite://{tmp_path_factory.mktemp('database') / 'muster.sqlite3'}"
    async with _migrated(url) as opened:
        yield opened


@pytest_asyncio.fixture
async def database(opened_database: Database) -> Database:
    """The module's database emptied, its schema as it is."""
    tables = await opened_database.connection.execute_query_dict(_TABLES[opened_database.dialect])
    await opened_database.connection.execute_script(";".join(f"DELETE FROM {table['name']}" for table in tables))
    return opened_database


@pytest_asyncio.fixture
async def spoilt_database(database_url: str) -> AsyncIterator[Database]:
    """A migrated and empty database, once of each kind, whose schema is the test's to spoil."""
    async with _migrated(database_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def spoilt_postgres(postgres: Postgres) -> AsyncIterator[Database]:
    """The same on PostgreSQL alone."""
    async with _migrated(postgres.create(f"spoilt{next(_numbers)}")) as opened:
        yield opened
