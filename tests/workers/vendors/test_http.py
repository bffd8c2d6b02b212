"""The one way out: what is retried, what is not, how often, how long, and what is never told."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from schemas.accounts import FourhseAccount, Limits
from schemas.traces import SpanName
from tests.services import free_port
from tests.services.collector import recording
from tests.workers.made import until
from workers.simulators.faults import Broken, Dropped, Fault, Faults, Instead, LostAfter, LostBefore, Slow, TooMany
from workers.simulators.server import served
from workers.vendors.breaker import State
from workers.vendors.calls import Called
from workers.vendors.errors import Refused, Throttled, Unavailable, UnknownOutcome, VendorError
from workers.vendors.http import Answer, Call, Http, retry_after

LIMITS = Limits(rate=10_000, concurrency=8, timeout=0.3, attempts=3, breaker_failures=1000)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
READ, WRITE = Call("GET", "/thing"), Call("POST", "/thing", json={"a": 1}, write=True)


class Vendor:
    """Answers everything after a moment, and counts how many it answers at once."""

    def __init__(self, moment: float = 0) -> None:
        self.moment, self.at_once, self.most = moment, 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self.moment)
        self.at_once -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Thing", b"1")]})
        await send({"type": "http.response.body", "body": b"done"})


@asynccontextmanager
async def given_vendor(app: Any = None, **limits: Any) -> AsyncIterator[tuple[Http, Faults]]:
    """A vendor on a socket, and a way to it."""
    faults = Faults(app or Vendor())
    async with served(faults) as url:
        http = Http(url, LIMITS.model_copy(update=limits), lambda: NOON)
        yield http, faults
        await http.close()


async def outcome(http: Http, call: Call) -> str:
    """The answer's status, or the error's name."""
    try:
        return str((await http.call(call)).status)
    except VendorError as error:
        return type(error).__name__


async def test_an_answer_has_its_status_its_headers_in_lower_case_and_its_body() -> None:
    async with given_vendor() as (http, _):
        answer = await http.call(READ)

    assert (answer.status, answer.headers["x-thing"], answer.text, answer.ok) == (200, "1", "done", True)


@pytest.mark.parametrize(
    ("fault", "read", "write"),
    [
        (Slow(seconds=0.01), "200 x1", "200 x1"),
        (TooMany(), "200 x2", "200 x2"),
        (TooMany(times=2, retry_after="0"), "200 x3", "200 x3"),
        (TooMany(times=None), "Throttled x3", "Throttled x3"),
        (TooMany(retry_after="3600"), "Throttled x1", "Throttled x1"),
        (Broken(), "200 x2", "UnknownOutcome x1"),
        (Broken(status=502, times=None), "Unavailable x3", "UnknownOutcome x1"),
        (Broken(status=503), "200 x2", "UnknownOutcome x1"),
        (Broken(status=503, retry_after="0"), "200 x2", "200 x2"),
        (Broken(status=503, retry_after="3600"), "Unavailable x1", "Unavailable x1"),
        (Broken(status=504), "200 x2", "UnknownOutcome x1"),
        (LostBefore(), "200 x2", "UnknownOutcome x1"),
        (LostAfter(times=None), "Unavailable x3", "UnknownOutcome x1"),
        (Dropped(), "200 x2", "UnknownOutcome x1"),
        (Instead(status=200, headers={"content-encoding": "gzip"}, body=b"no gzip"), "200 x2", "UnknownOutcome x1"),
        (Instead(status=302, headers={"location": "/other"}), "Refused x1", "Refused x1"),
        (Instead(status=308, headers={"location": "https://elsewhere.example/"}), "Refused x1", "Refused x1"),
        (Instead(status=404), "404 x1", "404 x1"),
        (Instead(status=422), "422 x1", "422 x1"),
    ],
    ids=lambda value: repr(value) if isinstance(value, Fault) else None,
)
@pytest.mark.parametrize("written", [False, True], ids=["read", "write"])
async def test_a_read_is_tried_again_and_a_write_only_where_it_was_not_done(fault: Fault, read: str, write: str, written: bool) -> None:
    async with given_vendor() as (http, faults):
        faults.on(fault)
        ended = await outcome(http, WRITE if written else READ)

        assert f"{ended} x{len(faults.seen)}" == (write if written else read)
        assert http.sent == len(faults.seen)


@pytest.mark.parametrize("call", [READ, WRITE], ids=["read", "write"])
async def test_where_nobody_listens_even_a_write_was_not_done_and_is_tried_again(call: Call) -> None:
    http = Http(f"http://127.0.0.1:{free_port()}", LIMITS, lambda: NOON)
    with pytest.raises(Unavailable, match="ConnectError"):
        await http.call(call)
    await http.close()

    assert http.sent == 3


async def test_an_answer_that_trickles_in_is_not_waited_for_for_ever() -> None:
    async def trickle(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.sleep(0.05)

    async with given_vendor(trickle, timeout=0.1, attempts=1) as (http, _):
        with pytest.raises(Unavailable, match="TimeoutError"):
            await http.call(READ)


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "unpacked"])
async def test_more_bytes_than_allowed_are_refused_and_of_a_write_unknown(zipped: bool) -> None:
    body, headers = (gzip.compress(b"0" * 1_000_000), {"content-encoding": "gzip"}) if zipped else (b"0" * 1_000_000, {})
    async with given_vendor(max_response=100_000) as (http, faults):
        faults.on(Instead(status=200, headers=headers, body=body, times=2))
        with pytest.raises(Refused, match=r"limits\.max_response"):
            await http.call(READ)
        with pytest.raises(UnknownOutcome, match=r"limits\.max_response"):
            await http.call(WRITE)

        assert await outcome(http, READ) == "200"


async def test_as_many_bytes_as_allowed_are_taken() -> None:
    async with given_vendor(max_response=4) as (http, _):
        assert (await http.call(READ)).body == b"done"


async def test_retry_after_is_waited_for() -> None:
    async with given_vendor() as (http, faults):
        faults.on(TooMany(retry_after="1"))
        began = asyncio.get_running_loop().time()
        await http.call(WRITE)

        assert asyncio.get_running_loop().time() - began >= 1


@pytest.mark.parametrize(
    ("limits", "asked"),
    [({"retry_after_max": 5}, "6"), ({"patience": 2}, "3"), ({"retry_after_max": 5}, format_datetime(NOON + timedelta(seconds=6)))],
    ids=["more than allowed", "more than there is patience for", "a date too far"],
)
async def test_a_retry_after_beyond_the_bounds_is_given_back_to_the_caller(limits: dict[str, float], asked: str) -> None:
    async with given_vendor(**limits) as (http, faults):
        faults.on(TooMany(retry_after=asked))
        with pytest.raises(Throttled) as caught:
            await http.call(READ)

    assert caught.value.retry_after == (3 if asked == "3" else 6)


@pytest.mark.parametrize(
    "fault", [TooMany(retry_after="1"), Broken(status=503, retry_after="1"), TooMany(retry_after="3600")], ids=["429", "503", "too long"]
)
async def test_what_one_call_is_asked_to_wait_all_calls_of_the_account_wait_within_bounds(fault: Fault) -> None:
    async with given_vendor(retry_after_max=1) as (http, faults):
        faults.on(fault)
        first, began = asyncio.create_task(outcome(http, READ)), asyncio.get_running_loop().time()
        await until(lambda: len(faults.seen) == 1, "the first call's refusal")
        others = await asyncio.gather(*(outcome(http, call) for call in (READ, WRITE, READ)))
        waited = asyncio.get_running_loop().time() - began

        assert (others, await first) == (["200"] * 3, "Throttled" if fault == TooMany(retry_after="3600") else "200")
        assert 1 <= waited < 2


async def test_a_call_whose_turn_comes_in_a_pause_waits_too() -> None:
    async with given_vendor(Vendor(moment=0.1), concurrency=1) as (http, faults):
        faults.on(TooMany(skip=1, retry_after="1"))
        calls = [asyncio.create_task(http.call(READ)) for _ in range(3)]
        await until(lambda: len(faults.seen) == 2, "the second call's refusal")
        await asyncio.sleep(0.5)

        assert len(faults.seen) == 2
        assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 3


async def test_a_call_without_the_patience_for_a_pause_is_throttled_at_once_and_not_sent() -> None:
    async with given_vendor(patience=1, attempts=1) as (http, faults):
        faults.on(TooMany(retry_after="30"))
        await outcome(http, READ)
        began = asyncio.get_running_loop().time()
        with pytest.raises(Throttled) as caught:
            await http.call(READ)

        assert asyncio.get_running_loop().time() - began < 0.5
        assert 29 < (caught.value.retry_after or 0) <= 30
        assert (len(faults.seen), http.sent) == (1, 1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2026 14:01:00 +0200", 60),
        ("Sun, 01 Mar 2026 12:00:30 -0000", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOON) == seconds


@given(st.text() | st.from_regex(r"(Sun, )?\d{1,2} Mar \d{1,6} \d\d:\d\d:\d\d ([+-]\d{4}|GMT)"))
def test_whatever_retry_after_holds_it_is_no_error_and_never_negative(header: str) -> None:
    assert (retry_after(header, NOON) or 0) >= 0


async def test_the_breaker_opens_lets_one_probe_through_and_closes() -> None:
    async with given_vendor(attempts=1, breaker_failures=3, breaker_pause=0.2) as (http, faults):
        faults.on(Broken(times=3))
        assert [await outcome(http, READ) for _ in range(3)] == ["Unavailable"] * 3
        assert http.state is State.OPEN
        with pytest.raises(Unavailable, match="circuit breaker") as caught:
            await http.call(WRITE)
        assert len(faults.seen) == 3, "nothing is sent while it is open"

        await asyncio.sleep(caught.value.retry_after or 0)
        faults.on(Slow(seconds=0.1))
        assert sorted(await asyncio.gather(*(outcome(http, READ) for _ in range(5)))) == ["200", *["Unavailable"] * 4]
        assert len(faults.seen) == 4, "half-open, one goes"
        assert (await asyncio.gather(*(outcome(http, READ) for _ in range(5))), http.state) == (["200"] * 5, State.CLOSED)


async def test_a_call_that_opens_the_breaker_is_not_tried_again() -> None:
    async with given_vendor(attempts=10, breaker_failures=2, breaker_pause=60) as (http, faults):
        faults.on(Broken(times=None))

        assert (await outcome(http, READ), len(faults.seen)) == ("Unavailable", 2)


@pytest.mark.parametrize("fault", [TooMany(times=None), Instead(status=404, times=None), Instead(status=302, times=None)], ids=repr)
async def test_a_vendor_that_answers_is_not_left_alone(fault: Fault) -> None:
    async with given_vendor(attempts=1, breaker_failures=1) as (http, faults):
        faults.on(fault)
        await outcome(http, READ)

        assert http.state is State.CLOSED


@pytest.mark.parametrize("status", [200, 302, 404, 429, 500, 503])
async def test_whatever_was_answered_its_status_is_told_and_on_the_span(status: int) -> None:
    told: list[Called] = []
    with recording() as (tracer, collector):
        async with given_vendor(attempts=1) as (http, faults):
            http.told = told.append
            faults.on(Instead(status=status))
            with tracer.follow(SpanName.FETCH, ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"], {}):
                await outcome(http, READ)
        tracer.close()

    assert [one.status for one in told] == [status]
    assert collector.one(SpanName.CALL).attributes["http.response.status_code"] == status


async def test_a_probe_that_is_cancelled_lets_the_next_one_probe() -> None:
    async with given_vendor(attempts=1, breaker_failures=1, breaker_pause=0.05) as (http, faults):
        faults.on(Broken(), LostBefore())
        await outcome(http, READ)
        await asyncio.sleep(0.05)
        probe = asyncio.create_task(http.call(READ))
        await until(lambda: len(faults.seen) == 2, "the probe's arrival")
        probe.cancel()
        with suppress(asyncio.CancelledError):
            await probe

        assert await outcome(http, READ) == "200"


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    vendor = Vendor(moment=0.1)
    async with given_vendor(vendor, concurrency=3, attempts=1) as (http, _):
        # Together they take longer than an answer may: waiting for one's turn is not counted.
        await asyncio.gather(*(http.call(READ) for _ in range(18)))

    assert vendor.most == 3


@pytest.mark.parametrize(("rate", "calls", "least"), [(20, 30, 0.45), (0.5, 2, 1.9)], ids=["20 a second", "one in two seconds"])
async def test_no_more_requests_are_sent_than_the_rate_allows(rate: float, calls: int, least: float) -> None:
    async with given_vendor(rate=rate) as (http, _):
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(http.call(READ) for _ in range(calls)))

        assert asyncio.get_running_loop().time() - began >= least


async def test_hundreds_of_cancelled_calls_leave_the_way_open() -> None:
    async with given_vendor(Vendor(moment=0.002)) as (http, _):
        for round_ in range(40):
            tasks = [asyncio.create_task(http.call(READ)) for _ in range(10)]
            await asyncio.sleep(0.0005 * (round_ % 8))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        assert await asyncio.gather(*(outcome(http, READ) for _ in range(10))) == ["200"] * 10


@pytest.mark.parametrize("call", [READ, WRITE], ids=["read", "write"])
@pytest.mark.parametrize("value", ["planted\nX-Evil: 1", "plänted", "planted\x00"], ids=["a line", "not ASCII", "a null"])
async def test_what_no_header_may_hold_is_refused_by_the_headers_name(call: Call, value: str) -> None:
    async with given_vendor() as (http, faults):
        with pytest.raises(Refused, match="Authorization") as caught:
            await http.call(Call(call.method, call.path, headers={"Authorization": value}, write=call.write))

    assert "nted" not in repr(caught.value)
    assert (len(faults.seen), http.state) == (0, State.CLOSED)


def _spoilt(*faults: Fault) -> Callable[[Faults], None]:
    return lambda switches: switches.on(*faults)


@pytest.mark.parametrize(
    "spoil",
    [
        _spoilt(),
        _spoilt(Broken()),
        _spoilt(Dropped()),
        _spoilt(LostBefore(times=None)),
        _spoilt(TooMany(times=None)),
        _spoilt(Instead(status=302)),
    ],
    ids=["fine", "broken", "dropped", "silent", "throttled", "redirected"],
)
async def test_no_log_line_and_no_error_tells_a_query_a_header_or_a_form(
    spoil: Callable[[Faults], None], caplog: pytest.LogCaptureFixture
) -> None:
    call = Call("POST", "/thing", params={"access-token": "planted-1"}, form={"password": "planted-2"}, headers={"X-API-Key": "planted-3"})
    caplog.set_level(logging.DEBUG)
    async with given_vendor() as (http, faults):
        spoil(faults)
        try:
            told = repr(await http.call(call))
        except VendorError as error:
            told = f"{error} {error!r} {error.__cause__!r} {error.__suppress_context__}"

    # The simulated vendor's server may log what it likes.
    logged = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn"))
    assert "httpcore2" in logged + "".join(record.name for record in caplog.records), "the libraries' words are listened to"
    assert "planted" not in told + repr(call) + logged


def test_printing_an_answer_tells_its_status_alone() -> None:
    assert repr(Answer(200, {"set-cookie": "planted"}, b"planted")) == "Answer(status=200)"


def test_plain_http_needs_a_setting() -> None:
    account = {"vendor": "4hse", "base_url": "http://127.0.0.1", "access_token_file": "key"}
    with pytest.raises(ValidationError, match="base_url must be https"):
        FourhseAccount.model_validate(account)

    assert FourhseAccount.model_validate(account | {"insecure": True}).insecure
