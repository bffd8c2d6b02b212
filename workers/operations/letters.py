"""What was given up, of every kind as one list: grouped by why, one by one, and one with all that belongs to it.

A replay that died is none of it: that is told by its run, and its original is what it was. Nor is what would be written for a need that
is undone, for nobody wants it any more.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any
from uuid import UUID

from tortoise.models import Model

from schemas.states import DeadKind, DeliveryState, EnrollmentState, NeedState
from workers.database import Database
from workers.followups.recording import DEAD
from workers.followups.tables import Enrollment, Need, Recording
from workers.log import LoggedDelivery
from workers.outbox import OFTEN, OutboxEvent
from workers.statements import as_time, as_uuid, run

#: Why an event waits that has no other reason.
UNTOLD = "untold"

_LETTERS: Mapping[DeadKind, str] = {
    DeadKind.DELIVERY: f"""
        SELECT id, account, source, reason, coalesce(event, '-') AS about, state_at AS at
        FROM deliveries WHERE state = '{DeliveryState.DEAD}' AND replay_of IS NULL""",
    DeadKind.ENROLLMENT: f"""
        SELECT id, account, NULL AS source, reason, kind || ' ' || target AS about, state_at AS at
        FROM enrollments WHERE state = '{EnrollmentState.DEAD}'""",
    DeadKind.RECORDING: f"""
        SELECT r.id, r.account, NULL AS source, r.error AS reason, r.step AS about, r.state_at AS at
        FROM recordings AS r LEFT JOIN needs AS n ON n.id = r.need
        WHERE r.state = '{DEAD}' AND coalesce(n.state, '') <> '{NeedState.UNDONE}'""",
    DeadKind.EVENT: f"""
        SELECT event AS id, account, NULL AS source, coalesce(reason, '{UNTOLD}') AS reason, type || ' ' || subject AS about, at
        FROM outbox WHERE attempts >= {OFTEN}""",
}
#: A need's id stands for what keeps it dead.
_OF_NEEDS = (
    "SELECT enrollment AS id FROM need_targets WHERE need = any($1) AND enrollment IS NOT NULL",
    "SELECT id FROM recordings WHERE need = any($1)",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which are meant; what is empty asks for nothing, several of one are any of them. The names are those of the options."""

    ids: tuple[UUID, ...] = ()
    kind: tuple[DeadKind, ...] = ()
    #: As they are, as a group shows them, or as globs.
    reason: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    account: tuple[str, ...] = ()

    @property
    def kinds(self) -> list[DeadKind]:
        """In the order in which they are told."""
        return [kind for kind in DeadKind if kind in (self.kind or DeadKind)]


@dataclass(frozen=True, slots=True)
class Letter:
    """One that was given up, when, and why: a reason of ours, or the vendor's words."""

    kind: DeadKind
    id: UUID
    account: str
    source: str | None
    about: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Group:
    """Those of one kind that were given up for one reason; vendors' words count as one that differ in codes and numbers alone."""

    kind: DeadKind
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    accounts: tuple[str, ...]
    #: Their reasons to the letter.
    reasons: tuple[str, ...]


async def groups(database: Database, wanted: Wanted) -> list[Group]:
    """What is meant, by kind and reason: of each kind the most frequent first."""
    ids, found = await _named(database, wanted.ids), dict[tuple[DeadKind, str], Group]()
    for kind in wanted.kinds:
        for row in await _asked(database, kind, _GROUPED, wanted, ids):
            one = _group(kind, row)
            if not wanted.reason or meant(one.reasons[0], wanted.reason):
                found[kind, one.reason] = _joined(one, found.get((kind, one.reason)))
    return _sorted(found.values())


def grouped(letters: Iterable[Letter]) -> list[Group]:
    """The same of what was found one by one."""
    found = dict[tuple[DeadKind, str], Group]()
    for letter in letters:
        one = Group(letter.kind, alike(letter.reason), 1, letter.at, letter.at, (letter.account,), (letter.reason,))
        found[one.kind, one.reason] = _joined(one, found.get((one.kind, one.reason)))
    return _sorted(found.values())


def _sorted(found: Iterable[Group]) -> list[Group]:
    return sorted(found, key=lambda one: ([*DeadKind].index(one.kind), -one.count, one.reason))


async def find(database: Database, wanted: Wanted, limit: int | None = None) -> list[Letter]:
    """What is meant, one by one, by kind, the last that was given up first."""
    ids, found = await _named(database, wanted.ids), list[Letter]()
    for kind in wanted.kinds:
        reasons = await _reasons(database, kind, wanted) if wanted.reason else None
        if reasons is None or reasons:
            found += [_letter(kind, row) for row in await _asked(database, kind, _ONE_BY_ONE, wanted, ids, reasons, limit)]
    return found[:limit]


@dataclass(frozen=True, slots=True)
class Shown:
    """One with what its row holds, and the needs that wait for it: id, rule, account, subscription, cycle, state and reason."""

    letter: Letter
    row: Mapping[str, Any]
    needs: Sequence[Mapping[str, Any]]


