"""What is to be fetched from the vendors, and when: one row a thing, however often it was touched. The row is the truth and the queue.

A touch says that something at a vendor has changed; what that something is now, only a fetch tells that begins after it.
`workers/refresher.py` does the fetching.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tortoise import fields
from tortoise.models import Model

from schemas.states import RefreshKind
from schemas.traces import Span, SpanName, Tracer
from workers import causes
from workers.bulk import Upsert
from workers.causes import Cause
from workers.database import Connection, Database, Dialect
from workers.mirror.evidence import Touch
from workers.statements import as_time, run


class Refresh(Model):
    """One thing that is to be fetched."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    #: schemas.states.RefreshKind
    kind = fields.TextField()
    #: The vendor's id of the thing, and where one id does not say which, a second.
    subject = fields.TextField()
    scope = fields.TextField()
    #: The first and the last touch that no fetch answered yet.
    since = fields.DatetimeField()
    marked_at = fields.DatetimeField()
    #: When to fetch; while somebody does, when their lease ends.
    due_at = fields.DatetimeField()
    #: Tries that failed. What was tried before is tried alone.
    attempts = fields.IntField()
    error = fields.TextField(null=True)
    #: Of programs before schema 5.
    delivery = fields.UUIDField(null=True)
    #: workers.causes.Cause: the deliveries that touched it, and how the trace of the last goes on.
    trace = fields.TextField(null=True)
    deliveries = fields.TextField(null=True)

    class Meta:
        table = "refreshes"
        unique_together = (("account", "kind", "subject", "scope"),)
        indexes = (("account", "kind", "due_at"),)


_COLUMNS: Mapping[str, str] = {
    "account": "text",
    "kind": "text",
    "subject": "text",
    "scope": "text",
    "since": "timestamptz",
    "marked_at": "timestamptz",
    "due_at": "timestamptz",
    "attempts": "integer",
    "error": "text",
    **causes.COLUMNS,
}

#: What is dirty already keeps its place, and what is being fetched is fetched again, for its mark is newer then.
#: A subscription whose fetch decided over the hint already is not touched by it.
_MARK = Upsert(
    "refreshes",
    _COLUMNS,
    key=("account", "kind", "subject", "scope"),
    update={"marked_at": "new.marked_at", **causes.JOINED},
    when="new.marked_at > old.marked_at",
    unless=f"given.kind = '{RefreshKind.ACTION_SUBSCRIPTION}' AND EXISTS (SELECT 1 FROM action_subscriptions AS s"
    " WHERE s.account = given.account AND s.action_subscription_id = given.subject AND s.fetch_covers > given.marked_at)",
)


async def mark(
    connection: Connection, dialect: Dialect, touches: Iterable[Touch], clock_skew: timedelta = timedelta(), *, noting: bool = False
) -> list[tuple[Any, ...]]:
    """Note what was touched, to be fetched as soon as a fetch can decide over the touch; where `noting`, gives the keys that were news."""
    last: dict[tuple[str, ...], Touch] = {}
    for touch in touches:
        last[touch.key] = touch if (held := last.get(touch.key)) is None else _both(held, touch)
    return await _MARK.execute(connection, dialect, [_row(last[key], clock_skew) for key in sorted(last)], noting=noting)


def _both(held: Touch, touch: Touch) -> Touch:
    """The later of two touches of one thing, for the sake of both."""
    first, then = (held, touch) if touch.at > held.at else (touch, held)
    return replace(then, cause=first.cause | then.cause)


def decidable(touched: datetime, clock_skew: timedelta) -> datetime:
    """The first moment from which a fetch decides over a touch."""
    return touched + clock_skew + timedelta(milliseconds=1)


def _row(touch: Touch, clock_skew: timedelta) -> dict[str, Any]:
    return {
        "account": touch.account,
        "kind": touch.kind.value,
        "subject": touch.subject,
        "scope": touch.scope,
        "since": touch.at,
        "marked_at": touch.at,
        "due_at": decidable(touch.at, clock_skew),
        "attempts": 0,
        "error": None,
        **touch.cause.row,
    }


#: How long a claim holds: far longer than asking for what is claimed takes.
LEASE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Claim:
    """A thing that is ours to fetch until the lease ends. `marked_at` is the touch that the fetch has to be later than."""

    id: int
    account: str
    kind: RefreshKind
    subject: str
    scope: str
    since: datetime
    marked_at: datetime
    attempts: int
    cause: Cause

    def followed(self, tracer: Tracer) -> AbstractContextManager[Span]:
        """Its fetch, for the sake of what touched it."""
        about = {"muster.account": self.account, "muster.kind": self.kind.value, "muster.refresh": self.id}
        return self.cause.followed(tracer, SpanName.FETCH, about)


