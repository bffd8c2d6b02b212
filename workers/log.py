"""The delivery log: every delivery that was taken from the queue, verbatim, with its state, a reason and times.

Also the envelopes that nobody could open yet: of a version from the future, they wait here for upgraded workers.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from schemas.delivery import Delivery, now_utc
from schemas.states import DeliveryState, Reason
from workers.bulk import Upsert
from workers.database import Connection, Database, Dialect
from workers.statements import run


class LoggedDelivery(Model):
    """One delivery in the log."""

    id = fields.UUIDField(primary_key=True)
    source = fields.TextField()
    account = fields.TextField()
    vendor = fields.TextField()
    #: The worker's reading of it, where the body names the event.
    event = fields.TextField(null=True)
    received_at = fields.DatetimeField()
    headers = fields.JSONField[dict[str, str]](decoder=json.loads)
    #: None: dropped by retention (`workers/retention.py`), with the headers, or the reason is `erased`; or it is a replay, and they are its
    #: original's.
    body = fields.BinaryField(null=True)
    fingerprint = fields.BinaryField()
    #: The week of its arrival, counted from 1970: keeps what arrives together close together in the index.
    week = fields.IntField()
    #: schemas.states.DeliveryState and Reason
    state = fields.TextField()
    reason = fields.TextField(null=True)
    detail = fields.TextField(null=True)
    #: The id of the entity that it is about, once understood.
    subject = fields.TextField(null=True)
    #: How often it was tried.
    attempts = fields.IntField()
    replay_of = fields.UUIDField(null=True)
    #: The first delivery that said the same, to the letter.
    repeat_of = fields.UUIDField(null=True)
    state_at = fields.DatetimeField()
    #: False: it was imported for log and mirror alone, and so are its replays.
    effects = fields.BooleanField(null=True)

    class Meta:
        table = "deliveries"
        indexes = (("state", "received_at"), ("week", "fingerprint", "id"))


class HeldEnvelope(Model):
    """A message of an unknown version or kind, as it came."""

    id = fields.BigIntField(primary_key=True)
    version = fields.IntField()
    kind = fields.TextField()
    message = fields.BinaryField()
    held_at = fields.DatetimeField()

    class Meta:
        table = "held_envelopes"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the log is to say of a delivery."""

    delivery: Delivery
    state: DeliveryState
    event: str | None
    reason: Reason | None = None
    detail: str | None = None
    subject: str | None = None
    attempts: int = 1
    repeat_of: UUID | None = None
    #: It is about somebody of whom nothing is kept: nor are headers, body and what could be compared with them.
    erased: bool = False


_COLUMNS: Mapping[str, str] = {
    "id": "uuid",
    "source": "text",
    "account": "text",
    "vendor": "text",
    "event": "text",
    "received_at": "timestamptz",
    "headers": "jsonb",
    "body": "bytea",
    "fingerprint": "bytea",
    "week": "integer",
    "state": "text",
    "reason": "text",
    "detail": "text",
    "subject": "text",
    "attempts": "integer",
    "replay_of": "uuid",
    "repeat_of": "uuid",
    "state_at": "timestamptz",
    "effects": "boolean",
}

#: The fingerprint of what was erased: a real one would tell whoever guesses the body that they guessed right.
NOTHING = b""

_WEEK = 7 * 24 * 60 * 60

_GREATEST_INT = 2**31 - 1

#: An attempt at it began, and nobody lived to tell how it ended.
_CUT_SHORT = f"(state = '{DeliveryState.RECEIVED}' OR reason = '{Reason.WORKER_KILLED}')"

#: What was applied or settled stays so, whatever arrives again under the same id.
_FINAL = (DeliveryState.APPLIED.value, DeliveryState.SETTLED.value)

_RECORD = Upsert(
    "deliveries",
    _COLUMNS,
    key=("id",),
    update={
        **{name: f"new.{name}" for name in ("event", "state", "reason", "detail", "subject", "attempts", "repeat_of", "state_at")},
        # An attempt that was cut short has kept what may not be kept any more.
        **{name: f"CASE WHEN new.body IS NULL THEN new.{name} ELSE old.{name} END" for name in ("headers", "body", "fingerprint")},
    },
    when=f"old.state NOT IN {_FINAL}",
)


