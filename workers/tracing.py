"""Traces to an OpenTelemetry collector, by OTLP over HTTP: the only module that knows OpenTelemetry. It is loaded where tracing is on.

Traces are a help and no record: what the collector cannot take is dropped, and nothing waits for it. The standard's own variables
(`OTEL_…`: headers, certificates, sampler, resource, batches) hold where the settings say nothing.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from types import MappingProxyType

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace import Span as Recording
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas.logs import Log
from schemas.traces import CURRENT, HEADER, NOTHING, OFF, Attributes, Span, SpanName

log = structlog.get_logger()

#: Where a collector takes traces, below its address.
_PATH = "/v1/traces"

_KINDS: Mapping[SpanName, SpanKind] = MappingProxyType(
    {
        SpanName.RECEIVE: SpanKind.SERVER,
        SpanName.PUBLISH: SpanKind.PRODUCER,
        SpanName.APPLY: SpanKind.CONSUMER,
        SpanName.CALL: SpanKind.CLIENT,
    }
)

_w3c = TraceContextTextMapPropagator()


class OpenTelemetry:
    """A tracer whose spans go to a collector, in a thread of its own; close it."""

    on = True

    def __init__(self, service: str, endpoint: str | None) -> None:
        # The variables' word on the resource counts more than ours.
        resource = Resource.create().merge(Resource({"service.name": service})).merge(OTELResourceDetector().detect())
        self._exporter = _Telling(OTLPSpanExporter(endpoint and endpoint.rstrip("/") + _PATH))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("muster")

    def close(self, patience: float = 2.0) -> None:
        """Send what waits; a collector that does not take it within `patience` seconds is left, at the latest after as much again."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(patience)
        if sending.is_alive():
            self._exporter.shutdown()
            sending.join(patience)

    def flush(self) -> None:
        """Send what waits, now."""
        self._provider.force_flush()

    def arrival(self, at: datetime, attributes: Attributes, *, parent: str | None, link: str | None) -> AbstractContextManager[Span]:
        """The first span of a trace. It is not `current`: what goes on from it, goes on in other tasks."""
        above = _context(parent) if parent else Context()
        return self._running(self._begun(SpanName.RECEIVE, above, [link] if link else (), attributes, at))

    def follow(self, name: SpanName, traces: Sequence[str], attributes: Attributes) -> AbstractContextManager[Span]:
        """Go on with the first of these traces, linked to the others."""
        above = _context(traces[0]) if traces else Context()
        if not _spoken_of(above).is_valid:
            return OFF.follow(name, (), attributes)
        return self._running(self._begun(name, above, traces[1:], attributes), current=True)

    def followed(self, name: SpanName, trace: str, since: datetime, attributes: Attributes) -> None:
        """A trace has gone on like this."""
        above = _context(trace)
        if _spoken_of(above).is_valid:
            self._begun(name, above, (), attributes, since).end()

    def beneath(self, name: SpanName, above: Recording, attributes: Attributes) -> AbstractContextManager[Span]:
        """A piece of a piece."""
        return self._running(self._begun(name, set_span_in_context(above, Context()), (), attributes), current=True)

    def _begun(
        self, name: SpanName, above: Context, links: Sequence[str], attributes: Attributes, since: datetime | None = None
    ) -> Recording:
        start = int(since.timestamp() * 1_000_000) * 1000 if since else None
        others = [Link(found) for one in links if (found := _spoken_of(_context(one))).is_valid]
        return self._tracer.start_span(name.value, above, _KINDS.get(name, SpanKind.INTERNAL), attributes, others, start)

    @contextmanager
    def _running(self, span: Recording, *, current: bool = False) -> Iterator[Span]:
        # What the sampler leaves out is left out by everybody after us, too.
        ours = _Ours(self, span) if span.is_recording() else NOTHING
        token = CURRENT.set(ours) if current else None
        try:
            yield ours
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            if token is not None:
                CURRENT.reset(token)
            span.end()


class _Ours:
    """A span that is recorded."""

    def __init__(self, tracer: OpenTelemetry, span: Recording) -> None:
        self._tracer, self._span = tracer, span
        carrier: dict[str, str] = {}
        _w3c.inject(carrier, set_span_in_context(span, Context()))
        self.trace: str | None = carrier.get(HEADER)

    def tell(self, attributes: Attributes) -> None:
        """Say what has become known meanwhile."""
        self._span.set_attributes(attributes)

    def beneath(self, name: SpanName, attributes: Attributes) -> AbstractContextManager[Span]:
        """A piece of this piece."""
        return self._tracer.beneath(name, self._span, attributes)


class _Telling(SpanExporter):
    """An exporter that tells when the collector stops taking spans, and when it takes them again: once, and not for every batch."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter, self._away = exporter, False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; those that are not taken are lost."""
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            log.warning(Log.TRACES_AWAY, lost=len(spans))
        elif self._away and not away:
            log.info(Log.TRACES_TAKEN)
        self._away = away
        return result

    def shutdown(self) -> None:
        """Send no more, and end what is under way."""
        self._exporter.shutdown()


def _context(trace: str) -> Context:
    return _w3c.extract({HEADER: trace}, Context())


def _spoken_of(context: Context) -> SpanContext:
    return get_current_span(context).get_span_context()
