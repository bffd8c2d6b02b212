"""What muster's rows say of everybody's duties, as of one moment."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import asyncpg


@dataclass(frozen=True, slots=True)
class Row:
    """What muster says of one duty."""

    state: str | None = None
    status: str | None = None
    needs: tuple[str, ...] = ()
    #: Of its learner, by their targets, in the order of the rounds.
    enrollments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """Muster's rows of one moment: by subscription, and how much of each kind is not done."""

    of: Mapping[str, Row]
    undone: Mapping[str, int]


#: What must be nothing in the end.
_UNDONE = {
    "enrollments under way": "SELECT count(*) AS count FROM enrollments WHERE wish IS NOT NULL OR state IN ('planned', 'requested')",
    "dead enrollments": "SELECT count(*) AS count FROM enrollments WHERE state = 'dead'",
    "recordings that are not done": "SELECT count(*) AS count FROM recordings WHERE state <> 'done'",
    "things to be fetched": "SELECT count(*) AS count FROM refreshes",
    "events that were not told": "SELECT count(*) AS count FROM outbox",
    "deliveries that are not applied": "SELECT count(*) AS count FROM deliveries WHERE state IN ('received', 'dead')",
}
_ROWS = "SELECT action_subscription_id AS id, state, status FROM action_subscriptions"
_NEEDS = "SELECT action_subscription_id AS id, state FROM needs ORDER BY created_at, cycle"
_ENROLLMENTS = """
    SELECT DISTINCT n.action_subscription_id AS id, e.target, e.round, e.state FROM enrollments AS e
    JOIN need_targets AS t ON t.enrollment = e.id JOIN needs AS n ON n.id = t.need ORDER BY e.target, e.round"""


async def rows(database: str) -> Rows:
    """Read muster's rows as of one moment."""
    found, needs, enrollments, *undone = await read(database, _ROWS, _NEEDS, _ENROLLMENTS, *_UNDONE.values())
    of = {one["id"]: Row(one["state"], one["status"], _states(needs, one["id"]), _states(enrollments, one["id"])) for one in found}
    return Rows(of, {name: one[0]["count"] for name, one in zip(_UNDONE, undone, strict=True)})


async def read(database: str, *queries: str) -> list[list[Mapping[str, Any]]]:
    """What queries find in a database, `postgres://…` or `sqlite://path`, at one moment."""
    if database.startswith("sqlite:"):
        return await asyncio.to_thread(_sqlite, database.removeprefix("sqlite://"), queries)
    connection = await asyncpg.connect(database, timeout=5)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return [await connection.fetch(query) for query in queries]
    finally:
        await connection.close()


def _sqlite(path: str, queries: Sequence[str]) -> list[list[Mapping[str, Any]]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10, isolation_level=None)) as file:
        file.row_factory = sqlite3.Row
        file.execute("BEGIN")
        return [[dict(row) for row in file.execute(query)] for query in queries]


def _states(found: Sequence[Mapping[str, Any]], of: str) -> tuple[str, ...]:
    return tuple(one["state"] for one in found if one["id"] == of)


def unsettled(found: Rows) -> list[str]:
    """What is left to be done."""
    return [f"{count} {name}" for name, count in found.undone.items() if count]
