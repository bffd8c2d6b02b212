"""The outbox to whoever listens, by one of the outlets (`workers/outlets.py`).

    claim: of each subject the oldest ▶ publish together ▶ the broker confirms ▶ the rows are gone ▶ their subjects' next
                                              ├ a queue rejects it, or does not confirm: its subject waits, the others go on
                                              └ the connection is gone: the rows are free again, and the same events are told again

So events are in order per subject, whatever number of relays there is, and told at least once; their ids tell a repeated one.
Nobody listening is no error: the broker confirms and drops.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import stamina
import structlog

from schemas.broker_faults import BROKER_FAULTS, RECONNECT_PAUSE
from schemas.delivery import now_utc
from schemas.logs import Log
from workers.database import Database, DatabaseAway
from workers.journal import LIMIT, NAME, Journal
from workers.outbox import Waiting, claim, settle
from workers.outlets import DEADLINE, Outlet, at_broker, on_disk

log = structlog.get_logger()

#: Events that are under way at once.
GROUP = 200
#: Seconds between looks at the outbox while nothing is due, or something under way takes its time.
IDLE = 0.25


class Relay:
    """Tells what is in the outbox: to the broker, or without one to the file in `data_dir`."""

    def __init__(
        self,
        database: Database,
        broker_url: str | None,
        data_dir: Path,
        now: Callable[[], datetime] = now_utc,
        *,
        limit: int = LIMIT,
        deadline: float = DEADLINE,
    ) -> None:
        self._database, self._now = database, now
        self._outlet: Callable[[], AbstractAsyncContextManager[Outlet]] = (
            partial(on_disk, Journal(data_dir / NAME, limit)) if broker_url is None else partial(at_broker, broker_url, deadline)
        )
        #: Why nothing is told; None while it is.
        self.away: str | None = "not connected yet"

    async def run(self) -> None:
        """Tell what there is, for ever; cancel to stop. Raises TopologyDiffers."""
        faults = (*BROKER_FAULTS, DatabaseAway)
        while True:
            async for attempt in stamina.retry_context(faults, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0):
                with attempt:
                    await self._connected()
            await asyncio.sleep(RECONNECT_PAUSE)

    async def _connected(self) -> None:
        served = False
        try:
            async with self._outlet() as outlet, _telling(self._database, outlet, self._now) as telling:
                while True:
                    self._back()
                    await telling.go_on()
                    served = True
        except (*BROKER_FAULTS, DatabaseAway) as fault:
            self._gone(str(fault) if isinstance(fault, DatabaseAway) else type(fault).__name__)
            if not served:
                raise  # the next attempt waits longer; after a connection that served, hardly at all

    def _back(self) -> None:
        if self.away is not None:
            self.away = None
            log.info(Log.RELAYING)

    def _gone(self, reason: str) -> None:
        if self.away != reason:
            log.warning(Log.RELAY_AWAY, reason=reason)
        self.away = reason


class _Telling:
    """The events that are under way: claimed, and neither told nor free again."""

    def __init__(self, database: Database, outlet: Outlet, now: Callable[[], datetime]) -> None:
        self._database, self._outlet, self._now = database, outlet, now
        self._under_way = dict[asyncio.Task[str | None], Sequence[Waiting]]()
        self._claiming: asyncio.Task[list[Waiting]] | None = None

    async def go_on(self) -> None:
        """Take what is due, and settle what is answered meanwhile; what takes longer stays under way, and holds up nothing else."""
        if room := GROUP - sum(map(len, self._under_way.values())):
            self._claiming = asyncio.create_task(claim(self._database, self._now(), room))
            self._begin(await asyncio.shield(self._claiming))
        if not self._under_way:
            await asyncio.sleep(IDLE)
            return
        answered, _ = await asyncio.wait(self._under_way, timeout=IDLE)
        for fault in await self._settle(answered):
            raise fault

    async def end(self) -> None:
        """Wait for no more answers; what has none is free again, also where this ends in the midst of a claim."""
        if self._claiming is not None:
            await asyncio.wait([self._claiming])
            self._begin([] if self._claiming.exception() else self._claiming.result())
        if left := list(self._under_way):
            for task in left:
                task.cancel()
            await asyncio.wait(left)
            with suppress(DatabaseAway):  # then they are free when their lease ends
                await self._settle(left)

    def _begin(self, claimed: Sequence[Waiting]) -> None:
        self._claiming = None
        self._under_way |= {asyncio.create_task(becomes): part for part, becomes in self._outlet.tell(claimed)}

    async def _settle(self, answered: Iterable[asyncio.Task[str | None]]) -> list[BaseException]:
        """Write down what became of them; gives the outlet's faults."""
        told, untold, faults = list[Waiting](), list[tuple[Waiting, str | None]](), list[BaseException]()
        for task in answered:
            part = self._under_way.pop(task)
            if task.cancelled():
                untold += [(one, None) for one in part]
            elif (fault := task.exception()) is not None:
                untold += [(one, None) for one in part]
                faults.append(fault)
            elif (why := task.result()) is not None:
                untold += [(one, why) for one in part]
            else:
                told += part
        if told or untold:
            await settle(self._database, told, untold, self._now())
        return faults


@asynccontextmanager
async def _telling(database: Database, outlet: Outlet, now: Callable[[], datetime]) -> AsyncIterator[_Telling]:
    telling = _Telling(database, outlet, now)
    try:
        yield telling
    finally:
        await telling.end()
