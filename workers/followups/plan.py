"""Planning where something has changed, in the transaction that changes it.

Two workers may plan at once. Everybody locks in one order: subscriptions by their keys, then seats, then the rows of enrollments;
so whoever plans sees what the other has planned, and of two needs that leave one seat the later gives it back. Last, and only where
something is to be done at a vendor, the rules: what they may do in an hour is counted before anybody else counts it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from schemas.accounts import Account
from schemas.logs import Log
from schemas.rules import Rule
from workers.causes import NOBODY, current
from workers.database import Connection, Dialect
from workers.followups import rule_states, touched
from workers.followups.case import Change, EnrollmentChange, NeedChange, Seat
from workers.followups.cases import Causes, Key, completed, involved, rooms
from workers.followups.planner import plan
from workers.followups.tables import Need as NeedRow
from workers.followups.tables import RuleState
from workers.followups.world import World
from workers.followups.written import Written
from workers.mirror.facts import Fact
from workers.statements import run

log = structlog.get_logger()

#: When to look again at what the planner failed on: it may take a correction of ours.
_MISTAKEN = timedelta(minutes=15)
#: How long to rely on it that nobody needs anything and no rule is applied, where there are no rules.
QUIET = timedelta(minutes=1)
_SUBSCRIPTIONS = """
    SELECT id FROM action_subscriptions WHERE account = $1 AND action_subscription_id = any($2)
    ORDER BY action_subscription_id COLLATE "C" FOR UPDATE"""
#: Any number beside which no other program locks in the same database.
_ADVISORY_LOCK = 0x6D757266
_SEATS = "SELECT pg_advisory_xact_lock($1, hashtext(seat)) FROM unnest($2::text[]) AS seat"
_RULE_LOCK = 0x6D757267
_ENROLLMENTS = "SELECT id FROM enrollments WHERE account = $1 AND learner = any($2) ORDER BY id FOR UPDATE"


class Followups:
    """The rules, and the accounts that they lead to."""

    def __init__(self, rules: Sequence[Rule], accounts: Mapping[str, Account]) -> None:
        self.rules, self._accounts = tuple(rules), accounts
        self._quiet_until: datetime | None = None

    async def plan(
        self, connection: Connection, dialect: Dialect, keys: Iterable[Key], now: datetime, causes: Causes | None = None
    ) -> None:
        """Plan for subscriptions, by (account, id), in the caller's transaction.

        What is to be done for one is done for its cause among these; where none are given, for that of what is being worked on.
        """
        wanted = sorted(set(keys))
        if not wanted or await self._idle(connection, now):
            return
        states = await rule_states.standing(connection, dialect)
        await self._plan(connection, dialect, wanted, states, now, causes)
        # Last: whoever walks has the subscriptions first, too.
        await rule_states.missed(connection, dialect, states, self.rules, now)

    async def _plan(
        self,
        connection: Connection,
        dialect: Dialect,
        wanted: Sequence[Key],
        states: Mapping[str, RuleState],
        now: datetime,
        causes: Causes | None,
    ) -> None:
        accounts = {key[0] for key in wanted}
        rules = {account: await rule_states.applied(connection, states, self.rules, account) for account in accounts}
        await hold(connection, dialect, wanted)
        world = await self._world(connection, dialect, wanted, rules, now)
        written = _planned(world, now, causes)
        if await _outrun(connection, dialect, world, now):
            written = _planned(await self._world(connection, dialect, wanted, rules, now), now, causes)
        await written.execute(connection, dialect)

    async def _world(
        self, connection: Connection, dialect: Dialect, keys: Sequence[Key], rules: Mapping[str, Sequence[Rule]], now: datetime
    ) -> World:
        world = await involved(connection, keys, rules, self._accounts)
        if world.subscriptions:
            await completed(connection, dialect, world, await _seats(connection, dialect, world), now)
        return world

    async def keys_of(self, connection: Connection, dialect: Dialect, facts: Collection[Fact]) -> set[Key]:
        """The subscriptions whose needs may wait for these results."""
        return await touched.keys_of(connection, dialect, facts, self._accounts)

    async def _idle(self, connection: Connection, now: datetime) -> bool:
        """Whether there is nothing to plan by: no rules, and nothing that rules of another day, or of others, have left."""
        if self.rules:
            return False
        if self._quiet_until is None or now >= self._quiet_until:
            held = [await model.all().using_db(connection).exists() for model in (NeedRow, RuleState)]
            self._quiet_until = None if any(held) else now + QUIET
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


async def hold_enrollments(connection: Connection, dialect: Dialect, seats: Collection[Seat]) -> None:
    """Lock seats, and after them every enrollment of whose they are."""
    await hold_seats(connection, dialect, seats)
    for account in sorted({seat[0] for seat in seats}):
        await run(connection, dialect, _ENROLLMENTS, account, sorted({seat[1] for seat in seats if seat[0] == account}))


async def _seats(connection: Connection, dialect: Dialect, world: World) -> set[Seat]:
    """The seats that planning may change, locked: also those that nobody has had yet."""
    seats = world.seats()
    if dialect == "sqlite" or not seats:
        return seats
    await hold_enrollments(connection, dialect, seats)
    return seats


async def _outrun(connection: Connection, dialect: Dialect, world: World, now: datetime) -> bool:
    """Whether others have used up meanwhile what the guard had left to this plan. Nobody else counts until the transaction's end."""
    if dialect == "sqlite" or world.rooms == world.allowed:
        return False
    await connection.execute_query(_SEATS, [_RULE_LOCK, sorted(world.rooms)])
    counted = await rooms(connection, dialect, world, now)
    return not all(counted[name].lets(one, world.rooms[name]) for name, one in world.allowed.items())


def _planned(world: World, now: datetime, causes: Causes | None) -> Written:
    written = Written(now)
    for key, change in changes(world, now, written.look_again):
        written.add(key, change, current() if causes is None else causes.get(key, NOBODY))
    return written


def changes(world: World, now: datetime, mistaken: Callable[[Key, datetime], None]) -> Iterator[tuple[Key, Change]]:
    """What follows for each subscription, one after another; where that is a mistake of ours, it is told when to look again."""
    for key in sorted(world.subscriptions):
        try:
            planned = plan(world.case(key, now))
        except Exception as error:  # noqa: BLE001 - what has changed in the mirror is written, whatever we make of it
            log.error(Log.PLANNING_FAILED, account=key[0], subject=key[1], error=type(error).__name__)
            mistaken(key, now + _MISTAKEN)
            continue
        for change in planned:
            _taken(world, change)
            yield key, change


def _taken(world: World, change: Change) -> None:
    """What one subscription's plan changes, the next one's sees."""
    if isinstance(change, EnrollmentChange):
        world.know(change.enrollment)
    elif isinstance(change, NeedChange):
        world.know(change.need)
        world.spend(change)
