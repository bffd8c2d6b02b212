"""iSpring Learn's answers, as "Getting Session Details" and the pages on webhooks give them.

Times are local and day-first without a zone: they are read by the account's `dates`, which comes as the validation's context.
"""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, RootModel, ValidationInfo
from pydantic.alias_generators import to_camel

from schemas.accounts import Dates

#: The document's states; there is none for failed: judge by `result`.
SessionStatus = Literal["NOT_STARTED", "IN_PROGRESS", "PASSED"]

#: The types that a webhook subscriber can have, one each (iSpring Learn webhook API).
SubscriptionType = Literal[
    "USER_REGISTERED",
    "LEARNERS_ENROLLED_IN_COURSE",
    "TRAINING_MEETING_ADDED",
    "TRAINING_MEETING_REMOVED",
    "TRAINING_MEETING_UPDATED",
    "TRAINING_SESSION_PARTICIPANTS_ADDED",
    "TRAINING_SESSION_PARTICIPANT_REMOVED",
    "COURSE_COMPLETED_SUCCESSFULLY",
    "COURSE_STATUS_CHANGED",
    "COURSE_ITEM_COMPLETED_SUCCESSFULLY",
    "COURSE_ITEM_STATUS_CHANGED",
]


def moment(value: Any, dates: Dates) -> datetime:
    """A local time as iSpring writes it, in UTC; raises ValueError. Of an hour that happens twice, the first is meant."""
    local = datetime.strptime(value, dates.format)
    return local.replace(tzinfo=ZoneInfo(dates.zone)).astimezone(UTC)


def _moment(value: Any, info: ValidationInfo) -> Any:
    if value in (None, ""):
        return None
    dates = info.context if isinstance(info.context, Dates) else Dates()
    if not isinstance(value, str):
        raise ValueError(f"not a time of the form {dates.format}")  # noqa: TRY004 - pydantic reports ValueErrors
    try:
        return moment(value, dates)
    except (ValueError, OverflowError):
        raise ValueError(f"not a time of the form {dates.format}") from None


#: Seconds and thousandths, millionths and billionths of them; and between which years a number of one of them lies.
_A_SECOND = (1, 10**3, 10**6, 10**9)
_FROM, _UNTIL = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2000, 2100))


def unix_time(value: Any) -> datetime | None:
    """A time since 1970 as a number or its digits, whose size tells its unit: the four lie apart; None from nothing."""
    if value in (None, ""):
        return None
    number = Fraction(value) if isinstance(value, float) else int(value) if _is_whole(value) else 0
    for many in _A_SECOND:
        if _FROM * many <= number < _UNTIL * many:
            return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=number * 10**6 // many)
    raise ValueError("not a time between 2000 and 2100 in s, ms, µs or ns")


def _is_whole(value: Any) -> bool:
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20
    return digits or (isinstance(value, int) and not isinstance(value, bool))


LocalTime = Annotated[AwareDatetime, BeforeValidator(_moment)]
OptionalLocalTime = Annotated[AwareDatetime | None, BeforeValidator(_moment)]
Identifier = Annotated[str, Field(min_length=1, max_length=255)]
Number = FiniteFloat | None


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, coerce_numbers_to_str=True, hide_input_in_errors=True
    )


class Observation(_Part):
    """An on-the-job training session."""

    session_id: Identifier
    checklist_id: Identifier
    checklist_title: str | None = None
    #: A SessionStatus, or what iSpring may add to them.
    status: Annotated[str, Field(alias="sessionStatus")]
    scheduled_at: Annotated[LocalTime, Field(alias="startDate")]
    started_at: Annotated[OptionalLocalTime, Field(alias="actualStartDate")] = None
    completed_at: Annotated[OptionalLocalTime, Field(alias="completionDate")] = None
    #: Per cent. A poor one reads PASSED as well.
    result: Number = None
    #: Skipped criteria count in neither.
    total_points: Number = None
    points: Number = None
    employee_id: Identifier
    observer_id: Identifier


class Observations(RootModel[tuple[Observation, ...]]):
    """job-training/sessions/result/list: everything at once, no pages."""


class Completion(_Part):
    """A payload of COURSE_COMPLETED_SUCCESSFULLY; third parties give the date in nanoseconds, iSpring says nothing of its unit."""

    learner_id: Identifier
    course_id: Identifier
    completed_at: Annotated[datetime | None, BeforeValidator(unix_time), Field(alias="completionDate")] = None


class Filter(_Part):
    """What narrows a subscription; the value is a list in JSON, as a string."""

    name: str
    value: str


class WebhookSubscription(_Part):
    """What a subscriber is told of."""

    type: Annotated[str, Field(alias="subscriptionType")]
    params: tuple[Filter, ...] = ()


class WebhookSubscriptions(RootModel[tuple[WebhookSubscription, ...]]):
    """webhook/subscription/list."""


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Word = Annotated[str, BeforeValidator(_upper)]


class Subscriber(_Part):
    """webhook/subscriber/info; the words come in capitals, in the document's prose not always."""

    status: Annotated[Word, Field(alias="subscriberStatus")]
    confirmation: Annotated[Word, Field(alias="confirmationStatus")] = "UNCONFIRMED"
    #: ACTIVE, INACTIVE, or SUSPENDED while a failed delivery waits and events queue up behind it.
    sending: Annotated[Word | None, Field(alias="notificationProcessStatus")] = None

    @property
    def confirmed(self) -> bool:
        """Whether its address is confirmed; after a day of failures it no longer is, and what was queued is lost."""
        return self.confirmation == "CONFIRMED"
