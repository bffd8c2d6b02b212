"""A cancellation that comes while a library is at work, whatever the library makes of it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def cancellation_kept() -> Iterator[Callable[[], bool]]:
    """End in CancelledError if this task was cancelled meanwhile; gives a function that says whether it was.

    `asyncio.wait_for` of Python 3.11 returns as if nothing were where what it waits for is done in the same moment; aiormq raises its
    own error where the connection ends just then, and so does asyncpg on rolling back. A loop that tries again would never end.
    What was cancelled before, and cleans up now, is not disturbed. Around what ends by itself, never a loop: it looks at the end.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0

    def cancelled() -> bool:
        return task is not None and task.cancelling() > before

    try:
        yield cancelled
    except Exception as error:
        if cancelled():
            raise asyncio.CancelledError from error
        raise
    if cancelled():
        raise asyncio.CancelledError
