"""Traces: what spans are called, and how one is begun. Pure: off, all of it does nothing; `workers/tracing.py` records.

A trace begins where a webhook arrives, and nowhere else: what no webhook caused (polls, reconcile, replays) leaves none. It goes on
as W3C trace context (https://www.w3.org/TR/trace-context/): a traceparent in the delivery itself, in its AMQP message, and in the
rows that are worked off later. Attributes are ids and names of ours, never what a person is called.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

#: The header that carries a trace, in HTTP and in AMQP.
HEADER = "traceparent"

Attributes = Mapping[str, str | int]


class SpanName(StrEnum):
    """Every span, in the order in which a delivery comes to them."""

    RECEIVE = "delivery.receive"
    PUBLISH = "delivery.publish"
    APPLY = "delivery.apply"
    FETCH = "refresh.fetch"
    ENROLL = "enrollment.try"
    RECORD = "recording.try"
    CALL = "vendor.call"


class Span(Protocol):
    """A piece of work that is being traced, or nothing at all."""

    @property
    def trace(self) -> str | None:
        """How its trace goes on from here; None where none is."""

    def tell(self, attributes: Attributes) -> None:
        """Say what has become known meanwhile."""

    def beneath(self, name: SpanName, attributes: Attributes) -> AbstractContextManager["Span"]:
        """A piece of this piece."""


class Tracer(Protocol):
    """What begins spans. An error that leaves one is told by its name alone, never by its message."""

    @property
    def on(self) -> bool:
        """Whether anything is recorded at all."""

    def arrival(self, at: datetime, attributes: Attributes, *, parent: str | None, link: str | None) -> AbstractContextManager[Span]:
        """The first span of a trace, of a webhook that was there at `at`: of its own, or below `parent`; linked to `link`."""

    def follow(self, name: SpanName, traces: Sequence[str], attributes: Attributes) -> AbstractContextManager[Span]:
        """Go on with the first of these traces, linked to the others; nothing where there is none. It is `current` until it ends."""

    def followed(self, name: SpanName, trace: str, since: datetime, attributes: Attributes) -> None:
        """A trace has gone on like this, from `since` until now."""


class _Nothing:
    """A span where nothing is traced, and the tracer of such spans."""

    on = False
    trace = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def tell(self, attributes: Attributes) -> None:
        """Nobody listens."""

    def beneath(self, name: SpanName, attributes: Attributes) -> Self:
        """Nothing as well."""
        return self

    def arrival(self, at: datetime, attributes: Attributes, *, parent: str | None, link: str | None) -> Self:
        """Nothing."""
        return self

    def follow(self, name: SpanName, traces: Sequence[str], attributes: Attributes) -> Self:
        """Nothing."""
        return self

    def followed(self, name: SpanName, trace: str, since: datetime, attributes: Attributes) -> None:
        """Nothing."""


_nothing = _Nothing()

NOTHING: Span = _nothing
#: Tracing is off.
OFF: Tracer = _nothing

#: The span that is being worked on in this task.
CURRENT: ContextVar[Span] = ContextVar("span", default=NOTHING)


def current() -> Span:
    """The span that is being worked on, for what is to go on with its trace."""
    return CURRENT.get()


_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def well_formed(trace: object) -> str | None:
    """A traceparent, as version 00 writes it; None for anything else, which is a trace that nobody can follow and no mistake."""
    return trace if isinstance(trace, str) and _TRACEPARENT.fullmatch(trace) else None
