"""muster as its commands run it, between a simulated 4HSE and a simulated aNewSpring; what is done at them, and what its rows say."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.faults.company import COURSE, Company, company
from tests.faults.rows import read
from tests.services.muster import Muster
from workers.simulators.acme import ACTION, PLACE, TENANT

#: Seconds that something may take to show, and after which nothing more is to be expected.
PATIENCE, CALM = 25.0, 2.5


@dataclass(frozen=True, slots=True)
class Learner:
    """A person at 4HSE, and their code, by which aNewSpring knows them."""

    person: str
    code: str


@dataclass(frozen=True, slots=True)
class Following:
    """Both vendors and the muster between them."""

    company: Company
    muster: Muster
    database: str

    def person(self, *, coded: bool = True) -> Learner:
        """Somebody new at both vendors; without a code 4HSE does not say who that is."""
        code = f"L-{uuid4().hex[:8]}"
        about = {"first_name": "E", "last_name": code, "birth_date": "1980-02-29", "project_id": TENANT}
        made = self.company.tenancy.create("person", {**about, **({"code": code} if coded else {})})
        self.company.environment.add_user(code)
        return Learner(str(made["person_id"]), code)

    def duty(self, learner: Learner, action: str = ACTION) -> str:
        """They owe a training from now on; gives the subscription's id."""
        return self.company.tenancy.subscribe(action, learner.person)

    def action(self, code: str) -> str:
        """One more training; gives its id."""
        given = {"action_type": "TRAINING", "code": code, "name": code, "validity": 1, "validity_unit": "YEAR", **PLACE}
        return str(self.company.tenancy.create("action", given)["action_id"])

    def release(self, subscription: str) -> None:
        """They owe it no more."""
        self.company.tenancy.delete("action-subscription", subscription)

    async def completes(self, learner: Learner, grade: float) -> None:
        """They complete the course."""
        # aNewSpring tells whole seconds, and what was completed before a duty was seen does not count.
        await asyncio.sleep(1.1)
        self.company.environment.complete(learner.code, COURSE, grade)

    def effects(self, learner: Learner) -> tuple[int, int]:
        """How often they were subscribed and unsubscribed at aNewSpring."""
        done = self.company.books.done
        return done["subscribe", learner.code, COURSE], done["unsubscribe", learner.code, COURSE]

    def certificates(self, learner: Learner) -> list[Mapping[str, Any]]:
        """Their certificates at 4HSE."""
        return [row for row in self.company.tenancy.tables["certificate"].values() if row["resource_id"] == learner.person]

    async def need(self, subscription: str) -> str | None:
        """Where its last need stands."""
        found = await self.asked(
            f"SELECT state FROM needs WHERE action_subscription_id = '{subscription}' ORDER BY created_at DESC, cycle LIMIT 1"
        )
        return str(found[0]["state"]) if found else None

    async def seats(self, learner: Learner) -> list[str]:
        """Where their enrollments stand, in the order of the rounds."""
        return [
            str(row["state"]) for row in await self.asked(f"SELECT state FROM enrollments WHERE learner = '{learner.code}' ORDER BY round")
        ]

    async def row(self, subscription: str) -> tuple[str, str | None] | None:
        """State and status of the mirror's row."""
        found = await self.asked(f"SELECT state, status FROM action_subscriptions WHERE action_subscription_id = '{subscription}'")
        return (found[0]["state"], found[0]["status"]) if found else None

    async def moves(self, subscription: str) -> list[str]:
        """The states that its needs came to, in their order, each once in a row."""
        query = f"""SELECT m.state FROM followup_moves AS m JOIN needs AS n ON n.id = m.need
            WHERE n.action_subscription_id = '{subscription}' ORDER BY m.id"""
        return [str(row["state"]) for row in await self.asked(query)]

    async def asked(self, query: str) -> Sequence[Mapping[str, Any]]:
        """Ask muster's database."""
        (found,) = await read(self.database, query)
        return found

    async def becomes(self, expected: object, look: Callable[..., Awaitable[object]], *about: object) -> None:
        """Wait until a look at something shows what is expected."""
        deadline = time.monotonic() + PATIENCE
        while (seen := await look(*about)) != expected:
            assert time.monotonic() < deadline, f"{seen} is shown, and not {expected}"
            await asyncio.sleep(0.1)


@asynccontextmanager
async def following(home: Path, broker: str | None, database: str | None, more: str = "") -> AsyncIterator[Following]:
    """All of it set up and running, with the rule applied; `more` is more settings."""
    async with company(random.Random(4), workers=1) as one:
        tables = one.settings(home / "key") + more
        muster = Muster(home, broker=broker, database=database, tables=tables, program="tests.faults.hasty")
        try:
            await asyncio.to_thread(muster.run, "init")
            for command in ("receive", "work") if broker else ("serve",):
                await asyncio.to_thread(muster.start, command)
            await asyncio.to_thread(muster.run, "rules", "apply", "fire-basics", "--yes")
            one.tell(muster.url, reliable=True)
            yield Following(one, muster, database or f"sqlite://{muster.data_dir / 'muster.sqlite3'}")
        finally:
            await asyncio.to_thread(muster.close)
