"""The tracer that the settings ask for."""

import contextlib
from collections.abc import Iterator

from schemas.settings import TracingSettings
from schemas.traces import OFF, Tracer
from workers.cli.options import fail


@contextlib.contextmanager
def tracing(settings: TracingSettings, service: str) -> Iterator[Tracer]:
    """A tracer until the end, when it sends what it still holds; off, OpenTelemetry is not even loaded."""
    if not settings.enabled:
        yield OFF
        return
    try:
        from workers.tracing import OpenTelemetry
    except ModuleNotFoundError:
        fail("tracing.enabled needs OpenTelemetry, which muster brings only if asked: pip install 'muster[tracing]'")
    tracer = OpenTelemetry(service, str(settings.endpoint) if settings.endpoint else None)
    try:
        yield tracer
    finally:
        tracer.close()
