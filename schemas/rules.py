"""`[[rules]]`: while what holds, what is needed. A rule's name is its identity; its digest tells whether it still is what was applied.

A rule speaks of the present row of the mirror, not of an event, so that no missed webhook can lose it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from fnmatch import fnmatchcase
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from schemas.accounts import Account, Duration
from schemas.fourhse import SUBSCRIPTION_FIELDS, fits
from schemas.states import SubscriptionState, TargetKind
from schemas.templates import checked

ActionType = Literal["TRAINING", "MAINTENANCE", "HEALTH", "CHECK", "PER"]
SubscriberType = Literal["PERSON", "ROLE", "WORK_GROUP", "WORK_ENVIRONMENT", "SUBSTANCE", "EQUIPMENT", "OFFICE", "PPE", "UNIT"]
Status = Literal["NEW", "VALID", "EXPIRING", "EXPIRED"]
Undo = Literal["unsubscribe", "expire", "keep"]

#: The longest time that a rule may speak of.
LONGEST = timedelta(days=36500)
#: What each kind of target can take back, and the vendor whose it is. An LMS knows persons only.
UNDOES: Mapping[TargetKind, frozenset[str]] = {
    TargetKind.COURSE: frozenset({"unsubscribe", "expire", "keep"}),
    TargetKind.SESSION: frozenset({"unsubscribe", "keep"}),
    TargetKind.OBSERVATION: frozenset({"keep"}),
    TargetKind.EXERCISE: frozenset({"unsubscribe", "keep"}),
}
VENDOR_OF: Mapping[TargetKind, str] = {
    TargetKind.COURSE: "anewspring",
    TargetKind.SESSION: "4hse",
    TargetKind.OBSERVATION: "ispring",
    TargetKind.EXERCISE: "kare",
}
OF_PERSONS = frozenset({TargetKind.COURSE, TargetKind.OBSERVATION})

_START = re.compile(r"\+([0-9]{1,4})d ([0-9]{2}):([0-9]{2})")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _written(span: timedelta) -> str:
    """A duration as the settings write it, the same for the same length."""
    seconds = int(span.total_seconds())
    return next(f"{seconds // size}{unit}" for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")) if seconds % size == 0)


def _whole_days(span: timedelta) -> timedelta:
    if span % timedelta(days=1):
        raise ValueError("must be whole days, such as 30d")
    return span


def _many(value: Any) -> Any:
    """One may stand without its list."""
    return value if isinstance(value, list | tuple) or value is None else [value]


Span = Annotated[Duration, PlainSerializer(_written, when_used="json")]
Days = Annotated[Span, AfterValidator(_whole_days)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Names = Annotated[tuple[Name, ...], Field(min_length=1), BeforeValidator(_many)]
Scalar = bool | int | float | str
Percent = Annotated[float, Field(ge=0, le=100)]


class When(_Section):
    """The condition on a subscription's present row; what is not named is not asked."""

    account: Names | None = None
    action_type: Annotated[tuple[ActionType, ...], Field(min_length=1), BeforeValidator(_many)] | None = None
    action_code: Annotated[Names | None, Field(description="Globs, in the case that they are written in.")] = None
    office: Annotated[Names | None, Field(description="Id or name.")] = None
    project: Annotated[Names | None, Field(description="Id or name.")] = None
    subscriber_type: Annotated[tuple[SubscriberType, ...], Field(min_length=1), BeforeValidator(_many)] | None = None
    status: Annotated[tuple[Status, ...], Field(min_length=1), BeforeValidator(_many)] = ("NEW", "EXPIRING", "EXPIRED")
    data: Annotated[
        Mapping[str, Annotated[tuple[Scalar, ...], Field(min_length=1), BeforeValidator(_many)]],
        Field(description="Fields of the subscription's `data`, each with the values that it may have."),
    ] = {}


class Score(_Section):
    """A score that is given to an external activity of the course on enrolling."""

    activity: Name
    value: Annotated[float, Field(ge=0)]


