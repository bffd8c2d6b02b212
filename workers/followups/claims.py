"""Enrollments that are due, taken by lease: `due_at` is the lease's end while somebody works on one. `outcomes` writes what came of it.

A row says `requested` before its vendor is asked for anything; a look, which may find that there is nothing yet to ask for, moves
nothing. `found` says what came of an earlier try: still NULL, nothing was asked; false, the vendor was asked and may have done it,
then or later.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from schemas.states import EnrollmentState, EnrollmentWish, TargetKind
from schemas.traces import Span, SpanName, Tracer
from workers.database import Database
from workers.followups.case import INITIAL
from workers.followups.leases import LEASE
from workers.followups.moves import Move, Moved, keys_of, tell
from workers.followups.plan import hold
from workers.statements import as_time, run

#: Why an enrollment moved.
ASKED = "the vendor is asked"


class LeaseLost(Exception):
    """The row is another's by now, or something else is wished for it."""


class Taken(Exception):
    """Another enrollment stands for this thing at the vendor."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An enrollment that is ours until the lease ends, as it was when it was claimed."""

    id: UUID
    account: str
    kind: TargetKind
    learner: str
    target: str
    round: int
    state: EnrollmentState
    state_at: datetime
    wish: EnrollmentWish
    found: bool | None
    attempts: int
    terms: Mapping[str, Any]
    start_on: date | None
    expire_on: date | None
    remote: str | None
    at: datetime
    lease: datetime
    #: What was completed by then belongs to an earlier cycle, or an earlier round.
    since: datetime
    #: The same for that of its needs whose rule accepts the oldest pass.
    accepts: datetime
    #: The time zone of the schedule that it is for.
    zone: str
    trace: str | None = None
    #: Why it is as it is; of one that is to be given back, why it is not needed any more.
    reason: str | None = None

    @property
    def asked(self) -> bool:
        """Whether the vendor was asked in an earlier try."""
        return self.found is False

    def traced(self, tracer: Tracer) -> AbstractContextManager[Span]:
        """A try at it, in the trace of what wished it."""
        about = {"muster.account": self.account, "muster.enrollment": str(self.id), "muster.wish": self.wish.value}
        return tracer.follow(SpanName.ENROLL, [self.trace] if self.trace else (), about)


class Placed(NamedTuple):
    """What a look at the vendor, or a request, tells: the id there, the first day, and whether it was there before us; and the last day,
    where it was counted anew (`workers.followups.dates`).
    """

    found: bool
    remote: str | None = None
    start_on: date | None = None
    expire_on: date | None = None


_DUE = """
    SELECT * FROM enrollments WHERE account = $1 AND wish IS NOT NULL AND due_at <= $2
    ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED"""
_LEASE = "UPDATE enrollments SET due_at = $2 WHERE id = any($1)"
#: The needs of each, with when its subscription was last certified, in another cycle or before it began, by what could be reached in it.
_OPENED = """
    SELECT t.enrollment, n.account, n.cycle, n.opened_at, n.plan, (
        SELECT max(c.at) FROM certified AS c LEFT JOIN needs AS b ON b.id = c.need
        WHERE c.account = n.account AND c.action_subscription_id = n.action_subscription_id
            AND (coalesce(b.cycle, '') <> n.cycle OR c.at <= n.opened_at)
            AND (e.kind <> 'course' OR substr(c.result, 1, length(e.prefix)) = e.prefix)) AS certified_at
    FROM (SELECT id, kind, 'course_result/' || account || '/' || learner || '/' || target || '/' AS prefix FROM enrollments) AS e
    JOIN need_targets AS t ON t.enrollment = e.id JOIN needs AS n ON n.id = t.need
    WHERE t.enrollment = any($1) ORDER BY t.enrollment, n.account"""
#: When an earlier round of each was closed.
_CLOSED = """
    SELECT e.id, max(c.state_at) AS at FROM enrollments AS e
    JOIN enrollments AS c ON c.account = e.account AND c.learner = e.learner AND c.target = e.target AND c.round < e.round
    WHERE e.id = any($1) AND c.state = 'closed' GROUP BY e.id"""


