"""Cases for the planner, and what becomes of them when its changes are applied."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schemas.rules import Rule
from schemas.states import EnrollmentState, EnrollmentWish, NeedState, TargetKind
from workers.followups.case import (
    Case,
    Certifies,
    Change,
    Enrollment,
    EnrollmentChange,
    Need,
    NeedChange,
    RecordingPlanned,
    Subscription,
)
from workers.followups.planner import plan
from workers.followups.results import Result

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROME = ZoneInfo("Europe/Rome")
ME = (TargetKind.COURSE, "lms")
ROW: Mapping[str, Any] = {
    "account": "hse",
    "action_subscription_id": "s1",
    "state": "live",
    "action_id": "a1",
    "action_type": "TRAINING",
    "action_code": "FST-01",
    "action_name": "Fire",
    "subscriber_id": "p1",
    "subscriber_type": "PERSON",
    "subscriber_code": "JS001",
    "tenant_id": "t1",
    "subtenant_id": "o1",
    "status": "NEW",
    "last_certificate_id": None,
    "certificate_date_release": None,
    "owned_active": True,
    "parent_active": True,
    "first_seen_at": NOON,
}


def later(**span: float) -> datetime:
    """So long after noon."""
    return NOON + timedelta(**span)


def rule(**changed: Any) -> Rule:
    """A rule that enrolls in FIRE, and takes it back."""
    made = {"name": "fire", "when": {"action_code": "FST-*"}, "enroll": {"account": "lms", "course": "FIRE"}, "undo": "unsubscribe"}
    return Rule.model_validate(made | changed)


def case(*rules: Rule, row: Mapping[str, Any] | None = None, **changed: Any) -> Case:
    """A subscription that needs FIRE, of a learner who is known."""
    given: dict[str, Any] = {"now": NOON, "zone": ROME, "rules": rules or (rule(),), "learners": {ME: "JS001"}}
    return Case(Subscription("hse", "s1", {**ROW, **(row or {})}), **(given | changed))


def result(key: str = "r1", at: datetime | None = None, grade: float | None = 100.0, course: str = "FIRE", **changed: Any) -> Result:
    """A course that was completed."""
    made = Result(key, TargetKind.COURSE, "JS001", course, at or later(hours=1), grade, True, completed=True)
    return replace(made, **changed)


def reached(*results: Result) -> dict[tuple[str, str, str], list[Result]]:
    """Results as a case has them."""
    found: dict[tuple[str, str, str], list[Result]] = {}
    for one in results:
        found.setdefault(("lms", one.learner, one.target), []).append(one)
    return found


def taken(before: Case, changes: Iterable[Change]) -> Case:
    """A case to which changes were applied."""
    needs, seats = {one.id: one for one in before.needs}, {one.id: one for one in before.enrollments}
    certified, recordings = dict(before.certified), {key: list(rows) for key, rows in before.recordings.items()}
    for change in changes:
        match change:
            case NeedChange(need):
                needs[need.id] = need
            case EnrollmentChange(seat):
                seats[seat.id] = seat
            case Certifies(key, need_id):
                certified.setdefault(key, need_id)
            case RecordingPlanned(row):
                recordings.setdefault(row.need, []).append(row)
    return replace(before, needs=tuple(needs.values()), enrollments=tuple(seats.values()), certified=certified, recordings=recordings)


def planned(before: Case) -> Case:
    """A case after planning, of which nothing more follows."""
    after = taken(before, plan(before))
    assert plan(after) == (), "a case that was planned gives no more changes"
    return after


def moved(before: Case, row: Mapping[str, Any] | None = None, **changed: Any) -> Case:
    """A case in which something has happened, planned."""
    subscription = replace(before.subscription, row={**before.subscription.row, **(row or {})})
    return planned(replace(before, subscription=subscription, **changed))


def enrolled(before: Case, *, found: bool = False, at: datetime | None = None, **changed: Any) -> Case:
    """A case whose wishes the vendor has granted, planned."""
    granted = {"state": EnrollmentState.ENROLLED, "wish": None, "due_at": None, "found": found, "enrolled_at": at or before.now, **changed}
    seats = [replace(one, **granted) if one.wish is EnrollmentWish.ENROLL else one for one in before.enrollments]
    return planned(replace(before, enrollments=tuple(seats)))


def recorded(before: Case, **changed: Any) -> Case:
    """A case whose certificate was written, planned."""
    done = {need: [replace(row, state="done") for row in rows] for need, rows in before.recordings.items()}
    return planned(replace(before, recordings=done, **changed))


def need(one: Case) -> Need:
    """Its only need."""
    (found,) = one.needs
    return found


def seat(one: Case) -> Enrollment:
    """Its latest enrollment."""
    return max(one.enrollments, key=lambda each: each.round)


def state(one: Case) -> NeedState:
    """Where its only need stands."""
    return need(one).state


CERTIFIED = {"status": "VALID", "last_certificate_id": "c1", "certificate_date_release": date(2026, 3, 5)}
