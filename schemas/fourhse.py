"""4HSE's payloads, as the vendor's document "ActionSubscription" (API 2.0.0) gives them: lenient, for its own example ids are
no valid UUIDs and its `date-time` examples are dates.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

#: "For TRAINING, HEALTH, PER actions: must be PERSON; for MAINTENANCE: EQUIPMENT, WORK_ENVIRONMENT, PPE, OFFICE; CHECK: any."
SUBSCRIBER_TYPES_BY_ACTION: dict[str, frozenset[str]] = {
    "TRAINING": frozenset({"PERSON"}),
    "HEALTH": frozenset({"PERSON"}),
    "PER": frozenset({"PERSON"}),
    "MAINTENANCE": frozenset({"EQUIPMENT", "WORK_ENVIRONMENT", "PPE", "OFFICE"}),
}

Identifier = Annotated[str, Field(min_length=1, max_length=255)]
Text = Annotated[str, Field(max_length=10_000)]


def lenient_date(value: Any, zone: tzinfo = UTC) -> date | None:
    """A date from `2024-03-15`, any ISO 8601 date-time or Unix seconds; None where there is none to be read.

    A moment is the day there, but midnight in UTC: so a date looks where the document promises a date-time.
    """
    if isinstance(value, bool) or value in (None, ""):
        return None
    try:
        at = datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else _moment(str(value))
        if at is None:
            return date.fromisoformat(str(value)[:10])
        return at.astimezone(UTC if at.astimezone(UTC).time() == time() else zone).date()
    except (ValueError, OverflowError, OSError):
        return None


def _moment(text: str) -> datetime | None:
    """A date-time that says its zone; one that does not is the account's own, and is cut."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return read if read.tzinfo else None


def _day(value: Any, info: ValidationInfo) -> date | None:
    return lenient_date(value, info.context if isinstance(info.context, tzinfo) else UTC)


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


#: Read in the zone that is the validation's context.
LenientDate = Annotated[date | None, BeforeValidator(_day)]
LenientFlag = Annotated[bool | None, BeforeValidator(_none_if_empty)]
LenientInteger = Annotated[int | None, BeforeValidator(_none_if_empty)]
OptionalIdentifier = Annotated[Identifier | None, BeforeValidator(_none_if_empty)]


class DeletedSubscription(BaseModel):
    """The body of ACTION_SUBSCRIPTION::DELETE; only the id is needed to believe it."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True, hide_input_in_errors=True)

    action_subscription_id: Identifier
    action_id: Identifier | None = None
    subscriber_id: Identifier | None = None
    subscriber_type: Identifier | None = None
    subtenant_id: Identifier | None = None
    tenant_id: Identifier | None = None
    data: Any = None
    action_type: Text | None = None
    action_code: Text | None = None
    action_name: Text | None = None
    subscriber_code: Text | None = None
    subscriber_name: Text | None = None
    status: Text | None = None
    last_certificate_id: Identifier | None = None
    certificate_date_release: LenientDate = None
    certificate_date_expire: LenientDate = None
    office_name: Text | None = None
    project_name: Text | None = None
    project_type: Text | None = None
    owned_active: LenientFlag = None
    parent_active: LenientFlag = None
    #: The document describes the following and does not name them: the names are guesses.
    last_action_session_subscription_id: Identifier | None = None
    last_session_date: LenientDate = None
    project_status: Text | None = None
    project_subscription_status: Text | None = None
    certificate_action_approvals: Any = None
    manager: Any = None
    assignee: Any = None
    watcher: Any = None


class CreatedSubscription(DeletedSubscription):
    """The body of ACTION_SUBSCRIPTION::CREATE: the five ids that 4HSE's create requires, and its own."""

    action_id: Identifier
    subscriber_id: Identifier
    subscriber_type: Identifier
    subtenant_id: Identifier
    tenant_id: Identifier


class PersonBody(BaseModel):
    """What is needed of a PERSON webhook's body."""

    model_config = DeletedSubscription.model_config

    person_id: Identifier


class CertificateBody(BaseModel):
    """What is needed of a CERTIFICATE webhook's body."""

    model_config = DeletedSubscription.model_config

    certificate_id: Identifier
    #: Whose it is.
    resource_id: Identifier | None = None


class CertificateActionBody(BaseModel):
    """What is needed of a CERTIFICATE_ACTION webhook's body."""

    model_config = DeletedSubscription.model_config

    certificate_id: Identifier
    action_id: Identifier | None = None


_DATES = ("certificate_date_release", "certificate_date_expire", "last_session_date")

#: The fields that a mirrored subscription has, in the document's order.
SUBSCRIPTION_FIELDS = tuple(CreatedSubscription.model_fields)


def fits(action_type: str | None, subscriber_type: str | None) -> bool:
    """Whether a subscriber of this type can be subscribed to an action of that type; unknown types are not judged."""
    allowed = SUBSCRIBER_TYPES_BY_ACTION.get(action_type or "")
    return allowed is None or subscriber_type is None or subscriber_type in allowed


def oddities(subscription: DeletedSubscription, body: Mapping[str, Any]) -> list[str]:
    """What is odd about an entry and does not keep it from being mirrored; `body` is what it was read from."""
    flags = [f"unreadable_date:{name}" for name in _DATES if body.get(name) and getattr(subscription, name) is None]
    if not fits(subscription.action_type, subscription.subscriber_type):
        flags.append("subscriber_type_does_not_fit_action_type")
    return flags


class _Polled(BaseModel):
    """A row of an index of what no webhook tells of."""

    model_config = DeletedSubscription.model_config


class Action(_Polled):
    """A preventive action; `expire_interval`: how many days before its expiry a certificate is EXPIRING."""

    action_id: Identifier
    action_type: Text | None = None
    code: Text | None = None
    name: Text | None = None
    validity: LenientInteger = None
    validity_unit: Text | None = None
    expire_interval: LenientInteger = None
    subtenant_id: OptionalIdentifier = None
    tenant_id: OptionalIdentifier = None


class ActionSession(_Polled):
    """A planned session of an action, whose validity stands above the action's."""

    action_session_id: Identifier
    action_id: OptionalIdentifier = None
    name: Text | None = None
    date_begin: LenientDate = None
    date_end: LenientDate = None
    validity: LenientInteger = None
    validity_unit: Text | None = None
    subtenant_id: OptionalIdentifier = None
    tenant_id: OptionalIdentifier = None


class SessionSubscription(_Polled):
    """An ActionSessionSubscription; `done`: -1 pending, 0 failed, 1 passed."""

    action_session_subscription_id: Identifier
    action_session_id: OptionalIdentifier = None
    action_subscription_id: OptionalIdentifier = None
    done: LenientInteger = None
    warning: LenientInteger = None
    certificate_id: OptionalIdentifier = None
    date_begin: LenientDate = None
    date_expire: LenientDate = None
    validity: LenientInteger = None
    validity_unit: Text | None = None
    session_date_begin: LenientDate = None
    subtenant_id: OptionalIdentifier = None
    tenant_id: OptionalIdentifier = None
