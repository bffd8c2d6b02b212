"""Offices many of whose subscriptions are touched: walked page by page where that costs fewer calls than viewing them.

A bulk import touches for a while. Its office is walked when it has become quiet; that is waited for no longer than viewing what is
touched one by one would take, and never long.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

import structlog

from schemas.logs import Log
from schemas.states import RefreshKind, SubscriptionState
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.asking import Asking, client
from workers.mirror.evidence import Touch
from workers.mirror.tables import ActionSubscription
from workers.refreshes import LEASE, Claim, Refresh, decidable, mark, put_off, settle
from workers.statements import as_time, run
from workers.vendors.accounts import OpenAccount

log = structlog.get_logger()

#: The longest that an office is waited for.
PATIENCE = timedelta(minutes=2)
#: A walk that failed so often is given up for views.
TRIES = 3
#: How long what a walk will show is left alone. The walk brings back at once what it did not show.
_MEANWHILE = timedelta(minutes=10)

#: What a walk can answer: neither what was tried before, nor what a webhook says is gone.
_TOUCHED = f"""FROM refreshes AS r
    JOIN action_subscriptions AS s ON s.account = r.account AND s.action_subscription_id = r.subject
    WHERE r.account = $1 AND r.kind = '{RefreshKind.ACTION_SUBSCRIPTION}' AND r.attempts = 0
    AND s.subtenant_id = any($2) AND s.state <> '{SubscriptionState.DELETED}'"""
_HOW_MANY = f"SELECT s.subtenant_id AS office, count(*) AS many, min(r.since) AS since, max(r.marked_at) AS last {_TOUCHED} GROUP BY 1"
_KNOWN = f"""SELECT subtenant_id AS office, count(*) AS many FROM action_subscriptions
    WHERE account = $1 AND subtenant_id = any($2) AND state <> '{SubscriptionState.DELETED}' GROUP BY 1"""


async def left_to_view(asking: Asking, claims: Sequence[Claim]) -> list[Claim]:
    """Those of the claims whose office need not be walked; the others are put off until it is."""
    offices = await _offices(asking, claims)
    touches, walked = [], []
    for office in await _worth_a_walk(asking, offices):
        walked += offices[office]
        touched = sorted(offices[office], key=lambda one: one.marked_at)
        cause = reduce(or_, (one.cause for one in touched))
        touches.append(Touch(asking.account.name, RefreshKind.OFFICE, office, touched[-1].marked_at, cause=cause))
    if walked:
        async with asking.database.transaction() as connection:
            await mark(connection, asking.database.dialect, touches, asking.mirror.clock_skew)
            await put_off(connection, asking.database.dialect, walked, asking.now() + _MEANWHILE)
    return [one for one in claims if one not in walked]


async def walks(database: Database, mirror: Mirror, account: OpenAccount, claims: Sequence[Claim], now: Callable[[], datetime]) -> None:
    """Walk each, as soon as it is quiet."""
    asking = Asking(database, mirror, account, now)
    await asking.each(claims, lambda claim: _walk(asking, claim))


async def _offices(asking: Asking, claims: Sequence[Claim]) -> Mapping[str, list[Claim]]:
    fresh = {one.subject: one for one in claims if not one.attempts}
    rows = ActionSubscription.filter(account=asking.account.name, action_subscription_id__in=list(fresh))
    live = rows.exclude(state=SubscriptionState.DELETED).exclude(subtenant_id=None)
    found = await live.values_list("action_subscription_id", "subtenant_id")
    offices: dict[str, list[Claim]] = defaultdict(list)
    for subject, office in found:
        offices[office].append(fresh[subject])
    return offices


async def _worth_a_walk(asking: Asking, offices: Collection[str]) -> list[str]:
    """Offices that wait for a walk already, or with more touched subscriptions than pages."""
    name, size = asking.account.name, client(asking.account).page_size
    async with asking.database.transaction() as connection:
        rows = await Refresh.filter(account=name, kind=RefreshKind.OFFICE, subject__in=list(offices)).using_db(connection)
        waiting = [row.subject for row in rows]
        others = [office for office in offices if office not in waiting]
        touched = await run(connection, asking.database.dialect, _HOW_MANY, name, others)
        known = {row["office"]: row["many"] for row in await run(connection, asking.database.dialect, _KNOWN, name, others)}
    return waiting + [row["office"] for row in touched if row["many"] > -(-known[row["office"]] // size)]


async def _walk(asking: Asking, claim: Claim) -> None:
    due_at = await _due(asking, claim.subject)
    began = asking.now()
    if due_at is not None and due_at > began:
        return await asking.hold([claim], due_at - began)
    if due_at is not None and claim.attempts < TRIES:
        await _turn_pages(asking, claim)
    return await _release(asking, claim, began)


async def _due(asking: Asking, office: str) -> datetime | None:
    """When to walk an office; None where nothing of it is touched any more."""
    async with asking.database.transaction() as connection:
        rows = await run(connection, asking.database.dialect, _HOW_MANY, asking.account.name, [office])
    if not rows:
        return None
    quiet = decidable(as_time(rows[0]["last"]), asking.mirror.clock_skew)
    views = timedelta(seconds=rows[0]["many"] / asking.account.settings.limits.rate)
    return min(quiet, decidable(as_time(rows[0]["since"]), asking.mirror.clock_skew) + min(views, PATIENCE))


async def _turn_pages(asking: Asking, claim: Claim) -> None:
    pages = rows = 0
    async with aclosing(asking.pages({"subtenant_id": claim.subject})) as turning:
        async for turned in turning:
            await asking.keep(turned.page.rows, turned.began)
            await asking.hold([claim], LEASE)
            pages, rows = pages + 1, rows + len(turned.page.rows)
    log.info(Log.OFFICE_WALKED, account=claim.account, office=claim.subject, pages=pages, rows=rows)


_IN_ORDER = 'ORDER BY r.subject COLLATE "C" FOR UPDATE OF r'
_NOT_SHOWN = f"""
    WITH missed AS (SELECT r.id {_TOUCHED} AND r.marked_at < $3 {_IN_ORDER})
    UPDATE refreshes SET due_at = $4, attempts = 1, error = 'its office, walked, does not show it' WHERE id IN (SELECT id FROM missed)"""
_TOUCHED_SINCE = f"""
    WITH later AS (SELECT r.id {_TOUCHED} AND r.due_at > $3 {_IN_ORDER})
    UPDATE refreshes SET due_at = $3 WHERE id IN (SELECT id FROM later)"""


async def _release(asking: Asking, claim: Claim, began: datetime) -> None:
    """What the walk should have shown is viewed, alone; what was touched meanwhile has its turn."""
    dialect, skew, now = asking.database.dialect, asking.mirror.clock_skew, asking.now()
    async with asking.database.transaction() as connection:
        # First: who would put something off for this walk waits here, and asks for another.
        await settle(connection, dialect, [claim], began, skew)
        await run(connection, dialect, _NOT_SHOWN, claim.account, [claim.subject], began - skew, now)
        await run(connection, dialect, _TOUCHED_SINCE, claim.account, [claim.subject], decidable(now, skew))
