"""Reading the delivery log."""

from collections.abc import Sequence
from uuid import UUID

from workers.log import LoggedDelivery


async def find(
    *, state: str | None = None, source: str | None = None, event: str | None = None, limit: int = 50
) -> Sequence[LoggedDelivery]:
    """The newest deliveries that match, newest first."""
    wanted = {"state": state, "source": source, "event": event}
    return await LoggedDelivery.filter(**{name: value for name, value in wanted.items() if value}).order_by("-id").limit(limit)


async def one(delivery: UUID) -> LoggedDelivery | None:
    """One delivery by its id."""
    return await LoggedDelivery.get_or_none(id=delivery)
