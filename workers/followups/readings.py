"""Rows of the mirror's tables of versions as results. Pure.

Each is given every version, old ones too: only they tell a result that was corrected from a course that was completed once more.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from schemas.states import TargetKind
from workers.followups.results import Result
from workers.mirror.status import end_of

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
    return [one for versions in _results(rows, "session_id") for one in _whose(map(_observed, versions))]


def _observed(now: Row) -> Result:
    return Result(
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
            completion=_key("exercise", now, "intervention_id"),
            **_version(now),
        )
        for versions in _results(rows, "intervention_id", "user_id")
        for now in versions[-1:]
    ]


def session_enrollments(rows: Iterable[Row], zone: ZoneInfo) -> list[Result]:
    """4HSE's outcomes: 1 passed, 0 failed, anything else pending."""
    return [
        one
        for versions in _results(rows, "action_session_subscription_id")
        for one in _whose(_entered(now, _session_day(versions, zone)) for now in versions)
    ]


def _entered(now: Row, at: datetime | None) -> Result:
    return Result(
        _key("session_enrollment", now, "action_session_subscription_id"),
        TargetKind.SESSION,
        now["action_subscription_id"] or "",
        now["action_session_id"] or "",
        at,
        passed={1: True, 0: False}.get(now["done"]),
        completed=now["done"] in (0, 1),
        completion=_key("session", now, "action_session_id") if now["action_session_id"] else None,
        **_version(now),
    )


def _whose(versions: Iterable[Result]) -> Iterator[Result]:
    """A result as it is now; of those whose it was before, it was withdrawn."""
    *before, now = versions
    yield now
    others = {(one.learner, one.target): one for one in before if (one.learner, one.target) != (now.learner, now.target)}
    yield from (replace(one, withdrawn=True, version=now.version) for one in others.values())


def _session_day(versions: Sequence[Row], zone: ZoneInfo) -> datetime | None:
    """The last moment of the session's day, which is before the cycle that its own certificate opens; else when the outcome came."""
    day = versions[-1]["date_begin"] or versions[-1]["session_date_begin"]
    if day is not None:
        return end_of(day, zone) - timedelta(microseconds=1)
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
