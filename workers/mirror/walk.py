"""A walk through an index, page by page, while rows come and go. Pages are numbers, not a snapshot: when the list gets shorter between
two pages, rows of the later one may have moved to the earlier one, and the walk steps back as far as they may have moved.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from workers.vendors.fourhse import Page

#: So often a walk steps back: of a list that shrinks and grows all the time, what slipped is found in the end.
_PATIENCE = 100


@dataclass(frozen=True, slots=True)
class Turned:
    """A page, when its fetch began, and which page is next."""

    page: Page
    began: datetime
    next: int


#: Fetches the page of a number.
Fetch = Callable[[int], Awaitable[tuple[Page, datetime]]]


async def walk(fetch: Fetch, number: int, total: int | None, at_once: int) -> AsyncGenerator[Turned, None]:
    """Every page from `number` on, the following ones fetched meanwhile; `total` is what the page before it told.

    Close it (`contextlib.aclosing`): it leaves no fetch behind. Raises what `fetch` raises.
    """
    ahead: deque[asyncio.Future[tuple[Page, datetime]]] = deque()
    before, last, size, patience = None, number, 1, _PATIENCE
    try:
        while True:
            while len(ahead) < at_once and number + len(ahead) <= max(last, number):
                ahead.append(asyncio.ensure_future(fetch(number + len(ahead))))
            page, began = await ahead[0]
            ahead.popleft()
            if page.count is None and (not page.rows or page.rows == before):
                return
            size = max(size, len(page.rows))
            back = _shifted(total, page.total, size) if patience else 0
            before, total, last = page.rows, page.total, page.count or number + 1
            following = max(1, number - back) if back else number + 1
            yield Turned(page, began, following)
            if back:
                patience -= 1
                await _drop(ahead)
            elif page.count is not None and number >= page.count:
                return
            number = following
    finally:
        await _drop(ahead)


def _shifted(before: int | None, now: int | None, size: int) -> int:
    """Over how many page borders rows may have moved."""
    return -(-max(0, before - now) // size) if before is not None and now is not None else 0


async def _drop(ahead: deque[asyncio.Future[tuple[Page, datetime]]]) -> None:
    for one in ahead:
        one.cancel()
    await asyncio.gather(*ahead, return_exceptions=True)
    ahead.clear()
