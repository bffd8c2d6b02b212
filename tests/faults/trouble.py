"""What goes wrong between muster and the vendors: all faults there are, half of them aimed at what is written."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from tests.faults.doors import changes
from workers.simulators.exchange import Exchange
from workers.simulators.faults import Broken, Dropped, Fault, Faults, Instead, Late, LostAfter, LostBefore, Slow, TooMany


@dataclass(frozen=True, slots=True, kw_only=True)
class LandsLate(Fault):
    """No answer; it is done once its sender is gone, at the latest after `seconds`.

    So however busy the machine is, it has landed before its sender looks, or whoever has the sender's lease.
    """

    seconds: float

    async def play(self, exchange: Exchange, late: Late) -> None:
        """Wait, do it, and say nothing."""
        kept = await exchange.kept()
        with suppress(TimeoutError):
            await asyncio.wait_for(exchange.silence(), self.seconds)
        await kept.through()
        await exchange.silence()


_HTML = {"content-type": "text/html; charset=utf-8"}
_PAGE = b"<!doctype html><html><body><h1>We will be back soon</h1></body></html>"
#: Everything that may go wrong with a call.
FAULTS: Mapping[str, Fault] = {
    "lost answers": LostAfter(),
    "lost requests": LostBefore(),
    "500 though done": Broken(done=True),
    "502": Broken(status=502),
    "late landings": LandsLate(seconds=1.0),
    "429": TooMany(retry_after="1"),
    "broken off though done": Dropped(done=True),
    "broken off": Dropped(),
    "slow": Slow(seconds=0.4),
    "pages with 200": Instead(status=200, headers=_HTML, body=_PAGE),
    "403 of a proxy": Instead(status=403, headers=_HTML, body=_PAGE),
    "redirects": Instead(status=302, headers={"location": "/sign-in"}),
    "maintenance": Instead(status=503, headers=_HTML, body=_PAGE),
}
_ANY, _AIMED = ("*", "*"), 0.5
#: What is written at each, by method and path.
_WRITES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "hse": (("POST", "*/create"), ("PUT", "*/update/*"), ("DELETE", "*/delete/*")),
    "lms": (("POST", "/api/subscribe/*"), ("POST", "/api/unsubscribe/*")),
    "kare": (("PATCH", "*"),),
}
#: And what is befallen elsewhere. A login that is refused is left alone for a minute, which nobody makes shorter.
_ELSEWHERE = {"ispring": ("*", "/job-training/*")}


async def misbehave(faults: Mapping[str, Faults], rng: random.Random) -> None:
    """Switch faults on, one after the other, until cancelled.

    A kind of write is aimed at again once something of it was asked since: what is rare shall not fail as often as it is tried.
    """
    met: dict[tuple[str, str, str], int] = {}
    while True:
        name, fault = rng.choice(tuple(faults)), rng.choice(tuple(FAULTS.values()))
        method, path = _ELSEWHERE.get(name, _ANY)
        if rng.random() < _AIMED and name in _WRITES:
            method, path = rng.choice(_WRITES[name])
        count = faults[name].count(path, method)
        if met.get((name, method, path)) != count:
            met[name, method, path] = count
            faults[name].on(replace(fault, method=method, path=path))
        await asyncio.sleep(rng.uniform(0.2, 0.8))


def befallen(faults: Mapping[str, Faults], *, writes: bool = False) -> Counter[str]:
    """How often each fault befell anything, or a write."""
    played = (one for each in faults.values() for one in each.played)
    return Counter(_name(fault) for fault, *call in played if not writes or changes(*call))


def _name(played: Fault) -> str:
    return next(name for name, one in FAULTS.items() if replace(played, method="*", path="*") == one)