#: Rows that two writers may meet at are locked in the order in which `mark` writes them.
_IN_ORDER = 'ORDER BY account, kind, subject COLLATE "C", scope COLLATE "C" FOR UPDATE'

_CLAIM = """
    WITH due AS (
        SELECT id FROM refreshes WHERE account = $1 AND kind = any($2) AND due_at <= $3 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
    )
    UPDATE refreshes SET due_at = $5 WHERE id IN (SELECT id FROM due)
    RETURNING id, account, kind, subject, scope, since, marked_at, attempts, deliveries, trace"""


async def claim(database: Database, account: str, kinds: Sequence[RefreshKind], now: datetime, lease: timedelta, limit: int) -> list[Claim]:
    """Take what is due, the longest due first, at most `limit`; others leave it alone until `now + lease`."""
    async with database.transaction() as connection:
        rows = await run(connection, database.dialect, _CLAIM, account, [kind.value for kind in kinds], now, limit, now + lease)
    return sorted((_claim(row) for row in rows), key=lambda one: (one.marked_at, one.id))


_ANSWERED = f"""
    WITH answered AS (SELECT id FROM refreshes WHERE id = any($1) AND marked_at < $2 {_IN_ORDER})
    DELETE FROM refreshes WHERE id IN (SELECT id FROM answered)"""
_TOUCHED_SINCE = f"SELECT id, marked_at FROM refreshes WHERE id = any($1) {_IN_ORDER}"
_ANEW = "UPDATE refreshes SET since = $2, due_at = $3, attempts = 0, error = NULL WHERE id = $1"


async def settle(connection: Connection, dialect: Dialect, claims: Sequence[Claim], began: datetime, clock_skew: timedelta) -> None:
    """A fetch that began then answered these; what was touched since, or too shortly before, is fetched again when it can decide."""
    ids = [one.id for one in claims]
    await run(connection, dialect, _ANSWERED, ids, began - clock_skew)
    for row in await run(connection, dialect, _TOUCHED_SINCE, ids):
        marked_at = as_time(row["marked_at"])
        await run(connection, dialect, _ANEW, row["id"], marked_at, decidable(marked_at, clock_skew))


_SHOWN = f"""
    WITH shown AS (SELECT id FROM refreshes WHERE account = $1 AND kind = $2 AND subject = any($3) AND marked_at < $4 {_IN_ORDER})
    DELETE FROM refreshes WHERE id IN (SELECT id FROM shown)"""


async def answered(
    connection: Connection, dialect: Dialect, account: str, kind: RefreshKind, subjects: Sequence[str], covers: datetime
) -> None:
    """A fetch made for something else told of these, too: whoever claimed them, what was touched before `covers` is answered."""
    await run(connection, dialect, _SHOWN, account, kind.value, subjects, covers)


_PUT_OFF = f"""
    WITH chosen AS (SELECT id FROM refreshes WHERE id = any($1) {_IN_ORDER})
    UPDATE refreshes SET due_at = $2, error = $3 WHERE id IN (SELECT id FROM chosen)"""
_POSTPONE = f"""
    WITH failed AS (SELECT id FROM refreshes WHERE id = any($1) {_IN_ORDER})
    UPDATE refreshes SET due_at = $2, attempts = attempts + 1, error = $3 WHERE id IN (SELECT id FROM failed)"""


async def put_off(connection: Connection, dialect: Dialect, claims: Sequence[Claim], due_at: datetime, error: str | None = None) -> None:
    """Come back to these at `due_at`; whatever went wrong, they are not to blame."""
    await run(connection, dialect, _PUT_OFF, [one.id for one in claims], due_at, error)


async def postpone(connection: Connection, dialect: Dialect, claims: Sequence[Claim], due_at: datetime, error: str | None) -> None:
    """A fetch failed: try again at `due_at`; `error` is in the vendor's words and holds no credential."""
    await run(connection, dialect, _POSTPONE, [one.id for one in claims], due_at, error)


#: How long to wait after so many failures.
RETRIES = (*(timedelta(seconds=s) for s in (5, 15, 60)), *(timedelta(minutes=m) for m in (5, 15, 60)))


def retry(attempts: int) -> timedelta:
    """How long to wait after this many failed tries, spread by a fifth."""
    return RETRIES[min(attempts, len(RETRIES)) - 1] * random.uniform(0.9, 1.1)  # noqa: S311 - spreads callers, hides nothing


def _claim(row: Mapping[str, Any]) -> Claim:
    return Claim(
        id=row["id"],
        account=row["account"],
        kind=RefreshKind(row["kind"]),
        subject=row["subject"],
        scope=row["scope"],
        since=as_time(row["since"]),
        marked_at=as_time(row["marked_at"]),
        attempts=row["attempts"],
        cause=Cause.kept(row),
    )
