"""Why a need or an enrollment stands where it does, in words that name no person. Pure."""

from collections.abc import Mapping

from schemas.rules import Target
from schemas.states import NeedState, TargetKind
from workers.followups.case import Need

NEXT_TARGET = "the next of its targets is wanted"
EVERY_TARGET = "every target is passed"
RECORDED = "its certificate stands in 4HSE"
#: Of a seat, or a certificate: what the vendor said stands in its row.
GIVEN_UP = "it was given up"
LATER = "the vendor did not take it, and is asked later"
#: What was given up, and a person left so.
LEFT_ALONE = "dropped by a person"
APPROVE_CERTIFICATE = "the certificate waits for a person to approve it"

#: What it is to have a seat.
_SEATED: Mapping[TargetKind, str] = {
    TargetKind.COURSE: "enrolled in course {}",
    TargetKind.SESSION: "enrolled in session {}",
    TargetKind.EXERCISE: "the exercise of {} is scheduled",
}
_OF_STEP: Mapping[NeedState, str] = {
    NeedState.PLANNED: "{} is wanted",
    NeedState.AWAITING: "{} is awaited",
    NeedState.HELD: "{} waits for a person to approve it",
}


def of_step(need: Need, target: Target, state: NeedState) -> str | None:
    """Why a need stands in the state of this target of its own."""
    attempt = f", attempt {need.attempt} of {need.rule.fail.attempts}"
    if state is NeedState.UNMATCHED:
        return f"nobody knows who this is in {target.account}"
    if state is NeedState.FAILED:
        return f"{_named(target)} was failed{attempt}"
    if state is NeedState.ENROLLED:
        return _SEATED[target.kind].format(target.target)
    said = _OF_STEP.get(state)
    return said and said.format(_named(target)) + (attempt if state is NeedState.PLANNED and need.attempt > 1 else "")


def wanted(need: Need) -> str:
    """Why somebody is to have a seat."""
    return f"rule {need.rule.name} wants it for {need.subscription}"


def unneeded(need: Need) -> str:
    """Why a seat is not needed any more, if this need was the last that used it."""
    return f"{need.subscription}: {need.reason}"


def certificate(cycle: str) -> str:
    """What made a need valid."""
    return f"certificate {cycle}"


def _named(target: Target) -> str:
    return f"{target.kind} {target.target}"
