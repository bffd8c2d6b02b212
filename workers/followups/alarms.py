"""What about a need a person should look at, whatever its state. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from schemas.rules import Target
from schemas.states import NeedState
from workers.followups import reasons, recording
from workers.followups.case import BEGIN_AGAIN, GUARD_UNDOING, Case, Need, Recorded, Step
from workers.followups.results import Result, correction, unsaid, unspent

_VALID = "VALID"
#: What is not worked on before a person does something: nobody would hear that its time has passed.
WAITING = frozenset({NeedState.HELD, NeedState.UNMATCHED})
#: Passed, and not over yet.
_PASSED = frozenset({NeedState.PASSED, NeedState.HELD, NeedState.RECORDED, NeedState.DEAD})


def alarm(case: Case, need: Need) -> str | None:
    """What it is, as long as it is so."""
    return "; ".join(dict.fromkeys(_alarms(case, need))) or None


def _alarms(case: Case, need: Need) -> Iterator[str]:
    if need.state is NeedState.HELD and need.reason == BEGIN_AGAIN:
        yield f"4HSE does not show certificate {need.cycle} any more"
    if need.state in WAITING and need.reason != GUARD_UNDOING and need.due_at is not None and need.due_at <= case.now:
        yield overdue(case, need.due_at)
    if need.state is NeedState.RECORDED and need.rule.record is not None:
        late = recording.not_valid(need.state_at, need.rule.record.valid_within, case.now)
        yield from [late] if late else []
    if need.state in _PASSED or _stands(case, need):
        yield from corrections(case, need)
    elif need.state not in (NeedState.VALID, NeedState.UNDONE):
        if any(map(_untold, case.recordings.get(need.id, ()))):
            yield "4HSE could not be told of a failed attempt"
        yield from _unsaid(case, need)


def corrections(case: Case, need: Need) -> Iterator[str]:
    """What of that by which a certificate was written, or is to be, says something else by now, and what to do."""
    if need.rule.record is None:
        return
    for step, target in zip(need.steps, need.rule.targets(), strict=True):
        now, was = now_of(case, target, step), passed_by(step, target)
        if now is not None and was.completed_at is not None:
            found = correction(now, was.completed_at, target, need.rule.pass_, case.zone)
            if found:
                # The result's key names its learner.
                yield f"{target.kind} {target.target}{found.reason.removeprefix(now.key)}: {found.proposal}"


def _untold(row: Recorded) -> bool:
    return row.state == recording.DEAD and not recording.certifies(row)


def overdue(case: Case, due_at: datetime) -> str:
    """That its time has passed, with its last day."""
    return f"it was due by {(due_at - timedelta(microseconds=1)).astimezone(case.zone):%Y-%m-%d}"


def passed_by(step: Step, target: Target) -> Result:
    """The result that a step was passed by, as it was then."""
    said = step.result or {}
    at = said.get("completed_at")
    return Result(said.get("key", ""), target.kind, "", target.target, datetime.fromisoformat(at) if at else None, completed=True)


def now_of(case: Case, target: Target, step: Step) -> Result | None:
    """The same result as it is now."""
    key = (step.result or {}).get("key")
    return next((one for one in _results_of(case, target, step) if one.key == key), None)


def _results_of(case: Case, target: Target, step: Step) -> Iterator[Result]:
    whose = {one.learner for one in case.enrollments if one.id == step.enrollment} | {case.learners.get((target.kind, target.account))}
    return (one for who in whose if who is not None for one in case.results.get((target.account, who, target.target), ()))


def _unsaid(case: Case, need: Need) -> Iterator[str]:
    """What is completed and counts for nothing yet, for want of something that a person can find out."""
    for step, target in zip(need.steps, need.rule.targets(), strict=True):
        results = [] if step.state is NeedState.PASSED else unspent([*_results_of(case, target, step)], case.certified)
        for one in results:
            if said := unsaid(one, target, need.opened_at, need.rule.pass_, case.zone):
                yield f"{one.kind} {one.target} is completed {said}"


def _stands(case: Case, need: Need) -> bool:
    """Whether it is valid by the certificate that is shown. Later the course may be taken once more, and say that it is not completed."""
    valid = need.state is NeedState.VALID and case.subscription.status == _VALID
    return valid and (need.reason or "").partition(",")[0] == reasons.certificate(case.subscription.cycle)
