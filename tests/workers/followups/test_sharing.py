"""What comes while a write is under way shares the next one, and nobody's fault is another's."""

import asyncio
from collections.abc import Sequence

import pytest

from workers.followups.sharing import Shared


async def test_what_comes_while_a_write_is_under_way_is_written_together() -> None:
    written, open_ = list[list[int]](), asyncio.Event()

    async def write(those: Sequence[int]) -> None:
        written.append(list(those))
        await open_.wait()

    shared = Shared[int](write)
    tasks = [asyncio.create_task(shared(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(shared(4))]
    await asyncio.sleep(0)
    open_.set()
    await asyncio.gather(*tasks)

    assert sorted(number for those in written for number in those) == [0, 1, 2, 3, 4]
    assert len(written) < len(tasks)


async def test_one_that_cannot_be_written_fails_alone() -> None:
    async def write(those: Sequence[int]) -> None:
        await asyncio.sleep(0)
        if 2 in those:
            raise ValueError("two")
        written.extend(those)

    written = list[int]()
    shared = Shared[int](write)
    outcomes = await asyncio.gather(*(shared(number) for number in range(4)), return_exceptions=True)

    assert [str(one) if one else None for one in outcomes] == [None, None, "two", None]
    assert sorted(written) == [0, 1, 3]


async def test_whoever_waits_for_a_write_that_is_cancelled_does_not_wait_for_ever() -> None:
    async def write(_: Sequence[int]) -> None:
        await asyncio.Event().wait()

    shared = Shared[int](write)
    first, second = (asyncio.create_task(shared(number)) for number in range(2))
    await asyncio.sleep(0.01)
    first.cancel()

    with pytest.raises(asyncio.CancelledError):
        await first
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
