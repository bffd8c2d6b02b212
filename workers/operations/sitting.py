"""One sitting at work that goes through the replays' lane: hand it out, never much ahead of the workers, and wait for the rest."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import UUID

from schemas.delivery import Delivery
from workers.database import DatabaseAway, told_apart
from workers.replay_lane import LaneAway, Outlet

#: Deliveries in one message, which a worker applies in one transaction, or in one transaction of the spool.
GROUP = 100
#: How many may be handed out and not worked off, where somebody works: what a sitting that was cut short hands out again, at most.
WINDOW = 2000
#: Seconds from one look at the outcomes to the next; without a change after which it is said; from one try to the next.
LOOK, STILL, AGAIN = 0.25, 10.0, 1.0

Done = TypeVar("Done")


class Work(Protocol):
    """What is to be handed out, and what becomes of it."""

    async def group(self, limit: int) -> Sequence[Delivery]:
        """What comes next, the same until it is `handed_out`; empty behind the last."""

    def handed_out(self) -> None:
        """What came last is durable."""

    async def look(self) -> tuple[int, int]:
        """How much is worked off in all, and how much is handed out and is not."""

    async def remaining(self) -> Collection[UUID]:
        """What is not handed out, to be asked last."""


@dataclass(slots=True)
class Progress:
    """How far it is, for whoever watches."""

    done: int = 0
    #: In this sitting.
    handed_out: int = 0
    #: Why nothing moves; None while it does.
    waiting: str | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """What a sitting left behind that nobody works off now."""

    #: Durable in the lane.
    waiting: int
    #: In need of another sitting.
    remaining: int
    #: Why that could not be handed out.
    why: str | None


class _NobodyThere(Exception):
    """Whoever works off what is handed out is not there, and is not waited for; why no more is handed out."""


class Sitting:
    """One go, from where the work stands.

    Where whoever works it off is not there and is not waited for, all is handed out that the lane has room for.
    """

    def __init__(self, work: Work, outlet: Outlet, rate: float | None, told: Callable[[Progress], None]) -> None:
        self._work, self._outlet, self._rate, self._told = work, outlet, rate, told
        # A low rate comes in small groups, not in rare large ones.
        self._group = GROUP if rate is None else max(1, min(GROUP, int(rate * LOOK)))
        self._progress, self._open, self._stay = Progress(), 0, True
        #: What waits in the lane since an earlier sitting, as far as can be told.
        self._held: Collection[UUID] = ()
        #: Whether whoever is not there may only be on the way back: somebody was there; and whether nobody is, and is not waited for.
        self._patient, self._alone = True, False
        self._looked = self._moved = self._due = self._now()
        self._asked = float("-inf")

    async def worked_off(self, *, stay: bool) -> Left | None:
        """What it leaves: nothing, where all is worked off, which without `stay` is not waited for where nobody does it."""
        self._stay = self._patient = stay
        try:
            await self._hand_out()
            while await self._look():
                await self._wait()
                self._leave_if_alone(None)
        except _NobodyThere as left:
            return await self._left(*left.args)
        return None

    async def _hand_out(self) -> None:
        self._held = await self._kept(self._outlet.held)
        await self._look()
        while group := await self._kept(functools.partial(self._work.group, self._group)):
            if fresh := [one for one in group if one.id not in self._held]:
                await self._room(len(fresh))
                await self._kept(functools.partial(self._outlet.put, fresh))
            self._work.handed_out()
            self._open += len(group)
            self._progress.handed_out += len(group)

    async def _left(self, why: str | None) -> Left:
        _, waiting = await self._kept(self._work.look)
        remaining = await self._kept(self._work.remaining)
        held = sum(one in self._held for one in remaining)
        return Left(waiting + held, len(remaining) - held, why)

    async def _room(self, size: int) -> None:
        """Wait until the rate allows for more, and the workers are not too far behind."""
        if self._rate is not None:
            await self._unattended()
            self._leave_if_alone("a rate is kept only while somebody works")
            await asyncio.sleep(self._due - self._now())
            self._due = max(self._due, self._now()) + size / self._rate
        if self._now() - self._looked > LOOK and not self._alone:
            await self._look()
        while self._open >= WINDOW and not self._alone:
            await self._wait()
            await self._look()

    async def _look(self) -> int:
        """How much is handed out and not worked off; tells."""
        before = self._progress.done
        self._progress.done, self._open = await self._kept(self._work.look)
        self._looked = self._now()
        if self._progress.done != before or not self._open:
            self._moved, self._progress.waiting = self._now(), None
        if self._open < self._progress.handed_out:
            self._patient, self._alone = True, False
        self._told(self._progress)
        return self._open

    async def _wait(self) -> None:
        """A moment; if nothing moves, say why, as far as it can be told."""
        reason = await self._unattended()
        if self._now() - self._moved > STILL:
            self._waits(reason or self._progress.waiting or f"nothing was worked off for {STILL:.0f} s")
        if not self._alone:
            await asyncio.sleep(LOOK)

    async def _unattended(self) -> str | None:
        """Why nobody works off what is handed out, looked for now and then where nothing moves."""
        now = self._now()
        if (self._patient and now - self._moved <= STILL) or now - self._asked <= STILL:
            return None
        self._asked = now
        reason = await self._kept(self._outlet.unattended)
        self._alone = reason is not None and not self._stay
        return reason

    def _leave_if_alone(self, why: str | None) -> None:
        if self._alone:
            raise _NobodyThere(why)

    async def _kept(self, work: Callable[[], Awaitable[Done]]) -> Done:
        """Do what needs database and lane, however long they stay away; whatever it does, it may do again."""
        while True:
            try:
                with told_apart():
                    return await work()
            except DatabaseAway as away:
                self._waits(f"the database is away ({away})")
            except LaneAway as away:
                self._waits(str(away))
                await self._unattended()
                self._leave_if_alone(str(away))
            await asyncio.sleep(AGAIN)

    def _waits(self, reason: str) -> None:
        self._progress.waiting = reason
        self._told(self._progress)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
