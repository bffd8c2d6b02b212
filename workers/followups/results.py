"""Which results count for a need, and what they say of its targets. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from schemas.rules import Pass, Target
from schemas.states import TargetKind

_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Result:
    """The current version of a result."""

    #: Of one completion, over all its versions; completed once more it is another.
    key: str
    kind: TargetKind
    #: Whose result in what: an LMS's learner and course or checklist, a subscription and its session, a user and an exercise.
    learner: str
    target: str
    completed_at: datetime | None = None
    #: In percent.
    grade: float | None = None
    passed: bool | None = None
    #: It is over, however it ended.
    completed: bool = False
    total_points: float | None = None
    withdrawn: bool = False
    version: int = 1
    #: Courses: its seat has expired, or was ended in any way; and when the LMS was last heard of it.
    expired: bool = False
    finished: bool = False
    observed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the results say of a target: passed or failed by the result of that key, or nothing yet."""

    passed: bool | None = None
    key: str | None = None


def counts(
    target: Target,
    cycle_opened_at: datetime,
    results: Sequence[Result],
    *,
    accept_since: date | None,
    pass_: Pass,
    used: Collection[str] = (),
    zone: ZoneInfo = _UTC,
) -> Verdict:
    """What the results of a target's learner say in a cycle; `used` are the keys of those that certified the subscription before.

    The first that passes counts, and if none does, the last that fails.
    """
    since = None if accept_since is None else datetime.combine(accept_since, time(), zone)
    standing = (one for one in results if one.kind is target.kind and not one.withdrawn and one.key not in used)
    fresh = sorted((one for one in standing if _counts(one.completed_at, cycle_opened_at, since)), key=_order)
    verdicts = [Verdict(judged(one, target, pass_), one.key) for one in fresh]
    passed = next((one for one in verdicts if one.passed), None)
    failed = next((one for one in reversed(verdicts) if one.passed is False), None)
    return passed or failed or Verdict()


def judged(one: Result, target: Target, pass_: Pass) -> bool | None:
    """Whether a result passes its target; None is nothing yet."""
    return _JUDGES[target.kind](one, target, pass_)


@dataclass(frozen=True, slots=True)
class Correction:
    """A result that certified a subscription and says something else now; `reason` is the alarm, `proposal` what a person may do."""

    reason: str
    proposal: str


def correction(one: Result, was: datetime, target: Target, pass_: Pass, zone: ZoneInfo = _UTC) -> Correction | None:
    """What a result that certified as completed at that time would change about the certificate by now."""
    if one.withdrawn or one.completed_at is None:
        return Correction(f"{one.key} certified, and was withdrawn since", "see whether the certificate stands")
    if not judged(one, target, pass_):
        return Correction(f"{one.key} certified, and does not pass any more", "delete the certificate")
    day = one.completed_at.astimezone(zone).date()
    if day == was.astimezone(zone).date():
        return None
    return Correction(f"{one.key} certified, and was completed on another day", f"let the certificate begin on {day}")


def _counts(completed_at: datetime | None, opened: datetime, since: datetime | None) -> bool:
    return completed_at is not None and (completed_at > opened or (since is not None and completed_at >= since))


def _order(one: Result) -> tuple[datetime, str]:
    assert one.completed_at is not None
    return one.completed_at, one.key


def _course(one: Result, _: Target, pass_: Pass) -> bool | None:
    """Completed, and with a mark that grade; `finished` is no completion. A grade that is not known yet is awaited."""
    return _reaches(one.grade, pass_.grade) if one.completed else None


def _observation(one: Result, target: Target, _: Pass) -> bool | None:
    """Over, and the marks reached: a total below the mark is that of an observation whose criteria were skipped."""
    if not one.completed:
        return None
    reached = (_reaches(one.grade, target.terms.get("result")), _reaches(one.total_points, target.terms.get("total_points")))
    return False if False in reached else None if None in reached else True


def _told(one: Result, _: Target, __: Pass) -> bool | None:
    """What a person at the vendor entered is the verdict."""
    return one.passed if one.completed else None


_JUDGES: Mapping[TargetKind, Callable[[Result, Target, Pass], bool | None]] = MappingProxyType(
    {
        TargetKind.COURSE: _course,
        TargetKind.OBSERVATION: _observation,
        TargetKind.SESSION: _told,
        TargetKind.EXERCISE: _told,
    }
)


