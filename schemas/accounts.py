"""`[accounts.NAME]`: one tenancy at a vendor, with what its API needs. Credentials are named by file and read when they are used.

What the vendors leave open is a setting here, with the safe default.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.templates import checked

Positive = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "y": timedelta(days=365)}


def _duration(value: Any) -> Any:
    """`45s`, `15m`, `26h`, `30d`, `1y`."""
    found = re.fullmatch(r"([0-9]{1,6})([smhdy])", value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be a duration such as 45s, 15m, 26h, 30d or 1y")
    return int(found[1]) * _UNITS[found[2]]


Duration = Annotated[timedelta, BeforeValidator(_duration)]
#: How often something runs by itself; "off" for never.
Every = Annotated[timedelta | None, BeforeValidator(lambda value: None if value == "off" else _duration(value))]


def _learner(template: str) -> str:
    if "{" not in checked(template, set(SUBSCRIPTION_FIELDS) - _STRUCTURED):
        raise ValueError("must name a field, or everybody would be the same learner")
    return template


_STRUCTURED = {"data", "certificate_action_approvals", "manager", "assignee", "watcher"}
#: Who a person or office is in the account, by fields of the subscription; `muster identities import` stands above it.
Learner = Annotated[str, AfterValidator(_learner)]


class Limits(_Section):
    """How gently an account is asked; no vendor publishes its limits."""

    rate: Annotated[Positive, Field(description="Requests a second.")] = 5.0
    concurrency: Annotated[int, Field(ge=1, le=100)] = 4
    timeout: Annotated[Positive, Field(description="Seconds for one answer. 4HSE's own client waits 30.")] = 30.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    patience: Annotated[Positive, Field(description="Seconds for all attempts of one call.")] = 120.0
    retry_after_max: Annotated[Positive, Field(description="Seconds that a Retry-After may ask for within a call.")] = 60.0
    max_response: ByteSize = ByteSize(32 * 1024 * 1024)
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    breaker_pause: Positive = 10.0
    breaker_longest: Positive = 300.0


class _Account(_Section):
    limits: Limits = Limits()
    #: Plain http and its eavesdroppers, for a test machine.
    insecure: bool = False

    @model_validator(mode="after")
    def _https_only(self) -> Self:
        plain = [name for name, value in self if isinstance(value, AnyHttpUrl) and value.scheme != "https"]
        if plain and not self.insecure:
            raise ValueError(f"{', '.join(plain)} must be https, or set insecure = true for a test machine")
        return self


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("no such time zone; use an IANA name such as Europe/Rome") from None
    return name


class Login(_Section):
    """OAuth 2 password flow (RFC 6749 §4.3), 4HSE's Keycloak."""

    username: str
    password_file: Path
    client_id: str
    client_secret_file: Path | None = None
    token_url: AnyHttpUrl = AnyHttpUrl("https://auth.4hse.com/realms/4hse/protocol/openid-connect/token")
    early: Annotated[Positive, Field(description="Seconds before its expiry that a token is renewed.")] = 30.0


class FourhsePolls(_Section):
    """How often 4HSE is asked for what no webhook tells; the first reconcile of an empty mirror is the back-fill."""

    reconcile: Every = timedelta(hours=24)
    session_enrollments: Every = timedelta(minutes=15)
    actions: Every = timedelta(hours=6)
    sessions: Every = timedelta(hours=1)


class FourhseAccount(_Account):
    """4HSE, API 2.0.0."""

    vendor: Literal["4hse"]
    base_url: AnyHttpUrl = AnyHttpUrl("https://service.4hse.com")
    time_zone: str = "Europe/Rome"
    boundary: Annotated[Literal[-1, 0, 1], Field(description="Days by which EXPIRING begins later than date_expire - expire_interval.")] = 0
    login: Login | None = None
    access_token_file: Path | None = None
    page_size: Annotated[int, Field(ge=1, le=1000, description="4HSE's own tools ask for 100 at most.")] = 100
    quiet_after: Annotated[Duration, Field(description="Silence of its sources, or of a poll, that is an alarm.")] = timedelta(hours=26)
    polls: FourhsePolls = FourhsePolls()
    max_missing: Annotated[
        int | None,
        Field(ge=0, description="Rows that one reconcile may find gone; more waits for a person. None: the larger of 50 and 1 %."),
    ] = None

    _zone = field_validator("time_zone")(_zone)

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if (self.login is None) == (self.access_token_file is None):
            raise ValueError("give either login or access_token_file")
        return self


