"""What is to be fetched from the vendors, and when: one row a thing, however often it was touched. The row is the truth and the queue.

A touch says that something at a vendor has changed; what that something is now, only a fetch tells that begins after it.
`workers/refresher.py` does the fetching.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from schemas.states import RefreshKind
from workers.bulk import Upsert
from workers.database import Connection, Database, Dialect
from workers.mirror.evidence import Touch


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
    attempts = fields.IntField()
    error = fields.TextField(null=True)
    #: The delivery that touched it last, to be told when the vendor knows no such thing.
    delivery = fields.UUIDField(null=True)

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
    "delivery": "uuid",
}

_LATER = "CASE WHEN new.marked_at > old.marked_at THEN new.{0} ELSE old.{0} END"

#: A touch moves no due time: what waits stays in its place, and what is being fetched is fetched again, for its mark is newer then.
#: A subscription whose fetch decided over the hint already is not touched by it.
_MARK = Upsert(
    "refreshes",
    _COLUMNS,
    key=("account", "kind", "subject", "scope"),
    update={name: _LATER.format(name) for name in ("marked_at", "delivery")},
    when="new.marked_at > old.marked_at",
    unless=f"given.kind = '{RefreshKind.ACTION_SUBSCRIPTION}' AND EXISTS (SELECT 1 FROM action_subscriptions AS s"
    " WHERE s.account = given.account AND s.action_subscription_id = given.subject AND s.fetch_covers > given.marked_at)",
)


async def mark(connection: Connection, dialect: Dialect, touches: Iterable[Touch], clock_skew: timedelta) -> None:
    """Note what was touched, to be fetched as soon as a fetch can decide over the touch."""
    last: dict[tuple[str, ...], Touch] = {}
    for touch in touches:
        held = last.get(touch.key)
        if held is None or touch.at > held.at:
            last[touch.key] = touch
    await _MARK.execute(connection, dialect, [_row(last[key], clock_skew) for key in sorted(last)])


def _row(touch: Touch, clock_skew: timedelta) -> dict[str, Any]:
    return {
        "account": touch.account,
        "kind": touch.kind.value,
        "subject": touch.subject,
        "scope": touch.scope,
        "since": touch.at,
        "marked_at": touch.at,
        "due_at": touch.at + clock_skew + timedelta(milliseconds=1),
        "attempts": 0,
        "error": None,
        "delivery": touch.delivery,
    }


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
    delivery: UUID | None


_RETURNED = "id, account, kind, subject, scope, since, marked_at, attempts, delivery"


async def claim(database: Database, account: str, kinds: Sequence[RefreshKind], now: datetime, lease: timedelta, limit: int) -> list[Claim]:
    """Take what is due, the longest due first, at most `limit`; others leave it alone until `now + lease`."""
    postgres = database.dialect == "postgres"
    kinds_in = "kind = ANY($2::text[])" if postgres else f"kind IN ({', '.join('?' * len(kinds))})"
    account_is, due, at, many = ("$1", "$3", "$4", "$5") if postgres else ("?", "?", "?", "?")
    skip = "FOR UPDATE SKIP LOCKED" if postgres else ""
    chosen = f"SELECT id FROM refreshes WHERE account = {account_is} AND {kinds_in} AND due_at <= {due} ORDER BY due_at LIMIT {many} {skip}"
    if postgres:
        values: list[Any] = [account, [kind.value for kind in kinds], now, now + lease, limit]
        query = f"UPDATE refreshes SET due_at = {at} WHERE id IN ({chosen}) RETURNING {_RETURNED}"
    else:
        values = [_text(now + lease), account, *(kind.value for kind in kinds), _text(now), limit]
        query = f"UPDATE refreshes SET due_at = ? WHERE id IN ({chosen}) RETURNING {_RETURNED}"
    async with database.transaction() as connection:
        rows = await connection.execute_query_dict(query, values)
    return sorted((_claim(row) for row in rows), key=lambda one: (one.marked_at, one.id))


async def settle(connection: Connection, dialect: Dialect, claims: Sequence[Claim], began: datetime, clock_skew: timedelta) -> None:
    """A fetch that began then answered these; what was touched since, or too shortly before, is fetched again when it can decide."""
    again = timedelta(milliseconds=1) + clock_skew
    for one in sorted(claims, key=lambda each: each.id):
        gone = await Refresh.filter(id=one.id, marked_at__lt=began - clock_skew).using_db(connection).delete()
        if not gone:
            row = await Refresh.get_or_none(id=one.id, using_db=connection)
            if row is not None:
                await (
                    Refresh.filter(id=one.id)
                    .using_db(connection)
                    .update(since=row.marked_at, due_at=row.marked_at + again, attempts=0, error=None)
                )


async def postpone(connection: Connection, claims: Sequence[Claim], due_at: datetime, error: str | None) -> None:
    """A fetch failed: try again at `due_at`; `error` is in the vendor's words and holds no credential."""
    for one in sorted(claims, key=lambda each: each.id):
        await Refresh.filter(id=one.id).using_db(connection).update(due_at=due_at, attempts=one.attempts + 1, error=error)


def _claim(row: Mapping[str, Any]) -> Claim:
    delivery = row["delivery"]
    return Claim(
        id=row["id"],
        account=row["account"],
        kind=RefreshKind(row["kind"]),
        subject=row["subject"],
        scope=row["scope"],
        since=_time(row["since"]),
        marked_at=_time(row["marked_at"]),
        attempts=row["attempts"],
        delivery=UUID(str(delivery)) if delivery else None,
    )


def _text(time: datetime) -> str:
    return time.isoformat(" ", "microseconds")


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
