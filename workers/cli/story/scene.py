"""What a step is, and what it has at hand."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from schemas.delivery import now_utc
from schemas.settings import Settings
from workers.cli.sending import send
from workers.cli.story.known import Known, look
from workers.cli.worker_side import Worker
from workers.simulators.acme import Acme

SECRET = "c2VjcmV0IG9mIHRoZSBkZW1vbnN0cmF0aW9u"  # noqa: S105 - of a receiver that lives for a minute on this machine
SOURCES = {
    "hse": {"vendor": "4hse", "account": "hse", "verify": {"secrets": [SECRET]}},
    "lms": {"vendor": "anewspring", "account": "lms", "verify": {"secrets": [SECRET]}},
}


class Calendar:
    """The time in the demonstration, which may pass faster."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now_utc() + self.ahead


@dataclass(frozen=True, slots=True)
class Scene:
    """What a step has at hand."""

    acme: Acme
    settings: Settings
    url: str
    worker: Worker
    calendar: Calendar
    #: What muster answered to webhooks that no vendor sent.
    answers: list[int] = field(default_factory=list)

    async def look(self) -> Known:
        """What is known now."""
        return await look(self.settings, self.acme.environment, self.answers)

    async def post(self, body: Mapping[str, Any], event: str, *, secret: str = SECRET) -> None:
        """Send muster a webhook of 4HSE's, which 4HSE itself does not send."""
        source = type(self.settings.sources["hse"]).model_validate(SOURCES["hse"] | {"verify": {"secrets": [secret]}})
        status, _ = await asyncio.to_thread(send, self.url, "hse", source, event, json.dumps(body).encode())
        self.answers.append(status)


class Shown(NamedTuple):
    """What muster knows, and why, by its rows."""

    what: str
    why: str


#: What is shown of a step, by what was known before it happened and what is known now; None while nothing shows.
Proof = Callable[[Known, Known], Shown | None]


@dataclass(frozen=True, slots=True)
class Step:
    """Something happens, and muster shows it; where nobody plays, it follows from what was played last."""

    story: str
    how: str
    proof: Proof
    play: Callable[[Scene], Awaitable[object]] | None = None
