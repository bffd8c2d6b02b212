"""The metrics that processes of muster show on their local port, as rows: names, units, labels. An alert or a panel may rely on them.

Names follow Prometheus: base units, `_total` for what only grows, the label's values a closed set or names that somebody configured;
any other name counts as `other`. What is asked of database or broker is told alike by every worker: take the `max` over instances.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
#: A metric's values by those of its labels.
Samples = Mapping[tuple[str, ...], float]

#: A name that nobody configured, or one too many of those that only deliveries tell.
OTHER = "other"

#: The outcome of a request that was answered with 200; the others are the names of refusals (`receiver/errors.py`).
ACCEPTED = "accepted"
#: The outcome of a delivery that was applied before, under the same id; the others are states of the log.
SUPPRESSED = "suppressed"
#: The lanes of deliveries.
LIVE, REPLAY = "live", "replay"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    #: A histogram's upper bounds.
    buckets: tuple[float, ...] = ()

    @property
    def named(self) -> tuple[str, str, tuple[str, ...]]:
        """What prometheus_client's constructors take first."""
        return self.name, self.help, self.labels


def _counter(name: str, help: str, *labels: str) -> Metric:  # noqa: A002 - Prometheus' own word
    return Metric(f"muster_{name}", "counter", help, labels)


def _gauge(name: str, help: str, *labels: str) -> Metric:  # noqa: A002
    return Metric(f"muster_{name}", "gauge", help, labels)


