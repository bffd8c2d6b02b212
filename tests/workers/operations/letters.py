"""Things that were given up, one of each kind and more."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from schemas.states import Reason
from tests.workers.followups.mirrored import NOON, need, rule
from tests.workers.made import created
from tests.workers.test_outbox import drift, keep
from workers.database import Database
from workers.followups.tables import Enrollment, Need, NeedTarget, Recording
from workers.outbox import OFTEN, OutboxEvent
from workers.pipeline import Pipeline


async def delivery(database: Database, reason: Reason = Reason.HANDLER_FAILED, **changed: Any) -> UUID:
    """One that is dead in the log."""
    made = created(**changed)
    await Pipeline(database).bury([made], reason, "KeyError")
    return made.id


async def enrollment(reason: str = "404: no user JS001", **changed: Any) -> UUID:
    """A seat that the vendor refused, with the need that it keeps dead."""
    made: dict[str, Any] = {
        "account": "lms",
        "kind": "course",
        "learner": "JS001",
        "target": "FIRE",
        "round": 1,
        "terms": {},
        "attempts": 0,
    }
    seat = await Enrollment.create(**(made | {"id": uuid4(), "state": "dead", "reason": reason, "state_at": NOON} | changed))
    waiting = await need(f"s-{seat.id}", rule(), state="dead", reason=reason)
    await NeedTarget.create(need=waiting.id, step=0, state="dead", enrollment=seat.id)
    return seat.id


async def recording(error: str = "422: name: is too long", state: str = "dead", **changed: Any) -> UUID:
    """A certificate that 4HSE refused, with the need that it keeps dead."""
    waiting = await need(f"r-{uuid4()}", rule(record={}), state=state, reason=error)
    made: dict[str, Any] = {"account": "hse", "step": "certificate", "body": {}, "remote": "c1", "attempts": 3, "state_at": NOON}
    return (await Recording.create(**(made | {"id": uuid4(), "need": waiting.id, "state": "dead", "error": error} | changed))).id


async def event(database: Database, subject: str = "s1", attempts: int = OFTEN) -> UUID:
    """One that was tried so often."""
    await keep(database, drift(subject))
    row = await OutboxEvent.all().order_by("-id").first()
    assert row is not None
    await OutboxEvent.filter(id=row.id).update(attempts=attempts)
    return row.event


async def need_of(thing: UUID) -> Need:
    """The need that an enrollment or a recording keeps dead."""
    target, written = await NeedTarget.get_or_none(enrollment=thing), await Recording.get_or_none(id=thing)
    found = target or written
    assert found is not None
    return await Need.get(id=found.need)


def later(minutes: int) -> datetime:
    """So long after noon."""
    return NOON + timedelta(minutes=minutes)
