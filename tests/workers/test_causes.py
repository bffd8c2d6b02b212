"""For whose sake something is done is kept, added up, and said by every line and span of it."""

import asyncio
from uuid import UUID

import structlog

from schemas.traces import OFF, SpanName
from tests.services.collector import recording
from tests.workers.made import created
from workers.causes import MOST, NOBODY, Cause, current

FIRST = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def bound() -> object:
    """What every line says."""
    return structlog.contextvars.get_contextvars().get("deliveries")


def test_both_causes_together_name_each_delivery_once_and_go_on_with_the_later_trace() -> None:
    both = Cause((ONE, TWO), "first") | Cause((TWO, THREE), "last")

    assert (both.deliveries, both.trace) == ((ONE, TWO, THREE), "last")
    assert (both | NOBODY).deliveries == (ONE, TWO, THREE)


def test_of_many_deliveries_the_last_are_named() -> None:
    ids = tuple(UUID(int=number) for number in range(MOST + 5))

    assert (Cause(ids[:MOST]) | Cause(ids[MOST:])).deliveries == ids[5:]


def test_a_row_keeps_what_it_is_given() -> None:
    for cause in (Cause((ONE, TWO), FIRST), NOBODY, Cause.of(created(trace=FIRST))):
        kept = Cause.kept(cause.row)

        assert (kept, kept.trace) == (cause, cause.trace)


def test_what_is_done_for_a_cause_says_so_and_causes_the_next() -> None:
    with recording() as (tracer, collector):
        with Cause((ONE, TWO), FIRST).followed(tracer, SpanName.FETCH, {"n": 1}) as span:
            inside, next_ = bound(), current()
        tracer.close()

    assert (inside, bound()) == ([str(ONE), str(TWO)], None)
    assert (next_.deliveries, next_.trace) == ((ONE, TWO), span.trace)
    assert current() == NOBODY
    assert collector.one(SpanName.FETCH).attributes == {"n": 1, "muster.deliveries": f"{ONE} {TWO}"}


async def test_of_what_is_done_at_once_each_has_its_own() -> None:
    async def told(cause: Cause) -> tuple[object, Cause]:
        with cause.followed(OFF, SpanName.FETCH, {}):
            await asyncio.sleep(0)
            return bound(), current()

    assert [*await asyncio.gather(told(Cause((ONE,))), told(NOBODY))] == [([str(ONE)], Cause((ONE,))), ([], NOBODY)]
