"""Planning where something has changed, in the transaction that changes it.

Two workers may plan at once. Everybody locks in one order: subscriptions by their keys, then seats, then the rows of enrollments;
so whoever plans sees what the other has planned, and of two needs that leave one seat the later gives it back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from schemas.accounts import Account
from schemas.events import Event, EventType, FollowupMoved
from schemas.rules import Rule
from workers.bulk import Upsert
from workers.database import Connection, Dialect
from workers.followups import recording, rule_states, touched
from workers.followups.case import Certifies, Change, Enrollment, EnrollmentChange, Need, NeedChange, Recorded, RecordingPlanned, Seat
from workers.followups.cases import Key, World, completed, involved, spent
from workers.followups.moves import Move, note
from workers.followups.planner import plan
from workers.followups.tables import Need as NeedRow
from workers.mirror.facts import Fact
from workers.outbox import append
from workers.statements import run

#: How long to rely on it that nobody needs anything, where there are no rules.
_QUIET = timedelta(minutes=1)
_SUBSCRIPTIONS = """
    SELECT id FROM action_subscriptions WHERE account = $1 AND action_subscription_id = any($2)
    ORDER BY action_subscription_id COLLATE "C" FOR UPDATE"""
#: Any number beside which no other program locks in the same database.
_ADVISORY_LOCK = 0x6D757266
_SEATS = "SELECT pg_advisory_xact_lock($1, hashtext(seat)) FROM unnest($2::text[]) AS seat"
_ENROLLMENTS = "SELECT id FROM enrollments WHERE account = $1 AND learner = any($2) ORDER BY id FOR UPDATE"


class Followups:
    """The rules, and the accounts that they lead to."""

    def __init__(self, rules: Sequence[Rule], accounts: Mapping[str, Account]) -> None:
        self._rules, self._accounts = tuple(rules), accounts
        self._quiet_until: datetime | None = None

    async def plan(self, connection: Connection, dialect: Dialect, keys: Iterable[Key], now: datetime) -> None:
        """Plan for subscriptions, by (account, id), in the caller's transaction."""
        wanted = sorted(set(keys))
        if not wanted or await self._idle(connection, now):
            return
        rules = {account: await rule_states.applied(connection, self._rules, account) for account in {key[0] for key in wanted}}
        await hold(connection, dialect, wanted)
        world = await involved(connection, wanted, rules, self._accounts)
        if not world.subscriptions:
            return
        await completed(connection, dialect, world, await _seats(connection, dialect, world), now)
        written = _Written(now)
        for key in sorted(world.subscriptions):
            for change in plan(world.case(key, now)):
                _taken(world, change)
                written.add(key, change)
        await written.execute(connection, dialect)

    async def keys_of(self, connection: Connection, dialect: Dialect, facts: Collection[Fact]) -> set[Key]:
        """The subscriptions whose needs may wait for these results."""
        return await touched.keys_of(connection, dialect, facts, self._accounts)

    async def _idle(self, connection: Connection, now: datetime) -> bool:
        """Whether there is nothing to plan by: no rules, and no need that rules of another day have left."""
        if self._rules:
            return False
        if self._quiet_until is None or now >= self._quiet_until:
            self._quiet_until = None if await NeedRow.all().using_db(connection).exists() else now + _QUIET
        return self._quiet_until is not None


async def hold(connection: Connection, dialect: Dialect, keys: Iterable[Key]) -> None:
    """Lock subscriptions to the transaction's end, in the order in which everybody does."""
    if dialect == "sqlite":
        return  # one writer at a time
    groups: dict[str, list[str]] = {}
    for account, id in sorted(keys):  # noqa: A001
        groups.setdefault(account, []).append(id)
    for account, ids in groups.items():
        await run(connection, dialect, _SUBSCRIPTIONS, account, ids)


async def hold_seats(connection: Connection, dialect: Dialect, seats: Iterable[Seat]) -> None:
    """Lock seats, whether or not somebody has had them yet; after the subscriptions, before their enrollments."""
    if dialect == "postgres":
        await connection.execute_query(_SEATS, [_ADVISORY_LOCK, ["\n".join(seat) for seat in sorted(seats)]])


async def _seats(connection: Connection, dialect: Dialect, world: World) -> set[Seat]:
    """The seats that planning may change, locked: also those that nobody has had yet."""
    seats = world.seats()
    if dialect == "sqlite" or not seats:
        return seats
    await hold_seats(connection, dialect, seats)
    for account in sorted({seat[0] for seat in seats}):
        await run(connection, dialect, _ENROLLMENTS, account, sorted({seat[1] for seat in seats if seat[0] == account}))
    return seats