async def record(connection: Connection, dialect: Dialect, entries: Iterable[Entry]) -> None:
    """Write entries, each once under its delivery's id, in id order."""
    now = now_utc()
    await _RECORD.execute(connection, dialect, [_row(entry, now) for entry in sorted(entries, key=lambda one: one.delivery.id.int)])


async def already_applied(connection: Connection, dialect: Dialect, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these deliveries were applied before: the ids of messages that came twice."""
    where, values = _among(dialect, "id", "uuid", ids)
    # Not asked for by state: where the statistics know of none, the index over states would be read from end to end for it.
    rows = await connection.execute_query_dict(f"SELECT id, state FROM deliveries WHERE {where}", values)
    return {_uuid(row["id"]) for row in rows if row["state"] in _FINAL}


async def first_with_same_content(connection: Connection, dialect: Dialect, deliveries: Sequence[Delivery]) -> dict[tuple[str, str], UUID]:
    """For each (account, fingerprint) that the log holds from the delivery's own week or the one before, the first delivery's id.

    Looking through all of a log of millions would cost more than applying the delivery does. A repeat knows its own first,
    so that what is repeated again and again leads to the very first of all.
    """
    weeks = [_week(one.received_at) for one in deliveries]
    if dialect == "postgres":
        query = (
            "SELECT given.account, given.fingerprint, first.id"
            " FROM unnest($1::text[], $2::bytea[], $3::integer[]) AS given (account, fingerprint, week)"
            " CROSS JOIN LATERAL (SELECT coalesce(repeat_of, id) AS id FROM deliveries WHERE deliveries.week = given.week"
            " AND deliveries.fingerprint = given.fingerprint AND deliveries.account = given.account"
            " ORDER BY deliveries.id LIMIT 1) AS first ORDER BY given.week DESC"
        )
        accounts = [storable(one.account) for one in deliveries]
        contents = [bytes.fromhex(one.fingerprint) for one in deliveries]
        values: list[Any] = [accounts * 2, contents * 2, weeks + [week - 1 for week in weeks]]
    else:
        where, values = _among(dialect, "fingerprint", "bytea", [bytes.fromhex(one.fingerprint) for one in deliveries])
        near = ", ".join(map(str, sorted({*weeks, *(week - 1 for week in weeks)}))) or "NULL"
        # SQLite takes the columns beside min() from the row that has it.
        query = (
            "SELECT account, fingerprint, coalesce(repeat_of, id) AS id, min(id) FROM deliveries"
            f" WHERE week IN ({near}) AND {where} GROUP BY account, fingerprint"
        )
    rows = await connection.execute_query_dict(query, values)
    return {(row["account"], bytes(row["fingerprint"]).hex()): _uuid(row["id"]) for row in rows}


#: What is dead is in doubt again while the broker has it tried once more.
_OPEN = f"('{DeliveryState.DEAD}', '{DeliveryState.RECEIVED}')"
_SETTLE = f"""
    WITH named AS (SELECT id, state FROM deliveries WHERE id = any($1) ORDER BY id FOR UPDATE)
    UPDATE deliveries SET state = '{DeliveryState.SETTLED}', state_at = $2 WHERE id IN (SELECT id FROM named WHERE state IN {_OPEN})"""


async def settle(connection: Connection, dialect: Dialect, originals: Collection[UUID]) -> None:
    """Replays of these were applied, or there was nothing to do: those that were dead, or in doubt, are settled and keep their reasons."""
    if originals:
        await run(connection, dialect, _SETTLE, sorted(originals), now_utc())


_DROP = f"""
    WITH given_up AS (SELECT id FROM deliveries WHERE id = any($1) AND state = '{DeliveryState.DEAD}' ORDER BY id FOR UPDATE)
    UPDATE deliveries SET state = '{DeliveryState.SETTLED}', state_at = $2, detail = coalesce(detail || '; ', '') || $3
    WHERE id IN (SELECT id FROM given_up) RETURNING id"""


async def drop(connection: Connection, dialect: Dialect, ids: Collection[UUID], why: str) -> set[UUID]:
    """A person settles dead deliveries without a replay, and says why; gives those that still were dead."""
    return {_uuid(row["id"]) for row in await run(connection, dialect, _DROP, sorted(ids), now_utc(), storable(f"dropped: {why}"))}


async def disown(connection: Connection, dialect: Dialect, account: str, subject: str, since: datetime, until: datetime) -> None:
    """The vendor knows nothing of the subject that applied deliveries of that time are about, or of what is below it: they are ignored."""
    values = [DeliveryState.IGNORED, Reason.UNKNOWN_SUBJECT, now_utc(), account, f"{subject}/", DeliveryState.APPLIED, since, until]
    if dialect == "sqlite":
        values = [one.isoformat(" ", "microseconds") if isinstance(one, datetime) else one for one in values]
    query = (
        "UPDATE deliveries SET state = $1, reason = $2, state_at = $3 WHERE account = $4"
        " AND substr(subject || '/', 1, length($5)) = $5 AND state = $6 AND received_at BETWEEN $7 AND $8"
    )
    await connection.execute_query(query if dialect == "postgres" else query.replace("$", "?"), values)


async def begin_attempt(database: Database, delivery: Delivery) -> int | None:
    """Commit that an attempt at this delivery begins, before it does; its number, or None if it was applied before."""
    async with database.transaction() as connection:
        if await already_applied(connection, database.dialect, [delivery.id]):
            return None
        where, values = _among(database.dialect, "id", "uuid", [delivery.id])
        # Attempts that came to an end say nothing of this one: only those cut short add up.
        rows = await connection.execute_query_dict(f"SELECT attempts FROM deliveries WHERE {where} AND {_CUT_SHORT}", values)
        attempts = int(rows[0]["attempts"]) + 1 if rows else 1
        entry = Entry(delivery, DeliveryState.RECEIVED, delivery.event, attempts=attempts)
        await record(connection, database.dialect, [entry])
        return attempts


async def hold(database: Database, version: int, kind: str, message: bytes) -> None:
    """Keep an envelope that this version cannot open, once however often it comes."""
    async with database.transaction() as connection:
        where, values = _among(database.dialect, "message", "bytea", [message])
        if not await connection.execute_query_dict(f"SELECT id FROM held_envelopes WHERE {where}", values):
            version = max(-_GREATEST_INT, min(version, _GREATEST_INT))
            await HeldEnvelope.create(version=version, kind=storable(kind), message=message, held_at=now_utc())


def _row(entry: Entry, now: datetime) -> dict[str, Any]:
    delivery = entry.delivery
    # What a replay says, its original keeps: a log that was replayed is no log twice as large.
    kept = not entry.erased and delivery.replay_of is None
    return {
        "id": delivery.id,
        "source": storable(delivery.source),
        "account": storable(delivery.account),
        "vendor": storable(delivery.vendor),
        "event": storable(entry.event) if entry.event is not None else None,
        "received_at": storable_time(delivery.received_at),
        "headers": {storable(name): storable(value) for name, value in delivery.headers.items()} if kept else {},
        "body": delivery.body if kept else None,
        "fingerprint": NOTHING if entry.erased else bytes.fromhex(delivery.fingerprint),
        "week": _week(delivery.received_at),
        "state": entry.state.value,
        "reason": entry.reason.value if entry.reason else None,
        "detail": storable(entry.detail) if entry.detail is not None else None,
        "subject": entry.subject,
        "attempts": entry.attempts,
        "replay_of": delivery.replay_of,
        "repeat_of": entry.repeat_of,
        "state_at": now,
        "effects": None if delivery.effects else False,
    }


def storable(text: str) -> str:
    """PostgreSQL has no U+0000 in text; what the log says about a delivery must never be what keeps it out of the log."""
    return text.replace("\0", "\\x00")


def storable_time(time: datetime) -> datetime:
    """A time in UTC, where a time at the edge of the calendar may not exist."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return (datetime.min if time.year == datetime.min.year else datetime.max).replace(tzinfo=UTC)


def _week(time: datetime) -> int:
    return int(storable_time(time).timestamp() // _WEEK)


def _among(dialect: Dialect, column: str, kind: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """`column is one of values`, and the statement's parameters for it."""
    if dialect == "postgres":
        return f"{column} = ANY($1::{kind}[])", [list(values)]
    return f"{column} IN ({', '.join('?' * len(values))})", [str(one) if isinstance(one, UUID) else one for one in values]


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))
