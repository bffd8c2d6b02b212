"""For whose sake something is done: the deliveries that led to it, and how their trace goes on. Rows keep it for whoever works them off."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import structlog

from schemas import traces
from schemas.delivery import Delivery
from schemas.traces import Attributes, Span, SpanName, Tracer

#: How many deliveries are named: of what is touched again and again, the last.
MOST = 20


@dataclass(frozen=True, slots=True)
class Cause:
    """Deliveries, the earliest first, and how the trace of the last goes on; neither, of what no webhook told."""

    deliveries: tuple[UUID, ...] = ()
    trace: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, delivery: Delivery) -> "Cause":
        """One delivery as the cause of what it says."""
        return cls((delivery.id,), delivery.trace)

    @classmethod
    def kept(cls, row: Mapping[str, Any]) -> "Cause":
        """What a row keeps."""
        return cls(tuple(dict.fromkeys(map(UUID, (row["deliveries"] or "").split()))), row["trace"])

    @property
    def row(self) -> dict[str, str | None]:
        """What a row keeps of it: `COLUMNS`."""
        return {"deliveries": " ".join(self.named) or None, "trace": self.trace}

    @property
    def named(self) -> list[str]:
        """What a line of the log says."""
        return [str(one) for one in self.deliveries]

    def __or__(self, later: "Cause") -> "Cause":
        """Both together."""
        return Cause(tuple(dict.fromkeys((*self.deliveries, *later.deliveries)))[-MOST:], later.trace)

    @contextmanager
    def followed(self, tracer: Tracer, name: SpanName, about: Attributes) -> Iterator[Span]:
        """Something is done for its sake: every line and call says so, and what follows from it is `current` in turn."""
        about = {**about, "muster.deliveries": " ".join(self.named)} if self.deliveries else about
        token = _CURRENT.set(self)
        try:
            with (
                structlog.contextvars.bound_contextvars(deliveries=self.named),
                tracer.follow(name, [self.trace] if self.trace else (), about) as span,
            ):
                yield span
        finally:
            _CURRENT.reset(token)


NOBODY = Cause()

COLUMNS: Mapping[str, str] = {"deliveries": "text", "trace": "text"}

_BOTH = "coalesce(old.deliveries || ' ', '') || new.deliveries"
#: As wide as the last so many ids are.
_WIDTH = MOST * (len(str(UUID(int=0))) + 1) - 1
#: SQL of what a row keeps that is touched once more, by column.
JOINED: Mapping[str, str] = {
    "deliveries": f"CASE WHEN new.deliveries IS NULL OR old.deliveries LIKE '%' || new.deliveries || '%' THEN old.deliveries"
    f" WHEN length({_BOTH}) > {_WIDTH} THEN substr({_BOTH}, length({_BOTH}) - {_WIDTH - 1}) ELSE {_BOTH} END",
    "trace": "new.trace",
}

_CURRENT: ContextVar[Cause] = ContextVar("cause", default=NOBODY)


def current() -> Cause:
    """That for whose sake something is done in this task; its trace goes on from the span that stands for it."""
    return replace(_CURRENT.get(), trace=traces.current().trace)
