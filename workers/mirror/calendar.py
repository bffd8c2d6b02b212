"""What the calendar makes of what fetches show: when each status changes next, and where the vendor shows another one than its own dates
say. `workers/clock.py` makes the changes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import structlog

from schemas.events import DriftFound, Event, EventType
from schemas.logs import Log
from schemas.states import DriftKind, Status, SubscriptionState
from workers import outbox
from workers.bulk import Upsert
from workers.database import Connection, Database, Dialect
from workers.mirror.evidence import Sighting
from workers.mirror.status import Calendar
from workers.mirror.tables import AccountCalendar, Action, Drift
from workers.statements import run

log = structlog.get_logger()

#: How long after a fetch began its answer may have been made: a day may have ended meanwhile.
_ANSWERED_WITHIN = timedelta(minutes=2)
#: Any number beside which no other program locks in the same database.
_ADVISORY_LOCK = 0x6D757263
_BATCH = 5000
_CALENDARS = Upsert(
    "account_calendars", {"account": "text", "time_zone": "text", "boundary": "integer"}, key=("account",), update=("time_zone", "boundary")
)


@dataclass(frozen=True, slots=True)
class Outlook:
    """A sighting with what the calendar makes of it."""

    sighting: Sighting
    status: Status | None
    changes_at: datetime | None
    #: Of a vendor that shows another status, at its answer's beginning and at its end: by what that is known again.
    dispute: UUID | None


async def intervals(connection: Connection, account: str, actions: Iterable[str | None]) -> dict[str | None, int | None]:
    """How many days before its expiry a certificate of each action is EXPIRING, of the actions that are known."""
    wanted = sorted({one for one in actions if one is not None})
    rows = Action.filter(account=account, action_id__in=wanted).using_db(connection)
    return dict(await rows.values_list("action_id", "expire_interval"))


async def outlooks(
    connection: Connection, dialect: Dialect, calendars: Mapping[str, Calendar], sightings: Sequence[Sighting]
) -> list[Outlook]:
    """What the calendar makes of these; until the transaction ends, no interval of theirs changes."""
    known = dict[str, dict[str | None, int | None]]()
    for account in sorted({one.account for one in sightings}):
        await _lock(connection, dialect, account, "pg_advisory_xact_lock_shared")
        actions = (one.fields["action_id"] for one in sightings if one.account == account)
        known[account] = await intervals(connection, account, actions)
    return [_outlook(one, calendars.get(one.account, Calendar()), known[one.account].get(one.fields["action_id"])) for one in sightings]


async def note(connection: Connection, dialect: Dialect, looks: Sequence[Outlook]) -> None:
    """Keep, log and tell what differs, once for the same dates and statuses, however often it is fetched."""
    found = {one.dispute: one for one in looks if one.dispute is not None}
    known = await noted(connection, found)
    news = {id_: one for id_, one in sorted(found.items()) if id_ not in known}
    if not news:
        return
    await Drift.bulk_create([_drift(id_, one.sighting) for id_, one in news.items()], ignore_conflicts=True, using_db=connection)
    await outbox.append(connection, dialect, [_event(one.sighting) for one in news.values()])
    first = next(iter(news.values()))
    shown, computed = first.sighting.fields["status"], first.status
    about = {"account": first.sighting.account, "kind": DriftKind.STATUS, "rows": len(news)}
    log.warning(Log.DRIFT_FOUND, **about, subject=first.sighting.subject, shown=shown, computed=computed)


async def noted(connection: Connection, disputes: Iterable[UUID]) -> set[UUID]:
    """Which of these are kept: that the vendor says so by the same dates, is its last word."""
    wanted = sorted(disputes)
    return {one.run for one in await Drift.filter(run__in=wanted).using_db(connection)} if wanted else set()


_LOOK_AGAIN = f"""
    WITH concerned AS (
        SELECT id FROM action_subscriptions
        WHERE id > $1 AND account = $2 AND {{}} AND state = '{SubscriptionState.LIVE}' AND fetched_at IS NOT NULL
            AND certificate_date_expire IS NOT NULL AND coalesce(status, '') <> '{Status.EXPIRED}'
        ORDER BY id LIMIT {_BATCH} FOR UPDATE
    )
    UPDATE action_subscriptions SET changes_at = $3 WHERE id IN (SELECT id FROM concerned) RETURNING id"""


async def reconsider(connection: Connection, dialect: Dialect, account: str, at: datetime, actions: Sequence[Mapping[str, Any]]) -> None:
    """Before these are written: let the clock look at the subscriptions of those whose interval is another."""
    await _lock(connection, dialect, account, "pg_advisory_xact_lock")
    held = await intervals(connection, account, (one["action_id"] for one in actions))
    changed = [one["action_id"] for one in actions if one["expire_interval"] != held.get(one["action_id"])]
    last = 0
    while changed and (rows := await run(connection, dialect, _LOOK_AGAIN.format("action_id = any($4)"), last, account, at, changed)):
        last = max(int(row["id"]) for row in rows)


async def adopt(database: Database, calendars: Mapping[str, Calendar], now: datetime) -> None:
    """Before the clock runs: let it look at all of an account whose days are others than they were when it ran last."""
    for account, calendar in calendars.items():
        said = {"time_zone": calendar.zone.key, "boundary": calendar.boundary}
        held = await AccountCalendar.filter(account=account).first().values(*said)
        last = 0
        while held and held != said:
            async with database.transaction() as connection:
                rows = await run(connection, database.dialect, _LOOK_AGAIN.format("TRUE"), last, account, now)
            if not rows:
                break
            last = max(int(row["id"]) for row in rows)
        if held != said:
            async with database.transaction() as connection:
                await _CALENDARS.execute(connection, database.dialect, [{"account": account, **said}])


async def _lock(connection: Connection, dialect: Dialect, account: str, function: str) -> None:
    """A sighting that is being written must not miss an interval that is. SQLite has one writer at a time."""
    if dialect == "postgres":
        await connection.execute_query(f"SELECT {function}($1, hashtext($2))", [_ADVISORY_LOCK, account])


def _outlook(one: Sighting, calendar: Calendar, interval: int | None) -> Outlook:
    row = {**one.fields, "flags": one.flags}
    computed = calendar.status(row, interval, one.began)
    possible = {None, computed, calendar.status(row, interval, one.began + _ANSWERED_WITHIN)}
    said = row["status"]
    # Where only VALID or EXPIRING is known, either may be said.
    differs = said not in (possible if computed is not None else possible | {Status.VALID, Status.EXPIRING})
    about = row | {"account": one.account, "action_subscription_id": one.subject}
    disputed = dispute(about, computed, interval, calendar) if differs else None
    return Outlook(one, computed, calendar.changes_at(row, interval, one.began), disputed)


def dispute(row: Mapping[str, Any], computed: str | None, interval: int | None, calendar: Calendar) -> UUID:
    """A row that shows another status than follows from its dates: the same for the same disagreement."""
    terms = (row[name] for name in ("account", "action_subscription_id", "status"))
    dates = row["certificate_date_release"], row["certificate_date_expire"]
    return uuid5(NAMESPACE_OID, json.dumps([*terms, computed, *dates, interval, calendar.boundary], default=str))


def _drift(id_: UUID, one: Sighting) -> Drift:
    return Drift(account=one.account, subject=one.subject, kind=DriftKind.STATUS.value, differing=["status"], run=id_, found_at=one.began)


def _event(one: Sighting) -> Event:
    data = DriftFound(action_subscription_id=one.subject, kind=DriftKind.STATUS, differing=["status"], run=None)
    return Event(EventType.DRIFT_FOUND, one.account, one.subject, one.began, data)