def _histogram(name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Metric:  # noqa: A002
    return Metric(f"muster_{name}", "histogram", help, labels, buckets)


_ACK = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LATENCY = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_CALL = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# The receiver's.
REQUESTS = _counter(
    "requests_total", "Requests to a hook, by what became of them; not_verified is a verification that failed.", "source", "outcome"
)
ACK = _histogram("ack_seconds", "From a request to its 200, the delivery being durable then.", _ACK, "source")
IN_FLIGHT = _gauge("requests_in_flight", "Requests that are not answered yet.")
SPOOL = _gauge("spool_deliveries", "Deliveries that wait in the spool on disk; without a broker it is the queue.")
SPOOL_AGE = _gauge("spool_oldest_age_seconds", "How long the oldest delivery in the spool has waited; 0 where none does.")
SPOOL_BYTES = _gauge("spool_bytes", "What the spool's rows take on disk.")
SPOOL_LIMIT = _gauge("spool_limit_bytes", "What the spool may take on disk: receiver.spool_max.")
SPOOL_FULL = _gauge("spool_full", "1 while the spool takes nothing more.")
REJECTS = _gauge("rejects_kept", "Requests that failed verification and are kept on the receiver's host.")
REJECTS_LOST = _counter("rejects_lost_total", "Requests that failed verification and for which there was no room.")

# Of both.
BROKER = _gauge("broker_connected", "1 while this process publishes to the broker, or consumes from it; not there without a broker.")

# A worker's own.
DELIVERIES = _counter(
    "deliveries_total",
    "Deliveries that were worked off, by what became of them: a state of the log, or suppressed, for it was applied before.",
    *("source", "lane", "outcome"),
)
APPLY = _histogram("apply_latency_seconds", "From a live delivery's arrival to the commit that settled it.", _LATENCY)
BATCH = _histogram("batch_deliveries", "Deliveries in a batch, which is one transaction if nothing in it fails.", _SIZES)
BATCH_TIME = _histogram("batch_seconds", "How long a batch took, the time included that the database was away.", _LATENCY)
OLDEST = _gauge(
    "oldest_unprocessed_age_seconds", "How long ago the oldest live delivery arrived that a worker was handed and has not settled."
)
DATABASE = _gauge("database_up", "1 if the database answered when it was last asked; else what only it knows is left out.")
UNANSWERED = _gauge("question_unanswered", "1 for what database or broker did not tell in time: those figures are left out.", "question")
CALLS = _counter("vendor_calls_total", "Requests to a vendor's API, retries included, by what came of them.", "account", "outcome")
CALL_TIME = _histogram("vendor_call_seconds", "From a request to a vendor's API to its answer, or to giving up.", _CALL, "account")
BREAKER = _gauge("vendor_breaker", "1 for the state that the account's circuit breaker is in.", "account", "state")

# The broker's.
QUEUE = _gauge(
    "queue_messages", "Messages of one or more deliveries that are ready in a queue, those not counted that a worker was handed.", "queue"
)
CONSUMERS = _gauge("queue_consumers", "Consumers of a queue, as the broker sees it.", "queue")

# The database's.
WAITING = _gauge("deliveries_waiting", "Deliveries in the log whose attempt is under way, or was cut short.")
WAITING_AGE = _gauge("deliveries_waiting_oldest_age_seconds", "How long ago the first of those attempts began; 0 where none waits.")
DEAD = _gauge("deliveries_dead", "Deliveries that muster has given up on, until they are replayed or dropped.")
HELD = _gauge("held_envelopes", "Messages of a newer version that wait for upgraded workers.")
REFRESHES = _gauge("refreshes_waiting", "Things that were touched and not fetched yet.")
REFRESHES_FAILING = _gauge("refreshes_failing", "Those of them whose last fetch failed.")
REFRESHES_AGE = _gauge("refreshes_oldest_age_seconds", "How long ago the first of them was touched; 0 where nothing waits.")
FOLLOWUPS = _gauge("followups", "Needs that follow from rules, by state.", "state")
OVERDUE = _gauge("followups_overdue", "Needs whose due time has passed, whatever keeps them, or whose seat has expired.")
ALARMS = _gauge("followups_alarms", "Needs at which a person should look.")
ENROLLMENTS = _gauge("enrollments", "Seats in courses, sessions and exercises, by state.", "state")
RECORDINGS = _gauge("recordings", "Steps of writing outcomes back to 4HSE, by state.", "state")
OUTBOX = _gauge("outbox_events", "Events for internal teams that are not told yet.")
OUTBOX_AGE = _gauge("outbox_oldest_age_seconds", "How long ago the oldest of them happened; 0 where none waits.")
DRIFT = _gauge(
    "drift_rows",
    "Rows in which the last finished reconcile found mirror and vendor to differ; of kind status those that any fetch found in a day.",
    *("account", "kind"),
)
RECONCILE_HELD = _gauge("reconcile_held", "1 while a reconcile waits for a person: too much was not found.", "account")
LAST_DELIVERY = _gauge("source_last_delivery_timestamp_seconds", "When a source last delivered.", "account", "source")
LAST_SUCCESS = _gauge("poll_last_success_timestamp_seconds", "When a poll last succeeded.", "account", "poll")
FAILURES = _gauge("poll_failures", "Failures of a poll since its last success.", "account", "poll")
LAST_HEARTBEAT = _gauge("receiver_last_heartbeat_timestamp_seconds", "When a receiver was last heard of.", "receiver")
QUIET = _gauge("quiet", "1 for a source, poll, subscriber or receiver that has gone quiet.", "kind", "account", "name")
REPLAY_RUNS = _gauge("replay_runs", "Runs of replays that are not done: under way, or cut short and waiting for --resume.")
REPLAYS = _gauge("replays_waiting", "Deliveries that those runs selected and that are not worked off yet.")

#: Shown by `muster receive`, and by `muster serve`.
OF_RECEIVERS = (REQUESTS, ACK, IN_FLIGHT, SPOOL, SPOOL_AGE, SPOOL_BYTES, SPOOL_LIMIT, SPOOL_FULL, REJECTS, REJECTS_LOST, BROKER)
#: Shown by `muster work`, and by `muster serve`; the last two where there is a broker, and where it answers.
OF_WORKERS = (DELIVERIES, APPLY, BATCH, BATCH_TIME, OLDEST, DATABASE, UNANSWERED, CALLS, CALL_TIME, BREAKER, BROKER, QUEUE, CONSUMERS)
#: Shown by every worker while the database answers.
OF_DATABASE = (
    *(WAITING, WAITING_AGE, DEAD, HELD, REFRESHES, REFRESHES_FAILING, REFRESHES_AGE),
    *(FOLLOWUPS, OVERDUE, ALARMS, ENROLLMENTS, RECORDINGS, OUTBOX, OUTBOX_AGE, DRIFT, RECONCILE_HELD),
    *(LAST_DELIVERY, LAST_SUCCESS, FAILURES, LAST_HEARTBEAT, QUIET, REPLAY_RUNS, REPLAYS),
)
METRICS = tuple(dict.fromkeys((*OF_RECEIVERS, *OF_WORKERS, *OF_DATABASE)))
