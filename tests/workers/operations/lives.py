"""Two people with everything that muster keeps of somebody, the one beside the other."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from tortoise import Tortoise

from schemas.anewspring import address
from schemas.delivery import Delivery
from schemas.events import EVENTS, Event, EventType, FollowupMoved, Subscription
from schemas.states import RefreshKind
from tests.workers.followups.mirrored import ACCOUNTS, need, rule, subscription
from tests.workers.made import CREATE, NOON, delivery
from workers.database import Database
from workers.erasures import Marks
from workers.followups.tables import Certified, Enrollment, FollowupMove, Identity, NeedTarget, Recording
from workers.handlers import handle
from workers.mirror.apply import Mirror
from workers.mirror.tables import CourseResult, Drift, Observation, SessionEnrollment
from workers.outbox import append
from workers.pipeline import Pipeline
from workers.refreshes import Refresh
from workers.replays import ReplayRun

VERSION: dict[str, Any] = {"account": "lms", "version": 1, "observed_at": NOON, "withdrawn": False}
TRAINING = {"action_id": "act", "subscriber_type": "PERSON", "subtenant_id": "office", "tenant_id": "project"}


@dataclass(frozen=True, slots=True)
class Life:
    """Somebody: an id at 4HSE, a code by which aNewSpring knows them, an id at iSpring, and a name that nobody else has."""

    name: str

    @property
    def person(self) -> str:
        """At 4HSE."""
        return f"person-of-{self.name}"

    @property
    def code(self) -> str:
        """The personnel number, which is the learner's id at aNewSpring."""
        return f"code/of {self.name}"

    @property
    def employee(self) -> str:
        """At iSpring."""
        return f"employee-{self.name}"

    @property
    def certificate(self) -> str:
        """Their certificate."""
        return f"certificate-{self.name}"

    @property
    def known_as(self) -> tuple[str, ...]:
        """What must not be found anywhere once they are erased; the ids of their subscriptions are nobody's then."""
        return (self.name, self.person, self.code, self.employee, self.certificate)

    @property
    def initials(self) -> str:
        """For ids that say nothing."""
        return self.name[:2].lower()

    @property
    def subscriptions(self) -> tuple[str, str]:
        """One that stands, and one that is gone."""
        return f"{self.initials}-1", f"{self.initials}-2"

    # What the vendors tell of them.

    def told(self, **more: Any) -> list[Delivery]:
        """What arrives about them, each in its own way."""
        here, there = {"account": "hse", "vendor": "4hse"}, {"account": "lms", "vendor": "anewspring", "source": "lms"}
        first = {"action_subscription_id": self.subscriptions[0], "subscriber_id": self.person, **TRAINING}
        said: list[tuple[Any, str | None, dict[str, Any]]] = [
            (first, CREATE, here),
            (first | {"action_subscription_id": f"{self.initials}-3"}, CREATE, here),
            ({"person_id": self.person, "last_name": self.name}, "PERSON::UPDATE", here),
            ({"certificate_id": self.certificate, "resource_id": self.person}, "CERTIFICATE::CREATE", here),
            ({"certificate_id": self.certificate, "action_id": "act"}, "CERTIFICATE_ACTION::CREATE", here),
            ({"event": "done", "user": {"id": self.code, "name": self.name}, "course": {"id": "FIRE"}}, None, there),
            # Understood by nobody, or not to the end.
            ({"resource_id": self.person, "name": self.name}, "CERTIFICATE::CREATE", here),
            (f"not JSON, and about {self.person}, {self.name}".encode(), "PERSON::CREATE", here),
            (f"<webhook><type>done</type><learner><mail>{self.code}</mail></learner></webhook>".encode(), None, there),
            ({"type": "USER_REGISTERED", "payloads": [{"userId": self.employee, "login": self.name}]}, None, ISPRING),
            ({"type": "LEARNERS_ENROLLED_IN_COURSE", "payloads": [json.dumps({"learnerIds": [self.employee]})]}, None, ISPRING),
        ]
        return [delivery(body, event, **about, **more, headers={"x-who": self.name}) for body, event, about in said]

    # What muster has made of it.

    async def lived(self, database: Database) -> None:
        """Everything that muster makes of somebody's life."""
        one, gone = self.subscriptions
        about: dict[str, Any] = {
            "subscriber_id": self.person,
            "subscriber_code": self.code,
            "subscriber_name": self.name,
            "action_id": "act",
        }
        shown: dict[str, Any] = {
            "last_certificate_id": self.certificate,
            "manager": [self.name],
            "data": {"mail": self.name},
            "status": "VALID",
        }
        await subscription(one, **about, **shown, hint_deleted=False, hint_received_at=later(hours=-1), hint_fingerprint=self.name.encode())
        await subscription(gone, **about, state="deleted")
        await Identity.create(account="ispring", kind="person", here=self.person, there=self.employee)
        await self._followed_up(one)
        await self._results(one)
        await Drift.create(account="hse", subject=one, kind="extra", differing=[], run=uuid4(), found_at=NOON)
        for account, kind, subject in (
            ("hse", RefreshKind.SUBSCRIBER, self.person),
            ("hse", RefreshKind.ACTION_SUBSCRIPTION, one),
            ("hse", RefreshKind.CERTIFICATE, self.certificate),
            ("lms", RefreshKind.COURSE_RESULT, self.code),
        ):
            times: dict[str, Any] = {"since": NOON, "marked_at": NOON, "due_at": NOON, "attempts": 0}
            await Refresh.create(account=account, kind=kind.value, subject=subject, scope="", error=f"no {self.name}", **times)
        await self._events(database, one)
        await self._replayed()

    async def _followed_up(self, one: str) -> None:
        ids = uuid4(), uuid4(), uuid4()
        planned = await need(one, rule(), id=ids[0], cycle=self.certificate, reason=f"{self.name} is late")
        common: dict[str, Any] = {"round": 1, "state_at": NOON, "attempts": 0, "terms": {}}
        await Enrollment.create(
            id=ids[1], account="lms", kind="course", learner=self.code, target="FIRE", state="enrolled", error=self.name, **common
        )
        await Enrollment.create(id=ids[2], account="hse", kind="session", learner=one, target="next", state="planned", **common)
        for step, seat in enumerate(ids[1:]):
            await NeedTarget.create(need=planned.id, step=step, state="enrolled", enrollment=seat, result={"key": f"lms/{self.code}"})
            await FollowupMove.create(enrollment=seat, state="enrolled", at=NOON, reason=self.name)
        await FollowupMove.create(need=planned.id, rule="fire", state="enrolled", at=NOON)
        await Recording.create(
            id=uuid4(),
            need=planned.id,
            account="hse",
            step="certificate",
            state="dead",
            body={"resource_id": self.person},
            remote=self.certificate,
            attempts=9,
            error=self.name,
            state_at=NOON,
        )
        await Certified.create(account="hse", action_subscription_id=one, result=f"lms/{self.code}", need=planned.id, at=NOON)

    async def _results(self, one: str) -> None:
        await CourseResult.create(learner=self.code, course="FIRE", activity="", attempt=0, completed=True, name=self.name, **VERSION)
        observed: dict[str, Any] = {"checklist_id": "c", "status": "PASSED", "completed_at": NOON} | VERSION | {"account": "ispring"}
        await Observation.create(session_id=f"{self.initials}-o", employee_id=self.employee, observer_id="boss", **observed)
        await Observation.create(session_id=f"{self.initials}-seen", employee_id="apprentice", observer_id=self.employee, **observed)
        session = VERSION | {"account": "hse", "action_session_subscription_id": f"{self.initials}-s", "certificate_id": self.certificate}
        await SessionEnrollment.create(action_subscription_id=one, **session)

    async def _events(self, database: Database, one: str) -> None:
        result = EVENTS[EventType.COURSE_RESULT](learner=self.code, course="FIRE", activity="", attempt=0, version=1, withdrawn=False)
        moved = FollowupMoved(action_subscription_id=one, rule="fire", state="dead", reason=self.name)
        seen = Subscription(action_subscription_id=one, state="live", subscriber_id=self.person, subscriber_code=self.code)
        events = [
            Event(EventType.SUBSCRIPTION_CREATED, "hse", one, NOON, seen),
            Event(EventType.FOLLOWUP_MOVED, "hse", one, NOON, moved),
            Event(EventType.COURSE_RESULT, "lms", f"course_result/{self.code}/FIRE//0", NOON, result),
        ]
        async with database.transaction() as connection:
            await append(connection, database.dialect, events)

    async def _replayed(self) -> None:
        asked = {"subscription": [address(self.code, "FIRE"), self.person, "another"], "state": ["dead"]}
        counts: dict[str, Any] = dict.fromkeys(("selected", "bodiless", "applied", "unchanged", "dead", "gone"), 0)
        await ReplayRun.create(id=uuid4(), who="root", asked=asked, state="selecting", began_at=NOON, **counts)


