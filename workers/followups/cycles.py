"""A need for each rule that holds, once a cycle: the life of the last certificate, also of one of ours that was taken away. Pure."""

from datetime import datetime
from uuid import UUID

from schemas.rules import Rule, matches
from schemas.states import NeedState
from workers.followups import reasons, recording
from workers.followups.board import Board
from workers.followups.case import BEGIN_AGAIN, CANCELLED, CERTIFICATE_GONE, DROPPED, INITIAL, Case, Need, Step, derived
from workers.mirror.status import end_of

_VALID = "VALID"


def opened(case: Case) -> datetime:
    """When the present cycle opened: at the end of the day of its certificate's release; the first when the row was first seen."""
    row = case.subscription.row
    if case.subscription.cycle == INITIAL:
        return row.get("first_seen_at") or case.now
    released = row.get("certificate_date_release")
    # Of a release that is not known, only what comes from now on is surely later.
    return end_of(released, case.zone) if released else case.now


def begin(board: Board) -> None:
    """A need for each rule that holds, once a cycle."""
    for rule in board.case.rules:
        cycle = of_rule(board, rule.name)
        id = _id(board, rule.name, cycle)  # noqa: A001
        held = board.needs.get(id)
        if (held is None or _again(board, held)) and not matches(rule.when, board.row):
            board.needs[id] = _begun(board, id, rule, cycle, held)


def _again(board: Board, need: Need) -> bool:
    """Whether a need that is over is one again once its rule holds: it was undone, or what made it valid is gone."""
    if need.state is NeedState.VALID:
        return not board.certifying(need)
    return need.state is NeedState.UNDONE and need.reason not in (CANCELLED, DROPPED)


def _begun(board: Board, id: UUID, rule: Rule, cycle: str, held: Need | None) -> Need:  # noqa: A002
    subscription, now, count = board.case.subscription, board.case.now, len(rule.targets())
    undone = held is not None and held.state is NeedState.UNDONE
    kept = held.steps if held and undone and len(held.steps) == count else (Step(),) * count
    # A person took away what we wrote: whether it all begins again is a person's word too.
    lost = cycle != subscription.cycle
    since = held.opened_at if held and undone else now if held or lost else opened(board.case)
    return Need(
        id=id,
        account=subscription.account,
        subscription=subscription.id,
        rule=rule,
        cycle=cycle,
        state=NeedState.HELD if lost else NeedState.PLANNED,
        reason=BEGIN_AGAIN if lost else None,
        state_at=now,
        opened_at=since,
        created_at=held.created_at if held else now,
        steps=tuple(step if step.state is NeedState.PASSED else Step() for step in kept),
    )


def by_certificate(board: Board, need: Need) -> Need:
    """A need that was valid by a certificate of ours: not any more while the row says again what it said before there was one."""
    subscription, written = board.case.subscription, _written_certificate(board, need)
    if written is None or not board.live() or not board.case.confirmed:
        return need
    if need.reason == CERTIFICATE_GONE and (subscription.status, subscription.cycle) == (_VALID, written):
        return board.moved(need, NeedState.VALID, reasons.certificate(written))
    fetched = subscription.row.get("fetched_at")
    # Two fetches under way at once may be written in the other order: only one that began later can miss what was shown before.
    later = fetched is None or fetched > need.state_at
    lost = need.state is NeedState.VALID and of_rule(board, need.rule.name) == need.cycle and later
    shown = subscription.status in (None, _VALID)
    return board.moved(need, NeedState.UNDONE, CERTIFICATE_GONE) if lost and not shown else need


def of_rule(board: Board, rule: str) -> str:
    """The life of the last certificate, also of one that we wrote for this rule and that 4HSE does not show any more."""
    cycle, seen = board.case.subscription.cycle, set[str]()
    while cycle not in seen and (held := board.needs.get(_id(board, rule, cycle))) and held.reason == CERTIFICATE_GONE:
        seen.add(cycle)
        cycle = _written_certificate(board, held) or cycle
    return cycle


def _written_certificate(board: Board, need: Need) -> str | None:
    return next((row.remote for row in board.certifying(need) if row.step == recording.Step.CERTIFICATE.value), None)


def _id(board: Board, rule: str, cycle: str) -> UUID:
    return derived("need", board.case.subscription.account, board.case.subscription.id, rule, cycle)
