"""Enrollments as the planner leaves them, all simulated vendors behind their faults, and a clock that the test turns."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from schemas.accounts import Account, AnewspringAccount, FourhseAccount, KareAccount, Limits
from schemas.states import EnrollmentState, EnrollmentWish, NeedState, TargetKind
from tests.workers.vendors.acme import HASTY
from workers.database import Connection, Database, Dialect
from workers.followups.cases import Causes, Key
from workers.followups.enroller import Enroller
from workers.followups.tables import Enrollment, FollowupMove, Need, NeedTarget
from workers.simulators import anewspring, fourhse, kare
from workers.simulators.acme import ACTION, OFFICE, PERSON, SESSION, SUBSCRIPTION, tenancy
from workers.simulators.anewspring import Activity, Environment
from workers.simulators.faults import Broken, Dropped, Fault, Faults, LandsLate, LostAfter, LostBefore, Slow, TooMany
from workers.simulators.server import served
from workers.vendors.accounts import OpenAccount, OpenAccounts

KEY = "k3y-planted"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPENED = NOON - timedelta(days=30)
UNWANTED = "s1: the subscription is deleted"
LEARNER, COURSE, SITE = "JS001", "FIRE", "3"
#: Longer than any first wait, and than what is asked for can be under way.
LATER = timedelta(minutes=10)
#: Answers that come late are waited for shortly, and nothing is tried twice within a call.
LIMITS = HASTY.model_copy(update={"attempts": 1})

#: Every way in which a write can go wrong; `path` and `method` say which write.
WRITE_FAULTS: Mapping[str, tuple[type[Fault], Mapping[str, Any]]] = {
    "slow": (Slow, {"seconds": 0.05}),
    "429": (TooMany, {}),
    "429 that says when": (TooMany, {"retry_after": "7"}),
    "503 that says when": (Broken, {"status": 503, "retry_after": "7"}),
    "5xx, not done": (Broken, {"status": 502}),
    "5xx, done": (Broken, {"status": 500, "done": True}),
    "lost before": (LostBefore, {}),
    "lost after": (LostAfter, {}),
    "lands late": (LandsLate, {}),
    "dropped, not done": (Dropped, {}),
    "dropped, done": (Dropped, {"done": True}),
}
#: Each of them, and what lands late also between a look and what is asked for after it.
LANDING = [*((name, "at the end") for name in WRITE_FAULTS), ("lands late", "after the first look")]


class StandIn:
    """A planner that plans nothing, and remembers for whom it was asked to."""

    def __init__(self) -> None:
        self.asked: list[Key] = []

    async def plan(self, connection: Connection, dialect: Dialect, keys: list[Key], now: datetime, causes: Causes | None = None) -> None:
        self.asked += keys


@dataclass(slots=True)
class Scene:
    """What a test moves and looks at."""

    database: Database
    tenancy: fourhse.Tenancy
    environment: Environment
    register: kare.Register
    faults: Mapping[str, Faults]
    accounts: OpenAccounts
    time: datetime = NOON
    planner: StandIn = field(default_factory=StandIn)
    enroller: Enroller = field(init=False)

    def __post_init__(self) -> None:
        self.enroller = self.another()

    def another(self) -> Enroller:
        """One more enroller on the same database."""
        return Enroller(self.database, self.accounts, self.planner, self.now)

    def now(self) -> datetime:
        """What the clock shows."""
        return self.time

    def account(self, name: str) -> OpenAccount:
        """An account."""
        return self.accounts[name]

    async def wants(self, kind: TargetKind, **changed: Any) -> UUID:
        """A need with an enrollment that is due; gives the enrollment's id."""
        account, learner, target, terms = _WANTED[kind]
        row = {"account": account, "learner": learner, "target": target, "round": 1, "terms": terms} | changed
        row.setdefault("id", uuid5(UUID(int=0), str(sorted((key, str(value)) for key, value in row.items()))))
        state: dict[str, Any] = {"state": EnrollmentState.PLANNED.value, "state_at": self.time, "attempts": 0}
        opened_at = row.pop("opened_at", OPENED)
        await Enrollment.create(kind=kind.value, **({**state, "wish": EnrollmentWish.ENROLL.value, "due_at": self.time} | row))
        need = await Need.create(
            id=uuid4(),
            account="hse",
            action_subscription_id=f"{SUBSCRIPTION}-{row['learner']}",
            rule="fire",
            cycle=str(uuid4()),
            digest="",
            plan={},
            state=NeedState.PLANNED.value,
            state_at=self.time,
            opened_at=opened_at,
            created_at=self.time,
            attempt=1,
            approvals=[],
        )
        await NeedTarget.create(need=need.id, step=0, state=NeedState.PLANNED.value, enrollment=row["id"])
        made = row["id"]
        assert isinstance(made, UUID)
        return made

    async def unwanted(self, enrollment: UUID) -> None:
        """The planner wishes it undone."""
        await Enrollment.filter(id=enrollment).update(wish=EnrollmentWish.UNDO.value, due_at=self.time, reason=UNWANTED)

    async def row(self, enrollment: UUID | None = None) -> Enrollment:
        """What the row says."""
        return await (Enrollment.get(id=enrollment) if enrollment else Enrollment.get())

    async def moves(self) -> list[str]:
        """The states that enrollments moved to."""
        return [move.state for move in await FollowupMove.all().order_by("id")]

    async def work(self, name: str, most: int = 12) -> None:
        """Let time pass until nothing is to be done in an account any more."""
        for _ in range(most):
            if not await Enrollment.filter(account=name, wish__not_isnull=True).count():
                return
            await self.enroller.round(self.account(name))
            self.time += LATER if most > 1 else timedelta()
        rows = await Enrollment.all().values("state", "wish", "error", "due_at")
        raise AssertionError(f"still to be done: {rows}")


