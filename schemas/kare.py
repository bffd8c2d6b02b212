"""Kare's training exercises and who attended them, as "Update training session intervention scheduled" and its sister pages give them.

Signature images, pin codes and proofs of attendance have no field here: they end at parsing. Versions of the documents
differ in assignedUserId / assignedProfileId and their like; both are read.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    with_config,
)
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

Row = TypeVar("Row")

#: JavaScript's Number.MAX_SAFE_INTEGER, the bound of every integer in the documents.
LARGEST = 9_007_199_254_740_991
LONGEST_DESCRIPTION = 2500

#: The document's own pattern of scheduledStart and scheduledEnd.
Z_TIME = re.compile(
    r"^(?:(?:\d\d[2468][048]|\d\d[13579][26]|\d\d0[48]|[02468][048]00|[13579][26]00)-02-29|\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|(?:02)-(?:0[1-9]|1\d|2[0-8])))T(?:(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?:Z))$",
    re.ASCII,
)


def z_time(value: Any) -> Any:
    """A date-time with a zone as the document wants it, in UTC and milliseconds; raises ValueError. Text must be so already."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("needs a time zone")
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if not isinstance(value, str) or not Z_TIME.fullmatch(value):
        raise ValueError("must be a time in ISO 8601 that ends in Z")
    return value


def _javascript_length(text: str) -> str:
    if len(text.encode("utf-16-le", "surrogatepass")) // 2 > LONGEST_DESCRIPTION:
        raise ValueError(f"must have at most {LONGEST_DESCRIPTION} characters")
    return text


def _whole(value: Any) -> Any:
    if isinstance(value, bool):  # which Python takes for 0 and 1
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic reports ValueErrors
    return value


SafeInteger = Annotated[int, Field(strict=True, ge=-LARGEST, le=LARGEST)]
ZTime = Annotated[str | datetime, BeforeValidator(z_time)]
#: toScheduled, scheduled, done.
CreationStatus = Annotated[Literal[0, 1, 2], BeforeValidator(_whole)]


@with_config(ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True))
class ExerciseUpdate(TypedDict, total=False):
    """What PATCH training-exercise/{id} takes, with the document's bounds; what is left out stays as it is."""

    description: Annotated[str, AfterValidator(_javascript_length)]
    scheduledStart: ZTime
    scheduledEnd: ZTime
    ruleId: SafeInteger
    siteIds: Annotated[list[SafeInteger], Field(min_length=1)]
    creationStatus: CreationStatus
    assignedCompanyContactId: SafeInteger
    assignedUserId: SafeInteger
    validateIntervention: bool


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, hide_input_in_errors=True)


def _either(*names: str | AliasPath) -> Any:
    return Field(validation_alias=AliasChoices(*names))


def _ids(value: Any) -> Any:
    return [one.get("id") if isinstance(one, dict) else one for one in value] if isinstance(value, list) else value or ()


class Intervention(_Part):
    """A training exercise; what `status` and `type` count is not published."""

    id: int
    status: int | None = None
    type: int | None = None
    sub_type: int | None = None
    description: str | None = None
    auto_created: bool | None = None
    creation_status: int | None = None
    scheduled_start: AwareDatetime | None = None
    scheduled_end: AwareDatetime | None = None
    actual_start: AwareDatetime | None = None
    actual_end: AwareDatetime | None = None
    rule_id: Annotated[int | None, _either("ruleId", AliasPath("rule", "id"))] = None
    #: How an answer names them is not published: as the update does, or as a list of sites.
    site_ids: Annotated[tuple[int, ...], BeforeValidator(_ids), _either("siteIds", "sites")] = ()
    routine_id: Annotated[int | None, _either("routineId", AliasPath("routine", "id"))] = None
    organization_id: int | None = None
    assigned_company_contact_id: int | None = None
    assigned_user_id: Annotated[int | None, _either("assignedUserId", "assignedProfileId")] = None
    verified_by_user_id: Annotated[int | None, _either("verifiedByUserId", "verifiedById")] = None
    created_by_user_id: Annotated[int | None, _either("createdByUserId", "createdById")] = None
    verified_at: AwareDatetime | None = None
    decision_comment: Annotated[str | None, Field(repr=False)] = None
    attendee_count: int | None = None
    archived_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    created_at: AwareDatetime | None = None


class Attendee(_Part):
    """Who a user of Kare is: what a person can be recognised by, and no more."""

    id: int
    key: str | None = None
    email: Annotated[str | None, Field(repr=False)] = None
    first_name: Annotated[str | None, Field(repr=False)] = None
    last_name: Annotated[str | None, Field(repr=False)] = None


class Attendance(_Part):
    """Whether one user was at one exercise; "present" is the only status that the documents print."""

    id: int | None = None
    user_id: Annotated[int, _either("userId", "profileId", AliasPath("user", "id"), AliasPath("profile", "id"))]
    intervention_id: Annotated[int, _either("interventionId", AliasPath("intervention", "id"))]
    status: Annotated[str | None, Field(alias="attendanceStatus")] = None
    user: Annotated[Attendee | None, _either("user", "profile")] = None
    #: When the exercise ended that it is about.
    ended_at: Annotated[AwareDatetime | None, Field(validation_alias=AliasPath("intervention", "actualEnd"))] = None
    updated_at: AwareDatetime | None = None
    created_at: AwareDatetime | None = None

    @property
    def present(self) -> bool:
        """Whether it says that the user was there."""
        return self.status == "present"


class OneIntervention(_Part):
    """interventions/v2/rs/{id}, and what an update answers."""

    data: Intervention


class Paged(_Part, Generic[Row]):
    """One page of a list."""

    data: tuple[Row, ...]


class Interventions(Paged[Intervention]):
    """One page of interventions/v2/rs."""


class Attendances(Paged[Attendance]):
    """One page of interventions-users/v1/rs."""
