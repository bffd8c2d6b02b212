"""4HSE's webhooks: the bare resource, one endpoint for each event, no envelope, no signature, no id. Whether it tries again is not
documented, so that this one does not.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

#: Is given the event's name and the body. It may lose, double, delay or reorder what it is given.
Send = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class Announcer:
    """Gives every change to `send`, in order and one at a time, while the change itself waits for nobody."""

    def __init__(self, send: Send | None) -> None:
        self.send = send
        self._waiting: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def tell(self, event: str, body: Mapping[str, Any]) -> None:
        """Announce a change; without `send` nobody hears of it."""
        if self.send is None:
            return
        self._waiting.append((event, body))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(self.send))

    async def quiet(self) -> None:
        """Wait until everything is told; raises what `send` raised."""
        if self._task is not None:
            await self._task

    async def _run(self, send: Send) -> None:
        while self._waiting:
            await send(*self._waiting.popleft())


class Webhooks:
    """Deliveries over HTTP: `urls` gives the endpoint of each event; an event without one is not told."""

    def __init__(self, urls: Mapping[str, str], *, timeout: float = 10.0, headers: Mapping[str, str] | None = None) -> None:
        self._urls, self._headers = dict(urls), dict(headers or {})
        # To loopback, without TLS: reading certificates would only take a while.
        self._client = httpx2.AsyncClient(trust_env=False, verify=False, timeout=timeout)
        #: (event, status, or None where no answer came) of what was sent.
        self.sent: list[tuple[str, int | None]] = []

    async def __call__(self, event: str, body: Mapping[str, Any]) -> None:
        """Send one."""
        url = self._urls.get(event)
        if url is not None:
            self.sent.append((event, await self._post(url, body)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def _post(self, url: str, body: Mapping[str, Any]) -> int | None:
        try:
            return (await self._client.post(url, json=body, headers=self._headers)).status_code
        except httpx2.HTTPError:
            return None
