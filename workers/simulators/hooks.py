"""How simulated vendors send webhooks by themselves: real HTTP, in tasks of their own, every try remembered."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple

import httpx2


class Try(NamedTuple):
    """One request, and the status that came back; None where no answer came in time."""

    url: str
    body: bytes
    status: int | None


class Sender:
    """Sends for one vendor; `patience` is how long it waits for an answer, in seconds."""

    def __init__(self, patience: float) -> None:
        self._client = httpx2.AsyncClient(timeout=patience, trust_env=False, verify=False, follow_redirects=False)
        self._patience = patience
        self._tasks: set[asyncio.Task[None]] = set()
        self.tries: list[Try] = []

    def start(self, sending: Coroutine[Any, Any, None]) -> None:
        """Let something be sent while everything else goes on."""
        task = asyncio.create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        """The status of the answer, None without one."""
        try:
            async with asyncio.timeout(self._patience):
                status: int | None = (await self._client.post(url, content=body, headers=dict(headers))).status_code
        except (httpx2.HTTPError, TimeoutError):
            status = None
        self.tries.append(Try(url, body, status))
        return status

    async def settled(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Send no more."""
        for task in self._tasks:
            task.cancel()
        await self.settled()
        await self._client.aclose()
