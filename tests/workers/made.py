"""Deliveries as a receiver makes them, and ways to put what happened beside what was expected."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from schemas.delivery import Delivery, fingerprint, replayed_id
from schemas.samples import SUBSCRIPTION
from workers.lane import Batch, Inlet
from workers.log import LoggedDelivery

CREATE, DELETE = "ACTION_SUBSCRIPTION::CREATE", "ACTION_SUBSCRIPTION::DELETE"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = UUID(int=1)


def delivery(body: bytes | Mapping[str, Any], event: str | None = CREATE, **changed: Any) -> Delivery:
    """A delivery of 4HSE's, or what `changed` makes of it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    made = {
        "id": uuid7(),
        "source": "hse",
        "account": "hse",
        "vendor": "4hse",
        "event": event,
        "received_at": NOON,
        "headers": {"content-type": "application/json"},
        "body": raw,
        "fingerprint": fingerprint(event, raw),
    }
    return Delivery(**(made | changed))


def created(subject: str = "s1", **changed: Any) -> Delivery:
    """The CREATE of one subscription."""
    return delivery(SUBSCRIPTION | {"action_subscription_id": subject}, CREATE, **changed)


def deleted(subject: str = "s1", **changed: Any) -> Delivery:
    """The DELETE of one subscription."""
    return delivery(SUBSCRIPTION | {"action_subscription_id": subject}, DELETE, **changed)


def replayed(one: Delivery, run: UUID = RUN, **changed: Any) -> Delivery:
    """A delivery's replay in a run."""
    return one.model_copy(update={"id": replayed_id(run, one.id), "replay_of": one.id} | changed)


async def logged(one: Delivery | UUID) -> LoggedDelivery:
    """What the log says of a delivery, which it must hold."""
    return await LoggedDelivery.get(id=one if isinstance(one, UUID) else one.id)


async def states(*deliveries: Delivery) -> list[tuple[str, str | None]]:
    """State and reason of each."""
    return [(row.state, row.reason) for row in [await logged(one) for one in deliveries]]


async def handed(inlet: Inlet, count: int) -> list[Batch]:
    """So many batches of live deliveries and replays in the order in which they are taken, each settled after a moment, as a lane does."""
    batches, settled = list[Batch](), list[Batch]()

    async def work_off(take: Callable[[], Awaitable[Batch]]) -> None:
        while len(batches) < count:
            batches.append(batch := await take())
            await asyncio.sleep(0.01)
            await inlet.settle(batch)
            settled.append(batch)

    both = [asyncio.create_task(work_off(take)) for take in (inlet.take, inlet.take_replays)]
    await until(lambda: len(settled) >= count, f"{count} batches")
    for one in both:
        one.cancel()
    return batches[:count]


async def until(condition: Callable[[], object], what: str, timeout: float = 20) -> None:
    """Wait until a condition holds, or what it awaits does; raises TimeoutError naming what did not happen."""
    try:
        async with asyncio.timeout(timeout):
            while not await _held(condition()):  # noqa: ASYNC110 - what is waited for is often in another process
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise TimeoutError(f"{what} did not happen within {timeout} s") from None


async def _held(condition: object) -> object:
    return await condition if isinstance(condition, Awaitable) else condition