class Parameters(_Section):
    """aNewSpring's names of form fields, which its public documents do not print; an environment's own /apidocs does."""

    start: str = "startDate"
    expire: str = "expireDate"
    expired: str = "expired"
    score: str = "score"
    completed: str = "completed"


class WebhookPaths(_Section):
    """Where aNewSpring's webhooks, JSON or XML, name things, which its documents do not print: dotted paths, the first there counts."""

    learner: tuple[str, ...] = ("user.id", "userID", "userId", "student.id", "learner.id")
    course: tuple[str, ...] = ("course.id", "courseID", "courseId")
    activity: tuple[str, ...] = ("activity.id", "activityID", "activityId", "part.id")
    events: Annotated[tuple[str, ...], Field(description="The types that are known; any other is dead. Empty: all are.")] = ()


class AnewspringPolls(_Section):
    """How often aNewSpring is asked for the results of the seats that are open: each of its webhooks may be lost."""

    course_results: Every = timedelta(hours=24)


class AnewspringAccount(_Account):
    """aNewSpring."""

    vendor: Literal["anewspring"]
    base_url: AnyHttpUrl
    api_key_file: Path
    api_path: Annotated[str, Field(pattern=r"^(/[^/?#]+)*$", description="Where the API begins below base_url.")] = "/api"
    format_errors: Annotated[
        bool, Field(description="Ask for errors in JSON; their shape is not published, plain text is the default.")
    ] = False
    parameters: Parameters = Parameters()
    subscribe_with: Annotated[
        Mapping[str, str], Field(description="Sent with every subscribe and subscribeGroups, as /apidocs names it.")
    ] = {}
    webhooks: WebhookPaths = WebhookPaths()
    polls: AnewspringPolls = AnewspringPolls()
    learner: Learner | None = "{subscriber_code}"
    quiet_after: Duration | None = None


class Dates(_Section):
    """How iSpring writes local times. Of an hour that a change of clocks repeats, the first is meant."""

    format: str = "%d-%m-%Y, %H:%M:%S"
    zone: str = "UTC"

    _zone = field_validator("zone")(_zone)

    @field_validator("format")
    @classmethod
    def _has_every_part(cls, value: str) -> str:
        moment = datetime(2024, 8, 5, 23, 57, 49)
        try:
            read = datetime.strptime(moment.strftime(value), value)
        except ValueError:
            read = None
        if read != moment:
            raise ValueError("must hold day, month, year, hour, minute and second, such as %d-%m-%Y, %H:%M:%S")
        return value


class IspringPolls(_Section):
    """How often iSpring is asked: no webhook tells of observations, nor that a subscriber is confirmed no more."""

    observations: Every = timedelta(minutes=15)
    subscribers: Every = timedelta(hours=1)


class IspringAccount(_Account):
    """iSpring Learn."""

    vendor: Literal["ispring"]
    base_url: AnyHttpUrl = AnyHttpUrl("https://api-learn.ispringlearn.com")
    account_url: AnyHttpUrl
    client_id: str
    client_secret_file: Path
    dates: Dates = Dates()
    checklists: tuple[str, ...] = ()
    token_path: str = "/api/v3/token"  # noqa: S105 - a path
    locale: str | None = None
    early: Positive = 60.0
    learner: Learner | None = None
    quiet_after: Duration | None = None
    polls: IspringPolls = IspringPolls()


class Paging(_Section):
    """How Kare's lists are paged, which the readable part of its documents leaves open. An empty name is not sent.

    A page that brings no row that was not there before is the last, so that a list which knows no pages is read once.
    """

    page: str = "page"
    size: str = "limit"
    first: Annotated[int, Field(ge=0)] = 1
    rows: Annotated[int, Field(ge=1, le=1000)] = 100


class KarePolls(_Section):
    """How often Kare, which has no webhooks, is asked."""

    attendance: Every = timedelta(hours=1)


class KareAccount(_Account):
    """Kare, interventions v2."""

    vendor: Literal["kare"]
    base_url: AnyHttpUrl
    token_file: Path
    session_token_file: Path
    paging: Paging = Paging()
    learner: Learner | None = None
    quiet_after: Duration | None = None
    polls: KarePolls = KarePolls()


Account = Annotated[FourhseAccount | AnewspringAccount | IspringAccount | KareAccount, Field(discriminator="vendor")]


def zone_of(account: Account | None) -> ZoneInfo:
    """Where the days of an account begin."""
    return ZoneInfo(account.time_zone if isinstance(account, FourhseAccount) else "UTC")


#: Keys that name a file with a credential, wherever they stand in an account.
CREDENTIAL_FILES = ("password_file", "client_secret_file", "access_token_file", "api_key_file", "token_file", "session_token_file")
