"""What deliveries and fetches say about the vendors' things, and what decides over what. Pure.

Evidence carries the time it was observed: a webhook its arrival, a fetch its start. A webhook is a hint; a fetch that began more
than `clock_skew` after the last hint decides. Being absent from an answer is a suspicion, and only `verdict` makes more of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.states import RefreshKind, SubscriptionState
from workers.causes import NOBODY, Cause
from workers.mirror.hints import Hint
from workers.mirror.versions import Fact, found


@dataclass(frozen=True, slots=True)
class Touch:
    """Something at a vendor has changed, and must be fetched to know what it is now."""

    account: str
    kind: RefreshKind
    subject: str
    at: datetime
    scope: str = ""
    cause: Cause = NOBODY

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is about."""
        return self.account, self.kind.value, self.subject, self.scope


#: What a delivery does to the mirror.
Effect = Hint | Touch | Fact


def aim(effect: Effect) -> tuple[Any, ...]:
    """The one row that an effect is about, of all that effects can be about."""
    return (effect.kind.table, effect.account, found(effect.kind, effect).key) if isinstance(effect, Fact) else effect.key


@dataclass(frozen=True, slots=True)
class Sighting:
    """An action subscription as a fetch that began then found it: `fields` are those of `schemas.fourhse.SUBSCRIPTION_FIELDS`."""

    account: str
    subject: str
    began: datetime
    fields: Mapping[str, Any] = field(hash=False)
    flags: list[str] = field(hash=False, default_factory=list)


@dataclass(frozen=True, slots=True)
class Absence:
    """An action subscription that a fetch that began then did not find, and what that makes of it."""

    account: str
    subject: str
    began: datetime
    state: SubscriptionState


def verdict(*, deletion_told: bool, office_visible: bool, accepted: bool = False) -> SubscriptionState:
    """What to make of a subscription that the vendor shows neither by its id nor in an index with history.

    It is deleted if a DELETE webhook told so, if another row of its office is still visible to the same login, or if a person
    accepts it; otherwise the login may have lost its rights, and it is missing.
    """
    return SubscriptionState.DELETED if deletion_told or office_visible or accepted else SubscriptionState.MISSING
