"""What a worker counts while it works, and what of its state a scrape is shown (`schemas/metrics.py`)."""

import asyncio
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas import metrics
from schemas.delivery import Delivery
from schemas.metrics import LIVE, OTHER, REPLAY, SUPPRESSED, Metric
from workers.consumer import Consumer
from workers.lane import Lane
from workers.log import Entry, storable_time
from workers.operations.figures import Asked
from workers.vendors.accounts import OpenAccounts
from workers.vendors.breaker import State
from workers.vendors.calls import Called, CallOutcome
from workers.vendors.http import Http

#: Workers read no receiver's settings: a source is known by what it delivers, and so many of them have a name.
SOURCES = 100


class Names:
    """The first so many names; any later one is `other`."""

    def __init__(self, limit: int = SOURCES) -> None:
        self._limit, self._known = limit, set[str]()

    def __call__(self, name: str) -> str:
        """The name to count under."""
        if name not in self._known and len(self._known) < self._limit:
            self._known.add(name)
        return name if name in self._known else OTHER


class Work:
    """What becomes of deliveries, batches and calls."""

    def __init__(self, registry: CollectorRegistry, accounts: Iterable[str], now: Callable[[], datetime]) -> None:
        def histogram(metric: Metric) -> Histogram:
            return Histogram(*metric.named, buckets=metric.buckets, registry=registry)

        self._now, self._name = now, Names()
        self._deliveries = Counter(*metrics.DELIVERIES.named, registry=registry)
        self._apply, self._batch, self._batch_time = map(histogram, (metrics.APPLY, metrics.BATCH, metrics.BATCH_TIME))
        self._calls, self._call_time = Counter(*metrics.CALLS.named, registry=registry), histogram(metrics.CALL_TIME)
        for account in accounts:
            self._call_time.labels(account)
            for outcome in CallOutcome:
                self._calls.labels(account, outcome.value)

    def settled(self, deliveries: Sequence[Delivery], entries: Sequence[Entry]) -> None:
        """Count a transaction of the pipeline's."""
        settled = Count((*self._kind(one.delivery), one.state.value) for one in entries)
        suppressed = Count(map(self._kind, deliveries)) - Count(self._kind(one.delivery) for one in entries)
        settled.update({(*kind, SUPPRESSED): times for kind, times in suppressed.items()})
        for labels, times in settled.items():
            self._deliveries.labels(*labels).inc(times)
        now = self._now()
        for one in entries:
            if _live(one.delivery):
                self._apply.observe(max(0.0, (now - storable_time(one.delivery.received_at)).total_seconds()))

    def batch(self, deliveries: int, seconds: float) -> None:
        """Count a batch of the lane's."""
        self._batch.observe(deliveries)
        self._batch_time.observe(seconds)

    def called(self, account: str, called: Called) -> None:
        """Count a request to a vendor."""
        self._calls.labels(account, called.outcome.value).inc()
        self._call_time.labels(account).observe(called.seconds)

    def _kind(self, delivery: Delivery) -> tuple[str, str]:
        return self._name(delivery.source), LIVE if _live(delivery) else REPLAY


def _live(delivery: Delivery) -> bool:
    return delivery.replay_of is None and delivery.effects


class Gauges:
    """A worker's state at the moment of a scrape, once it has one."""

    def __init__(
        self, registry: CollectorRegistry, lane: Lane, consumer: Consumer | None, accounts: OpenAccounts, now: Callable[[], datetime]
    ) -> None:
        self._lane, self._consumer, self._now = lane, consumer, now
        Gauge(*metrics.OLDEST.named, registry=registry).set_function(self._oldest)
        if consumer is not None:
            Gauge(*metrics.BROKER.named, registry=registry).set_function(lambda: consumer.away is None)
        breaker = Gauge(*metrics.BREAKER.named, registry=registry)
        for account in accounts:
            for state in State:
                breaker.labels(account.name, state.value).set_function(partial(_is_in, account.client.http, state))

    def _oldest(self) -> float:
        """Of what is in hand, under way or not; replays are left out: when they arrived is long ago, and says nothing."""
        arrived = [storable_time(one.received_at) for one in self._lane.live.deliveries]
        if self._consumer is not None and self._consumer.oldest is not None:
            arrived.append(self._consumer.oldest)
        return max(0.0, (self._now() - min(arrived)).total_seconds()) if arrived else 0.0


def _is_in(http: Http, state: State) -> bool:
    return http.state is state


class Outside(Collector):
    """What database and broker told when they were last asked. Of a question without an answer nothing is shown, and the rest is."""

    def __init__(self, registry: CollectorRegistry, ping: Asked, database: Mapping[str, Asked], broker: Asked | None) -> None:
        self._ping, self._database = ping, database
        self._broker = {} if broker is None else {"broker": broker}
        Gauge(*metrics.DATABASE.named, registry=registry).set_function(lambda: ping.answer is not None)
        unanswered = Gauge(*metrics.UNANSWERED.named, registry=registry)
        for name, asked in (*database.items(), *self._broker.items()):
            unanswered.labels(name).set_function(partial(_is_unanswered, asked))
        registry.register(self)

    async def look(self) -> None:
        """Ask whoever was not asked for a while, all at once: one that takes its time delays no other."""
        await asyncio.gather(*(one.look() for one in (self._ping, *self._database.values(), *self._broker.values())))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A family for each metric that an answer came for."""
        told = self._database.values() if self._ping.answer is not None else ()
        for asked in (*told, *self._broker.values()):
            for metric, samples in (asked.answer or {}).items():
                family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, value in samples.items():
                    family.add_metric(labels, value)
                yield family


def _is_unanswered(asked: Asked) -> bool:
    return asked.answer is None
