"""Enrollments that are due, taken by lease: `due_at` is the lease's end while somebody works on one.

A row says `requested` before its vendor is asked for anything, and `found` says which kind of row one is that is met so again:
still NULL, nothing was asked; false, the vendor was asked and may have done it, then or later.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from schemas.states import EnrollmentState, EnrollmentWish, RefreshKind, TargetKind
from workers.database import Connection, Database, DatabaseAway, Dialect
from workers.followups.cases import Key
from workers.followups.moves import Move, note, tell
from workers.followups.plan import hold, hold_seats
from workers.mirror.evidence import Touch
from workers.refreshes import mark
from workers.statements import as_time, run

#: How long a claim holds: longer than the enroller works on one.
LEASE = timedelta(minutes=10)


class Planner(Protocol):
    """`workers.followups.plan.Followups`: what follows from what has just been written, in the same transaction."""

    async def plan(self, connection: Connection, dialect: Dialect, keys: list[Key], now: datetime) -> None:
        """Plan for subscriptions, by (account, id)."""


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
    #: The time zone of the schedule that it is for.
    zone: str

    @property
    def asked(self) -> bool:
        """Whether the vendor was asked in an earlier try."""
        return self.found is False


class Placed(NamedTuple):
    """What a look at the vendor, or a request, tells: the id there, the first day, and whether it was there before us."""

    found: bool
    remote: str | None = None
    start_on: date | None = None


_DUE = """
    SELECT * FROM enrollments WHERE account = $1 AND wish IS NOT NULL AND due_at <= $2
    ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED"""
_LEASE = "UPDATE enrollments SET due_at = $2 WHERE id = any($1)"
_REQUESTED = "UPDATE enrollments SET state = 'requested', state_at = $2, reason = NULL WHERE id = any($1)"
_OPENED = """
    SELECT t.enrollment, max(n.opened_at) AS opened_at, min(n.account) AS account FROM need_targets AS t JOIN needs AS n ON n.id = t.need
    WHERE t.enrollment = any($1) GROUP BY t.enrollment"""
_CLOSED = """
    SELECT max(state_at) AS at FROM enrollments
    WHERE account = $1 AND learner = $2 AND target = $3 AND round < $4 AND state = 'closed'"""


async def claim(database: Database, account: str, now: datetime, limit: int, zone: Callable[[str | None], str]) -> list[Claim]:
    """Take what is due in an account, the longest due first; `zone` gives the time zone of a schedule's account."""
    async with database.transaction() as connection:
        dialect = database.dialect
        rows = await run(connection, dialect, _DUE, account, now, limit)
        ids = [str(row["id"]) for row in rows]
        opened = {str(row["enrollment"]): row for row in await run(connection, dialect, _OPENED, ids)}
        claims = []
        for row in rows:
            need = opened.get(str(row["id"]))
            closed = await run(connection, dialect, _CLOSED, account, row["learner"], row["target"], row["round"])
            times = [as_time(one) for one in (need and need["opened_at"], closed[0]["at"]) if one]
            since = max(times, default=as_time(row["state_at"]))
            claims.append(_claim(row, now, since, zone(need["account"] if need else None)))
        asking = [one for one in claims if one.wish is EnrollmentWish.ENROLL and one.state is not EnrollmentState.ENROLLED]
        await run(connection, dialect, _LEASE, ids, now + LEASE)
        await run(connection, dialect, _REQUESTED, [str(one.id) for one in asking], now)
        fresh = [one for one in asking if one.state is not EnrollmentState.REQUESTED]
        await note(connection, dialect, [Move(EnrollmentState.REQUESTED, now, enrollment=one.id) for one in fresh])
    return claims


_INTENT = """
    UPDATE enrollments SET found = $3, remote = $4, start_on = $5
    WHERE id = $1 AND due_at = $2 AND wish = 'enroll' RETURNING id"""
_ALONE = "SELECT pg_advisory_xact_lock(hashtext($1))"
_OTHERS = """
    SELECT id FROM enrollments
    WHERE account = $1 AND kind = $2 AND remote = $3 AND id <> $4 AND state IN ('requested', 'enrolled')"""


async def intend(database: Database, claim: Claim, placed: Placed) -> Claim:
    """Write down what the vendor will be asked for, before it is; raises LeaseLost, and Taken."""
    async with database.transaction() as connection:
        if placed.remote and not placed.found:
            if database.dialect == "postgres":  # SQLite has one writer at a time
                await run(connection, database.dialect, _ALONE, f"{claim.account}/{claim.kind}/{placed.remote}")
            if await run(connection, database.dialect, _OTHERS, claim.account, claim.kind.value, placed.remote, str(claim.id)):
                raise Taken
        written = await run(connection, database.dialect, _INTENT, str(claim.id), claim.lease, *placed)
        if not written:
            raise LeaseLost
    return replace(claim, remote=placed.remote, start_on=placed.start_on)


_KEYS = """
    SELECT DISTINCT n.account, n.action_subscription_id FROM need_targets AS t JOIN needs AS n ON n.id = t.need
    WHERE t.enrollment = $1 ORDER BY n.account, n.action_subscription_id"""
_ROW = "SELECT state, wish, due_at FROM enrollments WHERE id = $1 FOR UPDATE"
_ENDED = """
    UPDATE enrollments SET state = $2, state_at = $3, reason = $4, wish = NULL, due_at = NULL, attempts = 0, error = NULL WHERE id = $1"""
