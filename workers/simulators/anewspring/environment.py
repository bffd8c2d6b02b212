"""An environment of aNewSpring's: who learns what, how it goes, and the webhooks that tell of it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from workers.simulators.hooks import Sender
from workers.simulators.markup import element

#: Ten more tries after the first, from 10 seconds to 16 hours apart.
INTERVALS = tuple(10 * 5760 ** (step / 9) for step in range(10))
ACKNOWLEDGED = frozenset({200, 201, 202, 204})


@dataclass(frozen=True, slots=True)
class Hook:
    """Where webhooks go. `sign` makes the headers that prove a body; `scale` shrinks the intervals, not the patience for an answer."""

    url: str
    sign: Callable[[bytes], Mapping[str, str]] = lambda _: {}
    xml: bool = False
    scale: float = 1.0
    patience: float = 10.0


@dataclass(frozen=True, slots=True)
class Activity:
    """An activity of a course; without an external id only its part id names it."""

    id: str | None
    type: str = "Assessment"
    part_id: int = 1
    #: Several attempts are allowed.
    repeatable: bool = False


class Attempt(NamedTuple):
    """How one attempt at an activity ended."""

    score: float | None
    passed: bool
    at: datetime


class Course(NamedTuple):
    """A course, with the UID that all courses of its template share."""

    id: str
    uid: str
    activities: tuple[Activity, ...]


@dataclass(slots=True)
class Seat:
    """A learner's subscription; it outlives its end, and is then finished."""

    subscribed_at: datetime
    start: date | None = None
    expire: date | None = None
    expired: bool = False
    ended: bool = False
    completed_at: datetime | None = None
    grade: float | None = None
    #: By part id.
    attempts: dict[int, list[Attempt]] = field(default_factory=dict)

    def is_expired(self, today: date) -> bool:
        """By hand or by date."""
        return self.expired or (self.expire is not None and self.expire < today)


class Environment:
    """Everything in memory."""

    def __init__(self, key: str, now: Callable[[], datetime], hook: Hook | None = None) -> None:
        self.key, self.hook, self.now = key, hook, now
        #: External id to UID.
        self.users: dict[str, str] = {}
        self.courses: dict[str, Course] = {}
        self.groups: dict[str, tuple[str, ...]] = {}
        self.seats: dict[tuple[str, str], Seat] = {}
        self.sender = Sender(hook.patience if hook else 10.0)
        #: Webhooks that were given up.
        self.lost: list[bytes] = []

    def add_user(self, user: str) -> str:
        """A learner; returns the UID."""
        return self.users.setdefault(user, _uid("user", user))

    def add_course(self, course: str, *activities: Activity, template: str | None = None) -> str:
        """A course; returns its UID."""
        self.courses[course] = Course(course, _uid("template", template or course), activities)
        return self.courses[course].uid

    def subscribe(self, user: str, course: str, start: date | None = None, expire: date | None = None) -> None:
        """Give a learner a seat; one that was ended is taken up again, with what was reached in it."""
        old = self.seats.get((user, course))
        seat = self.seats[user, course] = old or Seat(self.now())
        seat.start, seat.expire, seat.ended, seat.expired = start, expire, False, False

    def complete(self, learner: str, course: str, grade: float, *, passed: bool = True) -> None:
        """The learner completes everything in the course, or does so once more with another grade; a webhook tells."""
        for activity in self.courses[course].activities:
            self.attempt(learner, course, activity, grade, passed=passed)
        self._completed(learner, course, grade)

    def complete_activity(self, learner: str, course: str, activity: str, score: float | None, *, passed: bool = True) -> None:
        """The learner completes one activity, and with the last of them the course; a webhook tells each."""
        done = next(one for one in self.courses[course].activities if one.id == activity)
        self.attempt(learner, course, done, score, passed=passed)
        told = {"id": done.id, "type": done.type, "partId": done.part_id, "completed": True, "score": percent(score)}
        self._tell("activity_completed", {"learner": {"id": learner}, "course": {"id": course}, "activity": told})
        if len(self.seats[learner, course].attempts) == len(self.courses[course].activities):
            self._completed(learner, course, score)

    def attempt(self, learner: str, course: str, activity: Activity, score: float | None, *, passed: bool) -> None:
        """The learner ends an attempt; nobody is told."""
        attempts = self.seats[learner, course].attempts
        before = attempts.get(activity.part_id, []) if activity.repeatable else []
        attempts[activity.part_id] = [*before, Attempt(score, passed, self.now())]

    async def close(self) -> None:
        """Send no more webhooks."""
        await self.sender.close()

    def _completed(self, learner: str, course: str, grade: float | None) -> None:
        seat = self.seats[learner, course]
        seat.completed_at, seat.grade = self.now(), grade
        told = {"id": course, "completed": True, "completeDateTime": f"{self.now():%Y-%m-%dT%H:%M:%SZ}", "grade": percent(grade)}
        self._tell("course_completed", {"learner": {"id": learner}, "course": told})

    def _tell(self, event: str, about: Mapping[str, Any]) -> None:
        if self.hook is None:
            return
        content = {"type" if self.hook.xml else "event": event, "created": f"{self.now():%Y-%m-%dT%H:%M:%SZ}", **about}
        body = element("webhook", content) if self.hook.xml else json.dumps(content)
        self.sender.start(self._deliver(self.hook, body.encode()))

    async def _deliver(self, hook: Hook, body: bytes) -> None:
        headers = {"Content-Type": "text/xml" if hook.xml else "application/json", **hook.sign(body)}
        for pause in (0.0, *INTERVALS):
            await asyncio.sleep(pause * hook.scale)
            if await self.sender.post(hook.url, body, headers) in ACKNOWLEDGED:
                return
        self.lost.append(body)


def percent(value: float | None) -> str | None:
    """67.0 as aNewSpring writes it: 67%."""
    return None if value is None else f"{value:g}%"


def _uid(kind: str, name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"https://anewspring.example/{kind}/{name}"))
