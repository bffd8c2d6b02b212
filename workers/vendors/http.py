"""HTTP to a vendor: one account's rate, concurrency, deadlines, retries, pauses, breaker and byte cap, in one place.

Reads are retried; a write is retried only when it certainly was not done. What comes back is an Answer of any status
below 500 but 429; vendors' modules turn their own refusals into errors. Redirects are not followed.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Literal

import httpx2
import stamina
from aiolimiter import AsyncLimiter

from schemas.accounts import Limits
from schemas.traces import SpanName, current
from workers.vendors.breaker import Breaker, State
from workers.vendors.calls import Called, CallOutcome, came_of, nobody
from workers.vendors.errors import Complaint, Refused, Throttled, Unavailable, UnknownOutcome, VendorError

#: Failures before a byte of the request was on its way: even a write was not done.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)

#: Seconds for a connection to be made, at most.
_CONNECT = 10.0

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `write`: doing it twice is not the same as doing it once."""

    method: Method
    path: str
    # Where credentials may be is not for printing.
    params: Mapping[str, Any] | None = field(default=None, repr=False)
    json: Any = field(default=None, repr=False)
    #: A form's fields; a list repeats its field.
    form: Mapping[str, str | Sequence[str]] | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    write: bool = False
    #: The path without what names a person or a thing, where there is any in it.
    route: str | None = None

    @property
    def name(self) -> str:
        """The call for errors, without its query."""
        return f"{self.method} {self.path}"

    @property
    def operation(self) -> str:
        """The call for logs: what is asked for, and not of whom."""
        return f"{self.method} {self.route or self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A vendor's answer: lower-case header names, and a body of at most `limits.max_response` bytes."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the vendor did what it was asked."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text, whatever it holds."""
        return self.body.decode("utf-8", "replace")


