"""What getSubscriptions and getResults answer, key by key as the support article prints it."""

from datetime import date, datetime
from typing import Any

from workers.simulators.anewspring.environment import Activity, Attempt, Course, Seat, percent

#: What skipStats leaves out.
STATISTICS = ("efficiency", "knowledgeIntake", "objectivesProgress", "progress")


def subscription(course: Course, seat: Seat, today: date, *, statistics: bool = True) -> dict[str, Any]:
    """One entry of getSubscriptions."""
    done = sum(activity.part_id in seat.attempts for activity in course.activities)
    start = datetime.combine(seat.start, datetime.min.time()) if seat.start else seat.subscribed_at
    told: dict[str, Any] = {
        "active": bool(seat.attempts) or seat.completed_at is not None,
        "efficiency": 0.5,
        "expired": seat.is_expired(today),
        "finished": seat.ended or seat.is_expired(today),
        "id": course.id,
        "knowledgeIntake": 0.7,
        "name": f"Course {course.id}",
        "objectivesProgress": 0.625,
        "progress": f"{done}/{len(course.activities)}",
        "reseller": "",
        **_moment("start", start),
        **_moment("subscribe", seat.subscribed_at),
        "uid": course.uid,
    }
    return told if statistics else {name: value for name, value in told.items() if name not in STATISTICS}


def result(course: Course, seat: Seat, today: date) -> dict[str, Any]:
    """One course of getResults."""
    return {
        **subscription(course, seat, today),
        "completed": seat.completed_at is not None,
        **_moment("complete", seat.completed_at),
        "grade": percent(seat.grade),
        **_moment("grade", seat.completed_at),
        **_moment("lastTrainingCompleted", None),
        "objectives": [],
        "parts": [part(activity, seat) for activity in course.activities],
    }


def part(activity: Activity, seat: Seat) -> dict[str, Any]:
    """One activity of getResults."""
    attempts = seat.attempts.get(activity.part_id, [])
    last = attempts[-1] if attempts else None
    return {
        "attempts": [_attempt(activity, number, one) for number, one in enumerate(attempts, 1)],
        "blockName": "Block 1",
        **_moment("complete", last.at if last else None),
        "completed": last is not None,
        "id": activity.id,
        "name": f"Activity {activity.part_id}",
        "partId": activity.part_id,
        "passed": _passed(activity, last),
        "score": percent(last.score) if last and activity.type != "Evaluation" else None,
        "subType": activity.type,
        "type": activity.type,
        "uid": f"{activity.part_id:08d}-0084-4a97-a51c-61e23478c462",
    }


def _attempt(activity: Activity, number: int, attempt: Attempt) -> dict[str, Any]:
    return {
        "attemptNr": number if activity.repeatable else -1,
        **_moment("complete", attempt.at),
        "completed": True,
        "criteria": [],
        "passed": _passed(activity, attempt),
        "progress": "3/3" if activity.type == "Assessment" else None,
        "score": percent(attempt.score),
        **_moment("start", attempt.at),
        "terms": [],
    }


def _passed(activity: Activity, attempt: Attempt | None) -> bool | None:
    """Null for an Evaluation; false for what has no threshold, like a Lesson."""
    if activity.type == "Evaluation":
        return None
    return attempt is not None and attempt.passed and activity.type != "Lesson"


def _moment(name: str, at: datetime | None) -> dict[str, str | None]:
    return {f"{name}Date": f"{at:%Y-%m-%d}" if at else None, f"{name}DateTime": f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None}
