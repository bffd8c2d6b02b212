"""What should change about one subscription's needs and enrollments, by everything that is known of it. Pure.

Nothing here depends on having seen something happen: the same case gives the same changes whenever it is looked at, and a case
to which they were applied gives none.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from schemas.states import EnrollmentWish
from workers.followups import alarms, cycles, life, seats
from workers.followups.board import Board
from workers.followups.case import Case, Change, Enrollment, EnrollmentChange, Need, NeedChange, RecordingPlanned

#: Far more steps than any case takes.
_MOST = 1000


class Endless(Exception):
    """The planner does not come to rest on a case: an error of ours, which must hang nothing."""


def plan(case: Case) -> tuple[Change, ...]:
    """What should change; raises Endless."""
    board = Board(case)
    for _ in range(_MOST):
        if not _moved(board):
            return tuple(_changes(board))
    raise Endless(case.subscription.id)


def _moved(board: Board) -> bool:
    """Go one step on; whether there was anything to be done."""
    before = dict(board.needs), dict(board.seats)
    _each_need(board, cycles.by_certificate)
    _each_seat(board, seats.finished)
    _each_need(board, life.advanced)
    cycles.begin(board)
    if before == (board.needs, board.seats):
        # Not before: a need that begins takes over the seat of one that is over.
        _each_seat(board, seats.left)
    return before != (board.needs, board.seats)


def _each_need(board: Board, change: Callable[[Board, Need], Need]) -> None:
    for need in list(board.needs.values()):
        board.needs[need.id] = change(board, need)


def _each_seat(board: Board, change: Callable[[Board, Enrollment], Enrollment]) -> None:
    for seat in list(board.seats.values()):
        board.seats[seat.id] = change(board, seat)


def _changes(board: Board) -> Iterator[Change]:
    """What is other than it was: enrollments before the needs that name them."""
    case = board.case
    enrollments, needs = {one.id: one for one in case.enrollments}, {one.id: one for one in case.needs}
    held = {row.id for rows in case.recordings.values() for row in rows}
    yield from (EnrollmentChange(one, enrollments.get(one.id)) for one in board.seats.values() if one != enrollments.get(one.id))
    looking = (life.looking(board, replace(one, alarm=alarms.alarm(case, one))) for one in board.needs.values())
    yield from (NeedChange(one, needs.get(one.id), _undoes(board, one)) for one in looking if one != needs.get(one.id))
    yield from (RecordingPlanned(row) for row in board.recordings.values() if row.id not in held)
    yield from (one for one in board.certifies.values() if one.result not in case.certified)


def _undoes(board: Board, need: Need) -> bool:
    """Whether a seat is given back for it, and not taken over by a need that began since."""
    return need.id in board.undoing and any(seat.wish is EnrollmentWish.UNDO for seat in board.seats_of(need))
