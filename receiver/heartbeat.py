"""The receiver's heart: every so often it tells of itself what its own host alone knows, in `schemas/heartbeat.py`'s words."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.metadata import version

from receiver.rejects import Rejects
from receiver.spool import Spool
from schemas.heartbeat import Heartbeat

#: Seconds until it is tried again to tell what could not be told.
RETRY = 2.0
#: Seconds that the last beat may take: a process that is told to end does not wait for its broker.
LAST = 1.0

#: Hands a heartbeat on, and tells whether that succeeded.
Tell = Callable[[Heartbeat], Awaitable[bool]]


class Heart:
    """Beats while the process runs, and says when that ends: so a receiver that was stopped is known from one that is lost."""

    def __init__(self, name: str, every: float, spool: Spool, rejects: Rejects, now: Callable[[], datetime], retry: float = RETRY) -> None:
        self._name, self._every, self._spool, self._rejects, self._now, self._retry = name, every, spool, rejects, now, retry
        self._began_at = now()
        self._program = version("muster")

    async def run(self, tell: Tell) -> None:
        """Beat until cancelled; the last beat says so."""
        try:
            while True:
                told = await tell(await self.beat())
                await asyncio.sleep(self._every if told else min(self._retry, self._every))
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST):
                    await tell(await self.beat(stopping=True))

    async def beat(self, *, stopping: bool = False) -> Heartbeat:
        """How things stand here now."""
        now, age, rejected = self._now(), await self._spool.oldest_age(), await self._rejects.look()
        return Heartbeat(
            name=self._name,
            at=now,
            began_at=self._began_at,
            every=self._every,
            program=self._program,
            spooled=max(0, self._spool.depth),
            spooled_since=None if age is None else now - timedelta(seconds=age),
            spool_full=self._spool.full,
            rejected=rejected.kept,
            rejected_last=rejected.last,
            rejected_lost=self._rejects.lost,
            stopping=stopping,
        )
