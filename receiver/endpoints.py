"""The endpoints: read a request, let intake decide, make the delivery durable, answer."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.arrival import arrival
from receiver.errors import PROBLEM_TYPE, BodyTooLarge, NotDurable, NotPost, NotVerified, Overloaded, Refusal, SlowBody, UnknownSource
from receiver.intake import Request, accept, printable
from receiver.publisher import Keeper
from receiver.recent import Recent
from receiver.sources import Source
from receiver.spool import Spooled, SpoolFull
from schemas.delivery import Delivery, encode, now_utc
from schemas.logs import Log
from schemas.settings import ReceiverSettings
from schemas.traces import OFF, Tracer

log = structlog.get_logger()

#: A source's name that is logged although nobody configured it.
UNKNOWN = "(unknown)"

_FORWARDED = "x-forwarded-for"

Readiness = Callable[[], Awaitable[tuple[bool, dict[str, object]]]]
#: The metrics in the format that an Accept header asks for, and their content type.
Exposition = Callable[[str], Awaitable[tuple[bytes, str]]]
#: Is handed each request that failed verification, and when it came.
Rejected = Callable[[Source, Request, datetime], None]
#: Is told of each answer: whose request it was if that is configured, how it was refused if it was, and the seconds that it took.
Told = Callable[[str | None, type[Refusal] | None, float], None]


def forgotten(_source: Source, _request: Request, _at: datetime) -> None:
    """Is handed what failed verification, and keeps nothing."""


def nobody(_source: str | None, _refusal: type[Refusal] | None, _seconds: float) -> None:
    """Is told of an answer, and does nothing."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """200 with the delivery's id, as an ASGI application: always of the same length, so that nothing has to be worked out."""

    delivery: str

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send(_OK)
        await send({"type": "http.response.body", "body": b'{"id":"%s"}' % self.delivery.encode()})


_OK = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len('{"id":""}' + 36 * "x"))],
}


@dataclass(slots=True)
class Hook:
    """`POST /hooks/{source}[/{event}]`, as a plain ASGI application."""

    settings: ReceiverSettings
    sources: Mapping[str, Source]
    keeper: Keeper
    recent: Recent
    now: Callable[[], datetime] = now_utc
    told: Told = nobody
    rejected: Rejected = forgotten
    tracer: Tracer = OFF
    in_flight: int = field(default=0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 200 with the delivery's id once it is durable, or a problem (RFC 9457)."""
        response = await self._answer(scope, receive)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        name, event = scope["path_params"]["source"], scope["path_params"].get("event")
        source = self.sources.get(name)
        if self.in_flight >= self.settings.max_in_flight:
            return self._refused(Overloaded(), source, event)
        self.in_flight += 1
        try:
            return await self._accepted(source, event, scope, receive)
        except Refusal as refusal:
            return self._refused(refusal, source, event)
        except Exception as error:  # noqa: BLE001 - our own fault, whatever it is; a traceback may hold what was sent
            log.error(Log.REQUEST_FAILED, error=type(error).__name__, deliveries=getattr(error, "__notes__", []))
            return self._refused(NotDurable(), source, event)
        finally:
            self.in_flight -= 1

    async def _accepted(self, source: Source | None, event: str | None, scope: Scope, receive: Receive) -> ASGIApp:
        began = time.perf_counter()
        if source is None:
            raise UnknownSource
        if scope["method"] != "POST":
            raise NotPost
        headers = _headers(scope["headers"])
        body = await self._body(headers.get("content-length"), source.max_body, receive)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)) if scope["query_string"] else {}
        peer = scope["client"][0] if scope["client"] else None
        request, now = Request(event, headers, query, peer, body), self.now()
        try:
            delivery = accept(source, self.settings.trusted_proxies, request, now)
        except NotVerified:
            self.rejected(source, request, now)
            raise
        try:
            await self._kept(request, delivery)
        except SpoolFull:
            raise NotDurable from None
        except Exception as error:
            error.add_note(str(delivery.id))  # for whoever tells of it
            raise
        delivery_id = str(delivery.id)
        self.recent.add(delivery.received_at, source.name, delivery.event, 200, delivery_id)
        self.told(source.name, None, time.perf_counter() - began)
        return Accepted(delivery_id)

    async def _kept(self, request: Request, delivery: Delivery) -> None:
        """Make it durable; where deliveries are traced, that is the first span of its trace."""
        if not self.tracer.on:
            return await self.keeper.keep(Spooled(delivery.vendor, delivery.source, encode(delivery)))
        with arrival(self.tracer, self.settings.trusted_proxies, request, delivery) as span:
            traced = delivery.model_copy(update={"trace": span.trace})
            return await self.keeper.keep(Spooled(delivery.vendor, delivery.source, encode(traced)))

    async def _body(self, declared: str | None, limit: int, receive: Receive) -> bytes:
        """Read the whole body within the deadline; raises BodyTooLarge as soon as that is certain, declared or counted."""
        if declared is not None and declared.isdecimal() and int(declared) > limit:
            raise BodyTooLarge
        try:
            async with asyncio.timeout(self.settings.body_deadline):
                return await _read(receive, limit)
        except TimeoutError:
            raise SlowBody from None

    def _refused(self, refusal: Refusal, source: Source | None, event: str | None) -> Response:
        self.recent.add(self.now(), source.name if source else UNKNOWN, printable(event) if event else None, refusal.status)
        self.told(source.name if source else None, type(refusal), 0.0)
        return problem(refusal)


