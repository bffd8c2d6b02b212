"""Every move of a need or an enrollment, with its time and reason: written in the transaction that moves it, and counted by the guard."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from schemas.events import Event, EventType, FollowupMoved
from schemas.states import EnrollmentState
from workers.bulk import Upsert
from workers.database import Connection, Dialect
from workers.followups import reasons
from workers.followups.case import CANCELLED, DROPPED
from workers.followups.guard import ENROLLING, UNDOING
from workers.outbox import append
from workers.statements import run

Key = tuple[str, str]
HOUR = timedelta(hours=1)
#: What a person says more is theirs; the longer one first.
_BY_A_PERSON = (DROPPED, CANCELLED, reasons.LEFT_ALONE)

_COLUMNS = {
    "need": "uuid",
    "enrollment": "uuid",
    "rule": "text",
    "state": "text",
    "reason": "text",
    "at": "timestamptz",
    "undoes": "boolean",
}
_MOVES = Upsert("followup_moves", _COLUMNS, key=("id",))


class Move(NamedTuple):
    """One move, of a need (with its rule) or of an enrollment."""

    state: str
    at: datetime
    reason: str | None = None
    need: UUID | None = None
    enrollment: UUID | None = None
    rule: str | None = None
    #: Whether a seat is given back for it; where nobody says, a need that is undone may give one back.
    undoes: bool | None = None


async def note(connection: Connection, dialect: Dialect, moves: Iterable[Move]) -> None:
    """Write moves down."""
    rows: list[Mapping[str, Any]] = [move._asdict() for move in moves]
    await _MOVES.execute(connection, dialect, rows)


class Moved(NamedTuple):
    """A move and what it is about: subscriptions by (account, id), the state before it, a need's cycle and alarm."""

    move: Move
    keys: Iterable[Key]
    before: str | None
    cycle: str | None = None
    alarm: str | None = None


async def tell(connection: Connection, dialect: Dialect, moves: Sequence[Moved]) -> None:
    """Write moves down, and tell of each as an event of each subscription that it is about: the one place that does."""
    await note(
        connection, dialect, [one.move._replace(reason="; ".join(filter(None, (one.move.reason, one.alarm))) or None) for one in moves]
    )
    await append(connection, dialect, [event for one in moves for event in _events(one)])


def _events(one: Moved) -> Iterator[Event]:
    move = one.move
    about: dict[str, Any] = {"rule": move.rule, "need": move.need, "enrollment": move.enrollment, "cycle": one.cycle, "alarm": one.alarm}
    for account, id_ in one.keys:
        data = FollowupMoved(action_subscription_id=id_, **about, before=one.before, state=move.state, reason=_told(one))
        yield Event(EventType.FOLLOWUP_MOVED, account, id_, move.at, data)


def _told(one: Moved) -> str | None:
    """A move's reason in words of ours: what a vendor or a person wrote may name somebody, and stays in the rows."""
    move = one.move
    if move.state == EnrollmentState.DEAD:
        return reasons.GIVEN_UP
    if move.enrollment is not None and (one.before, move.state) == (EnrollmentState.REQUESTED, EnrollmentState.PLANNED):
        return reasons.LATER
    return next((known for known in _BY_A_PERSON if (move.reason or "").startswith(known)), move.reason)


_KEYS = """
    SELECT DISTINCT t.enrollment, n.account, n.action_subscription_id FROM need_targets AS t JOIN needs AS n ON n.id = t.need
    WHERE t.enrollment = any($1) ORDER BY n.account, n.action_subscription_id"""


async def keys_of(connection: Connection, dialect: Dialect, ids: Collection[UUID]) -> dict[UUID, list[Key]]:
    """The subscriptions whose needs use each enrollment: those that its moves are told of."""
    found: dict[UUID, list[Key]] = {one: [] for one in ids}
    for row in await run(connection, dialect, _KEYS, sorted(map(str, ids))) if ids else ():
        found[UUID(str(row["enrollment"]))].append((row["account"], row["action_subscription_id"]))
    return found


_LAST_HOUR = """
    SELECT rule, counted, count(*) AS moves FROM (
        SELECT rule, CASE WHEN state = $3 THEN state WHEN coalesce(undoes, state = $4) THEN $4 END AS counted
        FROM followup_moves WHERE rule = any($1) AND at > $2 AND need IS NOT NULL
    ) AS moved WHERE counted IS NOT NULL GROUP BY rule, counted"""


async def last_hour(connection: Connection, dialect: Dialect, rules: Iterable[str], now: datetime) -> dict[str, dict[str, int]]:
    """How often needs of each rule moved on to where a seat is asked for or given back, in the hour before `now`."""
    names = sorted(set(rules))
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    for row in await run(connection, dialect, _LAST_HOUR, names, now - HOUR, ENROLLING.value, UNDOING.value):
        found[row["rule"]][row["counted"]] = row["moves"]
    return found
