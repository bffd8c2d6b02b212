"""Follow-ups by hand: what is needed and how far it is, saying yes to what is held, and saying no."""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tortoise.expressions import Q

from schemas.rules import Rule
from schemas.states import NeedState
from workers.audit import Deed, record_each
from workers.database import Connection, Database, Dialect
from workers.followups.case import ALL_THE_SAME, BEGIN_AGAIN, CANCELLED, CORRECTED, DROPPED, GUARD_ENROLLING, GUARD_UNDOING, RECORD
from workers.followups.moves import Move, Moved, tell
from workers.followups.outcomes import Planner
from workers.followups.plan import hold
from workers.followups.tables import Enrollment, FollowupMove, Need, NeedTarget
from workers.statements import run

#: How many needs are seen to in one transaction.
_PART = 100
#: What can be cancelled no more.
OVER = frozenset({NeedState.RECORDED, NeedState.VALID, NeedState.UNDONE})
#: What has no due time any more.
NOT_DUE = OVER | {NeedState.PASSED}
#: What is held for another reason than that a step of it is to be approved.
_GUARDED = frozenset({GUARD_ENROLLING, GUARD_UNDOING, BEGIN_AGAIN})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which needs are meant; what is not named is not asked."""

    ids: tuple[UUID, ...] = ()
    states: tuple[NeedState, ...] = ()
    rule: str | None = None
    account: str | None = None
    subscription: str | None = None
    #: Only those at which a person should look.
    alarms: bool = False
    #: Only those that are `late` by then.
    late: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A need with its targets, their enrollments and every move of all of them."""

    need: Need
    targets: Sequence[NeedTarget]
    enrollments: Sequence[Enrollment]
    moves: Sequence[FollowupMove]


async def find(wanted: Wanted, limit: int | None = 50) -> Sequence[Need]:
    """The needs that are meant, those that moved last first."""
    given = {"rule": wanted.rule, "account": wanted.account, "action_subscription_id": wanted.subscription}
    matching = Need.filter(**{name: value for name, value in given.items() if value is not None})
    if wanted.states:
        matching = matching.filter(state__in=[state.value for state in wanted.states])
    if wanted.alarms:
        matching = matching.filter(alarm__isnull=False)
    if wanted.late is not None:
        matching = matching.filter(late(wanted.late))
    if wanted.ids:
        matching = matching.filter(id__in=wanted.ids)
    ordered = matching.order_by("-state_at", "id")
    return await (ordered if limit is None else ordered.limit(limit))


def late(now: datetime) -> Q:
    """Needs whose due time has passed by then, whatever keeps them, or whose seat has expired."""
    due = Q(due_at__lte=now) & ~Q(state__in=[state.value for state in NOT_DUE])
    return due | Q(state__in=[NeedState.OVERDUE.value, NeedState.LAPSED.value])


async def show(id: UUID) -> Told | None:  # noqa: A002
    """One need with all that belongs to it; None where there is none."""
    need = await Need.get_or_none(id=id)
    if need is None:
        return None
    targets = await NeedTarget.filter(need=id).order_by("step")
    seats = [target.enrollment for target in targets if target.enrollment is not None]
    enrollments = await Enrollment.filter(id__in=seats) if seats else []
    moves = await FollowupMove.filter(Q(need=id) | Q(enrollment__in=seats) if seats else Q(need=id)).order_by("at", "id")
    return Told(need, targets, enrollments, moves)


async def release(database: Database, planner: Planner, needs: Iterable[Need], now: datetime, who: str) -> list[Need]:
    """Say yes to what is held: by the guard, or until a person approves its next step. Gives those for which it was not too late."""
    return await _each(database, planner, needs, now, functools.partial(deed, who, "followups release"), _released)


async def cancel(
    database: Database, planner: Planner, needs: Iterable[Need], now: datetime, who: str, reason: str | None = None
) -> list[Need]:
    """Say no: the needs are undone for good in their cycles, and what was done for them as their rules say."""
    act = functools.partial(cancelled, reason=reason)
    return await _each(database, planner, needs, now, functools.partial(deed, who, "followups cancel", reason=reason), act)


def deed(who: str, verb: str, need: Need, reason: str | None = None) -> Deed:
    """What the audit log keeps of something that was done to a need: nothing that names somebody, for it is never erased."""
    was = {name: getattr(need, name) for name in ("account", "rule", "state")}
    return Deed(who, verb, f"need {need.id}", reason, was)


async def _each(
    database: Database, planner: Planner, needs: Iterable[Need], now: datetime, deed: Callable[[Need], Deed], act: Any
) -> list[Need]:
    """Do something to needs and plan what follows, so many in a transaction; subscriptions are locked first, in everybody's order."""
    chosen, done = sorted(needs, key=lambda need: (need.account, need.action_subscription_id, need.id)), list[Need]()
    for start in range(0, len(chosen), _PART):
        part = chosen[start : start + _PART]
        async with database.transaction() as connection:
            keys = sorted({(need.account, need.action_subscription_id) for need in part})
            await hold(connection, database.dialect, keys)
            changed = [need for need in part if await _as_seen(connection, need) and await act(connection, database.dialect, need, now)]
            await record_each(connection, database.dialect, map(deed, changed))
            await planner.plan(connection, database.dialect, keys, now)
        done += changed
    return done


_RELEASED = "UPDATE needs SET released_at = $2, approvals = $3 WHERE id = $1"
_CANCELLED = """
    UPDATE needs SET state = 'undone', state_at = $2, reason = $3, look_at = NULL, wait_until = NULL, alarm = NULL WHERE id = $1"""


async def _as_seen(connection: Connection, need: Need) -> bool:
    """Whether a need, locked now, is still as it was when a person looked at it."""
    now = await Need.filter(id=need.id).using_db(connection).select_for_update().first()
    return now is not None and (now.state, now.state_at) == (need.state, need.state_at)


async def _released(connection: Connection, dialect: Dialect, need: Need, now: datetime) -> bool:
    if need.state != NeedState.HELD:
        return False
    approvals = need.approvals if need.reason in _GUARDED else sorted({*need.approvals, *await _waiting(connection, need)})
    await run(connection, dialect, _RELEASED, str(need.id), now, json.dumps(approvals))
    return True


async def _waiting(connection: Connection, need: Need) -> list[str]:
    """The steps that wait for a person: targets, or the certificate."""
    if need.reason == CORRECTED:
        return [ALL_THE_SAME]
    targets = await NeedTarget.filter(need=need.id).using_db(connection).order_by("step")
    approve = [target.approve for target in Rule.from_snapshot(need.plan).targets()]
    held = [str(one.step) for one in targets if one.state == NeedState.HELD and approve[one.step]]
    return held or [RECORD]


async def cancelled(connection: Connection, dialect: Dialect, need: Need, now: datetime, reason: str | None) -> bool:
    """Undo one need for good in its cycle, its subscription being locked, unless it is over; what follows is to be planned."""
    if need.state in OVER:
        return False
    # Dropping what the guard would not have undone leaves it as it is.
    why = DROPPED if need.reason == GUARD_UNDOING else CANCELLED
    await run(connection, dialect, _CANCELLED, str(need.id), now, why)
    said = f"{why}: {reason}" if reason else why
    move = Move(NeedState.UNDONE, now, said, need=need.id, rule=need.rule)
    await tell(connection, dialect, [Moved(move, [(need.account, need.action_subscription_id)], need.state, need.cycle)])
    return True
