"""What the enroller asks of every kind of target."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum, auto
from typing import Any

from schemas.states import EnrollmentState
from workers.followups.claims import Claim, Placed
from workers.followups.tables import Enrollment
from workers.vendors.accounts import OpenAccount


class NotYet(Exception):
    """There is nothing yet that could be asked for; nobody is to blame, and a later look may find it."""


class Unheard(Exception):
    """What was reached in it may count for one of its needs, and is asked for before it is begun anew."""

    def __str__(self) -> str:
        return "what was reached in it is asked for first"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there at the vendor for this round, and what is still to be done, by the adapter's own names."""

    stands: bool
    found: bool = False
    remote: str | None = None
    start_on: date | None = None
    todo: tuple[str, ...] = ()

    @property
    def placed(self) -> Placed:
        """What the row says of it."""
        return Placed(self.found, self.remote, self.start_on)


class Undoing(Enum):
    """How an undo ended."""

    UNDONE = auto()
    #: There was nothing to undo.
    ABSENT = auto()
    #: It is completed, and stays.
    COMPLETED = auto()
    #: Another enrollment uses the same thing there.
    USED = auto()


@dataclass(frozen=True, slots=True)
class Adapter:
    """One kind of target. All of it raises the errors of `workers.vendors.errors`; of `request`, Unavailable and Throttled say that
    nothing at all was done.
    """

    vendor: str
    #: What is there; raises NotYet, and Unheard.
    look: Callable[[OpenAccount, Claim], Awaitable[Seen]]
    #: Do what is to be done.
    request: Callable[[OpenAccount, Claim, Seen], Awaitable[Seen]]
    #: Take back what was done, having looked.
    undo: Callable[[OpenAccount, Claim], Awaitable[Undoing]]


async def used(claim: Claim) -> set[str]:
    """What other open enrollments of this kind stand for at the vendor, by its ids there."""
    return await _remotes(claim, state__in=(EnrollmentState.REQUESTED.value, EnrollmentState.ENROLLED.value))


async def used_up(claim: Claim) -> set[str]:
    """What earlier rounds of this enrollment stood for."""
    return await _remotes(claim, learner=claim.learner, target=claim.target, round__lt=claim.round)


async def _remotes(claim: Claim, **which: Any) -> set[str]:
    rows = await Enrollment.filter(account=claim.account, kind=claim.kind.value, **which).exclude(id=claim.id)
    return {row.remote for row in rows if row.remote}
