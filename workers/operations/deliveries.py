"""Reading the delivery log."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from schemas.delivery import Delivery, now_utc
from workers.database import Database
from workers.log import LoggedDelivery
from workers.operations.selection import START, Selection, step

#: Deliveries that are read at once, bodies and all.
PAGE = 200


async def find(
    *, state: str | None = None, source: str | None = None, event: str | None = None, limit: int = 50
) -> Sequence[LoggedDelivery]:
    """The newest deliveries that match, newest first."""
    wanted = {"state": state, "source": source, "event": event}
    return await LoggedDelivery.filter(**{name: value for name, value in wanted.items() if value}).order_by("-id").limit(limit)


async def one(delivery: UUID) -> LoggedDelivery | None:
    """One delivery by its id."""
    return await LoggedDelivery.get_or_none(id=delivery)


async def selected(database: Database, selection: Selection) -> AsyncIterator[tuple[Sequence[LoggedDelivery], int]]:
    """What a selection holds, the oldest first, page by page; with each page how many were passed over, their bodies being dropped."""
    began, place, left = now_utc(), START, selection.limit
    while found := await step(database.connection, database.dialect, selection, place, began):
        ids, place = found.found[:left], found.place
        yield (), found.bodiless
        for start in range(0, len(ids), PAGE):
            yield await together(ids[start : start + PAGE]), 0
        if left is not None:
            left -= len(ids)
            if not left:
                return


async def together(ids: Sequence[UUID]) -> list[LoggedDelivery]:
    """Those of these deliveries that the log holds with their bodies, in this order."""
    rows = {row.id: row for row in await LoggedDelivery.filter(id__in=[*ids], body__isnull=False)}
    return [rows[id_] for id_ in ids if id_ in rows]


def restored(row: LoggedDelivery, **changed: Any) -> Delivery:
    """A delivery as it arrived, from what the log holds of it, or what `changed` makes of it."""
    assert row.body is not None
    made = {
        "id": row.id,
        "source": row.source,
        "account": row.account,
        "vendor": row.vendor,
        "event": row.event,
        "received_at": row.received_at,
        "headers": row.headers,
        "body": bytes(row.body),
        "fingerprint": bytes(row.fingerprint).hex(),
        "effects": row.effects is not False,
    }
    return Delivery.model_validate(made | changed)
