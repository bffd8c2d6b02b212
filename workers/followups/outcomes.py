"""What came of the claims on enrollments: a seat, an end, or one more try. A row whose lease is another's by now stays as it is."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from schemas.states import EnrollmentState, EnrollmentWish, RefreshKind, TargetKind
from workers.database import Connection, Database, DatabaseAway, Dialect
from workers.followups.cases import Causes, Key
from workers.followups.claims import ASKED, Claim, Placed, as_date
from workers.followups.moves import Move, Moved, keys_of, tell
from workers.followups.plan import hold, hold_seats
from workers.mirror.evidence import Touch
from workers.refreshes import mark
from workers.statements import as_time, run

#: Why an enrollment moved.
GRANTED, FOUND = "the vendor was asked", "it was there already"


class Planner(Protocol):
    """`workers.followups.plan.Followups`: what follows from what has just been written, in the same transaction."""

    async def plan(self, connection: Connection, dialect: Dialect, keys: list[Key], now: datetime, causes: Causes | None = None) -> None:
        """Plan for subscriptions, by (account, id)."""


_ROWS = "SELECT id, state, wish, due_at, found, remote, terms, start_on, expire_on FROM enrollments WHERE id = any($1) FOR UPDATE"
_ENDED = """
    UPDATE enrollments SET state = $2, state_at = $3, reason = $4, wish = NULL, due_at = NULL, attempts = 0, error = NULL WHERE id = $1"""
_UNDER_WAY = (EnrollmentState.PLANNED, EnrollmentState.REQUESTED)
_FREED = "UPDATE enrollments SET due_at = $2 WHERE id = $1"
_ENROLLED = """
    UPDATE enrollments SET state = 'enrolled', state_at = $2, reason = CASE WHEN $6 = 'undo' THEN reason ELSE $3 END, found = $4,
    remote = $5, enrolled_at = coalesce(enrolled_at, $2), attempts = 0, error = NULL, wish = $6, due_at = $7,
    expire_on = CASE WHEN $4 THEN NULL ELSE expire_on END WHERE id = $1"""


async def enrolled(database: Database, done: Sequence[tuple[Claim, Placed]], planner: Planner, now: datetime) -> None:
    """Learners have seats. What is not wanted any more since we asked, or otherwise, is seen to next: its row says so already.

    The last day of a seat that was found is the vendor's.
    """
    async with database.transaction() as connection:
        keys = await _locked(connection, database.dialect, [claim for claim, _ in done])
        rows = await _rows(connection, database.dialect, keys)
        moves, touches, about = list[Moved](), list[Touch](), set[Key]()
        for claim, placed in done:
            row, reason = rows[claim.id], FOUND if placed.found else GRANTED
            leased, wished = _leased(row, claim), row["wish"] == claim.wish
            if not (leased and wished) and (wished or row["state"] not in _UNDER_WAY):
                continue  # another has it now, and finds what we did by looking
            done_with = wished and _as_claimed(row, claim, placed)
            wish, due_at = (None, None) if done_with else (row["wish"], now if leased else row["due_at"])
            values = (str(claim.id), now, reason, placed.found, placed.remote, wish, due_at)
            await run(connection, database.dialect, _ENROLLED, *values)
            moves += _moves(claim, row["state"], reason, now, keys[claim.id])
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
        if not _leased(row, claim):
            return
        if row["wish"] != claim.wish:
            # Something else is wished for it since, and waited for us to be through.
            await run(connection, database.dialect, _FREED, str(claim.id), now)
            return
        await run(connection, database.dialect, _ENDED, str(claim.id), state.value, now, reason)
        move = Move(state, now, reason, enrollment=claim.id)
        await tell(connection, database.dialect, [Moved(move, keys[claim.id], row["state"])])
        await planner.plan(connection, database.dialect, keys[claim.id], now)


def _moves(claim: Claim, state: str, reason: str, now: datetime, keys: Sequence[Key]) -> Iterator[Moved]:
    """From what its row said to `enrolled`; one that was found goes the same way, though nothing had to be asked for."""
    last = (EnrollmentState.ENROLLED, reason)
    ways = {EnrollmentState.PLANNED: ((EnrollmentState.REQUESTED, ASKED), last), EnrollmentState.REQUESTED: (last,)}
    before = EnrollmentState(state)
    for after, why in ways.get(before, ()):
        yield Moved(Move(after, now, why, enrollment=claim.id), keys, before)
        before = after


def _as_claimed(row: Mapping[str, Any], claim: Claim, placed: Placed) -> bool:
    """Whether all that was wished for is what was done: another need may have joined it meanwhile."""
    terms = json.loads(row["terms"]) if isinstance(row["terms"], str) else row["terms"]
    days = ((as_date(row[name]), getattr(claim, name), getattr(placed, name)) for name in ("start_on", "expire_on"))
    return terms == claim.terms and all(now in (was, counted) for now, was, counted in days)


def _leased(row: Mapping[str, Any], claim: Claim) -> bool:
    return row["due_at"] is not None and as_time(row["due_at"]) == claim.lease


async def _rows(connection: Connection, dialect: Dialect, ids: Iterable[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
    """Rows as they are now; of somebody who was erased meanwhile there is none, and nothing is wished for."""
    wanted = sorted(ids)
    found: dict[UUID, Mapping[str, Any]] = {
        UUID(str(row["id"])): row for row in await run(connection, dialect, _ROWS, [str(one) for one in wanted])
    }
    return dict.fromkeys(wanted, dict.fromkeys(("state", "wish", "due_at", "found", "remote", "terms", "start_on", "expire_on"))) | found


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
    nothing = claim.wish is EnrollmentWish.ENROLL and claim.state is not EnrollmentState.ENROLLED and not (doubtful or claim.asked)
    async with database.transaction() as connection:
        keys = await _locked(connection, database.dialect, [claim]) if nothing else {}
        row = (await _rows(connection, database.dialect, [claim.id]))[claim.id]
        found, remote = (row["found"], row["remote"]) if doubtful else (claim.found, claim.remote)
        state = EnrollmentState.PLANNED.value if nothing else row["state"]
        values = (due_at, error, claim.attempts + blamed, state, found if found is None else bool(found), remote, claim.wish.value)
        written = await run(connection, database.dialect, _AGAIN, str(claim.id), claim.lease, *values)
        if written and state != row["state"]:
            await run(connection, database.dialect, _STARTED, str(claim.id), now)
            move = Move(EnrollmentState.PLANNED, now, error, enrollment=claim.id)
            await tell(connection, database.dialect, [Moved(move, keys[claim.id], row["state"])])
        await mark(connection, database.dialect, [_result_of(claim, now)] if unheard else ())


def _result_of(claim: Claim, now: datetime) -> Touch:
    return Touch(claim.account, RefreshKind.COURSE_RESULT, claim.learner, now, claim.target, claim.cause)


async def _locked(connection: Connection, dialect: Dialect, claims: Sequence[Claim]) -> dict[UUID, list[Key]]:
    """The subscriptions whose needs use each, locked like its seat, in the order that everybody keeps.

    Raises DatabaseAway, to be tried again, if another need took a seat before it was locked: that need would learn of nothing.
    """
    ids = [claim.id for claim in claims]
    keys = await keys_of(connection, dialect, ids)
    await hold(connection, dialect, {key for those in keys.values() for key in those})
    await hold_seats(connection, dialect, [(claim.account, claim.learner, claim.target) for claim in claims])
    if await keys_of(connection, dialect, ids) != keys:
        raise DatabaseAway("the seat was joined meanwhile")
    return keys
