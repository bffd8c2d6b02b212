"""What was meant to happen to everybody, held against muster's rows and against what happened at the vendors."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.faults.company import COURSE, Company, Employee, Fate


@dataclass(frozen=True, slots=True)
class Row:
    """What muster says of one duty."""

    state: str | None = None
    status: str | None = None
    needs: tuple[str, ...] = ()
    #: Of its learner, in the order of the rounds.
    enrollments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened at the vendors for one learner; changes of state, not requests."""

    subscribed: int
    unsubscribed: int
    #: Whether there is a seat at aNewSpring now.
    seated: bool
    certificates: int
    links: int


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
    SELECT DISTINCT n.action_subscription_id AS id, e.round, e.state FROM enrollments AS e
    JOIN need_targets AS t ON t.enrollment = e.id JOIN needs AS n ON n.id = t.need ORDER BY e.round"""


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


def happened(company: Company, one: Employee) -> Happened:
    """Look at the vendors."""
    seat, tables = company.environment.seats.get((one.learner, COURSE)), company.tenancy.tables
    certificates = {row["certificate_id"] for row in tables["certificate"].values() if row["resource_id"] == one.person}
    links = [row for row in tables["certificate-action"].values() if row["certificate_id"] in certificates]
    done = company.books.done
    return Happened(
        subscribed=done["subscribe", one.learner],
        unsubscribed=done["unsubscribe", one.learner],
        seated=seat is not None and not seat.ended,
        certificates=len(certificates),
        links=len(links),
    )


def problems(one: Employee, row: Row, what: Happened) -> list[str]:
    """What is otherwise than it was meant, each as a sentence."""
    told = _deleted(one, row, what) if one.fate is Fate.DELETED else _judged(one, row, what)
    return [f"{one.learner} ({one.fate}, seated={one.seated}, passed_before={one.passed_before}): {sentence}" for sentence in told]


def unsettled(found: Rows) -> list[str]:
    """What is left to be done."""
    return [f"{count} {name}" for name, count in found.undone.items() if count]


def _judged(one: Employee, row: Row, what: Happened) -> list[str]:
    passed, again = one.fate is not Fate.FAILS, int(one.fate is not Fate.PASSES)
    expected: dict[str, tuple[Any, Any]] = {
        "the mirror's row": ((row.state, row.status), ("live", "VALID" if passed else "NEW")),
        "its needs": (row.needs, ("valid" if passed else "failed",)),
        # That of the last attempt.
        "its enrollments": (row.enrollments, ("closed",)),
        # To resubscribe is to end what was passed, or failed, before.
        "subscribed, unsubscribed": ((what.subscribed, what.unsubscribed), (int(not one.seated) + again, int(one.passed_before) + again)),
        "certificates, links": ((what.certificates, what.links), (int(passed), int(passed))),
    }
    return _differing(expected)


def _deleted(one: Employee, row: Row, what: Happened) -> list[str]:
    # What was there before us stays, unless nobody had looked by then.
    ended = (("closed",), ("undone",)) if one.seated else (("undone",),)
    # Nobody saw it in time, or it was taken back; what was passed before may have been ended to be renewed.
    renewed = one.passed_before and what.unsubscribed == what.subscribed + 1
    balance = (what.subscribed, what.unsubscribed - renewed)
    stands = one.seated or (one.passed_before and not what.unsubscribed)
    expected: dict[str, tuple[Any, Any]] = {
        "the mirror's row": (row.state in (None, "deleted"), True),
        "its needs": (row.needs in ((), ("undone",)), True),
        "its enrollments": (row.enrollments in ((), *ended), True),
        "subscribed, unsubscribed": (balance in ((0, 0), (int(not one.seated),) * 2), True),
        "a seat in the end": (what.seated, stands),
        "certificates, links": ((what.certificates, what.links), (0, 0)),
    }
    return [f"{sentence}: {row}, {what}" for sentence in _differing(expected)]


def _differing(expected: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [f"{name}: {is_}, not {should}" for name, (is_, should) in expected.items() if is_ != should]


def audit(company: Company, found: Rows) -> list[str]:
    """Everybody's problems."""
    told: list[str] = []
    for one in company.employees:
        told += problems(one, found.of.get(one.subscription, Row()), happened(company, one))
    for duty in company.others.duties:
        told += company.others.problems(duty, found.of.get(duty.subscription, Row()))
    return told
