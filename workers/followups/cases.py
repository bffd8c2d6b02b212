"""Cases as the database holds them: what the planner has to know of many subscriptions, in a few queries for all of them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from tortoise.models import Model

from schemas.accounts import Account, FourhseAccount
from schemas.rules import Rule, Target, matches
from schemas.states import EnrollmentState, EnrollmentWish, NeedState, TargetKind
from workers.causes import COLUMNS, Cause
from workers.database import Connection, Dialect
from workers.followups import directory, moves, results, tables
from workers.followups.case import Case, Enrollment, Need, Recorded, Seat, Step, Subscription
from workers.followups.guard import UNDOING, Room, room
from workers.followups.identities import asked, learner
from workers.followups.planner import kept, waited_for
from workers.followups.results import Result
from workers.mirror.tables import Action, ActionSubscription, Attendance, CourseResult, Observation, SessionEnrollment

Key = tuple[str, str]
#: What changed each subscription; where nothing is said, no webhook did.
Causes = Mapping[Key, Cause]

#: How many values one condition may have.
_PART = 500
_UTC = ZoneInfo("UTC")


@dataclass(slots=True)
class World:
    """The subscriptions of a batch with everything about them; what one of them changes, the next one sees."""

    subscriptions: dict[Key, Subscription]
    rules: Mapping[str, Sequence[Rule]]
    accounts: Mapping[str, Account]
    #: All needs of the subscriptions, and others that use the same enrollments.
    needs: dict[UUID, Need] = field(default_factory=dict)
    enrollments: dict[UUID, Enrollment] = field(default_factory=dict)
    #: The rules that hold for each, the needs of each, who names an enrollment, and the rounds of a seat.
    holding: dict[Key, tuple[Rule, ...]] = field(default_factory=dict)
    needing: defaultdict[Key, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    naming: defaultdict[UUID, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    rounds: defaultdict[Seat, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    learners: dict[Key, dict[tuple[TargetKind, str], str]] = field(default_factory=dict)
    results: dict[Seat, list[Result]] = field(default_factory=dict)
    certified: defaultdict[Key, dict[str, UUID]] = field(default_factory=lambda: defaultdict(dict))
    recordings: defaultdict[UUID, list[Recorded]] = field(default_factory=lambda: defaultdict(list))
    #: What the guard left to each rule when it was asked, and what it leaves by now.
    allowed: dict[str, Room] = field(default_factory=dict)
    rooms: dict[str, Room] = field(default_factory=dict)
    sessions: defaultdict[Key, list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    actions: dict[Key, Mapping[str, Any]] = field(default_factory=dict)

    def case(self, key: Key, now: datetime) -> Case:
        """One of them as it stands now."""
        subscription = self.subscriptions[key]
        needs = tuple(self._needs_of(key))
        seats = {(account, who, target.target) for target, account, who in self.wanted(key)}
        ids = {step.enrollment for need in needs for step in need.steps} | {id for seat in seats for id in self.rounds.get(seat, ())}  # noqa: A001
        enrollments = tuple(self.enrollments[id] for id in sorted(id for id in ids if id in self.enrollments))  # noqa: A001
        naming = {id for one in enrollments for id in self.naming.get(one.id, ())} - self.needing[key]  # noqa: A001
        others = [self.needs[id] for id in naming]  # noqa: A001
        return Case(
            subscription,
            now,
            self.zone(key[0]),
            rules=tuple(self.rules.get(key[0], ())),
            needs=needs,
            enrollments=enrollments,
            used_elsewhere=frozenset(id for need in others for id in waited_for(need)),  # noqa: A001
            kept_elsewhere=frozenset(id for need in others for id in kept(need)),  # noqa: A001
            learners=self.learners.get(key, {}),
            results=self.results,
            certified=self.certified.get(key, {}),
            recordings={need.id: self.recordings[need.id] for need in needs if need.id in self.recordings},
            room=self.rooms,
            confirmed=self._confirmed(subscription),
            session_enrollments=tuple(self.sessions.get(key, ())),
            action=self.actions.get((key[0], subscription.row.get("action_id") or "")),
        )

    def zone(self, account: str) -> ZoneInfo:
        """Where the days of a 4HSE account begin."""
        settings = self.accounts.get(account)
        return ZoneInfo(settings.time_zone) if isinstance(settings, FourhseAccount) else _UTC

    def in_play(self, key: Key) -> Iterator[Rule]:
        """The rules that hold for a subscription, and those of its needs."""
        yield from self.holding[key]
        yield from (need.rule for need in self._needs_of(key))

    def know(self, *found: Need | Enrollment) -> None:
        """Needs and enrollments as they are now."""
        for one in found:
            if isinstance(one, Enrollment):
                self.enrollments[one.id] = one
                self.rounds[one.seat].add(one.id)
                continue
            self.needs[one.id] = one
            self.needing[one.account, one.subscription].add(one.id)
            for step in one.steps:
                if step.enrollment is not None:
                    self.naming[step.enrollment].add(one.id)

    def _needs_of(self, key: Key) -> list[Need]:
        return sorted((self.needs[id] for id in self.needing.get(key, ())), key=lambda need: (need.created_at, need.id))  # noqa: A001

    def seats(self) -> set[Seat]:
        """Whose seats in what any of them wants or names."""
        wanted = {(account, who, target.target) for key in self.subscriptions for target, account, who in self.wanted(key)}
        return wanted | {one.seat for one in self.enrollments.values()}

    def wanted(self, key: Key) -> Iterator[tuple[Target, str, str]]:
        """Targets that it needs, each with its account and who the subscription is there."""
        learners = self.learners.get(key, {})
        for rule in self.in_play(key):
            for target in rule.targets():
                if (who := learners.get((target.kind, target.account))) is not None:
                    yield target, target.account, who

    def _confirmed(self, subscription: Subscription) -> bool:
        """Whether a fetch decided last about the row; without an API a hint does."""
        row = subscription.row
        fetched, hinted = row.get("fetch_covers"), row.get("hint_last_at")
        return subscription.account not in self.accounts or (fetched is not None and (hinted is None or hinted < fetched))


async def involved(
    connection: Connection, keys: Iterable[Key], rules: Mapping[str, Sequence[Rule]], accounts: Mapping[str, Account]
) -> World:
    """The subscriptions of these keys of which any has a need or a rule that holds, with their needs and who they are elsewhere."""
    world = World({}, rules, accounts)
    for account, ids in _by_account(keys):
        found = await _rows(ActionSubscription, connection, "action_subscription_id", ids, account=account)
        world.subscriptions |= {
            (account, row["action_subscription_id"]): Subscription(account, row["action_subscription_id"], row) for row in found
        }
        await _needs(connection, world, await _rows(tables.Need, connection, "action_subscription_id", ids, account=account))
    for key, one in world.subscriptions.items():
        world.holding[key] = tuple(rule for rule in rules.get(key[0], ()) if not matches(rule.when, one.row))
    world.subscriptions = {key: one for key, one in world.subscriptions.items() if world.holding[key] or world.needing.get(key)}
    await _learners(connection, world)
    named = {step.enrollment for need in world.needs.values() for step in need.steps if step.enrollment is not None}
    world.know(*map(_enrollment, await _rows(tables.Enrollment, connection, "id", named)))
    return world


async def completed(connection: Connection, dialect: Dialect, world: World, seats: Iterable[Seat], now: datetime) -> None:
    """Everything else about them, once nobody can change it any more."""
    await _enrollments(connection, world, seats)
    await _results(connection, world)
    for account, ids in _by_account(world.subscriptions):
        zone = world.zone(account)
        held = await _rows(SessionEnrollment, connection, "action_subscription_id", ids, account=account)
        for result in results.session_enrollments(held, zone):
            for target in {"next", result.target}:
                world.results.setdefault((account, result.learner, target), []).append(result)
        current = (row for row in held if row["superseded_at"] is None and not row["withdrawn"])
        for row in sorted(current, key=lambda row: (str(row["session_date_begin"] or ""), row["action_session_subscription_id"])):
            world.sessions[account, row["action_subscription_id"]].append(row)
        for row in await _rows(tables.Certified, connection, "action_subscription_id", ids, account=account):
            world.certified[account, row["action_subscription_id"]][row["result"]] = row["need"]
        actions = {one.row["action_id"] for key, one in world.subscriptions.items() if key[0] == account and one.row.get("action_id")}
        world.actions |= {
            (account, row["action_id"]): row for row in await _rows(Action, connection, "action_id", actions, account=account)
        }
    for row in await _rows(tables.Recording, connection, "need", world.needs):
        world.recordings[row["need"]].append(_recorded(row))
    world.allowed = await rooms(connection, dialect, world, now)
    world.rooms = dict(world.allowed)


async def rooms(connection: Connection, dialect: Dialect, world: World, now: datetime) -> dict[str, Room]:
    """What the guard leaves to each rule in play, by what is committed."""
    rules = {rule.name: rule for key in world.subscriptions for rule in world.in_play(key)}
    moved = await moves.last_hour(connection, dialect, rules, now) if rules else {}
    return {name: room(rule.max_per_hour, moved[name]) for name, rule in rules.items()}


def spent(world: World, need: Need, before: Need | None) -> None:
    """Count a need's move against its rule's guard, as the moves that are written will be."""
    left = world.rooms.get(need.rule.name)
    if left is None:
        return
    undoing = need.state == UNDOING and (before is None or before.state is not need.state)
    world.rooms[need.rule.name] = Room(max(0, left.enrolling - asks(need, before)), max(0, left.undoing - undoing))


def asks(need: Need, before: Need | None) -> bool:
    """Whether a need moves on to where a seat is to be asked for, though another of its targets may show another state."""
    held = {None, *(step.enrollment for step in before.steps)} if before else {None}
    took = any(step.state is NeedState.PLANNED and step.enrollment not in held for step in need.steps)
    return took or (need.state is NeedState.PLANNED and (before is None or before.state is not NeedState.PLANNED))


async def _needs(connection: Connection, world: World, rows: Sequence[Mapping[str, Any]]) -> None:
    steps: defaultdict[UUID, dict[int, Step]] = defaultdict(dict)
    for one in await _rows(tables.NeedTarget, connection, "need", [row["id"] for row in rows]):
        steps[one["need"]][one["step"]] = Step(NeedState(one["state"]), one["enrollment"], one["result"], one["due_at"])
    for row in rows:
        world.know(_need(row, tuple(steps[row["id"]][number] for number in sorted(steps[row["id"]]))))


async def _learners(connection: Connection, world: World) -> None:
    """Who each of them is in the accounts that its rules lead to."""
    targets = {key: {(one.kind, one.account) for rule in world.in_play(key) for one in rule.targets()} for key in world.subscriptions}
    rows = {key: one.row for key, one in world.subscriptions.items()}
    here = {found[1] for key, wanted in targets.items() for kind, _ in wanted if (found := asked(kind, rows[key]))}
    known = await directory.known(connection, {account for wanted in targets.values() for _, account in wanted}, here) if here else {}
    for key, wanted in targets.items():
        for kind, account in wanted:
            settings = world.accounts.get(account)
            who = None if settings is None else learner(kind, settings, rows[key], known.get(account, {}))
            if who is not None:
                world.learners.setdefault(key, {})[kind, account] = who


async def _enrollments(connection: Connection, world: World, seats: Iterable[Seat]) -> None:
    """Every round of the seats, and the needs that use them."""
    wanted = set(seats)
    for account, learners in _by_account((account, who) for account, who, _ in wanted):
        rows = await _rows(tables.Enrollment, connection, "learner", learners, account=account)
        world.know(*(one for one in map(_enrollment, rows) if one.seat in wanted))
    using = {row["need"] for row in await _rows(tables.NeedTarget, connection, "enrollment", world.enrollments)}
    await _needs(connection, world, await _rows(tables.Need, connection, "id", using - world.needs.keys()))


async def _results(connection: Connection, world: World) -> None:
    """What the learners of the seats have reached."""
    wanted: defaultdict[tuple[TargetKind, str], set[tuple[str, str]]] = defaultdict(set)
    for key in world.subscriptions:
        for target, account, who in world.wanted(key):
            wanted[target.kind, account].add((who, target.target))
    for one in world.enrollments.values():
        wanted[one.kind, one.account].add((one.learner, one.target))
    for (kind, account), pairs in wanted.items():
        whose = {who for who, _ in pairs}
        if kind is TargetKind.COURSE:
            rows = await _rows(CourseResult, connection, "learner", whose, account=account, activity="", attempt=0)
            _keep(world, account, pairs, results.course_results(rows))
        elif kind is TargetKind.OBSERVATION:
            rows = await _rows(Observation, connection, "employee_id", whose, account=account)
            _keep(world, account, pairs, results.observations(rows))
        elif kind is TargetKind.EXERCISE:
            await _attendances(connection, world, account)


async def _attendances(connection: Connection, world: World, account: str) -> None:
    """Who came to the exercises that were planned, by the exercise."""
    planned = (one for one in world.enrollments.values() if one.kind is TargetKind.EXERCISE and one.account == account and one.remote)
    seats = {one.remote: one.seat for one in planned}
    rows = await _rows(Attendance, connection, "intervention_id", [int(remote) for remote in seats if remote], account=account)
    for result in results.attendances(rows):
        world.results.setdefault(seats[result.target], []).append(result)


def _keep(world: World, account: str, pairs: set[tuple[str, str]], found: Iterable[Result]) -> None:
    for one in found:
        if (one.learner, one.target) in pairs:
            world.results.setdefault((account, one.learner, one.target), []).append(one)


def _by_account(keys: Iterable[Key]) -> Iterator[tuple[str, list[str]]]:
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for account, id in keys:  # noqa: A001
        groups[account].add(id)
    yield from ((account, sorted(groups[account])) for account in sorted(groups))


async def _rows(model: type[Model], connection: Connection, column: str, values: Iterable[Any], **same: Any) -> list[dict[str, Any]]:
    """Rows of a table whose column has one of the values."""
    wanted, found = sorted(set(values)), list[dict[str, Any]]()
    for start in range(0, len(wanted), _PART):
        found += await model.filter(**same, **{f"{column}__in": wanted[start : start + _PART]}).using_db(connection).values()
    return found


@lru_cache(maxsize=1000)
def rule_of(snapshot: str) -> Rule:
    """The rule of a need, by its `plan` as JSON."""
    return Rule.from_snapshot(json.loads(snapshot))


def _need(row: Mapping[str, Any], steps: tuple[Step, ...]) -> Need:
    return Need(
        id=row["id"],
        account=row["account"],
        subscription=row["action_subscription_id"],
        rule=rule_of(json.dumps(row["plan"], sort_keys=True)),
        cycle=row["cycle"],
        state=NeedState(row["state"]),
        approvals=frozenset(row["approvals"]),
        steps=steps,
        **{name: row[name] for name in _NEED},
    )


_NEED = ("reason", "state_at", "opened_at", "created_at", "due_at", "attempt", "wait_until", "look_at", "released_at", "alarm")


def _enrollment(row: Mapping[str, Any]) -> Enrollment:
    wish, given = row["wish"], {name: row[name] for name in row if name not in ("kind", "state", "wish", *COLUMNS)}
    return Enrollment(
        kind=TargetKind(row["kind"]), state=EnrollmentState(row["state"]), wish=EnrollmentWish(wish) if wish else None, **given
    )


def _recorded(row: Mapping[str, Any]) -> Recorded:
    return Recorded(row["id"], row["need"], row["step"], row["state"], row["body"], row["remote"], row["error"])