_ENROLLED = """
    UPDATE enrollments SET state = 'enrolled', state_at = $2, reason = $3, found = $4, remote = $5, enrolled_at = coalesce(enrolled_at, $2),
    attempts = 0, error = NULL WHERE id = $1"""
_NOTHING_MORE = "UPDATE enrollments SET wish = NULL, due_at = NULL WHERE id = $1"
_AT_ONCE = "UPDATE enrollments SET due_at = $2 WHERE id = $1"


async def enrolled(database: Database, claim: Claim, placed: Placed, planner: Planner, now: datetime) -> None:
    """The learner has a seat. If it is not wanted any more since we asked, it is to be undone: that the row says already."""
    reason = "it was there already" if placed.found else None
    async with database.transaction() as connection:
        keys = await _locked(connection, database.dialect, claim)
        (row,) = await run(connection, database.dialect, _ROW, str(claim.id))
        leased, wished = as_time(row["due_at"]) == claim.lease if row["due_at"] else False, row["wish"] == claim.wish
        if not (leased and wished) and (wished or row["state"] != EnrollmentState.REQUESTED):
            return  # another has it now, and finds what we did by looking
        await run(connection, database.dialect, _ENROLLED, str(claim.id), now, reason, placed.found, placed.remote)
        if wished:
            await run(connection, database.dialect, _NOTHING_MORE, str(claim.id))
        elif leased:
            await run(connection, database.dialect, _AT_ONCE, str(claim.id), now)
        if claim.state is not EnrollmentState.ENROLLED:
            move = Move(EnrollmentState.ENROLLED, now, reason, enrollment=claim.id)
            await tell(connection, database.dialect, keys, move, EnrollmentState.REQUESTED)
        if placed.found and claim.kind is TargetKind.COURSE:
            # What was reached in it before it was ours, no webhook may have told.
            await mark(connection, database.dialect, [Touch(claim.account, RefreshKind.COURSE_RESULT, claim.learner, now, claim.target)])
        await planner.plan(connection, database.dialect, keys, now)


async def ended(database: Database, claim: Claim, state: EnrollmentState, reason: str | None, planner: Planner, now: datetime) -> None:
    """It is undone, closed or dead, and nothing more is done for it."""
    async with database.transaction() as connection:
        keys = await _locked(connection, database.dialect, claim)
        (row,) = await run(connection, database.dialect, _ROW, str(claim.id))
        if row["due_at"] is None or as_time(row["due_at"]) != claim.lease or row["wish"] != claim.wish:
            return
        await run(connection, database.dialect, _ENDED, str(claim.id), state.value, now, reason)
        await tell(connection, database.dialect, keys, Move(state, now, reason, enrollment=claim.id), row["state"])
        await planner.plan(connection, database.dialect, keys, now)


_AGAIN = """
    UPDATE enrollments SET due_at = $3, error = $4, attempts = $5, state = $6, found = $7, remote = $8
    WHERE id = $1 AND due_at = $2 AND wish = $9 RETURNING id"""
_STARTED = "UPDATE enrollments SET state_at = $2 WHERE id = $1"


async def again(database: Database, claim: Claim, due_at: datetime, error: str, now: datetime, *, blamed: bool, doubtful: bool) -> None:
    """Come back to it. Unless it is `doubtful`, nothing was done, and the row says again what it said before."""
    async with database.transaction() as connection:
        state, found, remote = claim.state, claim.found, claim.remote
        if claim.wish is EnrollmentWish.ENROLL and state is not EnrollmentState.ENROLLED:
            state = EnrollmentState.REQUESTED if doubtful or claim.asked else EnrollmentState.PLANNED
        if doubtful:
            (row,) = await run(connection, database.dialect, "SELECT found, remote FROM enrollments WHERE id = $1", str(claim.id))
            found, remote = row["found"] if row["found"] is None else bool(row["found"]), row["remote"]
        attempts = claim.attempts + blamed
        values = (due_at, error, attempts, state.value, found, remote, claim.wish.value)
        written = await run(connection, database.dialect, _AGAIN, str(claim.id), claim.lease, *values)
        back = claim.wish is EnrollmentWish.ENROLL and state is EnrollmentState.PLANNED
        if written and back:
            await run(connection, database.dialect, _STARTED, str(claim.id), now)
            await note(connection, database.dialect, [Move(state, now, error, enrollment=claim.id)])


async def _locked(connection: Connection, dialect: Dialect, claim: Claim) -> list[Key]:
    """The subscriptions whose needs use it, locked like its seat, in the order that everybody keeps.

    Raises DatabaseAway, to be tried again, if another need took the seat before it was locked: that need would learn of nothing.
    """
    keys = await _keys(connection, dialect, claim)
    await hold(connection, dialect, keys)
    await hold_seats(connection, dialect, [(claim.account, claim.learner, claim.target)])
    if await _keys(connection, dialect, claim) != keys:
        raise DatabaseAway("the seat was joined meanwhile")
    return keys


async def _keys(connection: Connection, dialect: Dialect, claim: Claim) -> list[Key]:
    return [(row["account"], row["action_subscription_id"]) for row in await run(connection, dialect, _KEYS, str(claim.id))]


def _claim(row: Mapping[str, Any], now: datetime, since: datetime, zone: str) -> Claim:
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
        start_on=_date(row["start_on"]),
        expire_on=_date(row["expire_on"]),
        remote=row["remote"],
        at=now,
        lease=now + LEASE,
        since=since,
        zone=zone,
    )


def _date(value: Any) -> date | None:
    return date.fromisoformat(value[:10]) if isinstance(value, str) else value
