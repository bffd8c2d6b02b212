"""The kinds of other duties, a row each: who gets one, how it lives, what happens at its vendor, and what was meant to."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.faults.doors import Books
from tests.faults.load import reached
from workers.simulators import anewspring, fourhse, ispring, kare
from workers.simulators.acme import CHECKLIST, PLACE, TENANT

#: The courses of a chain, the second after the first.
CHAIN = ("CHAIN-A", "CHAIN-B")
#: Seconds after which nobody waits for a seat any more.
PATIENCE = 300.0
_RULE_ID = 7
_SEATS, _DRILLED = "action-session-subscription", 2


class Fate(StrEnum):
    """What is to become of a duty."""

    PASSES = "passes"
    FAILS = "fails"
    #: It is historicized while it is under way, or before: no webhook tells it.
    ENDS = "ends"


@dataclass(slots=True)
class Duty:
    """Somebody's, or an office's."""

    kind: str
    subscriber: str
    subscription: str
    fate: Fate
    #: How an LMS knows them.
    learner: str = ""
    #: Of these exercises of an office one is to be scheduled.
    exercises: tuple[int, ...] = ()
    #: So many courses of its chain are passed before it fails or ends.
    before: int = 0
    over: bool = False

    @property
    def passes(self) -> int:
        """As what is to be made of a pass is counted."""
        return int(self.fate is Fate.PASSES)


@dataclass(slots=True)
class Vendors:
    """Where all of it takes place."""

    tenancy: fourhse.Tenancy
    register: kare.Register
    environment: anewspring.Environment
    account: ispring.Account
    books: Books
    rng: random.Random
    #: The subscriptions of which muster knows what they need; whoever looks at its rows fills it.
    needed: set[str] = field(default_factory=set)

    def certificates(self, one: Duty) -> set[str]:
        """Those of whose duty it is."""
        return {row["certificate_id"] for row in self.tenancy.tables["certificate"].values() if row["resource_id"] == one.subscriber}

    def person(self, kind: str, number: int, fate: Fate, before: int = 0) -> Duty:
        """Somebody new with a duty; another number for each."""
        code = f"{kind[:1].upper()}{number:04d}"
        about = {"first_name": code[:1], "last_name": code[1:], "birth_date": "1980-02-29", "project_id": TENANT, "code": code}
        person = str(self.tenancy.create("person", about)["person_id"])
        return Duty(kind, person, self.tenancy.subscribe(kind, person), fate, code, before=before)

    async def learned(self, soonest: float = 1.1) -> None:
        """A while goes by: vendors tell whole seconds, and what was completed before a duty was seen does not count."""
        await asyncio.sleep(self.rng.uniform(soonest, 3.0))


@dataclass(frozen=True, slots=True)
class Meant:
    """What may happen at a vendor, and what may then stand in the enrollments' rows: any of those."""

    vendor: tuple[object, ...]
    enrollments: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of duty."""

    action: Mapping[str, str]
    hire: Callable[[Vendors, int, Fate], Duty]
    #: Until what it is for has come; one that ends is ended after that.
    live: Callable[[Vendors, Duty], Awaitable[None]]
    happened: Callable[[Vendors, Duty], object]
    meant: Callable[[Duty], Meant]


# A seat in a session of 4HSE's, whose trainer enters the outcome there


def _classroom(there: Vendors, number: int, fate: Fate) -> Duty:
    return there.person("classroom", number, fate)


async def _taught(there: Vendors, one: Duty) -> None:
    if one.fate is not Fate.ENDS:
        await reached(lambda: bool(_seats(there, one)), PATIENCE)
        # What lands late has landed by then.
        await there.learned(1.5)
        for seat in _seats(there, one):
            there.tenancy.record(str(seat["action_session_subscription_id"]), one.passes)


def _seats(there: Vendors, one: Duty) -> list[Mapping[str, Any]]:
    return [row for row in there.tenancy.tables[_SEATS].values() if row["action_subscription_id"] == one.subscription]


def _outcomes(there: Vendors, one: Duty) -> object:
    """The outcome in each seat, and whether a certificate of theirs stands beside it."""
    return [(seat["done"], seat.get("certificate_id") in there.certificates(one)) for seat in _seats(there, one)]


def _outcomes_meant(one: Duty) -> Meant:
    if one.fate is Fate.ENDS:
        return Meant(([],), (("undone",),))
    return Meant(([(one.passes, bool(one.passes))],), (("closed",),))


# An exercise of an office's, at Kare


def _drill(there: Vendors, number: int, fate: Fate) -> Duty:
    office = f"office-{number}"
    there.tenancy.resources[office] = {"code": str(number + 1), "name": office}
    free = {"siteIds": [number + 1], "ruleId": _RULE_ID, "creationStatus": 0}
    exercises = tuple(there.register.schedule(**free) for _ in range(2))
    # Nobody fails an exercise.
    fate = Fate.PASSES if fate is Fate.FAILS else fate
    return Duty("drill", office, there.tenancy.subscribe("drill", office, "OFFICE"), fate, exercises=exercises)


async def _drilled(there: Vendors, one: Duty) -> None:
    if one.fate is not Fate.ENDS:
        await reached(lambda: bool(_scheduled(there, one)), PATIENCE)
        await there.learned(1.5)
        for exercise in _scheduled(there, one):
            there.register.attend(1, exercise)


def _scheduled(there: Vendors, one: Duty) -> list[int]:
    return [number for number in one.exercises if there.register.interventions[number]["creationStatus"]]


def _used(there: Vendors, one: Duty) -> object:
    """How far the exercises are that are not to be scheduled any more."""
    return [there.register.interventions[number]["creationStatus"] for number in _scheduled(there, one)]


def _used_meant(one: Duty) -> Meant:
    return Meant(([],), (("undone",),)) if one.fate is Fate.ENDS else Meant(([_DRILLED],), (("closed",),))


# An observation on the job, at iSpring: nobody is enrolled, and no webhook tells of it


def _observation(there: Vendors, number: int, fate: Fate) -> Duty:
    one = there.person("observation", number, fate)
    there.account.observe(one.learner, "observer", CHECKLIST, session=one.learner)
    return one


async def _observed(there: Vendors, one: Duty) -> None:
    if one.fate is not Fate.ENDS:
        await reached(lambda: one.subscription in there.needed, PATIENCE)
        await there.learned()
        there.account.observe(one.learner, "observer", CHECKLIST, result=90.0 if one.passes else 40.0, session=one.learner)


def _observed_meant(_: Duty) -> Meant:
    return Meant((None,), ((),))


# Two courses of aNewSpring's, one after the other, for one certificate


def _chain(there: Vendors, number: int, fate: Fate) -> Duty:
    before = len(CHAIN) if fate is Fate.PASSES else there.rng.randrange(len(CHAIN))
    one = there.person("chain", number, fate, before)
    there.environment.add_user(one.learner)
    return one


async def _chained(there: Vendors, one: Duty) -> None:
    for course in CHAIN[: one.before]:
        await _studied(there, one, course, 90.0)
    if one.fate is Fate.FAILS:
        await _studied(there, one, CHAIN[one.before], 40.0)


async def _studied(there: Vendors, one: Duty, course: str, grade: float) -> None:
    await reached(lambda: there.books.done["subscribe", one.learner, course] > 0, PATIENCE)
    await there.learned()
    there.environment.complete(one.learner, course, grade)


def _taken(there: Vendors, one: Duty) -> object:
    """How often they were subscribed and unsubscribed, by course."""
    return [tuple(there.books.done[what, one.learner, course] for what in ("subscribe", "unsubscribe")) for course in CHAIN]


def _taken_meant(one: Duty) -> Meant:
    """What is completed stays; the next was not asked for, or was taken back, if it came to an end by then."""
    completed = one.before + (one.fate is Fate.FAILS)
    closed, nothing = ("closed",) * completed, (0, 0)
    if one.fate is not Fate.ENDS:
        return Meant(_padded([(1, 0)] * completed, nothing), (closed,))
    asked = [(1, 0)] * completed
    return Meant((*_padded(asked, nothing), *_padded([*asked, (1, 1)], nothing)), (closed, (*closed, "undone")))


def _padded(asked: Iterable[tuple[int, int]], nothing: tuple[int, int]) -> tuple[object]:
    return ([*asked, *(nothing for _ in CHAIN)][: len(CHAIN)],)


KINDS: Mapping[str, Kind] = {
    "classroom": Kind({"action_type": "TRAINING", "code": "CLS-1", "name": "First aid"}, _classroom, _taught, _outcomes, _outcomes_meant),
    "drill": Kind({"action_type": "CHECK", "code": "DRL-1", "name": "Fire drill"}, _drill, _drilled, _used, _used_meant),
    "observation": Kind(
        {"action_type": "TRAINING", "code": "SCF-1", "name": "Scaffold"}, _observation, _observed, lambda *_: None, _observed_meant
    ),
    "chain": Kind({"action_type": "TRAINING", "code": "CHN-1", "name": "Fire, advanced"}, _chain, _chained, _taken, _taken_meant),
}


def begin(there: Vendors) -> None:
    """An action for each kind, a session of the classroom's, and the courses of the chain."""
    about = {"validity": 1, "validity_unit": "YEAR", **PLACE}
    for name, kind in KINDS.items():
        there.tenancy.create("action", {"action_id": name, **kind.action, **about})
    session = {"action_session_id": "session", "action_id": "classroom", "date_begin": there.tenancy.today().isoformat(), **PLACE}
    there.tenancy.create("action-session", session)
    for course in CHAIN:
        there.environment.add_course(course, anewspring.Activity("EXAM"))
