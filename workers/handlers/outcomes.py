"""What a handler can say: a closed union."""

from dataclasses import dataclass

from schemas.states import Reason
from workers.mirror.hints import Hint


@dataclass(frozen=True, slots=True)
class Applied:
    """It says something about a mirrored entity."""

    event: str
    hint: Hint


@dataclass(frozen=True, slots=True)
class Ignored:
    """It is understood, and there is nothing to do."""

    event: str | None
    reason: Reason
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    """Nothing can be done with it; `detail` says to a person what exactly is wrong, without quoting personal data."""

    event: str | None
    reason: Reason
    detail: str | None = None


Outcome = Applied | Ignored | Dead
