"""How a need goes on and how it ends: its state, by what the row says and by what became of its targets. Pure."""

from dataclasses import replace
from datetime import datetime

from schemas.rules import matches
from schemas.states import EnrollmentState, EnrollmentWish, NeedState, SubscriptionState
from workers.followups import alarms, cycles, reasons, recording, seats, steps
from workers.followups.board import OVER, Board, all_passed
from workers.followups.case import ALL_THE_SAME, BEGIN_AGAIN, CORRECTED, GUARD_ENROLLING, GUARD_UNDOING, RECORD, Need, Recorded
from workers.followups.results import Result

_VALID = "VALID"
#: Of several targets, what is to be seen first; the order of NeedState is no order of urgency.
_FOREMOST = (
    NeedState.DEAD,
    NeedState.FAILED,
    NeedState.LAPSED,
    NeedState.HELD,
    NeedState.UNMATCHED,
    NeedState.ENROLLED,
    NeedState.AWAITING,
    NeedState.PLANNED,
    NeedState.PASSED,
)
#: What may become overdue. What waits for a person stays with its reason, and alarms (`alarms.WAITING`).
_RUNNING = frozenset({NeedState.PLANNED, NeedState.ENROLLED, NeedState.AWAITING})


def advanced(board: Board, need: Need) -> Need:
    """A need one step on."""
    if need.state in (NeedState.UNDONE, NeedState.VALID):
        return need
    if ending := _ending(board, need):
        return _ended(board, need, *ending)
    if not board.live() or (need.reason == BEGIN_AGAIN and not board.released(need, BEGIN_AGAIN)):
        return need
    need = _tried_again(board, steps.reviewed(board, need))
    done = steps.stepped(board, need)
    due = [step.due_at for step in done if step.state is not NeedState.PASSED and step.due_at is not None]
    need = replace(need, steps=done, due_at=min(due, default=None))
    return board.moved(need, *_state(board, need))


def _ending(board: Board, need: Need) -> tuple[NeedState, str] | None:
    """Whether a need is over by what the row says, and why."""
    subscription = board.case.subscription
    if not board.case.confirmed or subscription.state is SubscriptionState.MISSING:
        return None
    if subscription.state is SubscriptionState.DELETED:
        return NeedState.UNDONE, "the subscription is deleted"
    if not subscription.active:
        return NeedState.UNDONE, "the subscription is inactive"
    cycle = cycles.of_rule(board, need.rule.name)
    if subscription.status == _VALID and (valid := _valid(board, need, cycle)):
        return NeedState.VALID, valid
    if all_passed(need):
        return None
    if cycle != need.cycle:
        return NeedState.UNDONE, f"another cycle has begun: {cycle}"
    if not _begun_at_vendor(board, need) and (wrong := matches(need.rule.when, board.row)):
        return NeedState.UNDONE, f"its rule holds no more: {wrong[0]}"
    return None


def _valid(board: Board, need: Need, cycle: str) -> str | None:
    """By what a need is met where its subscription is shown as valid: another certificate than the one before it, or that one still."""
    certificate = reasons.certificate(board.case.subscription.cycle)
    if cycle != need.cycle:
        return certificate
    # A rule that speaks of what is valid is not met by its being so.
    still = _outcome_stands(need) and _VALID not in need.rule.when.status
    return f"{certificate}, prolonged" if still else None


def _begun_at_vendor(board: Board, need: Need) -> bool:
    asked = any(seat.state is not EnrollmentState.PLANNED for seat in board.seats_of(need))
    return asked or any(step.state is NeedState.PASSED for step in need.steps)


def _ended(board: Board, need: Need, state: NeedState, reason: str) -> Need:
    """Over, unless that would undo more than the guard lets through."""
    over = board.moved(need, state, reason)
    if _undoes(board, over):
        if not board.lets(need, GUARD_UNDOING):
            return board.moved(need, NeedState.HELD, GUARD_UNDOING)
        board.undoing.add(need.id)
    return over