async def claim(database: Database, account: str, now: datetime, limit: int, zone: Callable[[str | None], str]) -> list[Claim]:
    """Take what is due in an account, the longest due first; `zone` gives the time zone of a schedule's account."""
    async with database.transaction() as connection:
        dialect = database.dialect
        rows = await run(connection, dialect, _DUE, account, now, limit)
        ids = [str(row["id"]) for row in rows]
        needs: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for need in await run(connection, dialect, _OPENED, ids):
            needs[str(need["enrollment"])].append(need)
        closed = {str(row["id"]): as_time(row["at"]) for row in await run(connection, dialect, _CLOSED, ids)}
        claims = []
        for row in rows:
            users = needs[str(row["id"])]
            where = zone(users[0]["account"] if users else None)
            over = [closed[str(row["id"])]] if str(row["id"]) in closed else []
            opened = [_since(need, ZoneInfo(where)) for need in users] or over or [as_time(row["state_at"])]
            claims.append(_claim(row, now, max(opened + over), max([min(opened), *over]), where))
        await run(connection, dialect, _LEASE, ids, now + LEASE)
    return claims


_INTENT = """
    UPDATE enrollments SET found = $3, remote = $4, start_on = $5, expire_on = coalesce($6, expire_on),
        state = CASE WHEN state = 'enrolled' THEN state ELSE 'requested' END,
        state_at = CASE WHEN state = 'enrolled' THEN state_at ELSE $7 END, reason = CASE WHEN state = 'enrolled' THEN reason ELSE $8 END
    WHERE id = $1 AND due_at = $2 AND wish = 'enroll' RETURNING id"""
_ALONE = "SELECT pg_advisory_xact_lock(hashtext($1))"
_OTHERS = """
    SELECT id FROM enrollments
    WHERE account = $1 AND kind = $2 AND remote = $3 AND id <> $4 AND state IN ('requested', 'enrolled')"""


async def intend(database: Database, claim: Claim, placed: Placed) -> Claim:
    """Write down what the vendor will be asked for, before it is; raises LeaseLost, and Taken."""
    dialect, fresh = database.dialect, claim.state is EnrollmentState.PLANNED
    async with database.transaction() as connection:
        keys = (await keys_of(connection, dialect, [claim.id]))[claim.id] if fresh else []
        # Whoever tells of a subscription holds it.
        await hold(connection, dialect, keys)
        if placed.remote and not placed.found:
            if dialect == "postgres":  # SQLite has one writer at a time
                await run(connection, dialect, _ALONE, f"{claim.account}/{claim.kind}/{placed.remote}")
            if await run(connection, dialect, _OTHERS, claim.account, claim.kind.value, placed.remote, str(claim.id)):
                raise Taken
        if not await run(connection, dialect, _INTENT, str(claim.id), claim.lease, *placed, claim.at, ASKED):
            raise LeaseLost
        if fresh:
            move = Move(EnrollmentState.REQUESTED, claim.at, ASKED, enrollment=claim.id)
            await tell(connection, dialect, [Moved(move, keys, claim.state)])
    return replace(claim, remote=placed.remote, start_on=placed.start_on, expire_on=placed.expire_on or claim.expire_on)


def _since(need: Mapping[str, Any], zone: ZoneInfo) -> datetime:
    """What was completed by then does not count for a need: it is older than its cycle, and than the day that its rule accepts."""
    opened, certified = as_time(need["opened_at"]), need["certified_at"]
    plan = json.loads(need["plan"]) if isinstance(need["plan"], str) else need["plan"]
    accepts = plan.get("pass", {}).get("accept_since")
    if accepts is None or need["cycle"] != INITIAL:
        return opened
    day = datetime.combine(date.fromisoformat(accepts), time(), zone) - timedelta(microseconds=1)
    return min(opened, max(day, as_time(certified)) if certified else day)


def _claim(row: Mapping[str, Any], now: datetime, since: datetime, accepts: datetime, zone: str) -> Claim:
    terms = row["terms"]
    return Claim(
        id=UUID(str(row["id"])),
        account=row["account"],
        kind=TargetKind(row["kind"]),
        learner=row["learner"],
        target=row["target"],
        round=row["round"],
        state=EnrollmentState(row["state"]),
        state_at=as_time(row["state_at"]),
        wish=EnrollmentWish(row["wish"]),
        found=None if row["found"] is None else bool(row["found"]),
        attempts=row["attempts"],
        terms=json.loads(terms) if isinstance(terms, str) else terms,
        start_on=as_date(row["start_on"]),
        expire_on=as_date(row["expire_on"]),
        remote=row["remote"],
        at=now,
        lease=now + LEASE,
        since=since,
        accepts=accepts,
        zone=zone,
        trace=row["trace"],
        reason=row["reason"],
    )


def as_date(value: Any) -> date | None:
    """A day as either database gives it."""
    return date.fromisoformat(value[:10]) if isinstance(value, str) else value
