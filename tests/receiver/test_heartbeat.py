"""The heart: it tells how things stand here, again and again, tries again where nobody heard, and says when it stops."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio

from receiver.heartbeat import Heart
from receiver.intake import Request
from receiver.rejects import Rejects
from receiver.sources import sources
from receiver.spool import Spool, Spooled
from schemas.heartbeat import Heartbeat
from schemas.settings import RejectedSettings, Settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = sources(Settings.model_validate({"sources": {"hse": {"vendor": "4hse", "account": "a", "verify": {"secrets": ["s"]}}}}))["hse"]


class Listener:
    """Hears, or does not."""

    def __init__(self, *, deaf: int = 0) -> None:
        self.heard = list[Heartbeat]()
        self._deaf = deaf

    async def tell(self, heartbeat: Heartbeat) -> bool:
        self.heard.append(heartbeat)
        return len(self.heard) > self._deaf

    async def has(self, number: int) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < number:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.005)


class Host:
    """A spool and rejects, as a receiver has them."""

    def __init__(self, data_dir: Path) -> None:
        self.spool = Spool.open(data_dir, 2**20, owner=True)
        self.rejects = Rejects(data_dir, RejectedSettings(), lambda: NOON)

    def heart(self, every: float = 0.01, retry: float = 0.01) -> Heart:
        return Heart("web-1", every, self.spool, self.rejects, lambda: NOON, retry)


@pytest_asyncio.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A host where nothing has happened."""
    made = Host(tmp_path)
    yield made
    await made.rejects.close()
    await made.spool.close()


async def stopped(beating: asyncio.Task[None]) -> None:
    """As the process ends it."""
    beating.cancel()
    await asyncio.wait([beating])


async def test_it_tells_how_things_stand(host: Host) -> None:
    for _ in range(3):
        await host.spool.append(Spooled("4hse", "hse", b"x"))
    host.rejects.add(SOURCE, Request("E", {}, {}, None, b""), NOON - timedelta(hours=1))
    async with asyncio.timeout(20):
        while not (beat := await host.heart().beat()).rejected:  # noqa: ASYNC110 - the file is written in its own time
            await asyncio.sleep(0.01)

    assert (beat.name, beat.at, beat.began_at, beat.every) == ("web-1", NOON, NOON, 0.01)
    assert (beat.spooled, beat.spool_full, beat.stopping) == (3, False, False)
    assert beat.spooled_since is not None
    assert timedelta() <= NOON - beat.spooled_since < timedelta(minutes=1)
    assert (beat.rejected, beat.rejected_last, beat.rejected_lost) == (1, NOON - timedelta(hours=1), 0)


async def test_where_nothing_happened_it_says_so(host: Host) -> None:
    beat = await host.heart().beat()

    assert (beat.spooled, beat.spooled_since, beat.rejected, beat.rejected_last) == (0, None, 0, None)


async def test_it_beats_again_and_again_and_the_last_beat_says_that_it_stops(host: Host) -> None:
    listener = Listener()
    beating = asyncio.create_task(host.heart().run(listener.tell))
    await listener.has(3)
    await stopped(beating)

    assert beating.cancelled()
    assert [one.stopping for one in listener.heard] == [False] * (len(listener.heard) - 1) + [True]


async def test_what_nobody_heard_is_told_again_soon(host: Host) -> None:
    listener = Listener(deaf=2)
    beating = asyncio.create_task(host.heart(every=3600, retry=0.01).run(listener.tell))
    await listener.has(3)
    await asyncio.sleep(0.05)
    await stopped(beating)

    assert len(listener.heard) == 4  # the third was heard, and the last one


async def test_a_last_beat_that_nobody_takes_does_not_keep_the_process(host: Host) -> None:
    async def never(_: Heartbeat) -> bool:
        await asyncio.get_running_loop().create_future()
        return False

    beating = asyncio.create_task(host.heart().run(never))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        await stopped(beating)

    assert beating.cancelled()
