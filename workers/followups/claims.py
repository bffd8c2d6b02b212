"""Enrollments that are due, taken by lease: `due_at` is the lease's end while somebody works on one.

A row says `requested` before its vendor is asked for anything, and `found` says which kind of row one is that is met so again:
still NULL, nothing was asked; false, the vendor was asked and may have done it, then or later.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from schemas.states import EnrollmentState, EnrollmentWish, RefreshKind, TargetKind
from schemas.traces import Span, SpanName, Tracer
from workers.causes import NOBODY, Cause
from workers.database import Connection, Database, DatabaseAway, Dialect
from workers.followups.cases import Causes, Key
from workers.followups.moves import Move, Moved, tell
from workers.followups.plan import hold, hold_seats
from workers.mirror.evidence import Touch
from workers.refreshes import mark
from workers.statements import as_time, run

#: Why an enrollment moved.
ASKED, GRANTED, FOUND = "the vendor is asked", "the vendor was asked", "it was there already"
#: How long a claim holds: longer than the enroller works on one.
LEASE = timedelta(minutes=10)


class Planner(Protocol):
    """`workers.followups.plan.Followups`: what follows from what has just been written, in the same transaction."""

    async def plan(self, connection: Connection, dialect: Dialect, keys: list[Key], now: datetime, causes: Causes | None = None) -> None:
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
    #: The same for that of its needs whose rule accepts the oldest pass.
    accepts: datetime
    #: The time zone of the schedule that it is for.
    zone: str
    cause: Cause = NOBODY
    #: Why it is as it is; of one that is to be given back, why it is not needed any more.
    reason: str | None = None

    @property
    def asked(self) -> bool:
        """Whether the vendor was asked in an earlier try."""
        return self.found is False

    def followed(self, tracer: Tracer) -> AbstractContextManager[Span]:
        """A try at it, for the sake of what wished it."""
        about = {"muster.account": self.account, "muster.enrollment": str(self.id), "muster.wish": self.wish.value}
        return self.cause.followed(tracer, SpanName.ENROLL, about)


class Placed(NamedTuple):
    """What a look at the vendor, or a request, tells: the id there, the first day, and whether it was there before us."""

    found: bool
    remote: str | None = None
    start_on: date | None = None


_DUE = """
    SELECT * FROM enrollments WHERE account = $1 AND wish IS NOT NULL AND due_at <= $2
    ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED"""
_LEASE = "UPDATE enrollments SET due_at = $2 WHERE id = any($1)"
_REQUESTED = "UPDATE enrollments SET state = 'requested', state_at = $2, reason = $3 WHERE id = any($1)"
#: The needs of each, with when its subscription was last certified, in another cycle, by what could be reached in it.
_OPENED = """
    SELECT t.enrollment, n.account, n.opened_at, n.plan, (
        SELECT max(c.at) FROM certified AS c LEFT JOIN needs AS b ON b.id = c.need
        WHERE c.account = n.account AND c.action_subscription_id = n.action_subscription_id AND coalesce(b.cycle, '') <> n.cycle
            AND (e.kind <> 'course' OR substr(c.result, 1, length(e.prefix)) = e.prefix)) AS certified_at
    FROM (SELECT id, kind, 'course_result/' || account || '/' || learner || '/' || target || '/' AS prefix FROM enrollments) AS e
    JOIN need_targets AS t ON t.enrollment = e.id JOIN needs AS n ON n.id = t.need
    WHERE t.enrollment = any($1) ORDER BY t.enrollment, n.account"""
#: When an earlier round of each was closed.
_CLOSED = """
    SELECT e.id, max(c.state_at) AS at FROM enrollments AS e
    JOIN enrollments AS c ON c.account = e.account AND c.learner = e.learner AND c.target = e.target AND c.round < e.round
    WHERE e.id = any($1) AND c.state = 'closed' GROUP BY e.id"""


#: Whoever tells of a subscription holds it. Nobody waits for one here, with enrollments in hand that another may wait for.
_THERE = "SELECT action_subscription_id FROM action_subscriptions WHERE account = $1 AND action_subscription_id = any($2)"
_HELD = _THERE + ' ORDER BY action_subscription_id COLLATE "C" FOR UPDATE SKIP LOCKED'


async def claim(database: Database, account: str, now: datetime, limit: int, zone: Callable[[str | None], str]) -> list[Claim]:
    """Take what is due in an account, the longest due first; `zone` gives the time zone of a schedule's account.

    What is to be asked for, and whose subscription somebody else works on, is left for the next time.
    """
    async with database.transaction() as connection:
        dialect = database.dialect
        rows = await run(connection, dialect, _DUE, account, now, limit)
        told = await _keys(connection, dialect, [UUID(str(row["id"])) for row in rows if _fresh(row)])
        busy = await _busy(connection, dialect, {key for keys in told.values() for key in keys})
        rows = [row for row in rows if busy.isdisjoint(told.get(UUID(str(row["id"])), ()))]
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
        asking = [one for one in claims if one.wish is EnrollmentWish.ENROLL and one.state is not EnrollmentState.ENROLLED]
        await run(connection, dialect, _LEASE, ids, now + LEASE)
        await run(connection, dialect, _REQUESTED, [str(one.id) for one in asking], now, ASKED)
        fresh = [one for one in asking if one.id in told]
        moves = [Moved(Move(EnrollmentState.REQUESTED, now, ASKED, enrollment=one.id), told[one.id], one.state) for one in fresh]
        await tell(connection, dialect, moves)
    return claims


def _fresh(row: Mapping[str, Any]) -> bool:
    """Whether it becomes `requested`."""
    return row["wish"] == EnrollmentWish.ENROLL and row["state"] not in (EnrollmentState.REQUESTED, EnrollmentState.ENROLLED)


async def _busy(connection: Connection, dialect: Dialect, keys: Collection[Key]) -> set[Key]:
    """The subscriptions that somebody else holds; all the others are ours to the transaction's end."""
    busy = set[Key]()
    for account in sorted({account for account, _ in keys} if dialect == "postgres" else ()):
        ids = sorted(id_ for name, id_ in keys if name == account)
        held = await run(connection, dialect, _HELD, account, ids)
        there = await run(connection, dialect, _THERE, account, ids) if len(held) < len(ids) else held
        busy |= {(account, row["action_subscription_id"]) for row in there if row not in held}
    return busy


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
    SELECT DISTINCT t.enrollment, n.account, n.action_subscription_id FROM need_targets AS t JOIN needs AS n ON n.id = t.need
    WHERE t.enrollment = any($1) ORDER BY n.account, n.action_subscription_id"""
_ROWS = "SELECT id, state, wish, due_at, found, remote FROM enrollments WHERE id = any($1) FOR UPDATE"
_ENDED = """
    UPDATE enrollments SET state = $2, state_at = $3, reason = $4, wish = NULL, due_at = NULL, attempts = 0, error = NULL WHERE id = $1"""
_ENROLLED = """
    UPDATE enrollments SET state = 'enrolled', state_at = $2, reason = CASE WHEN $6 = 'undo' THEN reason ELSE $3 END, found = $4,
    remote = $5, enrolled_at = coalesce(enrolled_at, $2), attempts = 0, error = NULL, wish = $6, due_at = $7,
    expire_on = CASE WHEN $4 THEN NULL ELSE expire_on END WHERE id = $1"""


async def enrolled(database: Database, done: Sequence[tuple[Claim, Placed]], planner: Planner, now: datetime) -> None:
    """Learners have seats. What is not wanted any more since we asked is to be undone: that its row says already.

    The last day of a seat that was found is the vendor's.
    """
    async with database.transaction() as connection:
        keys = await _locked(connection, database.dialect, [claim for claim, _ in done])
        rows = await _rows(connection, database.dialect, keys)
        moves, touches, about = list[Moved](), list[Touch](), set[Key]()
        for claim, placed in done:
            row, reason = rows[claim.id], FOUND if placed.found else GRANTED
            leased, wished = _leased(row, claim), row["wish"] == claim.wish
            if not (leased and wished) and (wished or row["state"] != EnrollmentState.REQUESTED):
                continue  # another has it now, and finds what we did by looking
            wish, due_at = (None, None) if wished else (row["wish"], now if leased else row["due_at"])
            values = (str(claim.id), now, reason, placed.found, placed.remote, wish, due_at)
            await run(connection, database.dialect, _ENROLLED, *values)
            if claim.state is not EnrollmentState.ENROLLED:
                move = Move(EnrollmentState.ENROLLED, now, reason, enrollment=claim.id)
                moves.append(Moved(move, keys[claim.id], EnrollmentState.REQUESTED))
            if placed.found and claim.kind is TargetKind.COURSE:
                # What was reached in it before it was ours, no webhook may have told.
                touches.append(_result_of(claim, now))
            about.update(keys[claim.id])
        await tell(connection, database.dialect, moves)
        causes = {key: claim.cause for claim, _ in done for key in keys[claim.id]}
        await planner.plan(connection, database.dialect, sorted(about), now, causes)
        await mark(connection, database.dialect, touches)


async def ended(database: Database, claim: Claim, state: EnrollmentState, reason: str | None, planner: Planner, now: datetime) -> None:
    """It is undone, closed or dead, and nothing more is done for it."""
    async with database.transaction() as connection:
        keys = await _locked(connection, database.dialect, [claim])
        row = (await _rows(connection, database.dialect, keys))[claim.id]
        if not _leased(row, claim) or row["wish"] != claim.wish:
            return
        await run(connection, database.dialect, _ENDED, str(claim.id), state.value, now, reason)
        move = Move(state, now, reason, enrollment=claim.id)
        await tell(connection, database.dialect, [Moved(move, keys[claim.id], row["state"])])
        await planner.plan(connection, database.dialect, keys[claim.id], now)


def _leased(row: Mapping[str, Any], claim: Claim) -> bool:
    return row["due_at"] is not None and as_time(row["due_at"]) == claim.lease


async def _rows(connection: Connection, dialect: Dialect, ids: Iterable[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
    """Rows as they are now; of somebody who was erased meanwhile there is none, and nothing is wished for."""
    wanted = sorted(ids)
    found: dict[UUID, Mapping[str, Any]] = {
        UUID(str(row["id"])): row for row in await run(connection, dialect, _ROWS, [str(one) for one in wanted])
    }
    return dict.fromkeys(wanted, dict.fromkeys(("state", "wish", "due_at", "found", "remote"))) | found


_AGAIN = """
    UPDATE enrollments SET due_at = $3, error = $4, attempts = $5, state = $6, found = $7, remote = $8
    WHERE id = $1 AND due_at = $2 AND wish = $9 RETURNING id"""
_STARTED = "UPDATE enrollments SET state_at = $2 WHERE id = $1"


async def again(
    database: Database, claim: Claim, due_at: datetime, error: str, now: datetime, *, blamed: bool, doubtful: bool, unheard: bool = False
) -> None:
    """Come back to it. Unless it is `doubtful`, nothing was done, and the row says again what it said before.

    What was reached in what is `unheard` of is asked for.
    """
    async with database.transaction() as connection:
        state, found, remote = claim.state, claim.found, claim.remote
        if claim.wish is EnrollmentWish.ENROLL and state is not EnrollmentState.ENROLLED:
            state = EnrollmentState.REQUESTED if doubtful or claim.asked else EnrollmentState.PLANNED
        back = claim.wish is EnrollmentWish.ENROLL and state is EnrollmentState.PLANNED
        keys = await _locked(connection, database.dialect, [claim]) if back else {}
        if doubtful:
            row = (await _rows(connection, database.dialect, [claim.id]))[claim.id]
            found, remote = row["found"] if row["found"] is None else bool(row["found"]), row["remote"]
        attempts = claim.attempts + blamed
        values = (due_at, error, attempts, state.value, found, remote, claim.wish.value)
        written = await run(connection, database.dialect, _AGAIN, str(claim.id), claim.lease, *values)
        if written and back:
            await run(connection, database.dialect, _STARTED, str(claim.id), now)
            move = Move(state, now, error, enrollment=claim.id)
            await tell(connection, database.dialect, [Moved(move, keys[claim.id], EnrollmentState.REQUESTED)])
        await mark(connection, database.dialect, [_result_of(claim, now)] if unheard else ())


def _result_of(claim: Claim, now: datetime) -> Touch:
    return Touch(claim.account, RefreshKind.COURSE_RESULT, claim.learner, now, claim.target, claim.cause)


async def _locked(connection: Connection, dialect: Dialect, claims: Sequence[Claim]) -> dict[UUID, list[Key]]:
    """The subscriptions whose needs use each, locked like its seat, in the order that everybody keeps.

    Raises DatabaseAway, to be tried again, if another need took a seat before it was locked: that need would learn of nothing.
    """
    ids = [claim.id for claim in claims]
    keys = await _keys(connection, dialect, ids)
    await hold(connection, dialect, {key for those in keys.values() for key in those})
    await hold_seats(connection, dialect, [(claim.account, claim.learner, claim.target) for claim in claims])
    if await _keys(connection, dialect, ids) != keys:
        raise DatabaseAway("the seat was joined meanwhile")
    return keys


async def _keys(connection: Connection, dialect: Dialect, ids: Collection[UUID]) -> dict[UUID, list[Key]]:
    found: dict[UUID, list[Key]] = {one: [] for one in ids}
    for row in await run(connection, dialect, _KEYS, sorted(map(str, ids))):
        found[UUID(str(row["enrollment"]))].append((row["account"], row["action_subscription_id"]))
    return found


def _since(need: Mapping[str, Any], zone: ZoneInfo) -> datetime:
    """What was completed by then does not count for a need: it is older than its cycle, and than the day that its rule accepts."""
    opened, certified = as_time(need["opened_at"]), need["certified_at"]
    plan = json.loads(need["plan"]) if isinstance(need["plan"], str) else need["plan"]
    accepts = plan.get("pass", {}).get("accept_since")
    if accepts is None:
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
        start_on=_date(row["start_on"]),
        expire_on=_date(row["expire_on"]),
        remote=row["remote"],
        at=now,
        lease=now + LEASE,
        since=since,
        accepts=accepts,
        zone=zone,
        cause=Cause.kept(row),
        reason=row["reason"],
    )


def _date(value: Any) -> date | None:
    return date.fromisoformat(value[:10]) if isinstance(value, str) else value