def _headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """The last value of each header, and every line of X-Forwarded-For: each proxy may have added one."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    if _FORWARDED in headers:
        headers[_FORWARDED] = ", ".join(value.decode("latin-1") for name, value in raw if name == _FORWARDED.encode())
    return headers


async def _read(receive: Receive, limit: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    chunks, size = [body], len(body)
    while message["type"] == "http.request" and message.get("more_body", False) and size <= limit:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    if message["type"] == "http.disconnect":
        raise SlowBody  # nobody is left to read it
    if size > limit:
        raise BodyTooLarge
    return body if len(chunks) == 1 else b"".join(chunks)


def problem(refusal: Refusal) -> Response:
    """The refusal as application/problem+json."""
    return Response(json.dumps(refusal.problem), refusal.status, refusal.headers, PROBLEM_TYPE)


async def misdirected(_: HttpRequest, error: Exception) -> Response:
    """Answer what no route takes, as a problem like any other."""
    assert isinstance(error, HTTPException)
    content = {"type": "about:blank", "title": error.detail, "status": error.status_code}
    return Response(json.dumps(content), error.status_code, error.headers, PROBLEM_TYPE)


async def failed(_: HttpRequest, error: Exception) -> Response:
    """Our own fault: 503, so that the vendor sends it again, never a 4xx."""
    log.error(Log.REQUEST_FAILED, error=type(error).__name__)
    return problem(NotDurable())


async def livez(_: HttpRequest) -> Response:
    """The process runs and answers."""
    return JSONResponse({"live": True})


@dataclass(frozen=True, slots=True)
class Ready:
    """`GET /readyz`: 200 if a delivery can be made durable now, else 503; details only on the local port."""

    readiness: Readiness
    details: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the readiness of this moment."""
        ready, details = await self.readiness()
        content = {"ready": ready} | (details if self.details else {})
        await JSONResponse(content, 200 if ready else 503)(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Metrics:
    """`GET /metrics` on the local port, for Prometheus."""

    exposition: Exposition

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the figures of this moment."""
        content, kind = await self.exposition(HttpRequest(scope).headers.get("accept", ""))
        await Response(content, media_type=kind)(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Recently:
    """`GET /recent?after=N` on the local port: the last requests' outcomes."""

    recent: Recent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the outcomes after a number, oldest first."""
        after = HttpRequest(scope).query_params.get("after", "0")
        await JSONResponse(self.recent.after(int(after) if after.isdecimal() else 0))(scope, receive, send)
