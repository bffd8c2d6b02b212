"""A company whose people get duties at a simulated 4HSE and learn at a simulated aNewSpring, with books of what really happened there;
`others` are what else there is to do.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from string import Template
from urllib.parse import quote

from schemas.delivery import now_utc
from tests.faults.doors import Books, Door, Postman
from tests.faults.kinds import CHAIN, PATIENCE, Vendors
from tests.faults.load import reached
from tests.faults.others import SETTINGS as OTHERS
from tests.faults.others import Others
from tests.services.muster import SECRET
from workers.simulators import anewspring, fourhse, ispring, kare
from workers.simulators.acme import ACTION, CHECKLIST, TENANT, tenancy
from workers.simulators.faults import Faults
from workers.simulators.server import served

COURSE = "FIRE-BASIC"
_KEY = "a-key-of-the-tests"
#: aNewSpring's tries are between 0.02 s and minutes apart.
_HASTE = 0.002


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


@dataclass(slots=True)
class Company:
    """All vendors, everybody's fate, and the switches."""

    rng: random.Random
    tenancy: fourhse.Tenancy
    environment: anewspring.Environment
    books: Books
    others: Others
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
        """Accounts and the rule, as `muster.toml` has them, with the first worker's addresses; `wide`: and all other rules and accounts."""
        key.write_text(_KEY)
        first, second = CHAIN
        given = {"key": key, "course": COURSE, "limits": _LIMITS, "checklist": CHECKLIST, "first": first, "second": second, **self.urls[0]}
        more = {"sessions": "5s", "fail": '{ wait = "1s", attempts = 2 }'} if wide else {"sessions": "off", "fail": "{ attempts = 1 }"}
        return _SETTINGS.substitute(given, **more) + (OTHERS.substitute(given) if wide else "")

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
            await reached(lambda: self._seated(one), PATIENCE)
            one.seen_at = time.monotonic()
            await self._learned(one, 90 if one.fate is Fate.PASSES else 40)
            if one.fate is not Fate.PASSES:
                before = self.books.done["subscribe", one.learner, COURSE]
                await reached(lambda: self.books.done["subscribe", one.learner, COURSE] > before, PATIENCE)
                await self._learned(one, 90 if one.fate is Fate.RETRIES else 40)
        one.over = True

    async def _learned(self, one: Employee, grade: int) -> None:
        # aNewSpring tells whole seconds, and what was completed before a duty was seen does not count.
        await asyncio.sleep(self.rng.uniform(1.1, 3.0))
        self.environment.complete(one.learner, COURSE, grade)

    def _seated(self, one: Employee) -> bool:
        """Whether muster has seen to a seat."""
        return one.learner in self.enrolled if one.seated else self.books.done["subscribe", one.learner, COURSE] > 0


@asynccontextmanager
async def company(rng: random.Random, workers: int = 2) -> AsyncIterator[Company]:
    """All vendors on loopback ports, for each worker ports of its own."""
    # A connection that is dropped in the middle of an answer is a fault of ours, and none to be told of.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    made, environment = tenancy(), anewspring.Environment(_KEY, now_utc)
    environment.add_course(COURSE, anewspring.Activity("EXAM"))
    books = Books(anewspring.simulator(environment))
    register, account = kare.Register(_KEY, _KEY, now_utc), ispring.Account("muster", _KEY, now_utc)
    faults = {"hse": Faults(fourhse.simulator(made, fourhse.Keycloak({}, keys={_KEY}))), "lms": Faults(books)}
    faults |= {"kare": Faults(kare.simulator(register)), "ispring": Faults(ispring.simulator(account))}
    other = Others(Vendors(made, register, environment, account, books, rng))
    one = Company(rng, made, environment, books, other, faults)
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            doors = {name: Door(app, rng) for name, app in faults.items()}
            one.doors.append(doors)
            one.urls.append({name: await stack.enter_async_context(served(door)) for name, door in doors.items()})
        stack.push_async_callback(one.close)
        yield one


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
