"""Enrollments and recordings that were given up: due again because a person says so, or dropped for good.

What follows for their needs the planner says, in the same transaction. Everybody locks in one order: subscriptions by their keys,
then seats, then the rows of enrollments.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from schemas.states import EnrollmentState, NeedState, RefreshKind
from workers.database import Connection, Dialect
from workers.followups.cases import Key
from workers.followups.moves import Move, Moved, tell
from workers.followups.plan import hold, hold_enrollments
from workers.followups.reasons import LEFT_ALONE
from workers.followups.recording import DEAD, Step
from workers.followups.recordings import LEFT, TOLD
from workers.mirror.evidence import Touch
from workers.refreshes import mark
from workers.statements import as_uuid, run

#: Why an enrollment moved, where a person moved it.
AGAIN, DROPPED, OUTDATED = "tried again by a person", LEFT_ALONE, "another round of the same seat came after it"

#: Without these no subscription becomes VALID; the others only tell of it.
_CERTIFYING = frozenset({Step.CERTIFICATE, Step.CERTIFICATE_ACTION})


@dataclass(frozen=True, slots=True)
class Use:
    """A need that names an enrollment, or that a recording is for; `blocked`: it is dead, and this keeps it so."""

    id: UUID
    key: Key
    need: UUID
    state: NeedState
    blocked: bool


_SEATS = "SELECT account, learner, target FROM enrollments WHERE id = any($1)"
_USERS = """
    SELECT e.id, e.state AS own, n.account, n.action_subscription_id, n.id AS need, n.state, t.state AS step
    FROM enrollments AS e JOIN need_targets AS t ON t.enrollment = e.id JOIN needs AS n ON n.id = t.need WHERE e.id = any($1)"""
_OWNERS = """
    SELECT r.id, r.state AS own, n.account, n.action_subscription_id, n.id AS need, n.state, r.step
    FROM recordings AS r JOIN needs AS n ON n.id = r.need WHERE r.id = any($1)"""


async def hold_seats_of(connection: Connection, dialect: Dialect, enrollments: Collection[UUID]) -> list[Use]:
    """Lock enrollments with all that planning for their needs may change; gives those needs."""
    ids = [str(one) for one in enrollments]
    await hold(connection, dialect, {_key(row) for row in await run(connection, dialect, _USERS, ids)})
    seats = {(row["account"], row["learner"], row["target"]) for row in await run(connection, dialect, _SEATS, ids)}
    await hold_enrollments(connection, dialect, seats)
    return [_use(row, keeps=row["step"] == NeedState.DEAD) for row in await run(connection, dialect, _USERS, ids)]


async def hold_needs_of(connection: Connection, dialect: Dialect, recordings: Collection[UUID]) -> list[Use]:
    """The same for recordings."""
    ids = [str(one) for one in recordings]
    await hold(connection, dialect, {_key(row) for row in await run(connection, dialect, _OWNERS, ids)})
    return [_use(row, keeps=row["step"] in _CERTIFYING) for row in await run(connection, dialect, _OWNERS, ids)]


_LATER = """EXISTS (SELECT 1 FROM enrollments AS later WHERE later.account = enrollments.account
    AND later.learner = enrollments.learner AND later.target = enrollments.target AND later.round > enrollments.round)"""
#: As it was before it was given up, as far as its row says; whoever works on it looks before asking. What nobody needs any more,
#: the planner gives back.
_ENROLLMENTS_AGAIN = f"""
    UPDATE enrollments SET state = CASE WHEN enrolled_at IS NOT NULL THEN 'enrolled' WHEN found IS NULL THEN 'planned' ELSE 'requested' END,
        state_at = $2, reason = NULL, wish = 'enroll', due_at = $2, attempts = 0, error = NULL
    WHERE id = any($1) AND state = 'dead' AND NOT {_LATER} RETURNING id, state"""
#: Of a seat only the last round may be open: whoever still names this one joins that, or begins the next.
_ENROLLMENTS_OUTDATED = f"""
    UPDATE enrollments SET state = 'undone', state_at = $2, reason = $3
    WHERE id = any($1) AND state = 'dead' AND {_LATER} RETURNING id, state"""
#: What was asked for may stand at the vendor, and stays there.
_ENROLLMENTS_DROPPED = """
    UPDATE enrollments SET state = CASE WHEN found IS NULL THEN 'undone' ELSE 'closed' END, state_at = $2, reason = $3
    WHERE id = any($1) AND state = 'dead' RETURNING id, state"""


async def enrollments_again(
    connection: Connection, dialect: Dialect, ids: Collection[UUID], uses: Collection[Use], now: datetime
) -> set[UUID]:
    """Make enrollments that were held due again, if anybody names them; gives those that still were dead."""
    again = await run(connection, dialect, _ENROLLMENTS_AGAIN, sorted({str(use.id) for use in uses}), now)
    outdated = await run(connection, dialect, _ENROLLMENTS_OUTDATED, sorted(map(str, ids)), now, OUTDATED)
    return await _told(connection, dialect, again, uses, now, AGAIN) | await _told(connection, dialect, outdated, uses, now, OUTDATED)


async def enrollments_dropped(
    connection: Connection, dialect: Dialect, ids: Collection[UUID], uses: Collection[Use], now: datetime, why: str
) -> set[UUID]:
    """Do nothing more for enrollments that were held; gives those that still were dead."""
    said = f"{DROPPED}: {why}"
    rows = await run(connection, dialect, _ENROLLMENTS_DROPPED, sorted(map(str, ids)), now, said)
    return await _told(connection, dialect, rows, uses, now, said)


_RECORDINGS_AGAIN = f"""
    UPDATE recordings SET state = 'planned', state_at = $2, due_at = $2, attempts = 0, error = NULL
    WHERE id = any($1) AND state = 'dead' AND NOT (step LIKE 'failed%' AND {TOLD}) RETURNING id"""
_RECORDINGS_DROPPED = "UPDATE recordings SET state = 'dropped', state_at = $2 WHERE id = any($1) AND state = 'dead' RETURNING id"
_OPEN = f"SELECT DISTINCT need FROM recordings WHERE need = any($1) AND {LEFT}"


async def recordings_again(connection: Connection, dialect: Dialect, uses: Iterable[Use], now: datetime) -> set[UUID]:
    """Make recordings that were held due again, but not those of needs that are undone, nor failures that were outdone; gives those that
    still were dead.
    """
    wanted = sorted(str(use.id) for use in uses if use.state is not NeedState.UNDONE)
    return _ids(await run(connection, dialect, _RECORDINGS_AGAIN, wanted, now))


async def recordings_dropped(
    connection: Connection, dialect: Dialect, uses: Collection[Use], now: datetime, clock_skew: timedelta
) -> set[UUID]:
    """Leave recordings that were held unwritten; gives those that still were dead. What comes after them goes on."""
    dropped = _ids(await run(connection, dialect, _RECORDINGS_DROPPED, sorted(str(use.id) for use in uses), now))
    open_ = {as_uuid(row["need"]) for row in await run(connection, dialect, _OPEN, sorted({str(use.need) for use in uses}))}
    # As after the last that is written: to see what the vendor made of it.
    over = {use.key for use in uses if use.id in dropped and not use.blocked and use.need not in open_}
    touches = [Touch(account, RefreshKind.ACTION_SUBSCRIPTION, id_, now) for account, id_ in sorted(over)]
    await mark(connection, dialect, touches, clock_skew)
    return dropped


async def _told(
    connection: Connection, dialect: Dialect, rows: Iterable[Mapping[str, Any]], uses: Collection[Use], now: datetime, reason: str
) -> set[UUID]:
    states = {as_uuid(row["id"]): row["state"] for row in rows}
    keys = {id_: sorted({use.key for use in uses if use.id == id_}) for id_ in sorted(states)}
    moves = [Moved(Move(states[id_], now, reason, enrollment=id_), keys[id_], EnrollmentState.DEAD) for id_ in keys]
    await tell(connection, dialect, moves)
    return set(states)


def _use(row: Mapping[str, Any], *, keeps: bool) -> Use:
    blocked = keeps and row["own"] == DEAD and row["state"] == NeedState.DEAD
    return Use(as_uuid(row["id"]), _key(row), as_uuid(row["need"]), NeedState(row["state"]), blocked)


def _key(row: Mapping[str, Any]) -> Key:
    return row["account"], row["action_subscription_id"]


def _ids(rows: Iterable[Mapping[str, Any]]) -> set[UUID]:
    return {as_uuid(row["id"]) for row in rows}
