"""Between muster and the vendors: books of what really happened there, doors that know what is under way, and a postman for webhooks."""

import asyncio
import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CREATE = "ACTION_SUBSCRIPTION::CREATE"
#: Of the webhooks about new duties so many never leave 4HSE, and so many of all are sent twice.
_LOST, _TWICE = 0.1, 0.1
#: Seconds that a call takes before and after the vendor did what it was asked for.
_SLOWNESS = 0.04
#: What changes something at a vendor, beside what is put, patched and deleted: 4HSE's lists are posted, too, and so are logins.
_POSTED = re.compile(r"/create$|^/api/(?!v3/token)")


def changes(method: str, path: str) -> bool:
    """Whether a call changes something at its vendor."""
    return method in ("PUT", "PATCH", "DELETE") or (method == "POST" and _POSTED.search(path) is not None)


class Books:
    """In front of an app, behind its faults: what it did, whoever heard of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        #: (function, learner, course) of every call of aNewSpring's that changed something, with when it first did.
        self.done: Counter[tuple[str, ...]] = Counter()
        self.first: dict[tuple[str, ...], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300 and scope["method"] == "POST":
                key = tuple(scope["path"].split("/")[2:5])
                self.done[key] += 1
                self.first.setdefault(key, time.monotonic())
            await send(message)

        await self._app(scope, receive, noted)


class Door:
    """One worker's way to a vendor: knows which of its calls are under way, and lets each take its time."""

    def __init__(self, app: ASGIApp, rng: random.Random) -> None:
        self._app, self._rng = app, rng
        self.under_way: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def slowly(message: Message) -> None:
            if message["type"] == "http.response.start":
                await asyncio.sleep(self._rng.uniform(0, _SLOWNESS))
            await send(message)

        call = (scope["method"], scope["path"])
        self.under_way[call] += 1
        try:
            # What has been sent is done, even if its sender is gone by then.
            kept = await _kept(receive)
            await asyncio.sleep(self._rng.uniform(0, _SLOWNESS))
            await self._app(scope, kept, slowly)
        finally:
            self.under_way[call] -= 1
            self.under_way += Counter()

    def writing(self) -> bool:
        """Whether something that changes the vendor is under way."""
        return any(changes(*call) for call in self.under_way)


class Postman:
    """4HSE's webhooks, through a gateway that tries until somebody takes them; some it loses, some it brings twice."""

    def __init__(self, urls: Mapping[str, str], rng: random.Random, *, reliable: bool) -> None:
        self._urls, self._rng = urls, rng
        self._lost, self._twice = (0.0, 0.0) if reliable else (_LOST, _TWICE)
        self._client = httpx2.AsyncClient(trust_env=False, verify=False, timeout=5.0)
        self.delivered, self.lost, self.cut_off = 0, 0, 0
        self.refused: list[int] = []
        #: Whether one is under way now.
        self.under_way = False

    async def __call__(self, event: str, body: Mapping[str, Any]) -> None:
        """Bring one."""
        if event == _CREATE and self._rng.random() < self._lost:
            self.lost += 1
            return
        for _ in range(1 + (self._rng.random() < self._twice)):
            for pause in itertools.repeat(0.1):
                if await self._brought(event, body):
                    break
                await asyncio.sleep(pause)

    async def close(self) -> None:
        """Bring no more."""
        await self._client.aclose()

    async def _brought(self, event: str, body: Mapping[str, Any]) -> bool:
        self.under_way = True
        try:
            answer = await self._client.post(self._urls[event], json=body)
        except httpx2.HTTPError as error:
            self.cut_off += not isinstance(error, httpx2.ConnectError)
            return False
        finally:
            self.under_way = False
        if answer.status_code != 200:
            self.refused.append(answer.status_code)
        self.delivered += answer.status_code == 200
        return answer.status_code == 200


async def _kept(receive: Receive) -> Receive:
    """A request's body in hand; after it come the messages that come."""
    first = await receive()
    body, more = first.get("body", b""), first.get("more_body", False)
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return waiting.pop() if waiting else await receive()

    return given
