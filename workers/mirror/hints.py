"""A hint: what one webhook says about one action subscription, and which of two hints holds. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from workers.causes import NOBODY, Cause


@dataclass(frozen=True, slots=True)
class Hint:
    """Evidence from a webhook; a later, or a stronger, one replaces all of its fields."""

    account: str
    subject: str
    deleted: bool
    received_at: datetime
    fingerprint: bytes
    fields: Mapping[str, Any] = field(hash=False)
    flags: list[str] = field(hash=False, default_factory=list)
    #: When the last of all hints about it arrived, this one or a weaker one; None: this one.
    last_at: datetime | None = None
    cause: Cause = field(default=NOBODY, compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """What it is about."""
        return self.account, self.subject

    @property
    def strength(self) -> tuple[bool, datetime, bytes]:
        """A DELETE beats a CREATE whatever their order; within a kind the greater (received_at, fingerprint) wins."""
        return self.deleted, self.received_at, self.fingerprint


def fold(hints: Iterable[Hint]) -> list[Hint]:
    """The strongest hint for each key, knowing when the last arrived, in key order, so that two writers lock rows in one order."""
    strongest: dict[tuple[str, str], Hint] = {}
    last: dict[tuple[str, str], datetime] = {}
    for hint in hints:
        held = strongest.get(hint.key)
        if held is None or hint.strength > held.strength:
            strongest[hint.key] = hint
        arrived = hint.last_at or hint.received_at
        last[hint.key] = max(last.get(hint.key, arrived), arrived)
    return [replace(strongest[key], last_at=last[key]) for key in sorted(strongest)]
