"""Trace context: what is one, and that nothing happens where tracing is off."""

import pytest

from schemas.delivery import now_utc
from schemas.traces import NOTHING, OFF, SpanName, current, well_formed

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("trace", [TRACE, TRACE[:-1] + "0", TRACE[:-2] + "03"])
def test_a_traceparent_is_taken_as_it_is(trace: str) -> None:
    assert well_formed(trace) == trace


@pytest.mark.parametrize(
    "other",
    [
        None,
        "",
        7,
        TRACE.encode(),
        TRACE + "\n",
        TRACE + "-more",
        TRACE.upper(),
        "01" + TRACE[2:],
        "ff" + TRACE[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c8031\0c-b7ad6b7169203331-01",
    ],
)
def test_what_is_none_is_no_trace_and_no_mistake(other: object) -> None:
    assert well_formed(other) is None


def test_off_every_span_is_nothing_and_none_is_current() -> None:
    with (
        OFF.arrival(now_utc(), {}, parent=TRACE, link=None) as first,
        OFF.follow(SpanName.FETCH, [TRACE], {}) as second,
        current().beneath(SpanName.CALL, {"a": 1}) as third,
    ):
        third.tell({"b": "c"})
        OFF.followed(SpanName.APPLY, TRACE, now_utc(), {})

    assert (OFF.on, first.trace, second.trace) == (False, None, None)
    assert third is current() is NOTHING


def test_off_an_error_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), OFF.follow(SpanName.FETCH, [TRACE], {}):
        raise ZeroDivisionError