def _taken(world: World, change: Change) -> None:
    """What one subscription's plan changes, the next one's sees."""
    if isinstance(change, EnrollmentChange):
        world.know(change.enrollment)
    elif isinstance(change, NeedChange):
        world.know(change.need)
        spent(world, change.need, change.before)


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
    },
    key=("id",),
    update=("digest", "plan", "state", "reason", "state_at", "due_at", "attempt", "wait_until", "look_at", "approvals", "released_at"),
)
_TARGETS = Upsert(
    "need_targets",
    {"need": "uuid", "step": "integer", "state": "text", "enrollment": "uuid", "result": "jsonb"},
    key=("need", "step"),
    update=("state", "enrollment", "result"),
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
    {"id": "uuid", **dict.fromkeys(("account", "kind", "learner", "target"), "text"), "round": "integer", **_SEATS_CHANGED},
    key=("id",),
    update=tuple(_SEATS_CHANGED),
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
    },
    key=("need", "step"),
)
_CERTIFIED = Upsert(
    "certified",
    {"account": "text", "action_subscription_id": "text", "result": "text", "need": "uuid", "at": "timestamptz"},
    key=("account", "action_subscription_id", "result"),
)


class _Written:
    """The changes of a batch as rows, with the moves and events that tell of them."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._needs, self._targets, self._seats = list[dict[str, Any]](), list[dict[str, Any]](), dict[Any, dict[str, Any]]()
        self._recordings, self._certified = list[dict[str, Any]](), list[dict[str, Any]]()
        self._moves, self._events = list[Move](), list[Event]()

    def add(self, key: Key, change: Change) -> None:
        """One change of this subscription's."""
        match change:
            case EnrollmentChange(seat, before):
                self._seats[seat.id] = _seat_row(seat)
                if before is None or before.state is not seat.state:
                    self._moves.append(Move(seat.state.value, self._now, seat.reason, enrollment=seat.id))
                    self._tell(key, seat, before)
            case NeedChange(need, before):
                self._needs.append(_need_row(need))
                self._targets += _target_rows(need)
                if before is None or (before.state, before.reason) != (need.state, need.reason):
                    self._moves.append(Move(need.state.value, self._now, need.reason, need=need.id, rule=need.rule.name))
                    self._tell(key, need, before)
            case RecordingPlanned(row):
                self._recordings.append(_recording_row(key[0], row, self._now))
            case Certifies(result, by):
                ids = {"account": key[0], "action_subscription_id": key[1]}
                self._certified.append({**ids, "result": result, "need": by, "at": self._now})

    async def execute(self, connection: Connection, dialect: Dialect) -> None:
        """Write them."""
        await _SEATS_WRITTEN.execute(connection, dialect, list(self._seats.values()))
        await _NEEDS.execute(connection, dialect, self._needs)
        await _TARGETS.execute(connection, dialect, self._targets)
        await _RECORDINGS.execute(connection, dialect, self._recordings)
        await _CERTIFIED.execute(connection, dialect, self._certified)
        await note(connection, dialect, self._moves)
        await append(connection, dialect, self._events)

    def _tell(self, key: Key, now: Need | Enrollment, before: Need | Enrollment | None) -> None:
        moved = {"before": before.state.value if before else None, "state": now.state.value, "reason": now.reason}
        if isinstance(now, Need):
            about = {"rule": now.rule.name, "need": now.id, "cycle": now.cycle}
        else:
            about = {"rule": None, "enrollment": now.id}
        data = FollowupMoved(action_subscription_id=key[1], **about, **moved)
        self._events.append(Event(EventType.FOLLOWUP_MOVED, *key, self._now, data))


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
        {"need": need.id, "step": number, "state": step.state.value, "enrollment": step.enrollment, "result": step.result}
        for number, step in enumerate(need.steps)
    ]


def _seat_row(seat: Enrollment) -> dict[str, Any]:
    row = {name: getattr(seat, name) for name in ("id", "account", "learner", "target", "round", *_SEATS_CHANGED)}
    return row | {"kind": seat.kind.value, "state": seat.state.value, "wish": seat.wish and seat.wish.value}


def _recording_row(account: str, row: Recorded, now: datetime) -> dict[str, Any]:
    given = {"id": row.id, "need": row.need, "account": account, "step": row.step, "state": recording.PLANNED, "body": row.body}
    return {**given, "remote": row.remote, "due_at": now, "attempts": 0, "error": None, "state_at": now}