ADA, BEA = Life("Adalgisa"), Life("Beatrice")
ISPRING = {"account": "ispring", "vendor": "ispring", "source": "ispring"}


def completed(*lives: Life, **more: Any) -> Delivery:
    """One delivery of iSpring's about all of them."""
    payloads = [{"learnerId": one.employee, "courseId": "FIRE", "completionDate": None} for one in lives]
    return delivery({"type": "COURSE_COMPLETED_SUCCESSFULLY", "payloads": payloads}, None, **ISPRING, **more)


def pipeline(database: Database, marks: Marks | None = None) -> Pipeline:
    """As a worker has it."""
    mirror = Mirror(frozenset(ACCOUNTS), marks=marks or Marks(unknown_for=0))
    return Pipeline(database, partial(handle, accounts=ACCOUNTS), mirror)


async def contents(database: Database) -> list[str]:
    """Every row of every table as text."""
    found = []
    for model in sorted(Tortoise.apps["models"].values(), key=lambda model: str(model.Meta.table)):
        table = str(model.Meta.table)
        rows = await database.connection.execute_query_dict(f"SELECT * FROM {table}")
        found += [f"{table}: " + " | ".join(f"{name}={_text(value)}" for name, value in row.items()) for row in rows]
    return sorted(found)


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)


def naming(rows: list[str], *lives: Life) -> list[str]:
    """The rows in which any of them is named."""
    names = {name for one in lives for name in one.known_as}
    return [row for row in rows if any(name in row or name.replace("/", "%2F").replace(" ", "%20") in row for name in names)]


def later(**span: float) -> Any:
    """A while after noon."""
    return NOON + timedelta(**span)


def fresh(deliveries: list[Delivery], **changed: Any) -> Iterator[Delivery]:
    """The same once more, under ids of their own."""
    return (one.model_copy(update={"id": UUID(int=one.id.int ^ uuid4().int >> 64), **changed}) for one in deliveries)