class Enroll(_Section):
    """A seat in a course of aNewSpring's, or in a session of 4HSE's: its id, or `next`, the next planned one."""

    account: Name
    course: Name | None = None
    session: Name | None = None
    after: Annotated[Name | None, Field(description="The course or session of an earlier target, to be passed first.")] = None
    due: Days | None = None
    approve: bool = False
    #: Courses: days from enrolling, and what becomes of an old subscription.
    start: Days | None = None
    expire: Days | None = None
    again: Literal["update", "resubscribe"] = "update"
    score: Score | None = None
    #: Sessions: how soon it has to begin.
    within: Days | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.course is None) == (self.session is None):
            raise ValueError("give either course or session")
        foreign = {"start", "expire", "again", "score"} if self.session else {"within"}
        fields = type(self).model_fields
        if misplaced := sorted(name for name in foreign if getattr(self, name) != fields[name].default):
            raise ValueError(f"{', '.join(misplaced)} is not for a {'session' if self.session else 'course'}")
        if self.expire is not None and self.expire <= (self.start or timedelta()):
            raise ValueError("expire must come after start")
        return self


class Observe(_Section):
    """An observation on the job that is awaited; the marks are percent of the points, and points in all."""

    account: Name
    checklist: Name
    result: Percent | None = None
    total_points: Annotated[float, Field(ge=0)] | None = None
    due: Days | None = None
    approve: bool = False


class Exercise(_Section):
    """An exercise of Kare's that is planned for a site; `start` counts from the day of planning, in the 4HSE account's zone."""

    account: Name
    rule_id: int
    start: str
    length: Annotated[Span, Field(ge=timedelta(minutes=1))]
    assigned_user: int | None = None
    due: Days | None = None
    approve: bool = False

    @field_validator("start")
    @classmethod
    def _start(cls, text: str) -> str:
        exercise_start(text)
        return text


class Pass(_Section):
    """When a course counts as passed: completed, and with a mark also that grade."""

    grade: Percent | None = None
    accept_since: Annotated[date | None, Field(description="Results count from this day on, also from before the cycle.")] = None


class Fail(_Section):
    """What follows a failure: so many attempts in all, so far apart."""

    wait: Span = timedelta(days=1)
    attempts: Annotated[int, Field(ge=1, le=100)] = 1


