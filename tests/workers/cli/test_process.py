"""A process and the tasks that live and end with it."""

import asyncio

import pytest
from starlette.applications import Starlette

from workers.cli.process import AddressTaken, EndedByItself, Process, Site


def site(port: int = 0) -> Site:
    """An empty application on a port of this machine."""
    return Site(Starlette(), "127.0.0.1", port, "receiver.port")


async def for_ever() -> None:
    """A task as a process has them."""
    await asyncio.get_running_loop().create_future()


async def test_it_ends_when_told_and_cancels_its_tasks() -> None:
    cancelled = asyncio.Event()

    async def task() -> None:
        try:
            await for_ever()
        finally:
            cancelled.set()

    stop = asyncio.Event()
    running = asyncio.create_task(Process([site()], [task()], grace=1).run(stop))
    await asyncio.sleep(0.05)
    stop.set()
    await running

    assert cancelled.is_set()


async def test_the_error_of_a_task_ends_it_and_is_raised() -> None:
    async def failing() -> None:
        raise LookupError("wrong")

    with pytest.raises(LookupError, match="wrong"):
        await Process([site()], [failing(), for_ever()], grace=1).run(asyncio.Event())


@pytest.mark.parametrize("end", ["returned", "cancelled"])
async def test_a_task_that_ends_by_itself_is_an_error_never_a_quiet_end(end: str) -> None:
    async def ending() -> None:
        if end == "cancelled":
            raise asyncio.CancelledError

    with pytest.raises(EndedByItself):
        await Process([site()], [ending(), for_ever()], grace=1).run(asyncio.Event())


async def test_an_address_that_is_taken_names_the_setting() -> None:
    taken = Process([site()], [], grace=1)
    port = int(taken.addresses[0].rpartition(":")[2])

    with pytest.raises(AddressTaken, match=r"change receiver\.port"):
        Process([site(port)], [], grace=1)
    taken.close()
