"""An account of iSpring's: sessions on the job, and events for its subscribers."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from workers.simulators.hooks import Sender
from workers.simulators.ispring.subscribers import Sign, Subscriber, Times


@dataclass(slots=True)
class Session:
    """An on-the-job training session."""

    id: str
    checklist: str
    employee: str
    observer: str
    status: str
    starts: datetime
    started: datetime | None = None
    completed: datetime | None = None
    result: float | None = None
    points: float | None = None


def hashed(body: bytes, secret: str) -> Mapping[str, str]:
    """The header of the page on webhooks: SHA-256 over the body with the secret behind it."""
    return {"X-Hub-Signature": hashlib.sha256(body + secret.encode()).hexdigest()}


class Account:
    """Everything in memory. Times of day are told in `zone`, day first."""

    format = "%d-%m-%Y, %H:%M:%S"

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        now: Callable[[], datetime],
        *,
        sign: Sign = hashed,
        times: Times | None = None,
        zone: str = "UTC",
        token_life: float = 1800.0,
    ) -> None:
        self.client_id, self.client_secret, self.now = client_id, client_secret, now
        self.token_life, self._zone = token_life, ZoneInfo(zone)
        #: Access tokens, and when they stop being good.
        self.tokens: dict[str, datetime] = {}
        self.sessions: dict[str, Session] = {}
        self.subscribers: dict[str, Subscriber] = {}
        self._sign, self._times = sign, times or Times()
        self.sender = Sender(self._times.patience)

    def token(self) -> str:
        """A new access token."""
        token = f"token-{uuid4().hex}"
        self.tokens[token] = self.now() + timedelta(seconds=self.token_life)
        return token

    def expire_tokens(self) -> None:
        """None of the tokens given so far is good any more."""
        self.tokens.clear()

    def observe(self, employee: str, observer: str, checklist: str, *, result: float | None = None, session: str | None = None) -> Session:
        """Plan a session, or with a `result` end one; no event tells of it, and a poor result reads PASSED as well."""
        number = session or str(uuid4())
        new = Session(number, checklist, employee, observer, "NOT_STARTED", self.now())
        seen = self.sessions.setdefault(number, new)
        if result is not None:
            seen.status, seen.started, seen.completed = "PASSED", seen.started or self.now(), self.now()
            seen.result, seen.points = result, round(result * 0.3, 2)
        return seen

    def complete(self, learner: str, course: str) -> None:
        """A learner completes a course; the time is in nanoseconds."""
        enrollment, at = f"{course}/{learner}", int(self.now().timestamp()) * 1_000_000_000
        self.emit(
            "COURSE_COMPLETED_SUCCESSFULLY",
            {"courseId": course, "learnerId": learner, "enrollmentIds": [enrollment], "completionDate": at},
        )

    def emit(self, event: str, payload: Mapping[str, Any]) -> None:
        """Something happens that webhooks tell of."""
        for subscriber in self.subscribers.values():
            subscriber.tell((event, payload))

    def register(self, name: str, url: str, secret: str | None) -> None:
        """Add a subscriber."""
        self.subscribers[name] = Subscriber(name, url, secret, self._sign, self._times, self.sender)

    def shown(self, session: Session) -> dict[str, Any]:
        """A session as the document prints it; what it has not yet is absent."""
        row = {
            "checklistId": session.checklist,
            "checklistTitle": "Floor Sales Representative",
            "sessionId": session.id,
            "sessionStatus": session.status,
            "startDate": self._local(session.starts),
            "actualStartDate": self._local(session.started),
            "completionDate": self._local(session.completed),
            "result": session.result,
            "totalPoints": 30 if session.result is not None else None,
            "points": session.points,
            "employeeId": session.employee,
            "observerId": session.observer,
        }
        return {name: value for name, value in row.items() if value is not None}

    async def close(self) -> None:
        """Send no more webhooks."""
        await self.sender.close()

    def _local(self, at: datetime | None) -> str | None:
        return at.astimezone(self._zone).strftime(self.format) if at else None
