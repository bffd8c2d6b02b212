"""What came of the requests to a vendor, one by one, for logs and metrics: never whom they were about."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from workers.vendors.errors import Refused, Throttled, Unavailable, UnknownOutcome, VendorError


class CallOutcome(StrEnum):
    """What came of a request."""

    OK = "ok"
    NOT_FOUND = "not_found"
    #: Wrong, or not allowed.
    REFUSED = "refused"
    THROTTLED = "throttled"
    #: It was not taken, or cannot be told to be.
    UNAVAILABLE = "unavailable"
    #: A write of which nobody knows whether it was done.
    UNKNOWN = "unknown"
    #: Whoever asked did not wait for the answer.
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Called:
    """One request; `status` is None where no answer came of which it could be one."""

    operation: str
    outcome: CallOutcome
    status: int | None
    seconds: float


_ERRORS: Mapping[type[VendorError], CallOutcome] = {
    Refused: CallOutcome.REFUSED,
    Throttled: CallOutcome.THROTTLED,
    Unavailable: CallOutcome.UNAVAILABLE,
    UnknownOutcome: CallOutcome.UNKNOWN,
}


def came_of(answer: int | VendorError) -> CallOutcome:
    """The outcome that an answer's status, or an error in its place, tells."""
    if isinstance(answer, VendorError):
        return _ERRORS[type(answer)]
    if 200 <= answer < 300:
        return CallOutcome.OK
    return CallOutcome.NOT_FOUND if answer == 404 else CallOutcome.REFUSED


def nobody(_: Called) -> None:
    """Is told of a request, and does nothing."""
