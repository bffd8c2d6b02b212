"""Events for internal teams: rows until the broker has confirmed them. `workers/relay.py` publishes them."""

import json
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from tortoise import fields
from tortoise.models import Model
from uuid_utils.compat import uuid7

from schemas.delivery import now_utc
from schemas.events import Event, EventType, cloud_event
from schemas.logs import Log
from workers.bulk import Upsert
from workers.database import Connection, Database, Dialect
from workers.statements import as_time, as_uuid, run

log = structlog.get_logger()


class OutboxEvent(Model):
    """Events for internal teams that are not yet with the broker."""

    id = fields.BigIntField(primary_key=True)
    event = fields.UUIDField()
    type = fields.TextField()
    account = fields.TextField()
    subject = fields.TextField()
    sequence = fields.BigIntField()
    at = fields.DatetimeField()
    data = fields.JSONField[dict[str, object]](decoder=json.loads)
    due_at = fields.DatetimeField()
    attempts = fields.IntField()
    #: Why it could not be told, where that is its own fault or its listeners'.
    reason = fields.TextField(null=True)

    class Meta:
        table = "outbox"
        unique_together = (("subject", "sequence"),)
        indexes = (("due_at",),)


class EventSequence(Model):
    """The last sequence number of each subject."""

    id = fields.BigIntField(primary_key=True)
    subject = fields.TextField()
    number = fields.BigIntField()

    class Meta:
        table = "event_sequences"
        unique_together = (("subject",),)


_OUTBOX = Upsert(
    "outbox",
    {
        "event": "uuid",
        "type": "text",
        "account": "text",
        "subject": "text",
        "sequence": "bigint",
        "at": "timestamptz",
        "data": "jsonb",
        "due_at": "timestamptz",
        "attempts": "integer",
    },
    key=("subject", "sequence"),
)
#: Locks and raises each subject's number, in the order of the subjects, which is the same for every writer.
_RAISE = """
    INSERT INTO event_sequences AS old (subject, number)
    SELECT s.value, n.value FROM json_each(?1) AS s JOIN json_each(?2) AS n USING (key) WHERE TRUE
    ON CONFLICT (subject) DO UPDATE SET number = old.number + excluded.number RETURNING subject, number"""
#: The same, and the events by it, at once: everybody who tells pays for each statement, be there one event or a hundred.
_APPEND = """
    WITH raised AS (
        INSERT INTO event_sequences AS old (subject, number) SELECT * FROM unnest($1::text[], $2::bigint[])
        ON CONFLICT (subject) DO UPDATE SET number = old.number + excluded.number RETURNING subject, number
    )
    INSERT INTO outbox (event, type, account, subject, sequence, at, data, due_at, attempts)
    SELECT event, type, account, subject, number - left_behind, at, data::jsonb, $3::timestamptz, 0 FROM raised JOIN unnest(
        $4::uuid[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[], $10::text[]
    ) AS given (event, type, account, subject, left_behind, at, data) USING (subject)"""
_GIVEN = ("event", "type", "account", "subject", "left_behind", "at")


async def append(connection: Connection, dialect: Dialect, events: Sequence[Event]) -> None:
    """Keep events for the relay, in the caller's transaction: they are told if it is committed, and only then.

    Each gets its subject's next number under the lock of the subject's row, so that numbers are committed in their order and
    without a gap. Once a transaction, and last, if that can be: rows stay locked to its end.
    """
    if not events:
        return
    by, now, rows = Counter(one.about for one in events), now_utc(), list[dict[str, Any]]()
    left = Counter(by)
    for one in events:
        left[one.about] -= 1
        told = {"event": uuid7(), "type": one.type.value, "account": one.account, "subject": one.about, "at": one.at}
        rows.append({**told, "left_behind": left[one.about], "data": one.data.model_dump(mode="json")})
    subjects = sorted(by)
    raised = [subjects, [by[subject] for subject in subjects]]
    if dialect == "postgres":
        data = [json.dumps(row["data"]) for row in rows]
        await connection.execute_query(_APPEND, [*raised, now, *([row[name] for row in rows] for name in _GIVEN), data])
        return
    last = {row["subject"]: row["number"] for row in await connection.execute_query_dict(_RAISE, [json.dumps(one) for one in raised])}
    numbered = [row | {"sequence": last[row["subject"]] - row["left_behind"], "due_at": now, "attempts": 0} for row in rows]
    await _OUTBOX.execute(connection, dialect, numbered)


#: How long a claim holds: longer than any confirm is waited for.
LEASE = timedelta(seconds=30)


