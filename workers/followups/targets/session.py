"""A seat in a planned session of 4HSE's: an ActionSessionSubscription whose id is the enrollment's own.

4HSE takes an id once. So a repeated create is refused as a conflict, whichever of the two lands first, and a look at that id tells
whether one of them did.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schemas.accounts import FourhseAccount, zone_of
from schemas.fourhse import SessionSubscription
from workers.followups.claims import Claim
from workers.followups.targets.adapter import NotYet, Seen, Undoing, used, used_up
from workers.mirror.tables import ActionSession, ActionSubscription
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import Conflict, NotFound
from workers.vendors.fourhse import Fourhse
from workers.vendors.fourhse.client import Resource

NEXT = "next"
_PLACE = ("subtenant_id", "tenant_id")


async def look(account: OpenAccount, claim: Claim) -> Seen:
    """Whether the subscription has a seat: ours, or one that somebody gave it; else the session to ask for. Raises NotYet."""
    if claim.asked and await _view(account, claim) is not None:
        return Seen(stands=True, remote=str(claim.id))
    seats = await _seats(account, claim)
    earlier = await used_up(claim)
    standing = [seat for seat in seats if _stands(seat, claim) and seat.action_session_subscription_id not in earlier]
    if standing:
        return Seen(stands=True, found=True, remote=standing[0].action_session_subscription_id)
    taken = {seat.action_session_id for seat in seats}
    return Seen(stands=False, remote=str(claim.id), start_on=claim.start_on, todo=(await _session(account, claim, taken),))


async def request(account: OpenAccount, claim: Claim, seen: Seen) -> Seen:
    """Ask for a seat in the session."""
    (session,) = seen.todo
    subscription = await ActionSubscription.get(account=claim.account, action_subscription_id=claim.learner)
    planned = await ActionSession.get_or_none(account=claim.account, action_session_id=session)
    place = {name: getattr(planned, name, None) or getattr(subscription, name) for name in _PLACE}
    ids = {"action_session_id": session, "action_subscription_id": claim.learner}
    try:
        await _resource(account).create({"action_session_subscription_id": str(claim.id), **ids, **place})
    except Conflict:
        # An earlier request of ours has landed, or somebody was faster; or it can never be.
        now = await look(account, replace(claim, found=False))
        if not now.stands:
            raise
        return now
    return replace(seen, stands=True)


async def undo(account: OpenAccount, claim: Claim) -> Undoing:
    """Give the seat up, if it is ours and nothing came of it yet."""
    seat = await _view(account, claim)
    if seat is None:
        return Undoing.ABSENT
    if seat.done not in (None, -1):
        return Undoing.COMPLETED
    if str(claim.id) in await used(claim):
        return Undoing.USED
    try:
        await _resource(account).delete(str(claim.id))
    except NotFound:
        return Undoing.ABSENT
    return Undoing.UNDONE


def _stands(seat: SessionSubscription, claim: Claim) -> bool:
    """What has an outcome counts if its session came later than the cycle; what awaits one, also on that day."""
    if claim.target not in (NEXT, seat.action_session_id):
        return False
    since, day = claim.since.astimezone(ZoneInfo(claim.zone)).date(), seat.session_date_begin
    if seat.done in (None, -1):
        return day is None or day >= since or claim.target != NEXT
    return day is not None and day > since


async def _session(account: OpenAccount, claim: Claim, taken: set[str | None]) -> str:
    """The named session, or the next planned one of the action that the subscription has no seat in yet."""
    if claim.target != NEXT:
        return claim.target
    assert isinstance(account.settings, FourhseAccount)
    today = claim.at.astimezone(zone_of(account.settings)).date()
    within = claim.terms.get("within_days")
    last: dict[str, Any] = {} if within is None else {"date_begin__lte": today + timedelta(days=within)}
    subscription = await ActionSubscription.get(account=claim.account, action_subscription_id=claim.learner)
    wanted = {"account": claim.account, "action_id": subscription.action_id, "gone": False, "date_begin__gte": today}
    planned = await ActionSession.filter(**wanted, **last).order_by("date_begin", "action_session_id")
    free = [one.action_session_id for one in planned if one.action_session_id not in taken]
    if not free:
        raise NotYet("no session is planned" + ("" if within is None else f" within {within} days"))
    return free[0]


async def _view(account: OpenAccount, claim: Claim) -> SessionSubscription | None:
    try:
        return SessionSubscription.model_validate(await _resource(account).view(str(claim.id)), context=zone_of(account.settings))
    except NotFound:
        return None


async def _seats(account: OpenAccount, claim: Claim) -> Sequence[SessionSubscription]:
    """All seats that the subscription has or had."""
    asked = {"action_subscription_id": claim.learner}
    rows = [row async for page in _resource(account).index(filter=asked) for row in page.rows]
    read = [SessionSubscription.model_validate(row, context=zone_of(account.settings)) for row in rows]
    return [seat for seat in read if seat.action_subscription_id == claim.learner]


def _resource(account: OpenAccount) -> Resource:
    assert isinstance(account.client, Fourhse)
    return account.client.resources["action-session-subscription"]
