"""The subscriptions of a batch with everything about them, as one planning after the other changes it. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from schemas.accounts import Account, FourhseAccount
from schemas.rules import Rule, Target
from schemas.states import TargetKind
from workers.followups.case import Case, Enrollment, Need, NeedChange, Recorded, Seat, Subscription
from workers.followups.guard import Room
from workers.followups.results import Result
from workers.followups.seats import kept, waited_for

Key = tuple[str, str]
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

    def spend(self, change: NeedChange) -> None:
        """Count a need's change against its rule's guard, as the moves that are written will be."""
        name = change.need.rule.name
        if (left := self.rooms.get(name)) is not None:
            self.rooms[name] = Room(max(0, left.enrolling - change.asks), max(0, left.undoing - change.undoes))

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
