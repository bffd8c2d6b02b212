"""Which results count for a need, and what they say of its targets. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from types import MappingProxyType
from zoneinfo import ZoneInfo

from schemas.rules import Pass, Target
from schemas.states import TargetKind
from workers.mirror.status import day_of

_UTC = ZoneInfo("UTC")
#: What a person may do about what may count or not.
_ENTER = "if it counts, enter the certificate in 4HSE"


@dataclass(frozen=True, slots=True)
class Result:
    """The current version of a result."""

    #: Of one completion, over all its versions; completed once more it is another.
    key: str
    kind: TargetKind
    #: Whose result in what: an LMS's learner and course or checklist, a subscription and its session, a user and an exercise.
    learner: str
    target: str
    completed_at: datetime | None = None
    #: In percent.
    grade: float | None = None
    passed: bool | None = None
    #: It is over, however it ended.
    completed: bool = False
    total_points: float | None = None
    withdrawn: bool = False
    version: int = 1
    #: Courses: its seat has expired, or was ended in any way; and when the LMS was last heard of it.
    expired: bool = False
    finished: bool = False
    observed_at: datetime | None = None
    #: What was completed, of which more than one may tell: an exercise, whoever of the office was there.
    completion: str | None = None

    @property
    def day_only(self) -> bool:
        """Whether only the day is known: aNewSpring tells some without their time, which the mirror keeps as midnight in UTC."""
        return self.kind is TargetKind.COURSE and self.completed_at is not None and self.completed_at.astimezone(UTC).time() == time()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the results say of a target: passed or failed by the result of that key, or nothing yet."""

    passed: bool | None = None
    key: str | None = None


def counts(
    target: Target,
    cycle_opened_at: datetime,
    results: Sequence[Result],
    *,
    accept_since: date | None,
    pass_: Pass,
    used: Collection[str] = (),
    zone: ZoneInfo = _UTC,
) -> Verdict:
    """What the results of a target's learner say in a cycle; `used` are the keys of those that certified the subscription before.

    The first that passes counts, and if none does, the last that fails.
    """
    since = None if accept_since is None else datetime.combine(accept_since, time(), zone)
    standing = (one for one in unspent(results, used) if one.kind is target.kind and not one.withdrawn)
    fresh = sorted((one for one in standing if _counts(one, cycle_opened_at, since, zone)), key=_order)
    verdicts = [Verdict(judged(one, target, pass_), one.key) for one in fresh]
    passed = next((one for one in verdicts if one.passed), None)
    failed = next((one for one in reversed(verdicts) if one.passed is False), None)
    return passed or failed or Verdict()


def unspent(results: Sequence[Result], used: Collection[str]) -> list[Result]:
    """Those of what was completed that did not certify the subscription, whoever told of it then."""
    spent = {one.completion or one.key for one in results if one.key in used}
    return [one for one in results if one.key not in used and (one.completion or one.key) not in spent]


def completed_on(one: Result, zone: ZoneInfo) -> date | None:
    """The day of completion there. One that is told without its time is that day wherever it is asked for."""
    at = one.completed_at
    return None if at is None else at.astimezone(UTC).date() if one.day_only else day_of(at, zone)


def unsaid(one: Result, target: Target, opened: datetime, pass_: Pass, zone: ZoneInfo = _UTC) -> str | None:
    """What nobody says of something that is over, so that it does not count for a cycle that opened then, though it may be meant to."""
    if one.kind is not target.kind or one.withdrawn or not one.completed:
        return None
    verdict, day, fresh = judged(one, target, pass_), completed_on(one, zone), _counts(one, opened, None, zone)
    if verdict is not False and day is None:
        return f"and nobody says on which day: {_ENTER}"
    if verdict and one.day_only and not fresh and day == day_of(opened, zone):
        return f"on {day}, when its cycle opened, and nobody says at what time: {_ENTER}"
    mark = "grade" if one.kind is TargetKind.COURSE else "result"
    return f"without the {mark} that its rule wants" if verdict is None and fresh else None


def judged(one: Result, target: Target, pass_: Pass) -> bool | None:
    """Whether a result passes its target; None is nothing yet."""
    return _JUDGES[target.kind](one, target, pass_)


@dataclass(frozen=True, slots=True)
class Correction:
    """A result that certified a subscription and says something else now; `reason` is the alarm, `proposal` what a person may do."""

    reason: str
    proposal: str


def correction(one: Result, was: datetime, target: Target, pass_: Pass, zone: ZoneInfo = _UTC) -> Correction | None:
    """What a result that certified as completed at that time would change about the certificate by now."""
    if one.withdrawn or one.completed_at is None:
        return Correction(f"{one.key} certified, and was withdrawn since", "see whether the certificate stands")
    if not judged(one, target, pass_):
        return Correction(f"{one.key} certified, and does not pass any more", "delete the certificate")
    day = completed_on(one, zone)
    if day == completed_on(replace(one, completed_at=was), zone):
        return None
    return Correction(f"{one.key} certified, and was completed on another day", f"let the certificate begin on {day}")


def _counts(one: Result, opened: datetime, since: datetime | None, zone: ZoneInfo) -> bool:
    """Whether all of the time at which it may have been completed is in the cycle, or accepted."""
    day, at = completed_on(one, zone), one.completed_at
    if day is None or at is None:
        return False
    if one.day_only:
        at = datetime.combine(day, time(), zone)
    return at > opened or (one.day_only and at == opened) or (since is not None and at >= since)


def _order(one: Result) -> tuple[datetime, str]:
    assert one.completed_at is not None
    return one.completed_at, one.key


def _course(one: Result, _: Target, pass_: Pass) -> bool | None:
    """Completed, and with a mark that grade; `finished` is no completion. A grade that is not known yet is awaited."""
    return _reaches(one.grade, pass_.grade) if one.completed else None


def _observation(one: Result, target: Target, _: Pass) -> bool | None:
    """Over, and the marks reached: a total below the mark is that of an observation whose criteria were skipped."""
    if not one.completed:
        return None
    reached = (_reaches(one.grade, target.terms.get("result")), _reaches(one.total_points, target.terms.get("total_points")))
    return False if False in reached else None if None in reached else True


def _told(one: Result, _: Target, __: Pass) -> bool | None:
    """What a person at the vendor entered is the verdict."""
    return one.passed if one.completed else None


_JUDGES: Mapping[TargetKind, Callable[[Result, Target, Pass], bool | None]] = MappingProxyType(
    {
        TargetKind.COURSE: _course,
        TargetKind.OBSERVATION: _observation,
        TargetKind.SESSION: _told,
        TargetKind.EXERCISE: _told,
    }
)


def _reaches(value: float | None, mark: float | None) -> bool | None:
    return True if mark is None else None if value is None else value >= mark
