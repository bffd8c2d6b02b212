"""Duties of other kinds, beside those that lead to a course: seats in a classroom and exercises of offices, each with a life of its own."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from string import Template
from typing import Any

from tests.faults.load import reached
from workers.simulators import fourhse, kare
from workers.simulators.acme import PLACE, TENANT

_CLASS, _DRILL, _SESSION = "fault-classroom", "fault-drill", "fault-session"
_RULE_ID, _PATIENCE = 7, 300.0
_SEATS, _ENDED = "action-session-subscription", 2

SETTINGS = Template("""
[accounts.kare]
vendor = "kare"
base_url = "$kare"
insecure = true
token_file = "$key"
session_token_file = "$key"
limits = $limits
learner = "{subscriber_code}"
polls = { attendance = "2s" }
[[rules]]
name = "classroom"
when = { account = "hse", action_code = "CLS-*" }
enroll = { account = "hse", session = "next", within = "90d" }
undo = "unsubscribe"
record = {}
max_per_hour = 1000000
[[rules]]
name = "drill"
when = { account = "hse", action_code = "DRL-*" }
exercise = { account = "kare", rule_id = 7, start = "+14d 10:00", length = "1h" }
undo = "unsubscribe"
record = {}
max_per_hour = 1000000
""")
RULES = ("classroom", "drill")


class Fate(StrEnum):
    """What is to become of a duty."""

    PASSES = "passes"
    FAILS = "fails"
    #: It is historicized while it is under way, or before: no webhook tells it.
    ENDS = "ends"


@dataclass(slots=True)
class Duty:
    """Somebody's, or an office's; of an office, with the exercises of which one is to be scheduled."""

    subscriber: str
    subscription: str
    fate: Fate
    exercises: tuple[int, ...] = ()
    over: bool = False


@dataclass(slots=True)
class Others:
    """Everybody's duties."""

    tenancy: fourhse.Tenancy
    register: kare.Register
    rng: random.Random
    duties: list[Duty] = field(default_factory=list)
    _lives: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self) -> None:
        """A training with a session, and a check of offices."""
        about = {"validity": 1, "validity_unit": "YEAR", **PLACE}
        self.tenancy.create("action", {"action_id": _CLASS, "action_type": "TRAINING", "code": "CLS-1", "name": "First aid", **about})
        self.tenancy.create("action", {"action_id": _DRILL, "action_type": "CHECK", "code": "DRL-1", "name": "Fire drill", **about})
        session = {"action_session_id": _SESSION, "action_id": _CLASS, "date_begin": self.tenancy.today().isoformat(), **PLACE}
        self.tenancy.create("action-session", session)

    def hire(self) -> None:
        """One more duty; its life goes on by itself."""
        make = self.rng.choice((self._classroom, self._drill))
        one = make(len(self.duties), self.rng.choices(list(Fate), weights=(5, 1, 2))[0])
        self.duties.append(one)
        self._lives.add(asyncio.create_task(self._live(one)))

    def end(self) -> None:
        """End it."""
        for life in self._lives:
            life.cancel()

    def _classroom(self, number: int, fate: Fate) -> Duty:
        about = {
            "first_name": "C",
            "last_name": f"{number:04d}",
            "birth_date": "1980-02-29",
            "project_id": TENANT,
            "code": f"C{number:04d}",
        }
        person = str(self.tenancy.create("person", about)["person_id"])
        return Duty(person, self.tenancy.subscribe(_CLASS, person), fate)

    def _drill(self, number: int, fate: Fate) -> Duty:
        office = f"office-{number}"
        self.tenancy.resources[office] = {"code": str(number + 1), "name": office}
        free = {"siteIds": [number + 1], "ruleId": _RULE_ID, "creationStatus": 0}
        exercises = tuple(self.register.schedule(**free) for _ in range(2))
        # Nobody fails an exercise.
        return Duty(office, self.tenancy.subscribe(_DRILL, office, "OFFICE"), Fate.PASSES if fate is Fate.FAILS else fate, exercises)

    async def _live(self, one: Duty) -> None:
        if one.fate is Fate.ENDS:
            await asyncio.sleep(self.rng.uniform(0.0, 6.0))
            self.tenancy.historicize(one.subscription)
        else:
            await reached(lambda: bool(self.seats(one) or self.scheduled(one)), _PATIENCE)
            # What lands late has landed by then.
            await asyncio.sleep(self.rng.uniform(1.5, 3.0))
            for seat in self.seats(one):
                self.tenancy.record(str(seat["action_session_subscription_id"]), int(one.fate is Fate.PASSES))
            for exercise in self.scheduled(one):
                self.register.attend(1, exercise)
        one.over = True

    def seats(self, one: Duty) -> list[Mapping[str, Any]]:
        """Its seats in the session."""
        return [row for row in self.tenancy.tables[_SEATS].values() if row["action_subscription_id"] == one.subscription]

    def scheduled(self, one: Duty) -> list[int]:
        """Which of its exercises are not to be scheduled any more."""
        return [number for number in one.exercises if self.register.interventions[number]["creationStatus"]]

    def problems(self, one: Duty, row: Any) -> list[str]:
        """What is otherwise than it was meant; `row` is an `agreement.Row`."""
        tables = self.tenancy.tables
        certificates = {made["certificate_id"] for made in tables["certificate"].values() if made["resource_id"] == one.subscriber}
        links = [made for made in tables["certificate-action"].values() if made["certificate_id"] in certificates]
        seats = [(seat["done"], seat.get("certificate_id") in certificates) for seat in self.seats(one)]
        used = [self.register.interventions[number]["creationStatus"] for number in self.scheduled(one)]
        happened = (len(certificates), len(links)), seats, used
        passed, ended = one.fate is Fate.PASSES, one.fate is Fate.ENDS
        # Once at the vendor, whichever kind it is.
        meant = (
            (int(passed),) * 2,
            [] if one.exercises or ended else [(int(passed), passed)],
            [_ENDED] if one.exercises and not ended else [],
        )
        stands = row.needs, row.enrollments, (row.state, row.status)
        if ended:
            told = [] if stands[:2] in (((), ()), (("undone",), ("undone",))) else [f"ends, and its rows say {stands}"]
        else:
            should = ("valid" if passed else "failed",), ("closed",), ("live", "VALID" if passed else "NEW")
            told = [] if stands == should else [f"its rows say {stands}, not {should}"]
        told += [] if happened == meant else [f"its vendors say {happened}, not {meant}"]
        return [f"{one.subscription} ({one.fate}, exercises={one.exercises}): {sentence}" for sentence in told]
