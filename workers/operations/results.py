"""Reading what the mirror knows of results: the current version of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from workers.mirror.tables import Attendance, CourseResult, Observation, SessionEnrollment

#: Nouns to their tables.
RESULTS: Mapping[str, Any] = {
    "course_result": CourseResult,
    "observation": Observation,
    "attendance": Attendance,
    "session_enrollment": SessionEnrollment,
}


async def find(noun: str, *, account: str | None = None, limit: int = 50) -> Sequence[Any]:
    """The current results of a noun, the newest evidence first; what was withdrawn is none."""
    current = RESULTS[noun].filter(superseded_at=None, withdrawn=False)
    found: Sequence[Any] = await (current.filter(account=account) if account else current).order_by("-observed_at", "-id").limit(limit)
    return found
