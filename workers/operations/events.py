"""Listening to events live: a queue of one's own at the broker, or embedded the end of the file.

What others put on the exchange, and is no event of the sort, is passed over.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import aio_pika

from schemas import topology
from workers.journal import NAME, Follower

#: Seconds between looks at the file.
_LOOK = 0.2


def nothing() -> None:
    """Is told that listening has begun, and does nothing."""


def listen(broker_url: str | None, data_dir: Path, ready: Callable[[], None] = nothing) -> AsyncIterator[dict[str, Any]]:
    """Every event from now on; `ready` is called once none is missed. At the broker raises one of BROKER_FAULTS when it goes."""
    return _in_file(data_dir / NAME, ready) if broker_url is None else _at_broker(broker_url, ready)


async def _at_broker(url: str, ready: Callable[[], None]) -> AsyncIterator[dict[str, Any]]:
    connection = await aio_pika.connect(url, timeout=10)
    try:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        # Gone with this connection; what nobody reads fast enough pushes out the oldest.
        queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments={"x-max-length": 100_000})
        await queue.bind(topology.EVENTS, "#")
        async with queue.iterator() as messages:
            ready()
            async for message in messages:
                await message.ack()
                if (event := read(message.body)) is not None:
                    yield event
        raise ConnectionError("the broker has ended it")
    finally:
        await connection.close()


def read(body: bytes) -> dict[str, Any] | None:
    """A message as the event that it is, with all that is shown of one, if it is one. Pure."""
    try:
        found = json.loads(body)
        shown = datetime.fromisoformat(found["time"]), int(found["sequence"]), found["type"], found["subject"], found["data"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    event: dict[str, Any] = found
    return event if all(map(isinstance, shown, (datetime, int, str, str, dict))) else None


async def _in_file(path: Path, ready: Callable[[], None]) -> AsyncIterator[dict[str, Any]]:
    with closing(Follower(path)) as follower:
        ready()
        while True:
            for event in follower.read():
                yield event
            await asyncio.sleep(_LOOK)
