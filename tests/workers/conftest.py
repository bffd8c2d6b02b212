"""An open database of each kind, with the schema in it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from workers.database import Database, close_database, open_database
from workers.migrations import migrate


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A migrated and empty database."""
    opened = await open_database(database_url)
    try:
        await migrate(opened)
        yield opened
    finally:
        await close_database()
