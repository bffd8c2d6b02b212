"""What became of each of a need's targets: passed, failed, awaited, or waiting for a seat. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from schemas.rules import Target
from schemas.states import EnrollmentState, NeedState, TargetKind
from workers.followups import alarms, recording, seats
from workers.followups.board import Board
from workers.followups.case import INITIAL, Certifies, Need, Step
from workers.followups.results import Result, counts, judged
from workers.mirror.status import end_of


def stepped(board: Board, need: Need) -> tuple[Step, ...]:
    """What became of each target, the earlier ones first."""
    targets, done = need.rule.targets(), list[Step]()
    for number, (target, step) in enumerate(zip(targets, need.steps, strict=True)):
        waits = any(one.target == target.after and done[n].state is not NeedState.PASSED for n, one in enumerate(targets[:number]))
        if step.state is not NeedState.PASSED:
            step = _step(board, need, number, step, waits=waits)
            # Its days begin with its turn, whoever has to do something about it.
            step = step if waits or step.due_at else replace(step, due_at=_due(board, target))
        done.append(step)
    return tuple(done)


def _due(board: Board, target: Target) -> datetime | None:
    days = target.terms.get("due_days")
    return None if days is None else end_of(board.day(days), board.case.zone)


def _step(board: Board, need: Need, number: int, step: Step, *, waits: bool) -> Step:
    target = need.rule.targets()[number]
    seat = board.seat(step)
    learner = seat.learner if seat is not None else board.case.learners.get((target.kind, target.account))
    verdict = _judged(board, need, target, step, learner) if learner is not None else None
    if verdict is not None or step.state is NeedState.FAILED:
        return verdict or step
    if seat is not None and seat.state is not EnrollmentState.UNDONE:
        return replace(step, state=seats.STEP_OF[seat.state])
    if waits or learner is None:
        return replace(step, state=NeedState.PLANNED if waits else NeedState.UNMATCHED, enrollment=None)
    if not approved(need, number, target):
        return replace(step, state=NeedState.HELD, enrollment=None)
    if target.kind is TargetKind.OBSERVATION:
        return replace(step, state=NeedState.AWAITING)
    return seats.seated(board, need, target, step, learner)


def _judged(board: Board, need: Need, target: Target, step: Step, learner: str) -> Step | None:
    """A step that its learner has passed or failed."""
    results = board.case.results.get((target.account, learner, target.target), ())
    used = {*board.case.certified, *board.certifies} - _shared(board, need)
    # A later cycle opens at the end of the day of its certificate, and by what is older that was made.
    accepted = need.rule.pass_.accept_since if need.cycle == INITIAL else None
    verdict = counts(target, need.opened_at, results, accept_since=accepted, pass_=need.rule.pass_, used=used, zone=board.case.zone)
    failed = list((step.result or {}).get("failed", ()))
    if verdict.key is None or verdict.passed is None or (not verdict.passed and verdict.key in failed):
        return None
    result = next(one for one in results if one.key == verdict.key)
    if verdict.passed:
        board.certifies.setdefault(result.key, Certifies(result.key, need.id))
        return replace(step, state=NeedState.PASSED, result=_said(result, failed))
    return _failed(board, need, step, result)


def _shared(board: Board, need: Need) -> set[str]:
    """The results by which needs of its cycle stand; its own too, until something was written by it: a correction of it counts as well."""
    cycle = (one for one in board.needs.values() if one.cycle == need.cycle and one.state not in (NeedState.VALID, NeedState.UNDONE))
    standing = (one for one in cycle if one.id != need.id or not board.certifying(need))
    return {step.result["key"] for one in standing for step in one.steps if step.result}


def _failed(board: Board, need: Need, step: Step, result: Result) -> Step:
    if need.rule.record is not None:
        board.write(recording.failure(need, board.case.session_enrollments, result, board.case.zone))
    failed = [*(step.result or {}).get("failed", ()), result.key]
    return replace(step, state=NeedState.FAILED, result=_said(result, failed))


def reviewed(board: Board, need: Need) -> Need:
    """A need with its passed targets as their results say it by now, as long as nothing is written by them.

    What is not completed any more decides nothing: the course may be taken once more.
    """
    if board.certifying(need):
        return need
    targets = need.rule.targets()
    return replace(need, steps=tuple(_seen_again(board, need, target, step) for target, step in zip(targets, need.steps, strict=True)))


def _seen_again(board: Board, need: Need, target: Target, step: Step) -> Step:
    now = alarms.now_of(board.case, target, step) if step.state is NeedState.PASSED else None
    verdict = None if now is None or now.withdrawn or now.completed_at is None else judged(now, target, need.rule.pass_)
    if now is None or verdict is None:
        return step
    return replace(step, result=_said(now, (step.result or {}).get("failed", ()))) if verdict else _failed(board, need, step, now)


def approved(need: Need, number: int, target: Target) -> bool:
    """Whether no person has to say yes to a target any more."""
    return not target.approve or str(number) in need.approvals


def _said(result: Result, failed: Iterable[str]) -> dict[str, Any]:
    at = result.completed_at
    return {"key": result.key, "completed_at": at.isoformat() if at else None, "failed": [*failed]}
