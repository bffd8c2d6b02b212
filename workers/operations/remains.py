"""What the database holds of one person: counted, or erased."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from schemas.accounts import Account
from schemas.events import EVENTS, EventType
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import DeliveryState, Reason, SubscriptionState
from workers.database import Connection, Dialect, told_apart
from workers.erasures import digest
from workers.handlers import handle
from workers.handlers.mentioned import mentioned
from workers.log import NOTHING, LoggedDelivery
from workers.mirror.changes import told
from workers.operations.deliveries import restored
from workers.operations.whose import Person, Rows
from workers.statements import run

#: In the place of what named them.
_ERASED = "(erased)"
#: Log rows that are looked at together.
PAGE = 200


async def counted(connection: Connection, dialect: Dialect, person: Person) -> Counter[str]:
    """How many rows there are, by table, but for the log."""
    counts = Counter[str](action_subscriptions=len(person.subscriptions), replay_runs=len(await _asking(connection, dialect, person)))
    for rows in (*person.rows(), Rows("outbox", "subject", person.events)):
        where, values = _where(rows)
        (found,) = await run(connection, dialect, f"SELECT count(*) AS count FROM {rows.table} WHERE {where}", *values)
        counts[rows.table] += int(found["count"])
    return +counts


async def erased(connection: Connection, dialect: Dialect, person: Person, now: datetime) -> Counter[str]:
    """Erase them: of a subscription stays a tombstone. Gives how many rows, by table."""
    counts = Counter[str](outbox=await _bared(connection, dialect, person.events))
    async with told(connection, dialect, dict.fromkeys(person.keys, now)):
        counts["action_subscriptions"] = await _tombstones(connection, dialect, person, now)
    for id_, asked in (await _asking(connection, dialect, person)).items():
        await run(connection, dialect, "UPDATE replay_runs SET asked = $2 WHERE id = $1", id_, asked)
        counts["replay_runs"] += 1
    for account, who in sorted(person.learners):
        await run(connection, dialect, _UNNAME, account, who)
    for rows in person.rows():
        where, values = _where(rows)
        counts[rows.table] += len(await run(connection, dialect, f"DELETE FROM {rows.table} WHERE {where} RETURNING 1 AS done", *values))
    return +counts


#: The observations that they made of others are the others'.
_UNNAME = "UPDATE observations SET observer_id = '' WHERE account = $1 AND observer_id = $2 AND employee_id <> $2"


def _where(rows: Rows) -> tuple[str, list[Any]]:
    same = [f"{name} = ${number}" for number, name in enumerate(rows.same, 2)]
    return " AND ".join([f"{rows.column} = any($1)", *same]), [[*rows.values], *rows.same.values()]


_GONE = ", ".join(f"{name} = NULL" for name in SUBSCRIPTION_FIELDS if name != "action_subscription_id")
#: Were it to come back, no result from before would count for it: its first cycle opens now.
_TOMBSTONES = f"""
    UPDATE action_subscriptions SET {_GONE}, state = '{SubscriptionState.DELETED}', flags = '[]', changes_at = NULL, first_seen_at = $3,
        hint_fingerprint = substr(hint_fingerprint, 1, 0)
    WHERE account = $1 AND action_subscription_id = any($2) RETURNING 1 AS done"""


async def _tombstones(connection: Connection, dialect: Dialect, person: Person, now: datetime) -> int:
    return len(await run(connection, dialect, _TOMBSTONES, person.account, [*person.subscriptions], now))


async def _bared(connection: Connection, dialect: Dialect, subjects: Iterable[str]) -> int:
    """What was not told yet is told without all that it need not say: an event that is missing would be a gap in the sequence."""
    rows = await run(connection, dialect, "SELECT id, type, data FROM outbox WHERE subject = any($1)", [*subjects])
    for row in rows:
        shape, data = EVENTS[EventType(row["type"])], json.loads(row["data"])
        bare = shape(**{name: data[name] for name, one in shape.model_fields.items() if one.is_required()})
        await run(connection, dialect, "UPDATE outbox SET data = $2 WHERE id = $1", row["id"], bare.model_dump_json())
    return len(rows)


async def _asking(connection: Connection, dialect: Dialect, person: Person) -> dict[Any, str]:
    """Runs of replays that asked for them, with what they ask for then: without the question they would ask for everybody."""
    names, found = {name for _, name in person.ids}, {}
    for row in await run(connection, dialect, "SELECT id, asked FROM replay_runs"):
        asked = json.loads(row["asked"])
        subjects = asked.get("subscription", ())
        kept = [one for one in subjects if not named_by(one) & names]
        if len(kept) < len(subjects):
            found[row["id"]] = json.dumps(asked | {"subscription": [*kept, _ERASED]})
    return found


def named_by(subject: str) -> set[str]:
    """Whom a delivery's subject may name: a course result's is its learner's address (`schemas.anewspring.address`)."""
    return {subject, unquote(subject.partition("/")[0])}


# The delivery log.


async def pages(after: UUID, size: int = PAGE) -> AsyncIterator[Sequence[LoggedDelivery]]:
    """The log from there on, in the order of the ids."""
    while page := await _page(after, size):
        yield page
        after = page[-1].id


async def _page(after: UUID, size: int) -> list[LoggedDelivery]:
    with told_apart():
        return await LoggedDelivery.filter(id__gt=after).order_by("id").limit(size)


def is_about(row: LoggedDelivery, key: bytes, marked: Collection[str], accounts: Mapping[str, Account]) -> bool:
    """Whether a logged delivery is about somebody, by what it says, or by what was made of it."""
    if row.reason == Reason.ERASED and row.body is None:
        return False
    named = named_by(row.subject) if row.subject else set[str]()
    if row.body:
        delivery = restored(row)
        named |= mentioned(delivery, handle(delivery, accounts))
    return any(digest(key, row.account, one) in marked for one in named)


#: What was dead of it cannot be replayed any more, so it is ignored.
_STRIP = f"""
    WITH about AS (SELECT id FROM deliveries WHERE id = any($1) ORDER BY id FOR UPDATE)
    UPDATE deliveries SET headers = '{{}}', body = NULL, fingerprint = $2, subject = NULL, detail = NULL, reason = '{Reason.ERASED}',
        state = CASE WHEN state IN ('{DeliveryState.DEAD}', '{DeliveryState.RECEIVED}') THEN '{DeliveryState.IGNORED}' ELSE state END
    WHERE id IN (SELECT id FROM about) RETURNING 1 AS done"""


async def stripped(connection: Connection, dialect: Dialect, about: Sequence[UUID]) -> int:
    """Leave of these deliveries in the log that they came, when and from where; gives how many."""
    return len(await run(connection, dialect, _STRIP, [*about], NOTHING)) if about else 0
