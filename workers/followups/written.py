"""The changes of a plan as rows, with the moves and alarms that tell of them."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from schemas.logs import Log
from schemas.states import NeedState
from workers.bulk import Upsert
from workers.causes import COLUMNS, Cause
from workers.database import Connection, Dialect
from workers.followups import reasons, recording
from workers.followups.case import Certifies, Change, Enrollment, EnrollmentChange, Need, NeedChange, Recorded, RecordingPlanned
from workers.followups.cases import Key
from workers.followups.moves import Move, Moved, keys_of, tell
from workers.statements import run

log = structlog.get_logger()

_NEEDS = Upsert(
    "needs",
    {
        "id": "uuid",
        "account": "text",
        "action_subscription_id": "text",
        "rule": "text",
        "cycle": "text",
        "digest": "text",
        "plan": "jsonb",
        "state": "text",
        "reason": "text",
        "state_at": "timestamptz",
        "opened_at": "timestamptz",
        "created_at": "timestamptz",
        "due_at": "timestamptz",
        "attempt": "integer",
        "wait_until": "timestamptz",
        "look_at": "timestamptz",
        "approvals": "jsonb",
        "released_at": "timestamptz",
        "alarm": "text",
    },
    key=("id",),
    update=(
        *("digest", "plan", "state", "reason", "state_at", "opened_at", "due_at", "attempt", "wait_until", "look_at"),
        *("approvals", "released_at", "alarm"),
    ),
)
_TARGETS = Upsert(
    "need_targets",
    {"need": "uuid", "step": "integer", "state": "text", "enrollment": "uuid", "result": "jsonb", "due_at": "timestamptz"},
    key=("need", "step"),
    update=("state", "enrollment", "result", "due_at"),
)
_SEATS_CHANGED = {
    "state": "text",
    "reason": "text",
    "state_at": "timestamptz",
    "found": "boolean",
    "wish": "text",
    "due_at": "timestamptz",
    "attempts": "integer",
    "error": "text",
    "terms": "jsonb",
    "start_on": "date",
    "expire_on": "date",
    "remote": "text",
    "enrolled_at": "timestamptz",
}
_SEATS_WRITTEN = Upsert(
    "enrollments",
    {
        "id": "uuid",
        "account": "text",
        "kind": "text",
        "learner": "text",
        "target": "text",
        "round": "integer",
        **_SEATS_CHANGED,
        **COLUMNS,
    },
    key=("id",),
    # Another wish is another's cause, whether or not that is known.
    update={name: f"new.{name}" for name in _SEATS_CHANGED}
    | {
        name: f"CASE WHEN coalesce(new.wish, '') = coalesce(old.wish, '') THEN coalesce(new.{name}, old.{name}) ELSE new.{name} END"
        for name in COLUMNS
    },
)
_RECORDINGS = Upsert(
    "recordings",
    {
        "id": "uuid",
        "need": "uuid",
        "account": "text",
        "step": "text",
        "state": "text",
        "body": "jsonb",
        "remote": "text",
        "due_at": "timestamptz",
        "attempts": "integer",
        "error": "text",
        "state_at": "timestamptz",
        **COLUMNS,
    },
    key=("need", "step"),
)
_CERTIFIED = Upsert(
    "certified",
    {"account": "text", "action_subscription_id": "text", "result": "text", "need": "uuid", "at": "timestamptz"},
    key=("account", "action_subscription_id", "result"),
)


_LOOK_AGAIN = """
    UPDATE action_subscriptions SET changes_at = $3
    WHERE account = $1 AND action_subscription_id = $2 AND (changes_at IS NULL OR changes_at > $3)"""


class Written:
    """The changes of a batch as rows, with the moves that tell of them."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._needs, self._targets, self._seats = list[dict[str, Any]](), list[dict[str, Any]](), dict[Any, dict[str, Any]]()
        self._recordings, self._certified = list[dict[str, Any]](), list[dict[str, Any]]()
        self._moves, self._alarming = list[Moved](), list[Need]()
        self._again = list[tuple[Key, datetime]]()

    def add(self, key: Key, change: Change, cause: Cause) -> None:
        """One change of this subscription's, and for whose sake what follows is to be done."""
        match change:
            case EnrollmentChange(seat, before):
                self._seats[seat.id] = _seat_row(seat) | cause.row
                if before is None or before.state is not seat.state:
                    move = Move(seat.state.value, self._now, seat.reason, enrollment=seat.id)
                    self._moves.append(Moved(move, {key}, before.state.value if before else None))
            case NeedChange(need):
                self._needs.append(_need_row(need))
                self._targets += _target_rows(need)
                self._moved(key, change)
            case RecordingPlanned(row):
                self._recordings.append(_recording_row(key[0], row, self._now) | cause.row)
            case Certifies(result, by):
                ids = {"account": key[0], "action_subscription_id": key[1]}
                self._certified.append({**ids, "result": result, "need": by, "at": self._now})

    def look_again(self, key: Key, at: datetime) -> None:
        """Have the clock look at a subscription then, or before."""
        self._again.append((key, at))

    async def execute(self, connection: Connection, dialect: Dialect) -> None:
        """Write them."""
        await _SEATS_WRITTEN.execute(connection, dialect, list(self._seats.values()))
        await _NEEDS.execute(connection, dialect, self._needs)
        await _TARGETS.execute(connection, dialect, self._targets)
        await _RECORDINGS.execute(connection, dialect, self._recordings)
        await _CERTIFIED.execute(connection, dialect, self._certified)
        for (account, subscription), at in self._again:
            await run(connection, dialect, _LOOK_AGAIN, account, subscription, at)
        await self._tell(connection, dialect)
        for need in self._alarming:
            log.warning(Log.FOLLOWUP_ALARM, need=str(need.id), rule=need.rule.name, account=need.account, state=need.state.value)

    async def _tell(self, connection: Connection, dialect: Dialect) -> None:
        """A seat's moves are told to all whose needs use it, whoever's planning moved it."""
        users = await keys_of(connection, dialect, [one.move.enrollment for one in self._moves if one.move.enrollment is not None])
        also = [users[one.move.enrollment] if one.move.enrollment is not None else () for one in self._moves]
        await tell(
            connection, dialect, [one._replace(keys=sorted({*one.keys, *more})) for one, more in zip(self._moves, also, strict=True)]
        )

    def _moved(self, key: Key, change: NeedChange) -> None:
        """The moves of a need, each of which is told: the guard counts what is to be asked for, whatever the need shows at last."""
        need, before = change.need, change.before
        if change.asks and need.state is not NeedState.PLANNED:
            through = replace(need, state=NeedState.PLANNED, reason=reasons.NEXT_TARGET, alarm=None)
            self._note(key, through, before)
            before = through
        if before is None or _shown(before) != _shown(need):
            self._note(key, need, before, undoes=change.undoes)
        if need.alarm is not None and (before is None or before.alarm != need.alarm):
            self._alarming.append(need)

    def _note(self, key: Key, need: Need, before: Need | None, *, undoes: bool = False) -> None:
        move = Move(need.state.value, self._now, need.reason, need=need.id, rule=need.rule.name, undoes=undoes)
        self._moves.append(Moved(move, {key}, before.state.value if before else None, need.cycle, need.alarm))


