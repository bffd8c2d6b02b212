"""Open databases of each kind, with the schema in them."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.services.postgres import Postgres
from workers.database import Database, close_database, open_database
from workers.migrations import migrate

_numbers = itertools.count(1)
_TABLES = "SELECT string_agg(tablename, ', ') AS names FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_versions'"


@asynccontextmanager
async def _migrated(url: str) -> AsyncIterator[Database]:
    opened = await open_database(url)
    try:
        await migrate(opened)
        yield opened
    finally:
        await close_database()


@pytest.fixture(scope="session")
def emptied_postgres_url(postgres: Postgres) -> str:
    """One database for every test that leaves the schema alone: creating one takes half a second."""
    return postgres.create("emptied")


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A migrated and empty database, once of each kind, whose schema stays as it is."""
    shared = request.param == "postgres"
    url = request.getfixturevalue("emptied_postgres_url") if shared else f"sqlite://{tmp_path / 'muster.sqlite3'}"
    async with _migrated(url) as opened:
        if shared:
            (tables,) = await opened.connection.execute_query_dict(_TABLES)
            await opened.connection.execute_query(f"TRUNCATE {tables['names']}")
        yield opened


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
