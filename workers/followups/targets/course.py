"""A seat in a course of aNewSpring's.

A learner has at most one subscription to a course, so that subscribing twice is refused and does no harm: after an unknown outcome one
looks, asks again, and a first request that lands late then is the one that is refused. Unsubscribing to subscribe anew is the exception:
landing late it would end the new subscription. So whoever unsubscribes for a second time does not believe the seat until a later look
has seen it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schemas.anewspring import Activity, Change, Result
from schemas.states import EnrollmentState
from workers.followups.claims import Claim
from workers.followups.targets.adapter import Seen, Undoing, Unheard
from workers.mirror.tables import CourseResult
from workers.vendors.accounts import OpenAccount
from workers.vendors.anewspring import Anewspring
from workers.vendors.errors import Conflict, NotFound, Throttled, Unavailable, UnknownOutcome


async def look(account: OpenAccount, claim: Claim) -> Seen:
    """Whether the learner has a seat of this round; an old one that is over, or was completed before, is none. Raises Unheard."""
    result = await _result(account, claim)
    standing = result is not None and _stands(result, claim)
    if result is not None and not standing and result.completed and _later(result, claim.accepts) and not await _heard(claim, result):
        raise Unheard
    todo: tuple[str, ...] = _changes(result, claim) if result is not None and standing else _ways(result, claim)
    todo += tuple(f"{_SCORE}{one}" for one in _scores(claim) if not (standing and result is not None and _scored(result, one, claim)))
    start_on = _first_day(result, claim) if result is not None and not standing else claim.start_on
    return Seen(standing, standing and not claim.asked, start_on=start_on, todo=todo)


async def request(account: OpenAccount, claim: Claim, seen: Seen) -> Seen:
    """Subscribe, renew, extend, begin sooner, score."""
    client, done = _client(account), False
    for step in seen.todo:
        try:
            await (_score(client, claim, step) if step.startswith(_SCORE) else _STEPS[step](client, claim))
        except (Unavailable, Throttled) as error:
            if done:
                raise UnknownOutcome(f"{step}: {error}") from None
            raise
        except Conflict:
            # Somebody was faster, or an earlier request of ours has landed; or it can never be.
            now = await look(account, claim)
            if step != "subscribe" or not now.stands:
                raise
            scores = tuple(one for one in now.todo if one.startswith(_SCORE))
            return await request(account, claim, replace(now, todo=scores)) if scores else now
        done = True
    if claim.asked and "unsubscribe" in seen.todo:
        raise UnknownOutcome("an earlier unsubscribe may still land")
    return replace(seen, stands=True)


async def undo(account: OpenAccount, claim: Claim) -> Undoing:
    """End the seat as the rule says, unless the course was completed in it."""
    result = await _result(account, claim)
    if result is None or (result.finished and not result.completed):
        return Undoing.ABSENT
    if result.completed and not _surely_before(result, claim.since):
        return Undoing.COMPLETED
    if result.finished:
        return Undoing.ABSENT
    try:
        if claim.terms.get("undo") == "expire":
            await _client(account).update_subscription(claim.learner, claim.target, expired=True)
        else:
            await _client(account).unsubscribe(claim.learner, claim.target)
    except NotFound:
        return Undoing.ABSENT
    return Undoing.UNDONE


async def _result(account: OpenAccount, claim: Claim) -> Result | None:
    try:
        return await _client(account).result(claim.learner, claim.target)
    except NotFound:  # not subscribed; or an unknown learner or course, which subscribing will say
        return None


def _stands(result: Result, claim: Claim) -> bool:
    if result.completed:
        return _completed_since(result, claim) or (_renewed(result, claim) and not result.finished)
    return not result.finished


def _completed_since(result: Result, claim: Claim) -> bool:
    """Completed in this round; where aNewSpring does not say when, it was not."""
    return result.completed and _later(result, claim.since)


def _surely_before(result: Result, since: datetime) -> bool:
    """Whether it was completed before this round, so that its seat may be ended; a day without a time is over when it ends."""
    if result.completed_at is None and result.completed_on is not None:
        return datetime.combine(result.completed_on + timedelta(days=1), time(), UTC) <= since
    return result.completed_at is not None and result.completed_at <= since


async def _heard(claim: Claim, result: Result) -> bool:
    """Whether the mirror knows what was reached."""
    held = CourseResult.filter(account=claim.account, learner=claim.learner, course=claim.target, activity="", attempt=0)
    return (result.reached_at,) in await held.filter(completed=True).values_list("completed_at")


def _first_day(result: Result, claim: Claim) -> date:
    """One of its own: by it a renewed seat is told from the old one, whatever was completed in that."""
    day = claim.start_on or claim.at.astimezone(ZoneInfo(claim.zone)).date()
    return day - timedelta(days=1) if day == result.start_on and not claim.asked else day


def _renewed(result: Result, claim: Claim) -> bool:
    return claim.asked and claim.start_on is not None and result.start_on == claim.start_on


def _ways(result: Result | None, claim: Claim) -> tuple[str, ...]:
    """How one comes to a seat: an old subscription is renewed as the rule says, one that was ended can only be made anew."""
    if result is None or (result.finished and not result.expired):
        return ("subscribe",)
    return ("unsubscribe", "subscribe") if claim.terms.get("again") == "resubscribe" else ("renew",)


def _changes(result: Result, claim: Claim) -> tuple[str, ...]:
    """A seat that we asked for may have other days than are wanted by now; one that was found keeps its own."""
    ours = claim.state is EnrollmentState.ENROLLED or claim.asked
    if not ours or claim.found or result.finished or result.completed:
        return ()
    days = claim.state is EnrollmentState.ENROLLED or claim.expire_on is not None or _unending(claim)
    early = claim.start_on is not None and result.start_on is not None and claim.start_on < result.start_on
    return (*(("extend",) if days else ()), *(("advance",) if early else ()))


def _unending(claim: Claim) -> bool:
    """Whether it had a last day, and is to have none any more: where nobody wished for one, a course's own is left alone."""
    return bool(claim.terms.get("unending")) and claim.expire_on is None


