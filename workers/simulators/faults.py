"""What goes wrong between us and a vendor, as switches on any ASGI app: slow, throttled, broken, silent, late, dropped.

    faults = Faults(app)
    faults.on(LostAfter(path="*/create", times=1))

A switch is played for the first `times` requests that it fits (after `skip` of them), then it is used up. The first that fits wins.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from starlette.types import ASGIApp, Receive, Scope, Send

from workers.simulators.exchange import Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Which requests it befalls (shell patterns), and how many: None means all, until it is switched off."""

    path: str = "*"
    method: str = "*"
    times: int | None = 1
    skip: int = 0

    def fits(self, scope: Scope) -> bool:
        """Whether it befalls this request."""
        return fnmatchcase(scope["path"], self.path) and fnmatchcase(scope["method"], self.method)

    async def play(self, exchange: Exchange, late: "Late") -> None:
        """Do to the request what the fault does."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow(Fault):
    """The app is asked `seconds` later."""

    seconds: float

    async def play(self, exchange: Exchange, late: "Late") -> None:
        await asyncio.sleep(self.seconds)
        await exchange.through()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instead(Fault):
    """The app is not asked, and something else answers: a proxy's error page, a redirect, a maintenance page."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def play(self, exchange: Exchange, late: "Late") -> None:
        await exchange.answer(self.status, self.headers, self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class TooMany(Fault):
    """429; `retry_after` is the header's text, seconds or a date."""

    retry_after: str | None = None

    async def play(self, exchange: Exchange, late: "Late") -> None:
        await exchange.answer(429, _retry_after(self.retry_after), b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken(Fault):
    """5xx. `done`: the app did the work before the answer was spoilt."""

    status: int = 500
    retry_after: str | None = None
    done: bool = False

    async def play(self, exchange: Exchange, late: "Late") -> None:
        if self.done:
            await exchange.unanswered()
        await exchange.answer(self.status, _retry_after(self.retry_after), b"<html><body>Server Error</body></html>")


@dataclass(frozen=True, slots=True, kw_only=True)
class LostBefore(Fault):
    """No answer, and nothing was done."""

    async def play(self, exchange: Exchange, late: "Late") -> None:
        await exchange.silence()


@dataclass(frozen=True, slots=True, kw_only=True)
class LostAfter(Fault):
    """No answer, but everything was done."""

    async def play(self, exchange: Exchange, late: "Late") -> None:
        await exchange.unanswered()
        await exchange.silence()


@dataclass(frozen=True, slots=True, kw_only=True)
class LandsLate(Fault):
    """No answer; it is done `seconds` later, or when `Faults.land` is called."""

    seconds: float = 3600.0

    async def play(self, exchange: Exchange, late: "Late") -> None:
        late.add(await exchange.kept(), self.seconds)
        await exchange.silence()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(Fault):
    """The connection ends in the middle of the answer. `done`: the app did the work before."""

    done: bool = False

    async def play(self, exchange: Exchange, late: "Late") -> None:
        if self.done:
            await exchange.unanswered()
        await exchange.answer(200, {"content-type": "application/json"}, b'{"', length=100)


class Late:
    """Requests that will reach the app when nobody waits for them any more."""

    def __init__(self) -> None:
        self._now = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, exchange: Exchange, seconds: float) -> None:
        """Let the app do this after so many seconds."""
        task = asyncio.create_task(self._wait(exchange, seconds))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def land(self) -> None:
        """Let the app do all of it now."""
        self._now.set()
        await asyncio.gather(*self._tasks)
        self._now.clear()

    def forget(self) -> None:
        """Let none of it happen."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def _wait(self, exchange: Exchange, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._now.wait(), seconds)
        await exchange.through()


class Faults:
    """An ASGI app with switches in front of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._switches: list[_Switch] = []
        self._late = Late()
        #: (method, path) of the last requests that came, whatever became of them.
        self.seen: deque[tuple[str, str]] = deque(maxlen=10_000)
        #: (fault, method, path) of the last requests that met one.
        self.played: deque[tuple[Fault, str, str]] = deque(maxlen=10_000)

    def on(self, *faults: Fault) -> None:
        """Switch faults on, behind those that are."""
        self._switches += [_Switch(fault) for fault in faults]

    def off(self) -> None:
        """Switch all of them off, and forget what has not landed yet."""
        self._switches.clear()
        self._late.forget()

    async def land(self) -> None:
        """Let everything that LandsLate holds back reach the app now."""
        await self._late.land()

    def count(self, path: str, method: str = "*") -> int:
        """How many requests came that fit these patterns."""
        return sum(fnmatchcase(p, path) and fnmatchcase(m, method) for m, p in self.seen)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(self.app, scope, receive, send)
        if scope["type"] != "http":
            return await exchange.through()
        self.seen.append((scope["method"], scope["path"]))
        fault = next((switch.fault for switch in self._switches if switch.takes(scope)), None)
        if fault is None:
            return await exchange.through()
        self.played.append((fault, scope["method"], scope["path"]))
        return await fault.play(exchange, self._late)


class _Switch:
    """A fault, and how often it was met."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self._met = fault, 0

    def takes(self, scope: Scope) -> bool:
        if not self.fault.fits(scope):
            return False
        self._met += 1
        return self._met > self.fault.skip and (self.fault.times is None or self._met <= self.fault.skip + self.fault.times)


def _retry_after(value: str | None) -> dict[str, str]:
    return {"retry-after": value} if value else {}