def _undoes(board: Board, over: Need) -> bool:
    """Whether a seat would be given back if this need were over."""
    held, board.needs[over.id] = board.needs[over.id], over
    undone = any(
        seats.left(board, seats.finished(board, seat)).wish is EnrollmentWish.UNDO is not seat.wish for seat in board.seats_of(over)
    )
    board.needs[over.id] = held
    return undone


def _tried_again(board: Board, need: Need) -> Need:
    """The next attempt, once the rule's wait after a failure is over."""
    if need.wait_until is None or need.wait_until > board.case.now:
        return need
    anew = tuple(
        replace(step, state=NeedState.PLANNED, enrollment=None, due_at=None) if step.state is NeedState.FAILED else step
        for step in need.steps
    )
    return replace(need, steps=anew, attempt=need.attempt + 1, wait_until=None)


def _state(board: Board, need: Need) -> tuple[NeedState, str | None]:
    """What follows from its steps, and why."""
    if all_passed(need):
        return _outcome(board, need)
    number, state = min(enumerate(step.state for step in need.steps), key=lambda each: _FOREMOST.index(each[1]))
    if state in _RUNNING and need.due_at is not None and need.due_at <= board.case.now:
        return NeedState.OVERDUE, alarms.overdue(board.case, need.due_at)
    return state, _reason(board, need, number, state)


def _reason(board: Board, need: Need, number: int, state: NeedState) -> str | None:
    target, seat = need.rule.targets()[number], board.seat(need.steps[number])
    if state in (NeedState.LAPSED, NeedState.DEAD):
        return seat.reason if seat is not None else None
    if state is NeedState.HELD and steps.approved(need, number, target):
        return GUARD_ENROLLING
    return reasons.of_step(need, target, state)


def _outcome(board: Board, need: Need) -> tuple[NeedState, str | None]:
    """Every target is passed: what is written of it, and how far that is."""
    record = need.rule.record
    if record is None:
        return NeedState.PASSED, reasons.EVERY_TARGET
    if record.approve and RECORD not in need.approvals:
        return NeedState.HELD, reasons.APPROVE_CERTIFICATE
    rows = board.certifying(need) or _record(board, need)
    if dead := next((row for row in rows if row.state == recording.DEAD), None):
        return NeedState.DEAD, dead.error
    if all(row.state in recording.OVER for row in rows):
        return NeedState.RECORDED, reasons.RECORDED
    if ALL_THE_SAME not in need.approvals and any(alarms.corrections(board.case, need)):
        return NeedState.HELD, CORRECTED
    return NeedState.PASSED, reasons.EVERY_TARGET


def _record(board: Board, need: Need) -> list[Recorded]:
    case = board.case
    passed = (alarms.passed_by(step, target) for step, target in zip(need.steps, need.rule.targets(), strict=True))
    last = max(passed, key=_completion)
    held, action = case.session_enrollments, case.action
    return board.write(recording.steps(need, case.subscription, held, last, case.now, action=action, zone=case.zone))


def looking(board: Board, need: Need) -> Need:
    """A need with the next moment at which the calendar may change something about it."""
    moments: list[datetime | None] = [need.wait_until]
    if need.state in _RUNNING | alarms.WAITING:
        moments.append(need.due_at)
    if need.state is NeedState.RECORDED and need.rule.record is not None:
        moments.append(need.state_at + need.rule.record.valid_within)
    if need.state not in OVER:
        moments += [seats.over_at(seat, board.case.zone) for seat in board.seats_of(need) if seat.state is EnrollmentState.ENROLLED]
    return replace(need, look_at=min((one for one in moments if one is not None and one > board.case.now), default=None))


def _outcome_stands(need: Need) -> bool:
    """Whether muster has nothing more to write of a need that is passed."""
    return need.state is NeedState.RECORDED or (need.state is NeedState.PASSED and need.rule.record is None)


def _completion(result: Result) -> tuple[float, str]:
    return result.completed_at.timestamp() if result.completed_at else 0.0, result.key
