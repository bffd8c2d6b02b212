"""The days of what is asked for: counted from when it was planned, and anew once they have passed before anybody asked. Pure."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from schemas.rules import exercise_start
from workers.followups.claims import Claim, Placed


def counted(claim: Claim, placed: Placed) -> Placed:
    """What to ask for, with days that lie ahead: a seat is not given when its last day is over, nor an exercise planned in the past."""
    zone = ZoneInfo(claim.zone)
    today = claim.at.astimezone(zone).date()
    if placed.start_on is not None and "length_minutes" in claim.terms:
        days, at = exercise_start(claim.terms["start"])
        if datetime.combine(placed.start_on, at, zone) > claim.at:
            return placed
        anew = today + timedelta(days=days)
        late = datetime.combine(anew, at, zone) <= claim.at
        return placed._replace(start_on=anew + timedelta(days=late))
    if claim.expire_on is None or claim.expire_on > today or claim.terms.get("expire_days") is None:
        return placed
    start = _ahead(today, claim.terms.get("start_days"))
    return placed._replace(start_on=placed.start_on if start is None else start, expire_on=_ahead(today, claim.terms["expire_days"]))


def _ahead(today: date, days: int | None) -> date | None:
    return None if days is None else today + timedelta(days=days)
