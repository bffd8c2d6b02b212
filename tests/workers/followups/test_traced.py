"""What is to be done at a vendor goes on with the trace of what it follows from, and with no other."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from schemas.traces import SpanName
from tests.services.collector import recording
from tests.workers.followups.mirrored import ACCOUNTS, rule
from tests.workers.followups.test_plan import UNSUBSCRIBE, applied, passed
from tests.workers.made import deleted
from workers.causes import Cause
from workers.database import Database
from workers.followups.plan import Followups
from workers.followups.tables import Enrollment, Recording
from workers.followups.written import _SEATS_WRITTEN
from workers.pipeline import Pipeline
from workers.refreshes import Refresh

FIRST = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ONE, TWO = UUID(int=1), UUID(int=2)
SECOND = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_seat_and_a_certificate_go_on_with_the_fetch_that_showed_what_they_are_for(database: Database) -> None:
    world = await applied(database, rule(record={}))
    with recording() as (tracer, _):
        with Cause((ONE,), FIRST).followed(tracer, SpanName.FETCH, {}) as span:
            await world.sighted("s1")
        seat = await Enrollment.get()
        await world.enrolled()
        with Cause((TWO,), SECOND).followed(tracer, SpanName.FETCH, {}) as later:
            await world.observed(passed(world.at + timedelta(seconds=1)))
        recorded = {(one.deliveries, one.trace) for one in await Recording.all()}

    assert ((seat.deliveries, seat.trace), recorded) == ((str(ONE), span.trace), {(str(TWO), later.trace)})


async def test_of_webhooks_in_one_batch_each_goes_on_with_its_own(database: Database) -> None:
    world = await applied(database, UNSUBSCRIBE)
    for number in (1, 2, 3):
        await world.sighted(f"s{number}", subscriber_id=f"p{number}", subscriber_code=f"JS00{number}")
    await world.enrolled()
    # The follow-ups know of no API there, so that a webhook is enough for them.
    known = {name: account for name, account in ACCOUNTS.items() if name != "hse"}
    mirror = replace(world.mirror, followups=Followups([UNSUBSCRIBE], known))
    traces, at = [FIRST, SECOND, None], world.at + timedelta(minutes=1)
    gone = [deleted(f"s{number}", received_at=at, trace=trace) for number, trace in enumerate(traces, 1)]
    with recording() as (tracer, collector):
        await Pipeline(database, mirror=mirror, tracer=tracer).together(gone)
        tracer.close()

    assert [(one.wish, one.trace) for one in await Enrollment.all().order_by("learner")] == [("undo", trace) for trace in traces]
    assert [one.deliveries for one in await Enrollment.all().order_by("learner")] == [str(one.id) for one in gone]
    assert {one.subject: one.trace for one in await Refresh.all()} == {"s1": FIRST, "s2": SECOND, "s3": None}
    spans = {one.attributes["muster.delivery"]: one for one in collector.named(SpanName.APPLY)}
    assert [f"00-{spans[str(one.id)].trace}-{spans[str(one.id)].parent}-01" for one in gone[:2]] == [FIRST, SECOND]
    assert [spans[str(one.id)].attributes["muster.state"] for one in gone[:2]] == ["applied", "applied"]
    assert len(collector.spans) == 2


async def test_what_nobody_traced_ends_the_trace_of_an_earlier_wish(database: Database) -> None:
    world = await applied(database, UNSUBSCRIBE)
    with recording() as (tracer, _), tracer.follow(SpanName.FETCH, [FIRST], {}):
        await world.sighted("s1")
    await world.enrolled()
    await world.deleted("s1")

    assert await Enrollment.all().values_list("wish", "trace") == [("undo", None)]


@pytest.mark.parametrize(("wish", "trace", "expected"), [("enroll", None, FIRST), ("enroll", SECOND, SECOND), (None, None, None)])
async def test_a_wish_that_stays_keeps_its_trace_until_there_is_a_later_one(
    database: Database, wish: str | None, trace: str | None, expected: str | None
) -> None:
    world = await applied(database, UNSUBSCRIBE)
    with recording() as (tracer, _), tracer.follow(SpanName.FETCH, [FIRST], {}):
        await world.sighted("s1")
    await Enrollment.all().update(trace=FIRST)
    (row,) = await Enrollment.all().values()
    async with database.transaction() as connection:
        await _SEATS_WRITTEN.execute(connection, database.dialect, [row | {"wish": wish, "trace": trace, "attempts": 1}])

    assert [(one.attempts, one.trace) for one in await Enrollment.all()] == [(1, expected)]
