"""Names of log events, `domain.event` with keys; never a secret, a body, a query string or a person's name."""

from enum import StrEnum


class Log(StrEnum):
    """Every event that a process of muster logs."""

    LISTENING = "server.listening"
    STOPPING = "server.stopping"
    STOPPED = "server.stopped"
    UNVERIFIED_SOURCE = "source.unverified"
    NO_SOURCES = "source.none_configured"
    REQUEST_REFUSED = "request.refused"
    REQUEST_FAILED = "request.failed"
    BROKER_UP = "broker.connected"
    BROKER_AWAY = "broker.away"
    TOPOLOGY_MISSING = "broker.topology_missing"
    TOPOLOGY_DIFFERS = "broker.topology_differs"
    SPOOLING = "spool.taking_over"
    SPOOL_DRAINED = "spool.drained"
    SPOOL_FULL = "spool.full"
    BATCH_APPLIED = "batch.applied"
    BATCH_HELD = "batch.held"
    BATCH_SPLIT = "batch.split"
    ACK_LOST = "batch.ack_lost"
    DELIVERY_DEAD = "delivery.dead"
    ENVELOPE_HELD = "envelope.held"
    ENVELOPE_UNREADABLE = "envelope.unreadable"
    DATABASE_AWAY = "database.away"
    DATABASE_BACK = "database.back"