class Record(_Section):
    """The certificate that is written to 4HSE once all targets are passed."""

    certificate: Annotated[str, Field(min_length=1, max_length=255)] = "{action_name}"
    validity: Annotated[str | None, Field(pattern=r"^[1-9][0-9]{0,3} (YEAR|MONTH|DAY)$")] = None
    valid_within: Span = timedelta(days=7)
    approve: bool = False

    @field_validator("certificate")
    @classmethod
    def _known_fields(cls, template: str) -> str:
        return checked(template, {*SUBSCRIPTION_FIELDS, "date"})

    @property
    def period(self) -> tuple[int, str] | None:
        """The validity as number and unit."""
        number, _, unit = (self.validity or "").partition(" ")
        return (int(number), unit) if unit else None


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that a rule leads to. `after` is the `target` of an earlier one; `terms` are JSON."""

    kind: TargetKind
    account: str
    target: str
    after: str | None
    approve: bool
    terms: Mapping[str, Any]


class Rule(_Section):
    """While `when` holds for a subscription, it needs what `enroll`, `observe` or `exercise` says."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    when: When
    enroll: Annotated[tuple[Enroll, ...], Field(min_length=1), BeforeValidator(_many)] | None = None
    observe: Observe | None = None
    exercise: Exercise | None = None
    pass_: Annotated[Pass, Field(alias="pass")] = Pass()
    fail: Fail = Fail()
    undo: Undo = "keep"
    record: Record | None = None
    max_per_hour: Annotated[int, Field(ge=1, description="More is held until a person says yes.")] = 500

    @model_validator(mode="before")
    @classmethod
    def _speaks_of(cls, raw: Any) -> Any:
        """An LMS knows persons only, and an exercise is an office's: a rule that leads to one speaks of them."""
        if not isinstance(raw, dict) or not isinstance(raw.get("when"), dict):
            return raw
        enroll = _many(raw.get("enroll")) or ()
        persons = "observe" in raw or any(isinstance(one, dict) and "course" in one for one in enroll)
        whom = "PERSON" if persons else "OFFICE" if raw.get("exercise") else None
        return raw if whom is None else raw | {"when": {"subscriber_type": [whom]} | raw["when"]}

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(one is not None for one in (self.enroll, self.observe, self.exercise)) != 1:
            raise ValueError("give exactly one of enroll, observe and exercise")
        return self

    def targets(self) -> tuple[Target, ...]:
        """What it leads to, in its order."""
        if self.observe is not None:
            marks = {"result": self.observe.result, "total_points": self.observe.total_points}
            return (_target(TargetKind.OBSERVATION, self.observe, self.observe.checklist, marks),)
        if self.exercise is not None:
            terms = self.exercise.model_dump(include={"rule_id", "start", "assigned_user"})
            terms |= {"length_minutes": self.exercise.length // timedelta(minutes=1)}
            return (_target(TargetKind.EXERCISE, self.exercise, f"rule {self.exercise.rule_id}", terms),)
        return tuple(_seat(one) for one in self.enroll or ())

    @property
    def digest(self) -> str:
        """Tells it from any other rule of its name. Defaults do not count, so that a new key leaves old rules as they are."""
        said = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def snapshot(self) -> dict[str, Any]:
        """The whole rule as JSON, defaults and all."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_snapshot(cls, snapshot: Mapping[str, Any]) -> Self:
        """The rule that a snapshot was taken of."""
        return cls.model_validate(dict(snapshot))


def exercise_start(text: str) -> tuple[int, time]:
    """`+14d 10:00`: in how many days, and at what time; raises ValueError."""
    found = _START.fullmatch(text)
    try:
        assert found is not None
        return int(found[1]), time(int(found[2]), int(found[3]))
    except (AssertionError, ValueError):
        raise ValueError("must be days and a time, such as +14d 10:00") from None


def _days(span: timedelta | None) -> int | None:
    return None if span is None else span.days


def _target(kind: TargetKind, said: Enroll | Observe | Exercise, target: str, terms: Mapping[str, Any]) -> Target:
    after = said.after if isinstance(said, Enroll) else None
    return Target(kind, said.account, target, after, said.approve, {**terms, "due_days": _days(said.due)})


def _seat(said: Enroll) -> Target:
    if said.session is not None:
        return _target(TargetKind.SESSION, said, said.session, {"within_days": _days(said.within)})
    assert said.course is not None
    terms = {
        "start_days": _days(said.start),
        "expire_days": _days(said.expire),
        "again": said.again,
        "score": said.score and said.score.model_dump(),
    }
    return _target(TargetKind.COURSE, said, said.course, terms)


def matches(when: When, row: Mapping[str, Any]) -> list[str]:
    """Why the condition does not hold for a mirrored subscription; nothing: it holds."""
    reasons = list(_unfit(row))
    for key, allowed, columns, alike in _CONDITIONS:
        wanted = allowed(when)
        present = [str(row[column]) for column in columns if row.get(column) is not None]
        if wanted is None or any(alike(one, pattern) for one in present for pattern in wanted):
            continue
        reasons.append(f"{key} is {present[-1] if present else 'not known'}, not {' or '.join(wanted)}")
    held = row.get("data")
    data = held if isinstance(held, Mapping) else {}
    reasons += [
        f"data.{key} is not {' or '.join(map(str, wanted))}" for key, wanted in when.data.items() if not _among(data.get(key), wanted)
    ]
    return reasons


def _unfit(row: Mapping[str, Any]) -> Iterator[str]:
    if row.get("state") != SubscriptionState.LIVE.value:
        yield f"it is {row.get('state')}"
    # A database without booleans gives 0.
    if any(row.get(flag) is not None and not row[flag] for flag in ("owned_active", "parent_active")):
        yield "it is inactive (historicized)"


def _among(value: Any, wanted: tuple[Scalar, ...]) -> bool:
    """Equal to one of them, where true is not 1."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in wanted)


def _equal(value: str, wanted: str) -> bool:
    return value == wanted


_Wanted = Callable[[When], tuple[str, ...] | None]
#: Key, what it wants, the columns of which one has to be alike, and what alike is.
_CONDITIONS: tuple[tuple[str, _Wanted, tuple[str, ...], Callable[[str, str], bool]], ...] = (
    ("account", lambda when: when.account, ("account",), _equal),
    ("action_type", lambda when: when.action_type, ("action_type",), _equal),
    ("action_code", lambda when: when.action_code, ("action_code",), fnmatchcase),
    ("office", lambda when: when.office, ("subtenant_id", "office_name"), _equal),
    ("project", lambda when: when.project, ("tenant_id", "project_name"), _equal),
    ("subscriber_type", lambda when: when.subscriber_type, ("subscriber_type",), _equal),
    ("status", lambda when: when.status, ("status",), _equal),
)


def faults(rules: tuple[Rule, ...], accounts: Mapping[str, Account]) -> Iterator[tuple[int, str, str, str]]:
    """What cannot work in rules that are well-formed: which rule, its key, what is wrong, what to do."""
    names = [rule.name for rule in rules]
    for number, rule in enumerate(rules):
        if rule.name in names[:number]:
            yield number, "name", "another rule has this name", "A rule's name is its identity: give it one of its own"
        found = (_when_faults(rule, accounts), _target_faults(rule, accounts), _outcome_faults(rule), _span_faults(rule))
        for key, problem, remedy in chain.from_iterable(found):
            yield number, key, problem, remedy


def _when_faults(rule: Rule, accounts: Mapping[str, Account]) -> Iterator[tuple[str, str, str]]:
    hse = [name for name, account in accounts.items() if account.vendor == "4hse"]
    unknown = [name for name in rule.when.account or () if name not in hse]
    if unknown:
        yield "when.account", f"{', '.join(unknown)} is no configured account of 4HSE's", "Correct it, or add [accounts.NAME]"
    for target in rule.targets():
        others = [name for name in rule.when.account or hse if name != target.account]
        if target.kind is TargetKind.SESSION and others:
            yield "when.account", "a session is open to subscriptions of its own account only", f'Add account = "{target.account}"'


def _target_faults(rule: Rule, accounts: Mapping[str, Account]) -> Iterator[tuple[str, str, str]]:
    section = "enroll" if rule.enroll else "observe" if rule.observe else "exercise"
    earlier: set[str] = set()
    for target in rule.targets():
        account = accounts.get(target.account)
        if account is None:
            yield f"{section}.account", f"no account {target.account} is configured", f"Add [accounts.{target.account}]"
        elif account.vendor != VENDOR_OF[target.kind]:
            wanted = VENDOR_OF[target.kind]
            yield f"{section}.account", f"{target.account} is of {account.vendor}, a {target.kind} needs {wanted}", "Name another"
        if target.after is not None and target.after not in earlier:
            yield f"{section}.after", f"no earlier target is {target.after}", "Name the course or session of one before it"
        if target.target in earlier:
            yield section, f"{target.target} is there twice", "Keep one of them"
        earlier.add(target.target)


def _span_faults(rule: Rule) -> Iterator[tuple[str, str, str]]:
    """What is counted from a day of this century should be a day still."""
    for key, span in _spans(rule):
        if span > LONGEST:
            yield key, f"{_written(span)} is too long", f"Take at most {LONGEST.days // 365}y"


def _spans(rule: Rule) -> Iterator[tuple[str, timedelta]]:
    sections = [("enroll", one) for one in rule.enroll or ()] + [
        (name, getattr(rule, name)) for name in ("observe", "exercise", "fail", "record")
    ]
    for name, section in sections:
        yield from ((f"{name}.{key}", value) for key, value in section or () if isinstance(value, timedelta))
    number, unit = (rule.record and rule.record.period) or (0, "DAY")
    yield "record.validity", number * timedelta(days={"YEAR": 365, "MONTH": 30, "DAY": 1}[unit])


def _outcome_faults(rule: Rule) -> Iterator[tuple[str, str, str]]:
    kinds = {target.kind for target in rule.targets()}
    for kind in sorted(kinds):
        if rule.undo not in UNDOES[kind]:
            can = ", ".join(sorted(UNDOES[kind]))
            yield "undo", f"{rule.undo} is nothing that can be done to {kind}s", f"Take one of {can}"
    if rule.pass_.grade is not None and TargetKind.COURSE not in kinds:
        yield "pass.grade", "a mark is for a course", "Remove it; an observation's marks stand in observe"
    if TargetKind.EXERCISE in kinds and "PERSON" in (rule.when.subscriber_type or ("PERSON",)):
        problem = "an exercise is an office's: whoever was there would pass it for every person of the office"
        yield "when.subscriber_type", problem, "Take OFFICE"
    if not kinds & OF_PERSONS:
        return
    if strangers := ", ".join(one for one in rule.when.subscriber_type or () if one != "PERSON"):
        yield "when.subscriber_type", f"an LMS knows persons, and no {strangers}", "Take PERSON, or another target"
    if strangers := ", ".join(one for one in rule.when.action_type or () if not fits(one, "PERSON")):
        yield "when.action_type", f"an LMS knows persons, and {strangers} is for none", "Take another type or target"
