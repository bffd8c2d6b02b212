"""Results of the seats that needs wait for in aNewSpring's courses: whose webhook was lost is asked for all the same."""

from collections.abc import Callable
from datetime import datetime

from schemas.states import EnrollmentState, RefreshKind, TargetKind
from workers.database import Database
from workers.followups.tables import Enrollment
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Touch
from workers.refreshes import mark
from workers.vendors.accounts import OpenAccount

_PART = 500


async def poll(database: Database, mirror: Mirror, account: OpenAccount, now: Callable[[], datetime]) -> None:
    """Touch the result of every open seat; the refresher asks for them, no faster than the account allows."""
    wanted = {"account": account.name, "kind": TargetKind.COURSE.value, "state": EnrollmentState.ENROLLED.value}
    seats = await Enrollment.filter(**wanted).order_by("learner", "target").values_list("learner", "target")
    for start in range(0, len(seats), _PART):
        part, at = seats[start : start + _PART], now()
        touches = [Touch(account.name, RefreshKind.COURSE_RESULT, learner, at, course) for learner, course in part]
        async with database.transaction() as connection:
            await mark(connection, database.dialect, touches, mirror.clock_skew)
