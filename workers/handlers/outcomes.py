"""What a handler can say: a closed union."""

from dataclasses import dataclass

from pydantic import ValidationError

from schemas.states import Reason
from workers.mirror.evidence import Effect


@dataclass(frozen=True, slots=True)
class Applied:
    """It says something about mirrored things; `subject` is the id of the one that the log shows."""

    event: str
    effects: tuple[Effect, ...]
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """It is understood, and there is nothing to do."""

    event: str | None
    reason: Reason
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    """Nothing, or not everything, can be done with it; `detail` says to a person what exactly is wrong, without personal data.

    `effects` is what could be understood of it all the same.
    """

    event: str | None
    reason: Reason
    detail: str | None = None
    effects: tuple[Effect, ...] = ()


Outcome = Applied | Ignored | Dead


def unfit(event: str, error: ValidationError) -> Dead:
    """What a body means that is not of the shape that is needed."""
    wrong = error.errors(include_input=False, include_url=False)
    missing = [str(one["loc"][0]) for one in wrong if one["type"] == "missing"]
    if missing:
        return Dead(event, Reason.MISSING_FIELD, ", ".join(missing))
    return Dead(event, Reason.INVALID_FIELD, "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in wrong))
