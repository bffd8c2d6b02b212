"""Every move of a need or an enrollment, with its time and reason: written in the transaction that moves it, and counted by the guard."""

from collections.abc import Iterable, Mapping
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


async def tell(
    connection: Connection, dialect: Dialect, keys: Iterable[tuple[str, str]], move: Move, before: str | None, cycle: str | None = None
) -> None:
    """Write one move down, and tell of it as an event of each subscription, by (account, id), that it is about."""
    await note(connection, dialect, [move])
    about: dict[str, Any] = {"rule": move.rule, "need": move.need, "enrollment": move.enrollment, "cycle": cycle}
    told = [
        (account, id_, FollowupMoved(action_subscription_id=id_, **about, before=before, state=move.state, reason=move.reason))
        for account, id_ in keys
    ]
    await append(connection, dialect, [Event(EventType.FOLLOWUP_MOVED, account, id_, move.at, data) for account, id_, data in told])


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
