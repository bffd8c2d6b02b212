"""What a receiver counts while it answers, and what of its state a scrape is shown (`schemas/metrics.py`)."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from math import inf
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from receiver.errors import Refusal
from receiver.publisher import Publisher
from receiver.rejects import Rejects
from receiver.spool import Spool
from schemas import metrics
from schemas.metrics import ACCEPTED, OTHER, Metric


def _kinds(refusal: type[Refusal]) -> Iterator[type[Refusal]]:
    for kind in refusal.__subclasses__():
        yield kind
        yield from _kinds(kind)


#: Each refusal's name among the outcomes of requests.
OUTCOMES = {kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in _kinds(Refusal) if not kind.__subclasses__()}


class Answers(Collector):
    """The answered requests of the configured sources; every series is there from the start, so that a first failure is a rise.

    Counted here, in the one thread that answers: the library's counters take a lock each, and five times as long for a request.
    """

    def __init__(self, registry: CollectorRegistry, sources: Iterable[str] = ()) -> None:
        names = list(sources)
        self._refused = {(name, kind): 0 for name in (*names, OTHER) for kind in OUTCOMES}
        self._within = {name: [0] * (len(metrics.ACK.buckets) + 1) for name in names}
        self._seconds = dict.fromkeys(names, 0.0)
        registry.register(self)

    def told(self, source: str | None, refusal: type[Refusal] | None, seconds: float) -> None:
        """Count an answer; `source` is None where none of that name is configured, `refusal` where the answer was 200."""
        name = source or OTHER
        if refusal is None:
            self._within[name][bisect_left(metrics.ACK.buckets, seconds)] += 1
            self._seconds[name] += seconds
        else:
            self._refused[name, refusal] += 1

    def collect(self) -> Iterator[Family]:
        """The requests, and how long those took that were accepted."""
        requests, ack = _counter(metrics.REQUESTS), HistogramMetricFamily(metrics.ACK.name, metrics.ACK.help, labels=metrics.ACK.labels)
        for (name, kind), times in self._refused.items():
            requests.add_metric((name, OUTCOMES[kind]), times)
        for name, counts in self._within.items():
            requests.add_metric((name, ACCEPTED), sum(counts))
            bounds = map(floatToGoString, (*metrics.ACK.buckets, inf))
            ack.add_metric((name,), list(zip(bounds, accumulate(counts), strict=True)), self._seconds[name])
        yield from (requests, ack)


class InFlight(Protocol):
    """Whoever knows how many requests are not answered yet."""

    in_flight: int


class Gauges:
    """A receiver's state at the moment of a scrape."""

    def __init__(
        self, registry: CollectorRegistry, hook: InFlight, spool: Spool, limit: int, publisher: Publisher | None, rejects: Rejects
    ) -> None:
        def gauge(metric: Metric, read: Callable[[], float]) -> None:
            Gauge(*metric.named, registry=registry).set_function(read)

        gauge(metrics.IN_FLIGHT, lambda: hook.in_flight)
        gauge(metrics.SPOOL, lambda: max(0, spool.depth))
        gauge(metrics.SPOOL_FULL, lambda: spool.full)
        gauge(metrics.SPOOL_LIMIT, lambda: limit)
        gauge(metrics.REJECTS, lambda: rejects.standing.kept)
        if publisher is not None:
            gauge(metrics.BROKER, lambda: publisher.away is None)
        registry.register(_Lost(rejects))
        self._spool = spool
        self._age, self._bytes = (Gauge(*one.named, registry=registry) for one in (metrics.SPOOL_AGE, metrics.SPOOL_BYTES))

    async def look(self) -> None:
        """Ask the spool's file."""
        self._age.set(await self._spool.oldest_age() or 0.0)
        self._bytes.set(await self._spool.used())


class _Lost(Collector):
    """A count that is kept elsewhere."""

    def __init__(self, rejects: Rejects) -> None:
        self._rejects = rejects

    def collect(self) -> Iterator[Family]:
        lost = _counter(metrics.REJECTS_LOST)
        lost.add_metric((), self._rejects.lost)
        yield lost


def _counter(metric: Metric) -> CounterMetricFamily:
    return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
