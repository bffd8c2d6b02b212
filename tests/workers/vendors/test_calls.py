"""Every request that goes out is told of once, with what came of it."""

import asyncio
from contextlib import suppress

import pytest

from tests.workers.vendors.test_http import READ, WRITE, given_vendor
from workers.simulators.faults import Broken, Fault, Instead, LostAfter, Slow, TooMany
from workers.vendors.calls import Called, CallOutcome, came_of
from workers.vendors.errors import Refused, Throttled, Unavailable, UnknownOutcome, VendorError
from workers.vendors.http import Call, Http


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (200, "ok"),
        (204, "ok"),
        (404, "not_found"),
        (400, "refused"),
        (401, "refused"),
        (409, "refused"),
        (Refused(302, ()), "refused"),
        (Throttled(None), "throttled"),
        (Unavailable("503"), "unavailable"),
        (UnknownOutcome("502"), "unknown"),
    ],
)
def test_an_answer_or_an_error_in_its_place_tells_the_outcome(answer: int | VendorError, outcome: str) -> None:
    assert came_of(answer) == CallOutcome(outcome)


async def called(http: Http, call: Call) -> list[tuple[str, str, int | None]]:
    """What is told of a call and its retries."""
    told: list[Called] = []
    http.told = told.append
    with suppress(VendorError):
        await http.call(call)
    assert all(0 <= one.seconds < 60 for one in told)
    return [(one.operation, one.outcome.value, one.status) for one in told]


@pytest.mark.parametrize(
    ("fault", "read", "write"),
    [
        (Slow(seconds=0.01), [("ok", 200)], [("ok", 200)]),
        (Broken(), [("unavailable", 500), ("ok", 200)], [("unknown", 500)]),
        (TooMany(), [("throttled", 429), ("ok", 200)], [("throttled", 429), ("ok", 200)]),
        (LostAfter(times=None), [("unavailable", None)] * 3, [("unknown", None)]),
        (Instead(status=404), [("not_found", 404)], [("not_found", 404)]),
        (Instead(status=422), [("refused", 422)], [("refused", 422)]),
        (Instead(status=302), [("refused", 302)], [("refused", 302)]),
    ],
    ids=lambda value: repr(value) if isinstance(value, Fault) else None,
)
@pytest.mark.parametrize("written", [False, True], ids=["read", "write"])
async def test_each_try_is_told(
    fault: Fault, read: list[tuple[str, int | None]], write: list[tuple[str, int | None]], written: bool
) -> None:
    async with given_vendor() as (http, faults):
        faults.on(fault)
        told = await called(http, WRITE if written else READ)

    operation = "POST /thing" if written else "GET /thing"
    assert told == [(operation, *one) for one in (write if written else read)]


async def test_a_call_that_nobody_waits_for_any_more_is_told_as_abandoned() -> None:
    async with given_vendor(timeout=30) as (http, faults):
        faults.on(Slow(seconds=1))
        told: list[Called] = []
        http.told = told.append
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await http.call(READ)

    assert [one.outcome for one in told] == [CallOutcome.ABANDONED]


async def test_what_a_breaker_holds_back_was_no_call() -> None:
    async with given_vendor(breaker_failures=1, attempts=1) as (http, faults):
        faults.on(Broken(times=None))

        assert len(await called(http, READ)) == 1
        assert await called(http, READ) == []
