"""Deliveries put into the log of a muster that is set up, as an older version would have left them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from schemas.delivery import Delivery
from schemas.reader import Role, load
from schemas.states import Reason
from tests.services.muster import Muster
from workers.database import Database, close_database, open_database
from workers.handlers import Dead, Outcome
from workers.pipeline import Pipeline

Found = TypeVar("Found")


async def within(muster: Muster, act: Callable[[Database], Awaitable[Found]]) -> Found:
    """Do something with the database of a muster."""
    database = await open_database(load(muster.config, Role.WORKER).database_url)
    try:
        return await act(database)
    finally:
        await close_database()


async def buried(muster: Muster, deliveries: Sequence[Delivery]) -> None:
    """Deliveries that an older version gave up on."""
    await within(muster, lambda database: Pipeline(database, _misunderstood).together(deliveries))


async def understood(muster: Muster, deliveries: Sequence[Delivery]) -> None:
    """Deliveries as today's version takes them."""
    await within(muster, lambda database: Pipeline(database).together(deliveries))


def _misunderstood(delivery: Delivery) -> Outcome:
    return Dead(delivery.event, Reason.HANDLER_FAILED, "KeyError")
