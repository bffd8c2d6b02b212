"""The last requests and what became of them, in memory: what `muster sources wait` shows and `readyz` counts."""

import itertools
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog

from schemas.logs import Log

log = structlog.get_logger()

LENGTH = 100
#: Refusals of one kind are logged once in so many seconds, with their number: a flood must not fill the disk.
QUIET = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answered request."""

    number: int
    at: datetime
    source: str
    event: str | None
    status: int
    delivery: str | None


class Recent:
    """A ring of the last 100 outcomes, and a count of all by status."""

    def __init__(self) -> None:
        self._ring: deque[Outcome] = deque(maxlen=LENGTH)
        self._numbers = itertools.count(1)
        self._unlogged: Counter[tuple[str, int]] = Counter()
        self._logged_at: dict[tuple[str, int], float] = {}
        self.statuses: Counter[int] = Counter()

    def add(self, at: datetime, source: str, event: str | None, status: int, delivery: str | None = None) -> None:
        """Note an outcome; `delivery` is its id where it was accepted."""
        self.statuses[status] += 1
        self._ring.append(Outcome(next(self._numbers), at, source, event, status, delivery))
        if status >= 400:
            self._log(source, status)

    def after(self, number: int) -> list[dict[str, Any]]:
        """The outcomes since a number, oldest first, as JSON has them."""
        return [asdict(one) | {"at": one.at.isoformat()} for one in self._ring if one.number > number]

    def _log(self, source: str, status: int) -> None:
        kind, now = (source, status), time.monotonic()
        self._unlogged[kind] += 1
        if now - self._logged_at.get(kind, -QUIET) >= QUIET:
            self._logged_at[kind] = now
            log.warning(Log.REQUEST_REFUSED, source=source, status=status, times=self._unlogged.pop(kind))