_WANTED: Mapping[TargetKind, tuple[str, str, str, Mapping[str, Any]]] = {
    TargetKind.COURSE: ("lms", LEARNER, COURSE, {"again": "resubscribe", "score": None, "undo": "unsubscribe"}),
    TargetKind.SESSION: ("hse", SUBSCRIPTION, "next", {"within_days": 90, "undo": "unsubscribe"}),
    TargetKind.EXERCISE: ("kare", SITE, "rule 7", {"rule_id": 7, "start": "+14d 10:00", "length_minutes": 60, "assigned_user": 12}),
}


@asynccontextmanager
async def enrolling(database: Database, directory: Path) -> AsyncIterator[Scene]:
    """Acme at 4HSE with John Smith subscribed, a course at aNewSpring, a register at Kare."""
    time = [NOON]
    company = tenancy()
    company.now = lambda: time[0]
    company.subscribe(ACTION, PERSON, action_subscription_id=SUBSCRIPTION)
    environment = Environment(KEY, lambda: time[0])
    environment.add_user(LEARNER)
    environment.add_user("AB002")
    environment.add_course(COURSE, Activity("EXAM"), Activity("PRACTICE", "External", 118))
    register = kare.Register(KEY, KEY, lambda: time[0])
    apps = {
        "hse": fourhse.simulator(company, fourhse.Keycloak({}, keys={KEY})),
        "lms": anewspring.simulator(environment),
        "kare": kare.simulator(register),
    }
    faults = {name: Faults(app) for name, app in apps.items()}
    (directory / "key").write_text(KEY)
    async with served(faults["hse"]) as hse, served(faults["lms"]) as lms, served(faults["kare"]) as kare_url:
        accounts = OpenAccounts(_accounts({"hse": hse, "lms": lms, "kare": kare_url}, directory / "key", LIMITS), lambda: datetime.now(UTC))
        scene = Scene(database, company, environment, register, faults, accounts)
        company.now = environment.now = scene.now
        register._now = scene.now
        try:
            yield scene
        finally:
            await accounts.close()
            for one in faults.values():
                one.off()
            await environment.close()


def _accounts(urls: Mapping[str, str], key: Path, limits: Limits) -> dict[str, Account]:
    at = {name: {"base_url": url, "insecure": True, "limits": limits} for name, url in urls.items()}
    return {
        "hse": FourhseAccount.model_validate({"vendor": "4hse", "access_token_file": key, **at["hse"]}),
        "lms": AnewspringAccount.model_validate({"vendor": "anewspring", "api_key_file": key, **at["lms"]}),
        "kare": KareAccount.model_validate({"vendor": "kare", "token_file": key, "session_token_file": key, **at["kare"]}),
    }


def fault(name: str, path: str) -> Fault:
    """A fault by its name, on one kind of write, once."""
    kind, values = WRITE_FAULTS[name]
    return kind(path=path, **values)


def told(*values: object) -> tuple[object, ...]:
    """What a row says, to be compared with what it should."""
    return values


__all__ = [
    "ACTION",
    "COURSE",
    "LATER",
    "LEARNER",
    "NOON",
    "OFFICE",
    "OPENED",
    "SESSION",
    "SITE",
    "SUBSCRIPTION",
    "UNWANTED",
    "Scene",
    "enrolling",
    "fault",
    "told",
]