def _need_row(need: Need) -> dict[str, Any]:
    same = (
        "id",
        "account",
        "cycle",
        "reason",
        "state_at",
        "opened_at",
        "created_at",
        "due_at",
        "attempt",
        "wait_until",
        "look_at",
        "released_at",
        "alarm",
    )
    return {
        **{name: getattr(need, name) for name in same},
        "action_subscription_id": need.subscription,
        "rule": need.rule.name,
        "digest": need.rule.digest,
        "plan": need.rule.snapshot(),
        "state": need.state.value,
        "approvals": sorted(need.approvals),
    }


def _target_rows(need: Need) -> list[dict[str, Any]]:
    return [
        {
            "need": need.id,
            "step": number,
            "state": step.state.value,
            "enrollment": step.enrollment,
            "result": step.result,
            "due_at": step.due_at,
        }
        for number, step in enumerate(need.steps)
    ]


def _shown(need: Need) -> tuple[NeedState, str | None, str | None]:
    return need.state, need.reason, need.alarm


def _seat_row(seat: Enrollment) -> dict[str, Any]:
    row = {name: getattr(seat, name) for name in ("id", "account", "learner", "target", "round", *_SEATS_CHANGED)}
    return row | {"kind": seat.kind.value, "state": seat.state.value, "wish": seat.wish and seat.wish.value}


def _recording_row(account: str, row: Recorded, now: datetime) -> dict[str, Any]:
    given = {"id": row.id, "need": row.need, "account": account, "step": row.step, "state": recording.PLANNED, "body": row.body}
    return {**given, "remote": row.remote, "due_at": now, "attempts": 0, "error": None, "state_at": now}
