"""What a vendor's API can answer other than success: a closed tree.

VendorError
├── Refused          the request is wrong, or not allowed; in the vendor's words, by field where it names one
├── NotFound
├── Conflict
├── Throttled        too many requests, with the vendor's wish for when to come back
├── Unavailable      it did not take the request: trying again is harmless
└── UnknownOutcome   a write that may or may not have been done: look before trying again

No message holds a credential, and none holds a URL's query.
"""

from dataclasses import dataclass


class VendorError(Exception):
    """Something that a vendor's API answered, or failed to."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a vendor says about one field; `field` is None where it names none."""

    field: str | None
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class Refused(VendorError):
    """The vendor refuses the request; sending it again as it is will not help."""

    def __init__(self, status: int, complaints: tuple[Complaint, ...]) -> None:
        super().__init__(f"{status}: " + ("; ".join(map(str, complaints)) or "no reason given"))
        self.status, self.complaints = status, complaints


class NotFound(VendorError):
    """There is no such thing at the vendor, or not for this login."""


class Conflict(VendorError):
    """It is there already, or in a state that does not allow this."""


class Throttled(VendorError):
    """Too many requests; `retry_after` in seconds, where the vendor says."""

    def __init__(self, retry_after: float | None) -> None:
        super().__init__("throttled" + (f", wants {retry_after:g} s" if retry_after is not None else ""))
        self.retry_after = retry_after


class Unavailable(VendorError):
    """The vendor did not take the request; nothing was done. `retry_after` in seconds, where it says."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class UnknownOutcome(VendorError):
    """A write was sent and no answer tells whether it was done."""
