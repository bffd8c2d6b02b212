"""A company whose people get duties at a simulated 4HSE and learn at a simulated aNewSpring, with books of what really happened there;
`others` are what else there is to do.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import logging
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.delivery import now_utc
from tests.faults import others
from tests.faults.load import reached
from tests.services.muster import SECRET
from workers.simulators import anewspring, fourhse, kare
from workers.simulators.acme import ACTION, TENANT, tenancy
from workers.simulators.faults import Broken, Dropped, Fault, Faults, LandsLate, LostAfter, LostBefore, Slow, TooMany
from workers.simulators.server import served

COURSE = "FIRE-BASIC"
_KEY = "a-key-of-the-tests"
_CREATE = "ACTION_SUBSCRIPTION::CREATE"
#: Of the webhooks about new duties so many never leave 4HSE, and so many of all are sent twice.
_LOST, _TWICE = 0.1, 0.1
#: Seconds that a call takes before and after the vendor did what it was asked for.
_SLOWNESS = 0.04
#: Seconds after which nobody waits for a seat any more.
_PATIENCE = 300.0
#: aNewSpring's tries are between 0.02 s and minutes apart.
_HASTE = 0.002

#: Everything that may go wrong with a call; what lands late does so before muster believes that it will not.
_FAULTS: tuple[Callable[[], Fault], ...] = (
    LostAfter,
    LostBefore,
    lambda: Broken(done=True),
    lambda: Broken(status=502),
    lambda: LandsLate(seconds=1.0),
    lambda: TooMany(retry_after="1"),
    lambda: Dropped(done=True),
    Dropped,
    lambda: Slow(seconds=0.4),
)


#: What changes something at a vendor, beside what is created and patched.
_CHANGES = re.compile("subscribe|/update")


class Fate(StrEnum):
    """What is to become of a duty."""

    PASSES = "passes"
    #: Twice, which is as often as the rule allows; or once, and then passes.
    FAILS = "fails"
    RETRIES = "fails, then passes"
    #: The duty is deleted while its course is under way, or before.
    DELETED = "deleted"


@dataclass(slots=True)
class Employee:
    """A person with a duty, and what is meant to happen."""

    number: int
    person: str
    subscription: str
    fate: Fate
    #: A seat was there before muster: it may be used, and is never undone.
    seated: bool
    #: The course was passed before the duty came, in a subscription that still stands: it does not count.
    passed_before: bool
    began: float
    #: When the learner had a seat, and when the duty was gone.
    seen_at: float | None = None
    over: bool = False

    @property
    def learner(self) -> str:
        """How aNewSpring knows them."""
        return f"L{self.number:04d}"


class Books:
    """In front of an app, behind its faults: what it did, whoever heard of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        #: (function, learner) of every call of aNewSpring's that changed something, with when it first did.
        self.done: Counter[tuple[str, str]] = Counter()
        self.first: dict[tuple[str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300 and scope["method"] == "POST":
                _, _, function, *of = scope["path"].split("/")
                key = (function, of[0] if of else "")
                self.done[key] += 1
                self.first.setdefault(key, time.monotonic())
            await send(message)

        await self._app(scope, receive, noted)


class Door:
    """One worker's way to a vendor: knows which of its calls are under way, and lets each take its time."""

    def __init__(self, app: ASGIApp, rng: random.Random) -> None:
        self._app, self._rng = app, rng
        self.under_way: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def slowly(message: Message) -> None:
            if message["type"] == "http.response.start":
                await asyncio.sleep(self._rng.uniform(0, _SLOWNESS))
            await send(message)

        call = (scope["method"], scope["path"])
        self.under_way[call] += 1
        try:
            # What has been sent is done, even if its sender is gone by then.
            kept = await _kept(receive)
            await asyncio.sleep(self._rng.uniform(0, _SLOWNESS))
            await self._app(scope, kept, slowly)
        finally:
            self.under_way[call] -= 1
            self.under_way += Counter()

    def writing(self) -> bool:
        """Whether something that changes the vendor is under way."""
        return any(path.endswith("/create") or method == "PATCH" or _CHANGES.search(path) for method, path in self.under_way)


class Postman:
    """4HSE's webhooks, through a gateway that tries until somebody takes them; some it loses, some it brings twice."""

    def __init__(self, urls: Mapping[str, str], rng: random.Random, *, reliable: bool) -> None:
        self._urls, self._rng = urls, rng
        self._lost, self._twice = (0.0, 0.0) if reliable else (_LOST, _TWICE)
        self._client = httpx2.AsyncClient(trust_env=False, verify=False, timeout=5.0)
        self.delivered, self.lost, self.cut_off = 0, 0, 0
        self.refused: list[int] = []
        #: Whether one is under way now.
        self.under_way = False

    async def __call__(self, event: str, body: Mapping[str, Any]) -> None:
        """Bring one."""
        if event == _CREATE and self._rng.random() < self._lost:
            self.lost += 1
            return
        for _ in range(1 + (self._rng.random() < self._twice)):
            for pause in itertools.repeat(0.1):
                if await self._brought(event, body):
                    break
                await asyncio.sleep(pause)

    async def close(self) -> None:
        """Bring no more."""
        await self._client.aclose()

    async def _brought(self, event: str, body: Mapping[str, Any]) -> bool:
        self.under_way = True
        try:
            answer = await self._client.post(self._urls[event], json=body)
        except httpx2.HTTPError as error:
            self.cut_off += not isinstance(error, httpx2.ConnectError)
            return False
        finally:
            self.under_way = False
        if answer.status_code != 200:
            self.refused.append(answer.status_code)
        self.delivered += answer.status_code == 200
        return answer.status_code == 200


@dataclass(slots=True)
class Company:
    """All vendors, everybody's fate, and the switches."""

    rng: random.Random
    tenancy: fourhse.Tenancy
    environment: anewspring.Environment
    books: Books
    others: others.Others
    faults: Mapping[str, Faults]
    #: By worker, then by account.
    doors: list[dict[str, Door]] = field(default_factory=list)
    urls: list[dict[str, str]] = field(default_factory=list)
    employees: list[Employee] = field(default_factory=list)
    postman: Postman | None = None
    #: The learners that muster says to have a seat; whoever looks at its rows fills it.
    enrolled: set[str] = field(default_factory=set)
    _lives: set[asyncio.Task[None]] = field(default_factory=set)

    def settings(self, key: Path, *, wide: bool = False) -> str:
        """Accounts and the rule, as `muster.toml` has them, with the first worker's addresses; `wide`: and all other rules, and Kare."""
        key.write_text(_KEY)
        given = {"key": key, "course": COURSE, "limits": _LIMITS, **self.urls[0]}
        more = {"sessions": "5s", "fail": '{ wait = "1s", attempts = 2 }'} if wide else {"sessions": "off", "fail": "{ attempts = 1 }"}
        return _SETTINGS.substitute(given, **more) + (others.SETTINGS.substitute(given) if wide else "")

    def environment_of(self, worker: int) -> dict[str, str]:
        """Another worker's addresses."""
        return {f"MUSTER_ACCOUNTS__{name.upper()}__BASE_URL": url for name, url in self.urls[worker].items()}

    def tell(self, url: str, *, reliable: bool = False) -> None:
        """Let both vendors send their webhooks to a receiver; `reliable`: each of 4HSE's comes once."""
        events = ("ACTION_SUBSCRIPTION", "CERTIFICATE", "CERTIFICATE_ACTION", "PERSON")
        names = [f"{noun}::{verb}" for noun in events for verb in ("CREATE", "UPDATE", "DELETE")]
        hooks = {name: f"{url}/hooks/hse/{quote(name, safe=':')}?token={SECRET}" for name in names}
        self.postman = self.tenancy.webhooks.send = Postman(hooks, self.rng, reliable=reliable)
        self.environment.hook = anewspring.Hook(f"{url}/hooks/lms", _signature, scale=_HASTE, patience=3.0)

    def hire(self) -> Employee:
        """Somebody new with a duty; their life goes on by itself."""
        number, rng = len(self.employees), self.rng
        fate = rng.choices(list(Fate), weights=(6, 1, 2, 3))[0]
        about = {"first_name": "E", "last_name": f"{number:04d}", "birth_date": "1980-02-29", "project_id": TENANT}
        person = str(self.tenancy.create("person", {**about, "code": f"L{number:04d}"})["person_id"])
        history = rng.random()
        one = Employee(number, person, "", fate, history < 0.15, 0.15 <= history < 0.3, time.monotonic())
        self.environment.add_user(one.learner)
        if one.seated or one.passed_before:
            self.environment.subscribe(one.learner, COURSE)
        if one.passed_before:
            seat, long_ago = self.environment.seats[one.learner, COURSE], self.environment.now() - timedelta(days=self.rng.choice((0, 400)))
            seat.subscribed_at, seat.completed_at, seat.grade = long_ago, long_ago, 99.0
        one.subscription = self.tenancy.subscribe(ACTION, person)
        self.employees.append(one)
        self._lives.add(asyncio.create_task(self._live(one)))
        return one

    async def misbehave(self) -> None:
        """Switch faults on, one after the other, until cancelled."""
        while True:
            name = self.rng.choice(tuple(self.faults))
            self.faults[name].on(self.rng.choice(_FAULTS)())
            await asyncio.sleep(self.rng.uniform(0.2, 0.8))

    async def behave(self) -> None:
        """Whatever is late lands, and nothing goes wrong any more."""
        for one in self.faults.values():
            await one.land()
            one.off()

    async def live_on(self) -> None:
        """Wait until nothing more happens by itself; raises what went wrong in somebody's life."""
        await asyncio.gather(*self._lives)

    async def close(self) -> None:
        """End it."""
        self.others.end()
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        await self.environment.close()
        if self.postman is not None:
            self.tenancy.webhooks.send = None
            await self.postman.close()

    async def _live(self, one: Employee) -> None:
        """Learn, once there is a seat; or lose the duty, whatever has come of it by then."""
        if one.fate is Fate.DELETED:
            await asyncio.sleep(self.rng.uniform(0.0, 6.0))
            self.tenancy.delete("action-subscription", one.subscription)
        else:
            await reached(lambda: self._seated(one), _PATIENCE)
            one.seen_at = time.monotonic()
            await self._learned(one, 90 if one.fate is Fate.PASSES else 40)
            if one.fate is not Fate.PASSES:
                before = self.books.done["subscribe", one.learner]
                await reached(lambda: self.books.done["subscribe", one.learner] > before, _PATIENCE)
                await self._learned(one, 90 if one.fate is Fate.RETRIES else 40)
        one.over = True

    async def _learned(self, one: Employee, grade: int) -> None:
        # aNewSpring tells whole seconds, and what was completed before a duty was seen does not count.
        await asyncio.sleep(self.rng.uniform(1.1, 3.0))
        self.environment.complete(one.learner, COURSE, grade)

    def _seated(self, one: Employee) -> bool:
        """Whether muster has seen to a seat."""
        return one.learner in self.enrolled if one.seated else self.books.done["subscribe", one.learner] > 0


@asynccontextmanager
async def company(rng: random.Random, workers: int = 2) -> AsyncIterator[Company]:
    """All vendors on loopback ports, for each worker ports of its own."""
    # A connection that is dropped in the middle of an answer is a fault of ours, and none to be told of.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    made, environment = tenancy(), anewspring.Environment(_KEY, now_utc)
    environment.add_course(COURSE, anewspring.Activity("EXAM"))
    books = Books(anewspring.simulator(environment))
    register = kare.Register(_KEY, _KEY, now_utc)
    faults = {"hse": Faults(fourhse.simulator(made, fourhse.Keycloak({}, keys={_KEY}))), "lms": Faults(books)}
    faults["kare"] = Faults(kare.simulator(register))
    one = Company(rng, made, environment, books, others.Others(made, register, rng), faults)
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            doors = {name: Door(app, rng) for name, app in faults.items()}
            one.doors.append(doors)
            one.urls.append({name: await stack.enter_async_context(served(door)) for name, door in doors.items()})
        stack.push_async_callback(one.close)
        yield one


async def _kept(receive: Receive) -> Receive:
    """A request's body in hand; after it come the messages that come."""
    first = await receive()
    body, more = first.get("body", b""), first.get("more_body", False)
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> Message:
        return waiting.pop() if waiting else await receive()

    return given


def _signature(body: bytes) -> Mapping[str, str]:
    return {"X-WebHook-Signature": base64.b64encode(hmac.digest(SECRET.encode(), body, hashlib.sha1)).decode()}


_SETTINGS = Template("""
[worker]
clock_skew = 0.2
[accounts.hse]
vendor = "4hse"
base_url = "$hse"
insecure = true
access_token_file = "$key"
limits = $limits
polls = { reconcile = "3s", session_enrollments = "2s", actions = "30s", sessions = "$sessions" }
[accounts.lms]
vendor = "anewspring"
base_url = "$lms"
insecure = true
api_key_file = "$key"
limits = $limits
[[rules]]
name = "fire-basics"
when = { account = "hse", action_code = "FST-*" }
enroll = { account = "lms", course = "$course", due = "30d", expire = "60d", again = "resubscribe" }
pass = { grade = 80 }
fail = $fail
undo = "unsubscribe"
record = { certificate = "{action_name}" }
max_per_hour = 1000000
""")
_LIMITS = (
    "{ rate = 500, concurrency = 20, timeout = 0.8, attempts = 2, patience = 1.8, retry_after_max = 0.1,"
    " breaker_failures = 5, breaker_pause = 0.5, breaker_longest = 1 }"
)