#: Whose rows they are, by which column, and what of them is shown.
_ROWS: Mapping[DeadKind, tuple[type[Model], str, tuple[str, ...]]] = {
    DeadKind.DELIVERY: (
        LoggedDelivery,
        "id",
        ("vendor", "event", "received_at", "attempts", "subject", "detail", "headers", "body"),
    ),
    DeadKind.ENROLLMENT: (
        Enrollment,
        "id",
        ("kind", "learner", "target", "round", "found", "remote", "start_on", "expire_on", "enrolled_at", "terms"),
    ),
    DeadKind.RECORDING: (Recording, "id", ("step", "need", "remote", "body")),
    DeadKind.EVENT: (OutboxEvent, "event", ("type", "subject", "sequence", "attempts", "due_at", "data")),
}
_NEEDS: Mapping[DeadKind, str] = {
    DeadKind.ENROLLMENT: "SELECT need AS id FROM need_targets WHERE enrollment = $1",
    DeadKind.RECORDING: "SELECT need AS id FROM recordings WHERE id = $1",
}
_NEED = ("id", "rule", "account", "action_subscription_id", "cycle", "state", "reason")


async def show(database: Database, id: UUID) -> Shown | None:  # noqa: A002
    """One with all that belongs to it, or of a need's the first; None where nothing of that name is dead."""
    found = await find(database, Wanted(ids=(id,)), 1)
    if not found:
        return None
    model, column, names = _ROWS[found[0].kind]
    row = await model.filter(**{column: found[0].id}).first()
    return Shown(found[0], {name: getattr(row, name) for name in names}, await _waiting(database, found[0])) if row else None


async def _waiting(database: Database, one: Letter) -> Sequence[Mapping[str, Any]]:
    if one.kind not in _NEEDS:
        return ()
    ids = [as_uuid(row["id"]) for row in await run(database.connection, database.dialect, _NEEDS[one.kind], one.id)]
    return [{name: getattr(need, name) for name in _NEED} for need in await Need.filter(id__in=ids).order_by("created_at", "id")]


_GROUPED = "SELECT account, coalesce(reason, '') AS reason, count(*) AS count, min(at) AS first_at, max(at) AS last_at FROM ({}) AS dead"
_ONE_BY_ONE = "SELECT id, account, source, about, coalesce(reason, '') AS reason, at FROM ({}) AS dead"


async def _asked(
    database: Database,
    kind: DeadKind,
    query: str,
    wanted: Wanted,
    ids: Collection[UUID],
    reasons: Sequence[str] | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    given = {"id": sorted(map(str, ids)), "source": [*wanted.source], "account": [*wanted.account], "coalesce(reason, '')": reasons}
    asked = {column: values for column, values in given.items() if values}
    if wanted.ids and not ids:
        return []
    conditions = "".join(f" AND {column} = any(${n})" for n, column in enumerate(asked, 1))
    order = " GROUP BY account, reason" if query is _GROUPED else " ORDER BY at DESC, id" + (f" LIMIT {limit}" if limit is not None else "")
    return await run(
        database.connection, database.dialect, f"{query.format(_LETTERS[kind])} WHERE TRUE{conditions}{order}", *asked.values()
    )


async def _named(database: Database, ids: Sequence[UUID]) -> set[UUID]:
    """These, and what belongs to needs among them."""
    if not ids:
        return set()
    asked = [str(one) for one in ids]
    rows = [row for query in _OF_NEEDS for row in await run(database.connection, database.dialect, query, asked)]
    return {*ids, *(as_uuid(row["id"]) for row in rows)}


async def _reasons(database: Database, kind: DeadKind, wanted: Wanted) -> list[str]:
    """The reasons to the letter that are meant."""
    return [reason for one in await groups(database, Wanted((), (kind,), wanted.reason)) for reason in one.reasons]


def _group(kind: DeadKind, row: Mapping[str, Any]) -> Group:
    reason = row["reason"]
    times = as_time(row["first_at"]), as_time(row["last_at"])
    return Group(kind, alike(reason), row["count"], *times, accounts=(row["account"],), reasons=(reason,))


def _joined(one: Group, other: Group | None) -> Group:
    if other is None:
        return one
    return Group(
        one.kind,
        one.reason,
        one.count + other.count,
        min(one.first_at, other.first_at),
        max(one.last_at, other.last_at),
        accounts=tuple(sorted({*one.accounts, *other.accounts})),
        reasons=tuple(dict.fromkeys((*other.reasons, *one.reasons))),
    )


def _letter(kind: DeadKind, row: Mapping[str, Any]) -> Letter:
    given = {name: row[name] for name in ("account", "source", "about", "reason")}
    return Letter(kind=kind, id=as_uuid(row["id"]), at=as_time(row["at"]), **given)


#: A code, a number, an address: what of a vendor's words may differ from one row to the next. Not the status that they begin with.
_OWN = re.compile(r"(?<!\S)(?!\A\d{3}:)\S*[\d@]\S*")


def alike(reason: str) -> str:
    """A reason without what is one row's own."""
    return _OWN.sub("…", reason)


def meant(reason: str, patterns: Iterable[str]) -> bool:
    """Whether any of these means a reason: as it is, as a group shows it, or as a glob."""
    return any(pattern in (reason, alike(reason)) or fnmatchcase(reason, pattern) for pattern in patterns)
