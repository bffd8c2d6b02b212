"""aNewSpring's answers and their oddities, as the support article "API calls - Subscriptions" gives them.

Scores are strings ("67%"), progress is "2/2", dates come once with and once without their time. `finished` says that a
subscription expired or was ended; only `completed` says that the course was completed. `uid` of a course or an activity is
unique in its template only: results are keyed by external ids.
"""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, RootModel
from pydantic.alias_generators import to_camel

#: What a date field of a write may hold: a date, "" to clear it, None to leave it as it is.
Change = date | Literal[""] | None

#: Sub types of activities whose `passed` says nothing: it is false for the one, null for the other.
WITHOUT_THRESHOLD = frozenset({"Lesson", "Evaluation"})

_PERCENT = re.compile(r"\s*(-?[0-9]+(?:[.,][0-9]+)?)\s*%\s*", re.ASCII)
_PROGRESS = re.compile(r"\s*([0-9]+)\s*/\s*([0-9]+)\s*", re.ASCII)


class Uid(str):
    """A user's or a course's UID of aNewSpring's own, where a plain string is an external id."""

    __slots__ = ()


class Progress(NamedTuple):
    """So many of so many are done."""

    done: int
    available: int


def percent(value: Any) -> Any:
    """67.0 from "67%"; None from nothing. What is neither stays as it is, to be refused by name."""
    if value == "":
        return None
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    return float(found[1].replace(",", ".")) if found else value


def progress(value: Any) -> Any:
    """(2, 2) from "2/2"; None from nothing."""
    if value == "":
        return None
    found = _PROGRESS.fullmatch(value) if isinstance(value, str) else None
    return (int(found[1]), int(found[2])) if found else value


def _nothing(value: Any) -> Any:
    return None if value == "" else value


def _moment(value: Any) -> Any:
    """A date-time with its zone; the documents promise UTC, so one without is UTC."""
    if not isinstance(value, str) or not value:
        return _nothing(value)
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("not a date-time in ISO 8601") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


Percent = Annotated[FiniteFloat | None, BeforeValidator(percent)]
Done = Annotated[Progress | None, BeforeValidator(progress)]
Day = Annotated[date | None, BeforeValidator(_nothing)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
Fraction = Annotated[FiniteFloat | None, BeforeValidator(_nothing)]
#: An external id; aNewSpring leaves it empty where nobody gave one.
ExternalId = Annotated[str | None, BeforeValidator(_nothing)]


def address(*ids: str) -> str:
    """External ids as one text, and as the API's paths hold them: whatever is in them, they can be told apart."""
    return "/".join(quote(one, safe="") for one in ids)


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, coerce_numbers_to_str=True, hide_input_in_errors=True
    )


class _Completed(_Part):
    """Something that may be completed, which is told once with and once without its time."""

    completed_on: Annotated[Day, Field(alias="completeDate")] = None
    completed_at: Annotated[Moment, Field(alias="completeDateTime")] = None

    @property
    def reached_at(self) -> datetime | None:
        """When it was completed; of a day without a time midnight in UTC, by which it is known to be one (`Result.day_only`)."""
        if self.completed_at is not None or self.completed_on is None:
            return self.completed_at
        return datetime.combine(self.completed_on, time(), UTC)


class Criterion(_Part):
    """One criterion that an assessor judged."""

    id: ExternalId = None
    name: str | None = None
    score: FiniteFloat | None = None
    max_score: FiniteFloat | None = None


class Term(_Part):
    """One exam term of an assessment."""

    name: str | None = None
    score: FiniteFloat | None = None
    max_score: FiniteFloat | None = None
    threshold: FiniteFloat | None = None


class Objective(_Part):
    """A learning objective and how far the learner is."""

    name: str | None = None
    value: Fraction = None
    target: Fraction = None
    knowledge_intake: Fraction = None


class Attempt(_Part):
    """One attempt at an activity."""

    #: -1 where only one attempt is allowed, else counted from 1.
    number: Annotated[int, Field(alias="attemptNr")] = -1
    completed: bool = False
    passed: bool | None = None
    score: Percent = None
    progress: Done = None
    started_at: Annotated[Moment, Field(alias="startDateTime")] = None
    completed_at: Annotated[Moment, Field(alias="completeDateTime")] = None
    criteria: tuple[Criterion, ...] = ()
    terms: tuple[Term, ...] = ()


class Activity(_Completed):
    """A learner's result on one activity; a "Part" in aNewSpring's API."""

    #: The external id, None where it has none; then `part_id` tells activities of a course apart.
    id: ExternalId = None
    part_id: int | None = None
    name: str | None = None
    block_name: str | None = None
    type: str
    sub_type: str | None = None
    completed: bool = False
    #: False for types without a threshold, such as Lesson; None for Evaluation: see `failed`.
    passed: bool | None = None
    score: Percent = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def failed(self) -> bool:
        """Completed and not passed, where passing means something."""
        return self.completed and self.passed is False and self.type not in WITHOUT_THRESHOLD


class Subscription(_Part):
    """A learner's subscription to a course, as getSubscriptions lists it; with skipStats the statistics are None."""

    #: The course's external id.
    id: ExternalId = None
    name: str | None = None
    #: Shared by all courses of one template: never a key.
    uid: str | None = None
    #: The subenvironment's external id.
    reseller: ExternalId = None
    #: The learner has started.
    active: bool = False
    expired: bool = False
    #: Expired, or unsubscribed by hand: not completed.
    finished: bool = False
    progress: Done = None
    efficiency: Fraction = None
    knowledge_intake: Fraction = None
    objectives_progress: Fraction = None
    start_on: Annotated[Day, Field(alias="startDate")] = None
    start_at: Annotated[Moment, Field(alias="startDateTime")] = None
    subscribed_on: Annotated[Day, Field(alias="subscribeDate")] = None
    subscribed_at: Annotated[Moment, Field(alias="subscribeDateTime")] = None


class Result(Subscription, _Completed):
    """A learner's result in a course, as getResults gives it."""

    completed: bool = False
    #: The score of the activity that the template takes the course's grade from.
    grade: Percent = None
    graded_at: Annotated[Moment, Field(alias="gradeDateTime")] = None
    last_training_at: Annotated[Moment, Field(alias="lastTrainingCompletedDateTime")] = None
    objectives: tuple[Objective, ...] = ()
    activities: Annotated[tuple[Activity, ...], Field(alias="parts")] = ()


class Subscriptions(_Part):
    """getSubscriptions/{userID}."""

    courses: tuple[Subscription, ...]


class Results(_Part):
    """getResults/{userID}."""

    courses: tuple[Result, ...]


class IsSubscribed(_Part):
    """isSubscribed/{userID}/{courseID}."""

    result: bool


def _out_of_its_course(value: Any) -> Any:
    parts = value.get("parts") if isinstance(value, dict) else None
    return parts[0] if isinstance(parts, list) and len(parts) == 1 else value


class ActivityAnswer(RootModel[Annotated[Activity, BeforeValidator(_out_of_its_course)]]):
    """getResults/{userID}/{courseID}/{activityID}: bare, or alone in its course; the document does not print this answer."""
