"""Events for internal teams: CloudEvents 1.0, with the attribute names of https://github.com/cloudevents/spec. Pure.

A type and what its data means never change once published: what has to change is a new type (`….v2`) beside the old one; a field
may be added. Data holds codes and ids, never a person's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.states import DriftKind, SubscriptionState

#: What an event is as an AMQP message: the structured mode of the CloudEvents AMQP and JSON bindings.
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_PREFIX = "muster."


class EventType(StrEnum):
    """Every type; the name up to its version is what to listen to."""

    SUBSCRIPTION_CREATED = "muster.subscription.created.v1"
    SUBSCRIPTION_CHANGED = "muster.subscription.changed.v1"
    SUBSCRIPTION_DELETED = "muster.subscription.deleted.v1"
    SUBSCRIPTION_MISSING = "muster.subscription.missing.v1"
    STATUS_CHANGED = "muster.subscription.status_changed.v1"
    FOLLOWUP_MOVED = "muster.followup.moved.v1"
    COURSE_RESULT = "muster.result.course.v1"
    OBSERVATION_RESULT = "muster.result.observation.v1"
    SESSION_RESULT = "muster.result.session.v1"
    EXERCISE_RESULT = "muster.result.exercise.v1"
    DRIFT_FOUND = "muster.drift.found.v1"

    @property
    def routing_key(self) -> str:
        """The key under which the exchange knows it."""
        return self.value.removeprefix(_PREFIX)

    @property
    def schema(self) -> str:
        """The URI of its data's schema."""
        return f"urn:muster:{self.routing_key}"


class Data(BaseModel):
    """What an event says."""

    model_config = ConfigDict(frozen=True)


class Subscription(Data):
    """An action subscription as the mirror holds it now, with 4HSE's field names."""

    action_subscription_id: str
    state: SubscriptionState = Field(description="Whether it stands at 4HSE.")
    status: str | None = Field(None, description="NEW, VALID, EXPIRING or EXPIRED.")
    action_id: str | None = None
    action_type: str | None = None
    action_code: str | None = None
    subscriber_id: str | None = None
    subscriber_type: str | None = None
    subscriber_code: str | None = None
    subtenant_id: str | None = Field(None, description="The office.")
    tenant_id: str | None = None
    last_certificate_id: str | None = None
    certificate_date_release: date | None = None
    certificate_date_expire: date | None = Field(None, description="The last day on which its certificate is valid; null: for ever.")
    owned_active: bool | None = None
    parent_active: bool | None = None


class ChangedSubscription(Subscription):
    """An action subscription after a change: fields, or missing and found again."""

    changed: list[str] = Field(description="The names of the fields that changed, also of fields that events do not hold.")


class StatusChanged(Subscription):
    """An action subscription after its status changed."""

    before: str | None = Field(description="The status until then.")
    by: Literal["vendor", "clock"] = Field(description="Who changed it: 4HSE, or the calendar.")


class FollowupMoved(Data):
    """A need of a subscription, or a learner's seat that serves one, has moved to another state."""

    action_subscription_id: str
    rule: str | None = Field(description="The rule whose need it is.")
    need: UUID | None = None
    enrollment: UUID | None = Field(None, description="The seat, where it is the seat that moved.")
    cycle: str | None = Field(None, description="The certificate whose life it is about, or `initial`.")
    before: str | None = None
    state: str
    reason: str | None = None
    alarm: str | None = Field(None, description="What a person should look at, whatever the state of the need.")


class Result(Data):
    """A version of a result, the first or a corrected one."""

    version: int = Field(description="From 1, a number more for each correction.")
    withdrawn: bool = Field(description="The vendor does not show it any more.")


class CourseResult(Result):
    """A result in an aNewSpring course, or in one of its activities."""

    learner: str = Field(description="The learner's id at the vendor.")
    course: str
    activity: str = Field(description="Empty: the course as a whole.")
    attempt: int
    grade: float | None = None
    passed: bool | None = None
    completed: bool | None = None
    expired: bool | None = None
    finished: bool | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class ObservationResult(Result):
    """An iSpring on-the-job session."""

    session_id: str
    checklist_id: str | None = None
    employee_id: str | None = None
    observer_id: str | None = None
    status: str | None = None
    planned_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    result: float | None = None
    points: float | None = None
    total_points: float | None = None


class SessionResult(Result):
    """The outcome of a 4HSE session for one subscription."""

    action_session_subscription_id: str
    action_session_id: str | None = None
    action_subscription_id: str | None = None
    done: int | None = Field(None, description="-1 pending, 0 failed, 1 passed.")
    certificate_id: str | None = None
    date_begin: date | None = None
    date_expire: date | None = None
    session_date_begin: date | None = None


class ExerciseResult(Result):
    """Whether one person was at a Kare exercise."""

    intervention_id: int
    user_id: int
    status: str | None = None
    ended_at: datetime | None = None


class DriftFound(Data):
    """Mirror and vendor disagreed about a subscription: evidence of a lost webhook. The mirror is healed by the time of this."""

    action_subscription_id: str
    kind: DriftKind
    differing: list[str] = Field(description="The names of the fields that differed.")
    run: UUID | None = Field(None, description="The run of reconcile that found it.")


#: The data of each type.
EVENTS: Mapping[EventType, type[Data]] = MappingProxyType(
    {
        EventType.SUBSCRIPTION_CREATED: Subscription,
        EventType.SUBSCRIPTION_CHANGED: ChangedSubscription,
        EventType.SUBSCRIPTION_DELETED: Subscription,
        EventType.SUBSCRIPTION_MISSING: Subscription,
        EventType.STATUS_CHANGED: StatusChanged,
        EventType.FOLLOWUP_MOVED: FollowupMoved,
        EventType.COURSE_RESULT: CourseResult,
        EventType.OBSERVATION_RESULT: ObservationResult,
        EventType.SESSION_RESULT: SessionResult,
        EventType.EXERCISE_RESULT: ExerciseResult,
        EventType.DRIFT_FOUND: DriftFound,
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened; `subject` is the subscription's id, or the key of a result that names none, within the account."""

    type: EventType
    account: str
    subject: str
    at: datetime
    data: Data

    def __post_init__(self) -> None:
        if type(self.data) is not EVENTS[self.type]:
            raise TypeError(f"{self.type} has {EVENTS[self.type].__name__} for data, not {type(self.data).__name__}")

    @property
    def about(self) -> str:
        """The CloudEvents subject, in which events are in order."""
        return f"{self.account}/{self.subject}"


def cloud_event(*, id: UUID, type: str, account: str, subject: str, sequence: int, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002 - the spec's names
    """An event with the attributes that CloudEvents gives it; `sequence` orders as text, as its extension demands."""
    return {
        "specversion": "1.0",
        "id": str(id),
        "source": f"muster/{quote(account, safe='')}",
        "type": type,
        "subject": subject,
        "time": at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "sequence": f"{sequence:012}",
        "datacontenttype": "application/json",
        "dataschema": f"urn:muster:{type.removeprefix(_PREFIX)}",
        "data": data,
    }
