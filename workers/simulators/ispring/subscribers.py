"""A webhook subscriber of iSpring's: confirmed by a code, told in order, given up after a day of failures."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any
from uuid import uuid4

from workers.simulators.hooks import Sender

#: Makes the headers that prove a body under a secret.
Sign = Callable[[bytes, str], Mapping[str, str]]
Event = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds. The day is documented, the interval is not."""

    retry: float = 60.0
    give_up: float = 86_400.0
    patience: float = 10.0


class Subscriber:
    """One address. `start_sending` is to be called when something was added to the queue."""

    def __init__(self, name: str, url: str, secret: str | None, sign: Sign, times: Times, sender: Sender) -> None:
        self.name, self.url, self.secret = name, url, secret
        self.active, self.confirmed, self.suspended = True, False, False
        self.code: str | None = None
        self.type: str | None = None
        self.params: list[Mapping[str, str]] = []
        self.queue: deque[Event] = deque()
        #: Events that were lost when the day was over.
        self.lost: list[Event] = []
        self._sign, self._times, self._sender, self._sending = sign, times, sender, False

    def send_code(self) -> None:
        """Deliver a new code; those sent before stop working."""
        self.code = str(uuid4())
        body = json.dumps({"type": "CONFIRMATION", "payloads": [json.dumps({"code": self.code})]}).encode()
        self._sender.start(self._deliver_code(body))

    def confirm(self, code: str) -> bool:
        """Whether this is the code."""
        self.confirmed = self.confirmed or (self.code is not None and code == self.code)
        return self.code is not None and code == self.code

    def tell(self, event: Event) -> None:
        """Queue an event, if it is for this subscriber."""
        if self.active and self.confirmed and event[0] == self.type and self._wanted(event[1]):
            self.queue.append(event)
            if not self._sending:
                self._sending = True
                self._sender.start(self._work())

    def forget(self) -> None:
        """It was removed: nothing more is for it."""
        self.confirmed = False
        self.queue.clear()

    def info(self) -> Mapping[str, str]:
        """What webhook/subscriber/info answers."""
        sending = "SUSPENDED" if self.suspended else "ACTIVE" if self.active and self.confirmed else "INACTIVE"
        confirmation = "CONFIRMED" if self.confirmed else "UNCONFIRMED"
        status = "ACTIVE" if self.active else "INACTIVE"
        return {"subscriberStatus": status, "confirmationStatus": confirmation, "notificationProcessStatus": sending}

    def subscriptions(self) -> list[Mapping[str, Any]]:
        """What webhook/subscription/list answers."""
        return [{"subscriptionType": self.type, "params": self.params}] if self.type else []

    def _wanted(self, payload: Mapping[str, Any]) -> bool:
        """Whether the filters let it pass: userIds=["…"] looks at the learner, courseIds at the course."""
        fields = {"userIds": ("learnerId", "learnerIds", "userId"), "courseIds": ("courseId",)}
        wanted = {param["name"]: set(json.loads(param["value"])) for param in self.params}
        return all(values & _values(payload, fields.get(name, ())) for name, values in wanted.items())

    async def _deliver_code(self, body: bytes) -> None:
        # Not signed, whatever the secret: the address' owner has not shown yet that it is the one.
        await self._sender.post(self.url, body, {"Content-Type": "application/json"})

    async def _work(self) -> None:
        """Send what is queued, in order; what follows waits behind a failure."""
        failing_since: float | None = None
        while self.queue and self.confirmed:
            batch = list(takewhile(lambda event: event[0] == self.queue[0][0], tuple(self.queue)))
            if await self._taken(batch):
                for _ in batch if self.queue else ():
                    self.queue.popleft()
                failing_since, self.suspended = None, False
                continue
            now = asyncio.get_running_loop().time()
            failing_since, self.suspended = failing_since or now, True
            if now - failing_since >= self._times.give_up:
                self._give_up()
            else:
                await asyncio.sleep(self._times.retry)
        self._sending = False

    async def _taken(self, batch: list[Event]) -> bool:
        """Whether exactly 200 came back."""
        body = json.dumps({"type": batch[0][0], "payloads": [payload for _, payload in batch]}).encode()
        headers = {"Content-Type": "application/json", **(self._sign(body, self.secret) if self.secret else {})}
        return await self._sender.post(self.url, body, headers) == 200

    def _give_up(self) -> None:
        self.confirmed, self.suspended, self.code = False, False, None
        self.lost += self.queue
        self.queue.clear()


def _values(payload: Mapping[str, Any], names: tuple[str, ...]) -> set[Any]:
    given = [payload[name] for name in names if name in payload]
    return {one for value in given for one in (value if isinstance(value, list) else [value])}
