"""A private OpenTelemetry collector: takes spans by OTLP over HTTP, as a real one does, and shows them."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Told

from workers.tracing import OpenTelemetry

PATIENCE = 25.0


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it came over the wire."""

    service: str
    trace: str
    id: str
    parent: str
    name: str
    kind: str
    began: int
    ended: int
    attributes: Mapping[str, str | int]
    links: tuple[str, ...]
    failed: bool

    def goes_on_as(self, traceparent: str | None) -> bool:
        """Whether that is how its trace goes on from it."""
        return traceparent is not None and traceparent.split("-")[1:3] == [self.trace, self.id]


class Collector:
    """What has come so far."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        #: What it answers with.
        self.status = 200
        handler = type("Handler", (_Handler,), {"collector": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Its address, as settings name it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def named(self, name: str) -> list[Span]:
        """The spans of a name."""
        return [one for one in self.spans if one.name == name]

    def one(self, name: str) -> Span:
        """The only span of a name."""
        (found,) = self.named(name)
        return found

    def until(self, wanted: Callable[[list[Span]], bool], what: str) -> list[Span]:
        """Wait until what has come is what is wanted."""
        deadline = time.monotonic() + PATIENCE
        while not wanted(found := list(self.spans)):
            assert time.monotonic() < deadline, f"{what} never came, but {[(one.service, one.name, one.trace[:4]) for one in found]}"
            time.sleep(0.05)
        return found

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def take(self, body: bytes) -> None:
        """Keep what a request brings."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
            self.spans += [_span(service, told) for scope in resource.scope_spans for told in scope.spans]


class _Handler(BaseHTTPRequestHandler):
    collector: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        found = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        status = self.collector.status if found else 404
        if status == 200:
            self.collector.take(body)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nobody reads it."""


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector of one's own."""
    one = Collector()
    try:
        yield one
    finally:
        one.close()


@contextmanager
def recording(service: str = "muster") -> Iterator[tuple[OpenTelemetry, Collector]]:
    """A tracer, and the collector that has its spans once it is closed."""
    with collector() as one:
        tracer = OpenTelemetry(service, one.endpoint)
        try:
            yield tracer, one
        finally:
            tracer.close()


def _span(service: str, told: Told) -> Span:
    attributes = {one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value for one in told.attributes}
    return Span(
        service,
        told.trace_id.hex(),
        told.span_id.hex(),
        told.parent_span_id.hex(),
        told.name,
        Told.SpanKind.Name(told.kind).removeprefix("SPAN_KIND_"),
        told.start_time_unix_nano,
        told.end_time_unix_nano,
        attributes,
        tuple(one.trace_id.hex() for one in told.links),
        told.status.code == 2,
    )