class Http:
    """One account's way to its vendor."""

    def __init__(self, base_url: str, limits: Limits, now: Callable[[], datetime]) -> None:
        self._limits, self._now = limits, now
        # The library logs every URL with its query, and a query may hold an access token.
        logging.getLogger("httpx2").addFilter(_silent)
        # Made here, not by the client at its first use: building it reads the certificates, which takes a while.
        verify = ssl.create_default_context() if base_url.startswith("https:") else False
        self._client = httpx2.AsyncClient(
            base_url=base_url,
            follow_redirects=False,
            trust_env=False,
            verify=verify,
            timeout=httpx2.Timeout(limits.timeout, connect=min(limits.timeout, _CONNECT)),
            limits=httpx2.Limits(max_connections=limits.concurrency),
        )
        self._rate = AsyncLimiter(max(1.0, limits.rate), 1.0 if limits.rate >= 1 else 1.0 / limits.rate)
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._breaker = Breaker(limits.breaker_failures, limits.breaker_pause, limits.breaker_longest)
        #: What the vendor asks of one call holds for all: nothing is sent before.
        self._not_before = 0.0
        #: Requests that went out, retries included.
        self.sent = 0
        #: Is told of each of them.
        self.told: Callable[[Called], None] = nobody

    @property
    def state(self) -> State:
        """The breaker's state now."""
        return self._breaker.state(_monotonic())

    async def call(self, call: Call) -> Answer:
        """Send a request, again where that is harmless; raises Throttled, Unavailable, UnknownOutcome, Refused (redirect, too large)."""
        limits, longest = self._limits, self._limits.timeout
        # The steps grow from 0.2 s to 10 s, with up to 1 s of jitter, where an answer may take 30 s; else in proportion.
        steps = {"wait_initial": longest / 150, "wait_max": longest / 3, "wait_jitter": longest / 30}
        until = _monotonic() + limits.patience
        wait = partial(self._wait, until)
        async for attempt in stamina.retry_context(wait, attempts=limits.attempts, timeout=limits.patience, **steps):
            with attempt:
                return await self._once(call, until)
        raise AssertionError("retries ended without an answer or an error")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _wait(self, until: float, error: Exception) -> bool | float:
        """Whether to try again, and if the vendor says when, then; a vendor that asks for more than is allowed is not waited for."""
        if not isinstance(error, Throttled | Unavailable) or self.state is State.OPEN:
            return False
        if error.retry_after is None:
            return True
        allowed = min(self._limits.retry_after_max, until - _monotonic())
        return error.retry_after + self._jitter() if error.retry_after <= allowed else False

    def _jitter(self) -> float:
        return random.uniform(0, self._limits.timeout / 30)  # noqa: S311 - spreads callers, hides nothing

    async def _pause(self, until: float) -> None:
        """Wait as long as the vendor asked of any call; raises Throttled where that is longer than this one has patience for."""
        while (left := self._not_before - _monotonic()) > 0:
            if _monotonic() + left > until:
                raise Throttled(left)
            await asyncio.sleep(left + self._jitter())

    async def _once(self, call: Call, until: float) -> Answer:
        await self._pause(until)
        async with self._slots, self._rate:
            await self._pause(until)  # which may have begun while this one waited for its turn
            era = self._breaker.admit(_monotonic())
            if era is None:
                raise Unavailable("left alone for a while after repeated failures (circuit breaker)", self._breaker.remaining(_monotonic()))
            try:
                answer = await self._traced(call)
            except (Unavailable, UnknownOutcome):
                self._breaker.failed(era, _monotonic())
                raise
            except VendorError:
                self._breaker.succeeded(era)  # it answered
                raise
            except BaseException:
                self._breaker.abandoned(era)
                raise
            self._breaker.succeeded(era)
            return answer

    async def _traced(self, call: Call) -> Answer:
        """Each request is a piece of what is being traced; the vendor is told of no trace."""
        with current().beneath(SpanName.CALL, {"http.request.method": call.method, "muster.call": call.operation}) as span:
            began, outcome, status = _monotonic(), CallOutcome.ABANDONED, None
            try:
                answer = await self._sent(call)
                status, outcome = answer.status, came_of(answer.status)
                span.tell({"http.response.status_code": status})
                return self._judged(call, answer)
            except VendorError as error:
                outcome = came_of(error)
                raise
            finally:
                self.told(Called(call.operation, outcome, status, _monotonic() - began))

    async def _sent(self, call: Call) -> Answer:
        request = self._request(call)
        self.sent += 1
        try:
            # Beside the client's own time-outs, which begin anew with every byte that trickles in.
            async with asyncio.timeout(self._limits.timeout + min(self._limits.timeout, _CONNECT)):
                response = await self._client.send(request, stream=True)
                try:
                    body = await self._body(response, call)
                finally:
                    await response.aclose()
        except _NOT_SENT as error:
            raise Unavailable(f"{call.name}: {type(error).__name__}") from None
        except (httpx2.HTTPError, TimeoutError) as error:
            # Between the first byte out and the last byte in: a read is harmless to repeat, a write may have been done.
            raise _spoilt(call, type(error).__name__) from None
        return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)

    def _request(self, call: Call) -> httpx2.Request:
        unfit = [name for name, value in (call.headers or {}).items() if not (value.isascii() and value.isprintable())]
        if unfit:
            raise Refused(0, tuple(Complaint(name, "holds what no header may hold") for name in unfit))
        return self._client.build_request(call.method, call.path, params=call.params, json=call.json, data=call.form, headers=call.headers)

    async def _body(self, response: httpx2.Response, call: Call) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._limits.max_response:
                reason = "the answer is larger than limits.max_response"
                raise _spoilt(call, reason) if call.write else Refused(response.status_code, (Complaint(None, f"{call.name}: {reason}"),))
        return bytes(body)

    def _judged(self, call: Call, answer: Answer) -> Answer:
        wish = retry_after(answer.headers.get("retry-after"), self._now())
        if wish is not None and answer.status in (429, 503):
            self._not_before = max(self._not_before, _monotonic() + min(wish, self._limits.retry_after_max))
        if answer.status == 429:
            raise Throttled(wish)
        if answer.status == 503 and (wish is not None or not call.write):  # RFC 9110 §15.6.4: not handled now, come again
            raise Unavailable(f"{call.name}: 503", wish)
        if answer.status >= 500:
            raise _spoilt(call, str(answer.status))
        if 300 <= answer.status < 400:
            raise Refused(answer.status, (Complaint(None, f"{call.name}: redirected; correct base_url"),))
        return answer


def _spoilt(call: Call, reason: str) -> VendorError:
    """What it means that no usable answer came to a call that was sent."""
    return (UnknownOutcome if call.write else Unavailable)(f"{call.name}: {reason}")


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110 §10.2.3), a number or a date; None where it says nothing readable."""
    if header is None:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at - now).total_seconds()) if at.tzinfo else None


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _silent(_: logging.LogRecord) -> bool:
    return False
