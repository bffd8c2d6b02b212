"""A circuit breaker: after a run of failures an account is left alone for a while, then tried with one request. Pure: `now` is given.

No library of this is kept up (purgatory: last release 2024, aiobreaker: 2021), and it is a page.
"""

from enum import StrEnum


class State(StrEnum):
    """Whether requests go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Counts failures in a row; opens at `threshold`, for `pause` seconds, twice as long each time a probe fails, at most `longest`.

    Requests are admitted in an era, which ends when the breaker opens: one that was under way then and ends later tells nothing new.
    """

    def __init__(self, threshold: int, pause: float, longest: float) -> None:
        self._threshold, self._pause, self._longest = threshold, pause, longest
        self._failures = 0
        self._openings = 0
        self._era = 0
        self._until = 0.0
        self._probing = False

    def state(self, now: float) -> State:
        """Where it stands."""
        if self._openings == 0:
            return State.CLOSED
        return State.OPEN if now < self._until or self._probing else State.HALF_OPEN

    def remaining(self, now: float) -> float:
        """Seconds until a request may go."""
        return max(0.0, self._until - now)

    def admit(self, now: float) -> int | None:
        """The era of a request that may go, None if it may not; in half-open, only the first one may, which is the probe."""
        state = self.state(now)
        if state is State.OPEN:
            return None
        self._probing = state is State.HALF_OPEN
        return self._era

    def succeeded(self, era: int) -> None:
        """A request was answered."""
        if era == self._era:
            self._failures = self._openings = 0
            self._probing = False

    def failed(self, era: int, now: float) -> None:
        """A request failed for the vendor's sake."""
        if era != self._era:
            return
        self._failures += 1
        if self._probing or self._failures >= self._threshold:
            self._until = now + min(self._longest, self._pause * 2 ** min(self._openings, 30))
            self._openings += 1
            self._era += 1
            self._probing = False

    def abandoned(self, era: int) -> None:
        """A request ended without telling anything, by cancellation say: the next one may probe."""
        if era == self._era:
            self._probing = False
