"""A task that is cancelled ends, whatever a library makes of it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from aiormq.exceptions import ConnectionClosed

from schemas.broker_faults import as_broker_faults
from schemas.cancellation import cancellation_kept
from workers.database import DatabaseAway, told_apart

Guard = Callable[[], AbstractContextManager[object]]
_GUARDS = (cancellation_kept, as_broker_faults, told_apart)
_FAULTS = (None, ConnectionResetError(), ConnectionClosed(320, "closed"), RuntimeError("it was closed"))


async def careless(made_of_it: BaseException | None) -> None:
    """Wait, and make something else of a cancellation."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if made_of_it is not None:
            raise made_of_it from None


@pytest.mark.parametrize("made_of_it", _FAULTS, ids=repr)
@pytest.mark.parametrize("guard", _GUARDS)
async def test_a_cancellation_is_not_lost(guard: Guard, made_of_it: BaseException | None) -> None:
    async def guarded() -> None:
        with guard():
            await careless(made_of_it)

    task = asyncio.create_task(guarded())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()


@pytest.mark.parametrize("guard", _GUARDS)
async def test_what_cleans_up_after_a_cancellation_is_left_to_finish(guard: Guard) -> None:
    cleaned = False

    async def cleaning() -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            with guard():
                await asyncio.sleep(0)
            cleaned = True

    task = asyncio.create_task(cleaning())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert cleaned


@pytest.mark.parametrize("guard", _GUARDS)
async def test_a_timeout_around_it_is_kept_too(guard: Guard) -> None:
    async def too_long() -> None:
        async with asyncio.timeout(0):
            with guard():
                await careless(None)

    with pytest.raises(TimeoutError):
        await too_long()


@pytest.mark.parametrize("guard", _GUARDS)
async def test_a_timeout_within_is_no_cancellation(guard: Guard) -> None:
    async def too_long() -> None:
        with guard():
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    task = asyncio.create_task(too_long())
    await asyncio.wait([task])

    assert isinstance(task.exception(), TimeoutError | DatabaseAway)


async def test_an_error_without_any_cancellation_stays_what_it_is() -> None:
    with pytest.raises(ConnectionResetError), cancellation_kept():
        raise ConnectionResetError
