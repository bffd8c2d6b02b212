"""Results that are kept in versions: what a vendor's answer says of one, and what it changes about the versions held. Pure.

A result that is corrected or withdrawn is a new version of it; the current one is the one that nothing superseded. Its
`observed_at` is the latest evidence for it, so that older evidence changes nothing in whatever order it comes.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FactKind:
    """A table of versions: its key beside the account, and what a version says; columns with their PostgreSQL types."""

    table: str
    key: Mapping[str, str]
    content: Mapping[str, str]


COURSE_RESULT = FactKind(
    "course_results",
    key={"learner": "text", "course": "text", "activity": "text", "attempt": "integer"},
    content={
        "name": "text",
        "grade": "double precision",
        "passed": "boolean",
        "completed": "boolean",
        "expired": "boolean",
        "finished": "boolean",
        "started_at": "timestamptz",
        "completed_at": "timestamptz",
    },
)

OBSERVATION = FactKind(
    "observations",
    key={"session_id": "text"},
    content={
        "checklist_id": "text",
        "checklist_title": "text",
        "employee_id": "text",
        "observer_id": "text",
        "status": "text",
        "planned_at": "timestamptz",
        "started_at": "timestamptz",
        "completed_at": "timestamptz",
        "result": "double precision",
        "total_points": "double precision",
        "points": "double precision",
    },
)

ATTENDANCE = FactKind(
    "attendances",
    key={"intervention_id": "bigint", "user_id": "bigint"},
    content={"status": "text", "ended_at": "timestamptz"},
)

SESSION_ENROLLMENT = FactKind(
    "session_enrollments",
    key={"action_session_subscription_id": "text"},
    content={
        "action_session_id": "text",
        "action_subscription_id": "text",
        "done": "integer",
        "warning": "integer",
        "certificate_id": "text",
        "date_begin": "date",
        "date_expire": "date",
        "validity": "integer",
        "validity_unit": "text",
        "session_date_begin": "date",
        "subtenant_id": "text",
        "tenant_id": "text",
    },
)


@dataclass(frozen=True, slots=True)
class Fact:
    """What a vendor said at a time about one result; what `content` does not name is unknown."""

    kind: FactKind
    account: str
    key: Key
    at: datetime
    content: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one result."""

    key: Key
    number: int
    observed_at: datetime
    content: Mapping[str, Any] = field(hash=False)
    withdrawn: bool = False
    superseded_at: datetime | None = None

    @property
    def strength(self) -> tuple[datetime, bool, str]:
        """The later evidence holds; at one time what was found beats what was not, and then the greater text wins."""
        return self.observed_at, not self.withdrawn, json.dumps(self.content, sort_keys=True, default=str)


def found(kind: FactKind, fact: Fact) -> Version:
    """A fact as a version yet without a number, its values such as every database can keep."""
    key = tuple(fitted(column, value) for column, value in zip(kind.key.values(), fact.key, strict=True))
    content = {name: fitted(column, fact.content.get(name)) for name, column in kind.content.items()}
    return Version(key, 0, _time(fact.at), content)


def changed(current: Mapping[Key, Version], seen: Iterable[Version]) -> list[Version]:
    """The versions to be written, in the order of their keys: new ones, and current ones that were superseded or seen again."""
    strongest: dict[Key, Version] = {}
    for one in seen:
        if one.key not in strongest or one.strength > strongest[one.key].strength:
            strongest[one.key] = one
    return [version for key in sorted(strongest) for version in _after(current.get(key), strongest[key])]


def _after(held: Version | None, seen: Version) -> tuple[Version, ...]:
    if held is None:
        return (replace(seen, number=1),)
    if seen.strength <= held.strength:
        return ()
    if (seen.withdrawn, seen.content) == (held.withdrawn, held.content):
        return (replace(held, observed_at=seen.observed_at),)
    return replace(held, superseded_at=seen.observed_at), replace(seen, number=held.number + 1)


def fitted(column: str, value: Any) -> Any:
    """A value as a column of that type keeps it, so that it compares equal to itself read again."""
    return None if value is None else _FITTING[column](value)


def _text(value: str) -> str:
    return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _number(value: float) -> float | None:
    return float(value) if abs(value) <= sys.float_info.max else None


def _integer(bits: int) -> Callable[[int], int]:
    return lambda value: max(-(2 ** (bits - 1)), min(int(value), 2 ** (bits - 1) - 1))


def _time(value: datetime | str) -> datetime:
    """In UTC. PostgreSQL reads the ends of the calendar as infinite, and gives them back without a zone."""
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    try:
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except OverflowError:
        return (datetime.min if read.year == datetime.min.year else datetime.max).replace(tzinfo=UTC)


def _day(value: date | str) -> date:
    return date.fromisoformat(str(value)[:10])


_FITTING: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "text": _text,
        "boolean": bool,
        "integer": _integer(32),
        "bigint": _integer(64),
        "double precision": _number,
        "timestamptz": _time,
        "date": _day,
    }
)