def _scores(claim: Claim) -> Mapping[str, Any]:
    """The scores to be given, by their activities."""
    given = (claim.terms.get("score"), *claim.terms.get("scores", ()))
    return {one["activity"]: one["value"] for one in given if one}


def _scored(result: Result, activity: str, claim: Claim) -> bool:
    return any(one.id == activity and one.completed and _later(one, claim.since) for one in result.activities)


def _later(done: Result | Activity, since: datetime) -> bool:
    return done.reached_at is not None and done.reached_at > since


def _client(account: OpenAccount) -> Anewspring:
    assert isinstance(account.client, Anewspring)
    return account.client


async def _subscribe(client: Anewspring, claim: Claim) -> None:
    await client.subscribe(claim.learner, claim.target, start=claim.start_on, expire=claim.expire_on)


async def _unsubscribe(client: Anewspring, claim: Claim) -> None:
    try:
        await client.unsubscribe(claim.learner, claim.target)
    except NotFound:  # which is what it is for
        return


async def _renew(client: Anewspring, claim: Claim) -> None:
    # An old last day would end it again at once.
    await _update(client, claim, renewed=True)


async def _extend(client: Anewspring, claim: Claim) -> None:
    await _update(client, claim, renewed=False)


async def _advance(client: Anewspring, claim: Claim) -> None:
    await client.update_subscription(claim.learner, claim.target, start=claim.start_on)


async def _update(client: Anewspring, claim: Claim, *, renewed: bool) -> None:
    start = claim.start_on if renewed else None
    expire: Change = claim.expire_on or ("" if renewed or _unending(claim) else None)
    try:
        await client.update_subscription(claim.learner, claim.target, start=start, expire=expire, expired=False)
    except NotFound as error:
        raise UnknownOutcome(f"the subscription ended meanwhile: {error}") from None


async def _score(client: Anewspring, claim: Claim, step: str) -> None:
    activity = step.removeprefix(_SCORE)
    await client.score_external_activity(claim.learner, claim.target, activity, score=_scores(claim)[activity], completed=True)


#: Before the activity that a score is to be given to.
_SCORE = "score "
_STEPS: Mapping[str, Callable[[Anewspring, Claim], Awaitable[None]]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "renew": _renew,
    "extend": _extend,
    "advance": _advance,
}
