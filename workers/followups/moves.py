"""Every move of a need or an enrollment, with its time and reason: written in the transaction that moves it, and counted by the guard."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from schemas.events import Event, EventType, FollowupMoved
from workers.bulk import Upsert
from workers.database import Connection, Dialect
from workers.followups.guard import ENROLLING, UNDOING
from workers.outbox import append
from workers.statements import run

HOUR = timedelta(hours=1)

_COLUMNS = {"need": "uuid", "enrollment": "uuid", "rule": "text", "state": "text", "reason": "text", "at": "timestamptz"}
_MOVES = Upsert("followup_moves", _COLUMNS, key=("id",))


class Move(NamedTuple):
    """One move, of a need (with its rule) or of an enrollment."""

    state: str
    at: datetime
    reason: str | None = None
    need: UUID | None = None
    enrollment: UUID | None = None
    rule: str | None = None


async def note(connection: Connection, dialect: Dialect, moves: Iterable[Move]) -> None:
    """Write moves down."""
    rows: list[Mapping[str, Any]] = [move._asdict() for move in moves]
    await _MOVES.execute(connection, dialect, rows)


class Moved(NamedTuple):
    """A move and what it is about: subscriptions by (account, id), the state before it, and a need's cycle."""

    move: Move
    keys: Iterable[tuple[str, str]]
    before: str | None
    cycle: str | None = None


async def tell(connection: Connection, dialect: Dialect, moves: Sequence[Moved]) -> None:
    """Write moves down, and tell of each as an event of each subscription that it is about."""
    await note(connection, dialect, [one.move for one in moves])
    await append(connection, dialect, [event for one in moves for event in _events(one)])


def _events(one: Moved) -> Iterator[Event]:
    move = one.move
    about: dict[str, Any] = {"rule": move.rule, "need": move.need, "enrollment": move.enrollment, "cycle": one.cycle}
    for account, id_ in one.keys:
        data = FollowupMoved(action_subscription_id=id_, **about, before=one.before, state=move.state, reason=move.reason)
        yield Event(EventType.FOLLOWUP_MOVED, account, id_, move.at, data)


_LAST_HOUR = """
    SELECT rule, state, count(*) AS moves FROM followup_moves
    WHERE rule = any($1) AND at > $2 AND need IS NOT NULL AND state = any($3) GROUP BY rule, state"""


async def last_hour(connection: Connection, dialect: Dialect, rules: Iterable[str], now: datetime) -> dict[str, dict[str, int]]:
    """How often needs of each rule moved into the states that the guard counts, in the hour before `now`."""
    names = sorted(set(rules))
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    states = [ENROLLING.value, UNDOING.value]
    for row in await run(connection, dialect, _LAST_HOUR, names, now - HOUR, states):
        found[row["rule"]][row["state"]] = row["moves"]
    return found
