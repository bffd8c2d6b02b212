"""Course results of aNewSpring's, asked for where a webhook has told of one."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from schemas.anewspring import WITHOUT_THRESHOLD, Activity, Attempt, Result, address
from workers.database import Database
from workers.log import disown
from workers.mirror.apply import Mirror
from workers.mirror.facts import COURSE_RESULT, Fact
from workers.refreshes import Claim, settle
from workers.vendors.accounts import OpenAccount
from workers.vendors.anewspring import Anewspring
from workers.vendors.errors import NotFound

#: The course itself, and an activity apart from its attempts, in the place of an attempt's number.
_WHOLE = 0


async def fetch(database: Database, mirror: Mirror, account: OpenAccount, claims: Sequence[Claim], now: Callable[[], datetime]) -> None:
    """Ask for each, as many at once as the account allows; one that fails holds up no other, and is raised in the end."""
    asking = (_fetched(database, mirror, account, claim, now) for claim in claims)
    failures = [one for one in await asyncio.gather(*asking, return_exceptions=True) if one]
    if failures:
        raise failures[-1]


async def _fetched(database: Database, mirror: Mirror, account: OpenAccount, claim: Claim, now: Callable[[], datetime]) -> None:
    assert isinstance(account.client, Anewspring)
    with claim.followed(account.tracer):
        began = now()
        try:
            result = await account.client.result(claim.subject, claim.scope)
        except NotFound:
            result = None
        await _keep(database, mirror, claim, began, result)


async def _keep(database: Database, mirror: Mirror, claim: Claim, began: datetime, result: Result | None) -> None:
    """Write what the answer says, all of it that there is; without a result, tell the deliveries that asked for it."""
    inside = {"learner": claim.subject, "course": claim.scope}
    rows = _rows(result) if result else ()
    found = [Fact(COURSE_RESULT, claim.account, (*inside.values(), *key), began, content) for key, content in rows]
    async with database.transaction() as connection:
        if result is None and claim.marked_at < began - mirror.clock_skew:
            await disown(connection, database.dialect, claim.account, address(claim.subject, claim.scope), claim.since, claim.marked_at)
        await mirror.observe(connection, database.dialect, COURSE_RESULT, claim.account, found, began, inside)
        await settle(connection, database.dialect, [claim], began, mirror.clock_skew)


def _rows(result: Result) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    """The course, its activities and their attempts, each by its key: never by a uid, which the courses of one template share."""
    reached = {"completed": result.completed, "completed_at": result.reached_at, "started_at": result.start_at}
    yield ("", _WHOLE), {"name": result.name, "grade": result.grade, "expired": result.expired, "finished": result.finished, **reached}
    for activity in result.activities:
        name = activity.id or (f"#{activity.part_id}" if activity.part_id is not None else None)
        if name is not None:
            yield (name, _WHOLE), _scored(activity, activity, activity.reached_at)
            for one in activity.attempts:
                yield (name, one.number), _scored(activity, one, one.completed_at) | {"started_at": one.started_at}


def _scored(activity: Activity, one: Activity | Attempt, at: datetime | None) -> dict[str, Any]:
    passed = None if activity.type in WITHOUT_THRESHOLD else one.passed
    reached = {"completed": one.completed, "completed_at": at}
    return {"name": activity.name, "grade": one.score, "passed": passed, **reached}
