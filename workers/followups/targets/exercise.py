"""An exercise of Kare's for a site: one that is to be scheduled is picked, and scheduled.

The pick stands in the row before Kare is asked, and scheduling it twice gives the same exercise. So after an unknown outcome one looks
at that exercise and at no other, and a request that lands late changes nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from schemas.kare import ExerciseUpdate, Intervention
from schemas.rules import exercise_start
from workers.followups.claims import Claim
from workers.followups.targets.adapter import NotYet, Seen, Undoing, used, used_up
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import NotFound
from workers.vendors.kare import Kare

TO_SCHEDULE: Literal[0] = 0
SCHEDULED: Literal[1] = 1
DONE: Literal[2] = 2


async def look(account: OpenAccount, claim: Claim) -> Seen:
    """Whether an exercise of this round is scheduled for the site; else the one to schedule. Raises NotYet."""
    start_on = claim.start_on or claim.at.astimezone(ZoneInfo(claim.zone)).date() + timedelta(days=exercise_start(claim.terms["start"])[0])
    if claim.asked and (picked := await _view(account, claim)) is not None:
        if picked.creation_status in (None, TO_SCHEDULE):
            return Seen(stands=False, remote=claim.remote, start_on=start_on)
        # At another time than ours, it was somebody else who scheduled it.
        return Seen(stands=True, found=picked.scheduled_start != _start(claim, start_on), remote=claim.remote, start_on=start_on)
    earlier = await used_up(claim)
    mine = [one for one in await _interventions(account) if _wanted(one, claim) and str(one.id) not in earlier]
    standing = [one for one in mine if _stands(one, claim.since)]
    if standing:
        return Seen(stands=True, found=True, remote=str(standing[0].id), start_on=start_on)
    taken = await used(claim)
    free = [one for one in mine if one.creation_status == TO_SCHEDULE and str(one.id) not in taken]
    if not free:
        raise NotYet(f"Kare has no exercise of rule {claim.terms['rule_id']} for this site that is to be scheduled")
    chosen = min(free, key=lambda one: (one.scheduled_start or datetime.max.replace(tzinfo=UTC), one.id))
    return Seen(stands=False, remote=str(chosen.id), start_on=start_on)


async def request(account: OpenAccount, claim: Claim, seen: Seen) -> Seen:
    """Schedule it."""
    assert claim.remote is not None
    assert claim.start_on is not None
    start = _start(claim, claim.start_on)
    end = start + timedelta(minutes=claim.terms["length_minutes"])
    changes: ExerciseUpdate = {"scheduledStart": start, "scheduledEnd": end, "creationStatus": SCHEDULED}
    if claim.terms.get("assigned_user") is not None:
        changes["assignedUserId"] = claim.terms["assigned_user"]
    await _client(account).update(int(claim.remote), changes)
    return replace(seen, stands=True)


async def undo(account: OpenAccount, claim: Claim) -> Undoing:
    """Let it be one that is to be scheduled again, unless it took place, or other needs use it."""
    picked = await _view(account, claim)
    if picked is None or picked.creation_status in (None, TO_SCHEDULE):
        return Undoing.ABSENT
    if picked.creation_status == DONE:
        return Undoing.COMPLETED
    if claim.remote in await used(claim):
        return Undoing.USED
    await _client(account).update(picked.id, {"creationStatus": TO_SCHEDULE})
    return Undoing.UNDONE


def _wanted(one: Intervention, claim: Claim) -> bool:
    return one.rule_id == claim.terms["rule_id"] and claim.learner in map(str, one.site_ids) and one.archived_at is None


def _stands(one: Intervention, since: datetime) -> bool:
    """Scheduled for, or done, after that."""
    at = one.scheduled_start if one.creation_status == SCHEDULED else one.actual_end if one.creation_status == DONE else None
    return at is not None and at > since


def _start(claim: Claim, day: date) -> datetime:
    return datetime.combine(day, exercise_start(claim.terms["start"])[1], ZoneInfo(claim.zone)).astimezone(UTC)


async def _view(account: OpenAccount, claim: Claim) -> Intervention | None:
    if claim.remote is None:
        return None
    try:
        return await _client(account).view(int(claim.remote))
    except NotFound:
        return None


async def _interventions(account: OpenAccount) -> Sequence[Intervention]:
    return [one async for page in _client(account).interventions() for one in page]


def _client(account: OpenAccount) -> Kare:
    assert isinstance(account.client, Kare)
    return account.client