#: Seconds until what could not be told is told again, by how often it was tried; the last of them from then on.
_PAUSES = (0.5, 2.0, 10.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that is ours to tell until the lease ends; `told` is what is told, and `body` the same as JSON."""

    row: int
    id: UUID
    type: EventType
    attempts: int
    told: dict[str, Any]
    body: bytes


#: Only the oldest of a subject: the next is not there to be claimed before that one is told. Asked row by row in the order of the
#: index, it costs what is claimed and not what waits. Of `<=`, which is as much as `=` here, PostgreSQL believes that a third of the rows
#: are so, and goes through the index until it has enough; of `=`, that hardly any is, and sorts all that waits for every claim.
_CLAIM = """
    WITH due AS (
        SELECT o.id FROM outbox AS o WHERE o.due_at <= $1
            AND o.sequence <= (SELECT min(first.sequence) FROM outbox AS first WHERE first.subject = o.subject)
        ORDER BY o.due_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox SET due_at = $3, attempts = attempts + 1 WHERE id IN (SELECT id FROM due)
    RETURNING id, event, type, account, subject, sequence, at, data, attempts"""
_TOLD = "DELETE FROM outbox WHERE id = any($1)"
_RELEASE = "UPDATE outbox SET due_at = $2 WHERE id = any($1)"
_PAUSE = "UPDATE outbox SET due_at = $2, reason = $3 WHERE id = $1"


async def claim(database: Database, now: datetime, limit: int) -> list[Waiting]:
    """Take the oldest events of so many subjects, at most `limit`; other relays leave them alone until `now + LEASE`.

    One that cannot be read keeps nobody waiting but its subject.
    """
    found, unreadable = list[Waiting](), list[tuple[Mapping[str, Any], str]]()
    async with database.transaction() as connection:
        for row in await run(connection, database.dialect, _CLAIM, now, limit, now + LEASE):
            try:
                found.append(_waiting(row))
            except (ValueError, TypeError) as error:
                unreadable.append((row, _wrong(row, error)))
        for one, why in unreadable:
            await run(connection, database.dialect, _PAUSE, one["id"], now + _pause(one["attempts"]), why)
    for one, why in unreadable:
        log.warning(Log.EVENT_UNREADABLE, event_id=str(one["event"]), reason=why)
    return found


async def settle(database: Database, told: Sequence[Waiting], untold: Sequence[tuple[Waiting, str | None]], now: datetime) -> None:
    """Forget what was told, and let go of what was not: at once, or for a while where a reason says that it is not the outlet's fault."""
    async with database.transaction() as connection:
        if told:
            await run(connection, database.dialect, _TOLD, [one.row for one in told])
        if free := [one.row for one, why in untold if why is None]:
            await run(connection, database.dialect, _RELEASE, free, now)
        for one, why in untold:
            if why is not None:
                await run(connection, database.dialect, _PAUSE, one.row, now + _pause(one.attempts), why)


def _pause(attempts: int) -> timedelta:
    seconds = _PAUSES[min(attempts, len(_PAUSES)) - 1]
    return timedelta(seconds=seconds) * random.uniform(0.9, 1.1)  # noqa: S311 - spreads them, hides nothing


#: An event that was tried so often and is still here waits for more than a broker that was away for a moment.
OFTEN = 5
_AFRESH = "UPDATE outbox SET attempts = 0, due_at = $3, reason = NULL WHERE event = any($1) AND attempts >= $2 RETURNING event"
_DROP = "DELETE FROM outbox WHERE event = any($1) AND attempts >= $2 RETURNING event"


async def afresh(connection: Connection, dialect: Dialect, events: Collection[UUID]) -> set[UUID]:
    """Try events that could not be told as if for the first time, now; gives those that still could not."""
    return {as_uuid(row["event"]) for row in await run(connection, dialect, _AFRESH, sorted(events), OFTEN, now_utc())}


async def drop(connection: Connection, dialect: Dialect, events: Collection[UUID]) -> set[UUID]:
    """Tell nobody of events that could not be told: a gap in the sequence of each one's subject. Gives those that still could not."""
    return {as_uuid(row["event"]) for row in await run(connection, dialect, _DROP, sorted(events), OFTEN)}


def _waiting(row: Mapping[str, Any]) -> Waiting:
    event, type_ = UUID(str(row["event"])), EventType(row["type"])
    given = {name: row[name] for name in ("type", "account", "subject", "sequence")}
    told = cloud_event(id=event, at=as_time(row["at"]), data=json.loads(row["data"]), **given)
    body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
    return Waiting(row["id"], event, type_, row["attempts"], told, body)


def _wrong(row: Mapping[str, Any], error: Exception) -> str:
    if row["type"] not in [kind.value for kind in EventType]:
        return "this version knows no such type"
    return f"it cannot be read ({type(error).__name__})"
