"""What the planner sees of one subscription, and what it may change. Pure data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo

from schemas.rules import Rule
from schemas.states import EnrollmentState, EnrollmentWish, NeedState, SubscriptionState, TargetKind
from workers.followups.guard import Room
from workers.followups.results import Result

#: The cycle before the first certificate.
INITIAL = "initial"
#: The name of the step that writes the certificate, among a need's approvals; a target's is its number, from "0" on. And of writing
#: it though what the need was passed by says something else by now.
RECORD, ALL_THE_SAME = "record", "corrected"

#: (account, learner, target): whose seat in what; at most one of its enrollments is open.
Seat = tuple[str, str, str]
_NAMESPACE = uuid5(NAMESPACE_URL, "https://github.com/muster/followups")


def derived(*parts: str | int) -> UUID:
    """An id that is the same wherever and however often it is derived."""
    return uuid5(_NAMESPACE, json.dumps(parts, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class Step:
    """A need's target and what became of it: a row of `need_targets`."""

    state: NeedState = NeedState.PLANNED
    enrollment: UUID | None = None
    #: {"key", "completed_at": of the result that decided, "failed": the keys of those by which it was failed}
    result: Mapping[str, Any] | None = field(default=None, hash=False)
    #: Set once nothing stands before it any more.
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """One rule's demand for one subscription in one cycle: a row of `needs` with its targets."""

    id: UUID
    account: str
    subscription: str
    #: The rule as it was when the need was planned.
    rule: Rule
    cycle: str
    state: NeedState
    reason: str | None
    state_at: datetime
    opened_at: datetime
    created_at: datetime
    steps: tuple[Step, ...]
    due_at: datetime | None = None
    attempt: int = 1
    wait_until: datetime | None = None
    look_at: datetime | None = None
    #: The steps that a person said yes to: "0", "1", …, RECORD or ALL_THE_SAME.
    approvals: frozenset[str] = frozenset()
    #: When a person released what the guard held.
    released_at: datetime | None = None
    #: What a person should look at, whatever its state.
    alarm: str | None = None


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A learner's seat in a target, one round: a row of `enrollments`."""

    id: UUID
    account: str
    kind: TargetKind
    learner: str
    target: str
    round: int
    state: EnrollmentState
    state_at: datetime
    reason: str | None = None
    found: bool | None = None
    wish: EnrollmentWish | None = None
    due_at: datetime | None = None
    attempts: int = 0
    error: str | None = None
    #: The target's terms, and `undo`: how the rule that wishes so undoes it.
    terms: Mapping[str, Any] = field(default_factory=dict, hash=False)
    start_on: date | None = None
    expire_on: date | None = None
    remote: str | None = None
    enrolled_at: datetime | None = None

    @property
    def seat(self) -> Seat:
        """Whose seat in what."""
        return self.account, self.learner, self.target

    @property
    def open(self) -> bool:
        """Whether it is not over yet; at most one of a seat's enrollments is."""
        return self.state in OPEN


#: Why a need is as it is, where more than a reader depends on it.
GUARD_ENROLLING = "its rule wants more seats than its max_per_hour: release or cancel it"
GUARD_UNDOING = "its rule would undo more than its max_per_hour: release or cancel it"
CERTIFICATE_GONE = "4HSE does not show its certificate any more"
BEGIN_AGAIN = "4HSE does not show the certificate before any more: release it to begin again, or cancel it"
CORRECTED = "it was corrected before its certificate was written: release it to have it written all the same, or cancel it"
CANCELLED = "cancelled by a person"
#: Cancelled while the guard held its undoing: what was done for it stays.
DROPPED = "cancelled by a person, what was done stays"

OPEN = frozenset({EnrollmentState.PLANNED, EnrollmentState.REQUESTED, EnrollmentState.ENROLLED})


@dataclass(frozen=True, slots=True)
class Recorded:
    """A step of writing a certificate: a row of `recordings`. Its state is planned, done, dead, or dropped."""

    id: UUID
    need: UUID
    step: str
    state: str
    body: Mapping[str, Any] = field(hash=False)
    remote: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A row of the mirror, as it is now."""

    account: str
    id: str
    #: Every column of the mirror's row.
    row: Mapping[str, Any] = field(hash=False)

    @property
    def state(self) -> SubscriptionState:
        """Live, missing or deleted."""
        return SubscriptionState(self.row["state"])

    @property
    def active(self) -> bool:
        """Whether it is not historicized."""
        # A database without booleans gives 0.
        return all(self.row.get(flag) is None or bool(self.row[flag]) for flag in ("owned_active", "parent_active"))

    @property
    def status(self) -> str | None:
        """NEW, VALID, EXPIRING or EXPIRED."""
        return self.row.get("status")

    @property
    def cycle(self) -> str:
        """The life of its last certificate; never null."""
        return self.row.get("last_certificate_id") or INITIAL


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is known about one subscription."""

    subscription: Subscription
    now: datetime
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    #: Rules that were applied as they are; only they plan anew.
    rules: tuple[Rule, ...] = ()
    needs: tuple[Need, ...] = ()
    #: Of the wanted seats: the last round, and whichever the needs' steps name.
    enrollments: tuple[Enrollment, ...] = ()
    #: Enrollments that a need of another subscription waits for, and those that its rule keeps.
    used_elsewhere: frozenset[UUID] = frozenset()
    kept_elsewhere: frozenset[UUID] = frozenset()
    #: Who the subscription is in a target's account; without: nobody knows.
    learners: Mapping[tuple[TargetKind, str], str] = field(default_factory=dict, hash=False)
    #: Current versions, by whose they are in what.
    results: Mapping[Seat, Sequence[Result]] = field(default_factory=dict, hash=False)
    #: Result keys that certified the subscription, and in which need.
    certified: Mapping[str, UUID] = field(default_factory=dict, hash=False)
    recordings: Mapping[UUID, Sequence[Recorded]] = field(default_factory=dict, hash=False)
    #: What the guard leaves to each rule; a rule that is not named may do as it likes.
    room: Mapping[str, Room] = field(default_factory=dict, hash=False)
    #: Whether what the row says of deletion and activity is the last word: a fetch's, or the account has no API.
    confirmed: bool = True
    #: The subscription's 4HSE session enrollments as they are now, the latest session last, of which one is told the outcome.
    session_enrollments: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    #: The 4HSE action, whose validity a certificate has.
    action: Mapping[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class NeedChange:
    """A need as it is to be, steps and all; `before` is None where it is new."""

    need: Need
    before: Need | None
    #: Whether a seat is given back for it.
    undoes: bool = False

    @property
    def asks(self) -> bool:
        """Whether it moves on to where a seat is to be asked for, though another of its targets may show another state."""
        held = {None, *(step.enrollment for step in self.before.steps)} if self.before else {None}
        took = any(step.state is NeedState.PLANNED and step.enrollment not in held for step in self.need.steps)
        return took or (self.need.state is NeedState.PLANNED and (self.before is None or self.before.state is not NeedState.PLANNED))


@dataclass(frozen=True, slots=True)
class EnrollmentChange:
    """An enrollment as it is to be; `before` is None where it is new."""

    enrollment: Enrollment
    before: Enrollment | None


@dataclass(frozen=True, slots=True)
class RecordingPlanned:
    """A step of writing a certificate, due at once."""

    recording: Recorded


@dataclass(frozen=True, slots=True)
class Certifies:
    """A result that certifies the subscription, once and for all, in this need."""

    result: str
    need: UUID


Change = NeedChange | EnrollmentChange | RecordingPlanned | Certifies
