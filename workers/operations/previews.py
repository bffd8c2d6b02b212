"""What a rule would do if it were applied now, as the planner tells it: what it would begin, and what the guard would hold."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from schemas.accounts import Account
from schemas.rules import Rule
from schemas.states import NeedState
from workers.database import Database
from workers.followups import rule_states
from workers.followups.case import Change, Enrollment, EnrollmentChange, Need, NeedChange, Seat, Subscription
from workers.followups.cases import completed, involved
from workers.followups.guard import Room
from workers.followups.plan import changes
from workers.followups.tables import RuleState
from workers.followups.walks import PART
from workers.followups.world import World
from workers.operations.rules import state_of, unfilled_of

#: What becomes of a need that begins; any other state is one in which its rule goes on by itself.
_OUTCOMES: Mapping[NeedState, str] = {NeedState.UNMATCHED: "unmatched", NeedState.HELD: "held"}
_OVER = (NeedState.VALID, NeedState.UNDONE)


@dataclass(frozen=True, slots=True)
class Shown:
    """A subscription for which a rule holds, and what it would do there: enroll, held, unmatched, or planned (nothing: it has a need)."""

    account: str
    subscription: str
    action_code: str | None
    subscriber_code: str | None
    office: str | None
    status: str | None
    outcome: str


@dataclass(slots=True)
class Preview:
    """What a rule speaks of now. `held` waits for a person: more than `max_per_hour`, or a first step that is to be approved."""

    name: str
    state: str
    holds: int = 0
    enroll: int = 0
    held: int = 0
    unmatched: int = 0
    planned: int = 0
    max_per_hour: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    unfilled: list[str] = field(default_factory=list)
    rows: list[Shown] = field(default_factory=list)


async def preview(
    database: Database, rule: Rule, rules: Sequence[Rule], accounts: Mapping[str, Account], limit: int, now: datetime
) -> Preview:
    """Numbers, and the first rows, of what one of the rules would do."""
    states = {one.name: one for one in await RuleState.all()}
    found = Preview(rule.name, state_of(rule, states.get(rule.name))[0], max_per_hour=rule.max_per_hour)
    found.unfilled = await unfilled_of(rule, accounts)
    others = [one for one in rules if one.name != rule.name and rule_states.stands(one, states)]
    async for one, begun in _walked(database, rule, others, accounts, now):
        outcome = _OUTCOMES.get(begun.state, "enroll") if begun else "planned"
        found.holds += 1
        found.by_status[one.row["status"]] += 1
        setattr(found, outcome, getattr(found, outcome) + 1)
        if len(found.rows) < limit:
            found.rows.append(_shown(one.row, outcome))
    return found


async def _walked(
    database: Database, rule: Rule, others: Sequence[Rule], accounts: Mapping[str, Account], now: datetime
) -> AsyncIterator[tuple[Subscription, Need | None]]:
    """Where the rule holds, each with the need that it would begin, part by part as `workers/followups/walks.py` plans them."""
    last, before = 0, _Before()
    while part := await rule_states.candidates(rule.when).filter(id__gt=last).order_by("id").limit(PART).values(*_KEY):
        last = part[-1]["id"]
        keys = [(row["account"], row["action_subscription_id"]) for row in part]
        applied = {account: [one for one in (*others, rule) if _speaks_of(one, account)] for account, _ in keys}
        world = await involved(database.connection, keys, applied, accounts)
        await completed(database.connection, database.dialect, world, world.seats(), now)
        before.known_to(world)
        changed = [change for _, change in changes(world, now, lambda _key, _when: None)]
        before.keep(world, changed)
        needs = [change.need for change in changed if isinstance(change, NeedChange) and _begins(change, rule)]
        begun = {(need.account, need.subscription): need for need in needs}
        for key in keys:
            if rule in world.holding.get(key, ()):
                yield world.subscriptions[key], begun.get(key)


_KEY = ("id", "account", "action_subscription_id")


def _speaks_of(rule: Rule, account: str) -> bool:
    return rule.when.account is None or account in rule.when.account


def _begins(change: NeedChange, rule: Rule) -> bool:
    over = change.before is None or change.before.state in _OVER
    return change.need.rule.name == rule.name and over and change.need.state not in _OVER


class _Before:
    """What the parts before would have left, which nobody has written."""

    def __init__(self) -> None:
        self._seats, self._needs = dict[Seat, dict[UUID, Enrollment]](), dict[UUID, dict[UUID, Need]]()
        self._rooms = dict[str, Room]()

    def keep(self, world: World, changed: Sequence[Change]) -> None:
        """What was planned in a part, and what the guard leaves after it."""
        self._rooms |= world.rooms
        for change in changed:
            if isinstance(change, EnrollmentChange):
                self._seats.setdefault(change.enrollment.seat, {})[change.enrollment.id] = change.enrollment
            elif isinstance(change, NeedChange):
                for step in change.need.steps:
                    if step.enrollment is not None:
                        self._needs.setdefault(step.enrollment, {})[change.need.id] = change.need

    def known_to(self, world: World) -> None:
        """As if it had been written."""
        world.rooms |= {name: self._rooms[name] for name in world.rooms.keys() & self._rooms.keys()}
        seats = [one for seat in world.seats() for one in self._seats.get(seat, {}).values()]
        world.know(*seats, *(need for one in seats for need in self._needs.get(one.id, {}).values()))


def _shown(row: Mapping[str, Any], outcome: str) -> Shown:
    return Shown(
        account=row["account"],
        subscription=row["action_subscription_id"],
        action_code=row["action_code"],
        subscriber_code=row["subscriber_code"],
        office=row["office_name"],
        status=row["status"],
        outcome=outcome,
    )
