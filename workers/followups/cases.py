"""Cases as the database holds them: what the planner has to know of many subscriptions, in a few queries for all of them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from tortoise.models import Model

from schemas.accounts import Account
from schemas.rules import Rule, matches
from schemas.states import EnrollmentState, EnrollmentWish, NeedState, TargetKind
from workers.database import Connection, Dialect
from workers.followups import directory, moves, readings, tables
from workers.followups.case import Enrollment, Need, Recorded, Seat, Step, Subscription
from workers.followups.guard import Room, room
from workers.followups.identities import asked, learner
from workers.followups.results import Result
from workers.followups.world import World
from workers.mirror.tables import Action, ActionSubscription, Attendance, CourseResult, Observation, SessionEnrollment

Key = tuple[str, str]
#: How the trace of what changed each subscription goes on; None where it is not traced.
Traces = Mapping[Key, str | None]

#: How many values one condition may have.
_PART = 500


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
        held = await _versions(SessionEnrollment, connection, "action_subscription_id", ids, "action_session_subscription_id", account)
        for result in readings.session_enrollments(held, zone):
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
    limits = _limits(world)
    moved = await moves.last_hour(connection, dialect, limits, now) if limits else {}
    return {name: room(limit, moved[name]) for name, limit in limits.items()}


def _limits(world: World) -> dict[str, int]:
    """What each rule in play may do in an hour, as it is applied now; one that is applied no more, as the strictest of its needs has it."""
    limits = dict[str, int]()
    for rule in (rule for key in world.subscriptions for rule in world.in_play(key)):
        limits[rule.name] = min(rule.max_per_hour, limits.get(rule.name, rule.max_per_hour))
    return limits | {rule.name: rule.max_per_hour for rules in world.rules.values() for rule in rules if rule.name in limits}


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
            _keep(world, account, pairs, readings.course_results(rows))
        elif kind is TargetKind.OBSERVATION:
            rows = await _versions(Observation, connection, "employee_id", whose, "session_id", account)
            _keep(world, account, pairs, readings.observations(rows))
        elif kind is TargetKind.EXERCISE:
            await _attendances(connection, world, account)


async def _attendances(connection: Connection, world: World, account: str) -> None:
    """Who came to the exercises that were planned, by the exercise."""
    planned = (one for one in world.enrollments.values() if one.kind is TargetKind.EXERCISE and one.account == account and one.remote)
    seats = {one.remote: one.seat for one in planned}
    rows = await _rows(Attendance, connection, "intervention_id", [int(remote) for remote in seats if remote], account=account)
    for result in readings.attendances(rows):
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


async def _versions(
    model: type[Model], connection: Connection, column: str, values: Iterable[Any], key: str, account: str
) -> list[dict[str, Any]]:
    """Every version of what has, or once had, one of the values there: by now it may be another's."""
    had = {row[key] for row in await _rows(model, connection, column, values, account=account)}
    return await _rows(model, connection, key, had, account=account)


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
    wish, given = row["wish"], {name: row[name] for name in row if name not in ("kind", "state", "wish", "trace")}
    return Enrollment(
        kind=TargetKind(row["kind"]), state=EnrollmentState(row["state"]), wish=EnrollmentWish(wish) if wish else None, **given
    )


def _recorded(row: Mapping[str, Any]) -> Recorded:
    return Recorded(row["id"], row["need"], row["step"], row["state"], row["body"], row["remote"], row["error"])
