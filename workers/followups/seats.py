"""Seats in targets: opened or joined, over at the vendor, given back once nobody uses them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from schemas.rules import Target
from schemas.states import EnrollmentState, EnrollmentWish, NeedState, TargetKind
from workers.followups import reasons
from workers.followups.board import STEP_OVER, Board, waits
from workers.followups.case import DROPPED, GUARD_ENROLLING, Enrollment, Need, Step, derived
from workers.followups.leases import free
from workers.mirror.status import end_of

#: A step by its seat. A seat that was closed while somebody still waited for it has expired.
STEP_OF = {
    EnrollmentState.PLANNED: NeedState.PLANNED,
    EnrollmentState.REQUESTED: NeedState.PLANNED,
    EnrollmentState.ENROLLED: NeedState.ENROLLED,
    EnrollmentState.CLOSED: NeedState.LAPSED,
    EnrollmentState.DEAD: NeedState.DEAD,
}


def waited_for(need: Need) -> Iterator[UUID]:
    """The enrollments that a need still uses."""
    return (step.enrollment for step in need.steps if step.enrollment is not None and waits(need, step))


def kept(need: Need) -> Iterator[UUID]:
    """The enrollments that stay, by the need's rule or by a person's word, when nobody uses them any more."""
    return (step.enrollment for step in need.steps if step.enrollment is not None and _keeps(need))


def _keeps(need: Need) -> bool:
    return need.rule.undo == "keep" or need.reason == DROPPED


def seated(board: Board, need: Need, target: Target, step: Step, learner: str) -> Step:
    """A step with a seat: the open one, or one in the next round, if the guard lets it through."""
    rounds = [one for one in board.seats.values() if one.seat == (target.account, learner, target.target)]
    open_one = next((one for one in rounds if one.open), None)
    number = 1 + max((one.round for one in rounds), default=0)
    seat = _joined(board, open_one, need, target) if open_one else _opened(board, need, target, learner, number)
    if seat != open_one and not board.lets(need, GUARD_ENROLLING):
        return replace(step, state=NeedState.HELD, enrollment=None)
    board.seats[seat.id] = seat
    return replace(step, state=STEP_OF[seat.state], enrollment=seat.id)


def _opened(board: Board, need: Need, target: Target, learner: str, number: int) -> Enrollment:
    return Enrollment(
        id=derived("enrollment", target.account, learner, target.target, number),
        account=target.account,
        kind=target.kind,
        learner=learner,
        target=target.target,
        round=number,
        state=EnrollmentState.PLANNED,
        state_at=board.case.now,
        reason=reasons.wanted(need),
        wish=EnrollmentWish.ENROLL,
        due_at=board.case.now,
        terms=target.terms,
        start_on=_on(board, target, "start_days"),
        expire_on=_on(board, target, "expire_days"),
    )


def _joined(board: Board, seat: Enrollment, need: Need, target: Target) -> Enrollment:
    """An open seat as one more need wants it: not given back, as soon as the first, for as long as the longest, and with every score.

    How long one that was found lasts nobody tells, and a day of ours might shorten it.
    """
    wished = replace(seat, terms=_scoring(seat.terms, target.terms.get("score")))
    if not seat.found:
        wished = _sooner(board, _longer(board, wished, target), target)
    if wished == seat and seat.wish is not EnrollmentWish.UNDO:
        return seat
    due_at = free(seat, board.case.now)
    return replace(wished, wish=EnrollmentWish.ENROLL, due_at=due_at, attempts=0, error=None, reason=reasons.wanted(need))


def _longer(board: Board, seat: Enrollment, target: Target) -> Enrollment:
    """For as long as the longest: no last day is longer than any."""
    last, days = _on(board, target, "expire_days"), target.terms.get("expire_days")
    if seat.expire_on is None or (last is not None and last <= seat.expire_on):
        return seat
    most = None if days is None else max(days, seat.terms.get("expire_days") or 0)
    unending = {"unending": True} if last is None else {}
    return replace(seat, expire_on=last, terms={**seat.terms, "expire_days": most, **unending})


def _sooner(board: Board, seat: Enrollment, target: Target) -> Enrollment:
    """As soon as the first, where it has not begun yet."""
    first = _on(board, target, "start_days") or board.today
    if seat.kind is not TargetKind.COURSE or seat.start_on is None or first >= seat.start_on or seat.start_on <= board.today:
        return seat
    return replace(seat, start_on=first, terms={**seat.terms, "start_days": target.terms.get("start_days")})


def _on(board: Board, target: Target, term: str) -> date | None:
    days = target.terms.get(term)
    return None if days is None else board.day(days)


def finished(board: Board, seat: Enrollment) -> Enrollment:
    """A seat that is over at the vendor: its last day has passed, or everybody who used it has passed or failed."""
    if not seat.open:
        return seat
    if seat.state is EnrollmentState.ENROLLED and seat.wish is None and (expired := _expired(board, seat)):
        return _over(board, seat, EnrollmentState.CLOSED, expired)
    came = any(step.state in STEP_OVER for _, step in board.users(seat)) or _completed(board, seat)
    if came and seat.state is not EnrollmentState.PLANNED and not board.used(seat):
        return _over(board, seat, EnrollmentState.CLOSED, "completed")
    return seat


def left(board: Board, seat: Enrollment) -> Enrollment:
    """A seat that nobody uses any more: to be given back, unless it was found there or stays by a rule."""
    users = board.users(seat)
    if not seat.open or not users or board.used(seat) or seat.wish is EnrollmentWish.UNDO:
        return seat
    why = reasons.unneeded(max((need for need, _ in users), key=lambda need: (need.state_at, need.id)))
    if seat.state is EnrollmentState.PLANNED:
        return _over(board, seat, EnrollmentState.UNDONE, f"{why}; it was never asked for")
    if seat.found:
        return _over(board, seat, EnrollmentState.CLOSED, f"{why}; it was there before us")
    if seat.id in board.case.kept_elsewhere or any(_keeps(need) for need, _ in users):
        return _over(board, seat, EnrollmentState.CLOSED, f"{why}; it stays")
    how = "unsubscribe" if any(need.rule.undo == "unsubscribe" for need, _ in users) else "expire"
    terms = {**seat.terms, "undo": how}
    return replace(seat, wish=EnrollmentWish.UNDO, due_at=free(seat, board.case.now), attempts=0, error=None, terms=terms, reason=why)


def _completed(board: Board, seat: Enrollment) -> bool:
    """Whether a result says so that came after the seat did."""
    since = seat.enrolled_at
    results = board.case.results.get(seat.seat, ())
    return since is not None and any(
        one.completed and not one.withdrawn and one.completed_at is not None and one.completed_at >= since for one in results
    )


def _expired(board: Board, seat: Enrollment) -> str | None:
    """Why a seat is over though nothing was reached in it: by its last day, or by what the LMS says since we have it."""
    last = over_at(seat, board.case.zone)
    if last is not None and last <= board.case.now:
        return f"its last day was {seat.expire_on}"
    said = [one for one in board.case.results.get(seat.seat, ()) if not one.withdrawn and _later(one.observed_at, seat.enrolled_at)]
    if _completed(board, seat) or not any(one.finished or one.expired for one in said):
        return None
    return f"it has expired in {seat.account}" if any(one.expired for one in said) else f"it was ended in {seat.account}"


def _over(board: Board, seat: Enrollment, state: EnrollmentState, reason: str) -> Enrollment:
    return replace(seat, state=state, reason=reason, state_at=board.case.now, wish=None, due_at=None, error=None)


def over_at(seat: Enrollment, zone: ZoneInfo) -> datetime | None:
    """When the last day is over that we gave it; one that was found has none of ours."""
    return None if seat.expire_on is None or seat.found else end_of(seat.expire_on, zone)


def _later(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one > other


def _scoring(terms: Mapping[str, Any], score: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A seat's terms with one more score to be given; each activity has one."""
    given = [one for one in (terms.get("score"), *terms.get("scores", ())) if one]
    if score is None or any(one["activity"] == score["activity"] for one in given):
        return terms
    return {**terms, "scores": [*terms.get("scores", ()), score]} if given else {**terms, "score": score}
