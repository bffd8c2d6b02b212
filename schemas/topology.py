"""The broker's topology as rows. `muster init` and `muster work` declare it; a receiver only looks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: The exchange that receivers publish to, with the routing key `{vendor}.{source}`.
DELIVERIES = "muster.deliveries"
#: A lane of their own for deliveries that are processed again, which live ones never wait behind. Workers feed it and work it off; that it
#: is no key of the exchange above keeps it out of the queue that takes every key, and out of a receiver's rights.
REPLAYS = "muster.replays"
#: Where the broker puts what it gave up on; workers unpack it into the log.
DEAD = "muster.dead"
#: Where internal teams bind queues of their own to hear of events: `subscription.#`, `result.course.v1` (`schemas/events.py`).
EVENTS = "muster.events"

#: How often a quorum queue hands a message out before it is dead-lettered. Muster itself gives up on a delivery that kills
#: its worker after 5 attempts, so this only has to be larger than any run of restarts that is nobody's fault.
DELIVERY_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue and the one binding that feeds it."""

    name: str
    exchange: str
    routing_key: str
    arguments: Mapping[str, str | int] = field(default_factory=dict)


_HANDED_OUT: Mapping[str, str | int] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD,
    # At-least-once dead-lettering keeps the message until muster.dead has confirmed it; it demands reject-publish.
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}

EXCHANGES = (Exchange(DELIVERIES, "topic"), Exchange(REPLAYS, "fanout"), Exchange(DEAD, "fanout"), Exchange(EVENTS, "topic"))

QUEUES = (
    # Nothing stands behind it: a limit, which RabbitMQ 4 sets to 20 by itself, would be a loss.
    Queue(DEAD, DEAD, "", {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}),
    Queue(DELIVERIES, DELIVERIES, "#", _HANDED_OUT),
    Queue(REPLAYS, REPLAYS, "", _HANDED_OUT),
)


def routing_key(vendor: str, source: str) -> str:
    """The key under which a source's envelopes are published."""
    return f"{vendor}.{source}"


def heartbeat_key(name: str) -> str:
    """The key under which a receiver's heartbeats are published."""
    return f"heartbeat.{name}"
