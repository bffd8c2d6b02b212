"""How things stand: the one source of every status figure, for the CLI and for the workers' readiness."""

from dataclasses import dataclass
from datetime import datetime

import aio_pika
from aiormq.exceptions import ChannelNotFoundEntity

from schemas import topology
from schemas.states import DeliveryState, SubscriptionState
from workers.consumer import UNREADABLE, Consumer
from workers.database import Database, DatabaseAway
from workers.lane import Lane
from workers.log import HeldEnvelope, LoggedDelivery
from workers.mirror.tables import ActionSubscription


@dataclass(frozen=True, slots=True)
class Status:
    """Figures of one moment."""

    as_of: datetime
    deliveries: dict[str, int]
    subscriptions: dict[str, int]
    #: When the oldest delivery that is neither applied, ignored, dead nor settled arrived.
    oldest_waiting: datetime | None
    held_envelopes: int
    last_received: datetime | None


async def status(now: datetime) -> Status:
    """Count the log and the mirror."""
    waiting = await LoggedDelivery.filter(state=DeliveryState.RECEIVED).order_by("received_at").first()
    # An unreadable message has an id of its content, which says nothing of its time.
    newest = await LoggedDelivery.exclude(vendor=UNREADABLE).order_by("-id").first()
    return Status(
        as_of=now,
        deliveries={state.value: await LoggedDelivery.filter(state=state.value).count() for state in DeliveryState},
        subscriptions={state.value: await ActionSubscription.filter(state=state.value).count() for state in SubscriptionState},
        oldest_waiting=waiting.received_at if waiting else None,
        held_envelopes=await HeldEnvelope.all().count(),
        last_received=newest.received_at if newest else None,
    )


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """A queue as the broker sees it."""

    name: str
    messages: int
    consumers: int


async def queue_depths(broker_url: str) -> list[QueueDepth]:
    """Ask the broker for the depth of each of muster's queues, in messages of one or more deliveries; a missing queue is left out.

    Raises what the broker connection raises.
    """
    depths = []
    connection = await aio_pika.connect(broker_url, timeout=5)
    try:
        for queue in topology.QUEUES:
            channel = await connection.channel()
            try:
                found = await channel.declare_queue(queue.name, passive=True)
            except ChannelNotFoundEntity:
                continue
            depths.append(QueueDepth(queue.name, found.declaration_result.message_count or 0, found.declaration_result.consumer_count or 0))
            await channel.close()
    finally:
        await connection.close()
    return depths


async def worker_readiness(database: Database, lane: Lane, consumer: Consumer | None) -> tuple[bool, dict[str, object]]:
    """Whether deliveries are being applied now, and if not, why."""
    details: dict[str, object] = {"database": lane.held_up or "up", "broker": "embedded", "applied": dict(lane.tally)}
    if consumer is not None:
        details["broker"] = consumer.away or "up"
    if lane.held_up is None:
        try:
            await database.ping()
        except DatabaseAway as away:
            details["database"] = str(away)
    return details["database"] == "up" and details["broker"] in {"up", "embedded"}, details
