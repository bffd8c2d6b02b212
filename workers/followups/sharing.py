"""What waits while a write is under way shares the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

One = TypeVar("One")


class Shared(Generic[One]):
    """One transaction for all that came while the last one was written: alone, each costs a plan and a commit of its own."""

    def __init__(self, write: Callable[[Sequence[One]], Awaitable[None]]) -> None:
        self._write = write
        self._turn = asyncio.Lock()
        self._waiting: list[tuple[One, asyncio.Future[None]]] = []

    async def __call__(self, one: One) -> None:
        """Return once it is written; raises what writing it alone raises."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, written))
        async with self._turn:
            if not written.done():
                taken, self._waiting = self._waiting, []
                await self._all(taken)
        await written

    async def _all(self, taken: Sequence[tuple[One, asyncio.Future[None]]]) -> None:
        try:
            await self._write([one for one, _ in taken])
        except Exception as error:  # noqa: BLE001 - whose fault it is tells writing each alone
            if len(taken) == 1:
                taken[0][1].set_exception(error)
                return
            for each in taken:
                await self._all([each])
        except BaseException:
            for _, written in taken:
                written.cancel()
            raise
        for _, written in taken:
            if not written.done():
                written.set_result(None)
