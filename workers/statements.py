"""Statements written once, for PostgreSQL, and run in the dialect of the database."""

import json
import re
from datetime import datetime
from typing import Any
from uuid import UUID

from workers.bulk import sqlite_value
from workers.database import Connection, Dialect

#: PostgreSQL's words, and SQLite's for the same, which locks as a whole.
_SQLITE = (
    (r"= any\((\$\d+)\)", r"IN (SELECT value FROM json_each(\1))"),
    (r"\$(\d)", r"?\1"),
    (r" FOR UPDATE( OF \w+)?( SKIP LOCKED)?", ""),
    (r' COLLATE "C"', ""),
    (r"jsonb_array_elements_text\(", "json_each("),
)


async def run(connection: Connection, dialect: Dialect, query: str, *values: Any) -> list[dict[str, Any]]:
    """Run a statement, written for PostgreSQL, in the database's dialect; gives its rows."""
    if dialect == "sqlite":
        for theirs, ours in _SQLITE:
            query = re.sub(theirs, ours, query)
        values = tuple(map(_sqlite, values))
    return [dict(row) for row in await connection.execute_query_dict(query, list(values))]


def _sqlite(value: Any) -> Any:
    return json.dumps(value, default=sqlite_value) if isinstance(value, list) else sqlite_value(value)


def as_time(value: Any) -> datetime:
    """A time as `run` gives it."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def as_uuid(value: Any) -> UUID:
    """An id as `run` gives it."""
    return value if isinstance(value, UUID) else UUID(str(value))
