"""Which results count for a need. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from schemas.rules import Pass, Target
from schemas.states import TargetKind


@dataclass(frozen=True, slots=True)
class Result:
    """The current version of a result."""

    #: Of the result, over all its versions.
    key: str
    kind: TargetKind
    learner: str
    target: str
    completed_at: datetime | None = None
    grade: float | None = None
    passed: bool | None = None
    completed: bool = False
    total_points: float | None = None
    withdrawn: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the results say of a target: passed or failed by the result of that key, or nothing yet."""

    passed: bool | None = None
    key: str | None = None


def counts(target: Target, cycle_opened_at: datetime, results: Sequence[Result], *, accept_since: date | None, pass_: Pass) -> Verdict:
    """What the results say of a target in a cycle."""
    raise NotImplementedError