def _reaches(value: float | None, mark: float | None) -> bool | None:
    return True if mark is None else None if value is None else value >= mark


# Rows of the mirror's tables of versions as results. Each is given every version, old ones too: only they tell a result that was
# corrected from a course that was completed once more.

Row = Mapping[str, Any]


def course_results(rows: Iterable[Row]) -> list[Result]:
    """Courses as a whole; what was reached in an activity is in the course's grade, if it counts there."""
    return [
        Result(
            _key("course_result", now, "learner", "course", "activity", "attempt") + (f"#{number}" if number > 1 else ""),
            TargetKind.COURSE,
            now["learner"],
            now["course"],
            now["completed_at"],
            now["grade"],
            now["passed"],
            bool(now["completed"]),
            expired=bool(now["expired"]),
            finished=bool(now["finished"]),
            observed_at=now["observed_at"],
            **_version(now),
        )
        for versions in _results((row for row in rows if not row["activity"] and not row["attempt"]), "learner", "course")
        for now, number in [(versions[-1], _completions(versions))]
    ]


def observations(rows: Iterable[Row]) -> list[Result]:
    """iSpring's PASSED says that one is over."""
    return [
        Result(
            _key("observation", now, "session_id"),
            TargetKind.OBSERVATION,
            now["employee_id"],
            now["checklist_id"],
            now["completed_at"],
            now["result"],
            completed=now["status"] == "PASSED",
            total_points=now["total_points"],
            **_version(now),
        )
        for versions in _results(rows, "session_id")
        for now in versions[-1:]
    ]


def attendances(rows: Iterable[Row]) -> list[Result]:
    """A user at an exercise, whose end is the completion; of the statuses only `present` is documented, so no other is a failure."""
    return [
        Result(
            _key("attendance", now, "intervention_id", "user_id"),
            TargetKind.EXERCISE,
            str(now["user_id"]),
            str(now["intervention_id"]),
            now["ended_at"],
            passed=True if now["status"] == "present" else None,
            completed=now["status"] == "present",
            **_version(now),
        )
        for versions in _results(rows, "intervention_id", "user_id")
        for now in versions[-1:]
    ]


def session_enrollments(rows: Iterable[Row], zone: ZoneInfo) -> list[Result]:
    """4HSE's outcomes: 1 passed, 0 failed, anything else pending."""
    return [
        Result(
            _key("session_enrollment", now, "action_session_subscription_id"),
            TargetKind.SESSION,
            now["action_subscription_id"] or "",
            now["action_session_id"] or "",
            _session_day(versions, zone),
            passed={1: True, 0: False}.get(now["done"]),
            completed=now["done"] in (0, 1),
            **_version(now),
        )
        for versions in _results(rows, "action_session_subscription_id")
        for now in versions[-1:]
    ]


def _session_day(versions: Sequence[Row], zone: ZoneInfo) -> datetime | None:
    """The last moment of the session's day, which is before the cycle that its own certificate opens; else when the outcome came."""
    day = versions[-1]["date_begin"] or versions[-1]["session_date_begin"]
    if day is not None:
        return datetime.combine(day + timedelta(days=1), time(), zone) - timedelta(microseconds=1)
    return next((one["superseded_at"] for one in reversed(versions) if one["done"] not in (0, 1) and one["superseded_at"]), None)


def _completions(versions: Sequence[Row]) -> int:
    """The how-manieth completion the last version tells of.

    What was seen completed had been completed by then, whatever is said later of when: only a completion after that is another.
    """
    number, seen = 0, None
    for one in versions:
        if one["completed"] and not one["withdrawn"]:
            at = one["completed_at"]
            number += seen is None or (at is not None and seen < at <= one["observed_at"] + timedelta(days=1))
            seen = one["observed_at"]
    return number


def _results(rows: Iterable[Row], *key: str) -> list[list[Row]]:
    """Every version of each result, in their order."""
    order = itemgetter("account", *key)
    return [list(group) for _, group in groupby(sorted(rows, key=itemgetter("account", *key, "version")), order)]


def _key(noun: str, row: Row, *key: str) -> str:
    return "/".join([noun, row["account"], *(str(row[name]) for name in key)])


def _version(now: Row) -> dict[str, Any]:
    return {"withdrawn": bool(now["withdrawn"]), "version": now["version"]}
