"""A simulated 4HSE with an account of muster's, a mirror, and a clock that the test turns."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.states import RefreshKind
from tests.workers.made import CREATE, DELETE, NOON, delivery
from tests.workers.vendors.acme import PATIENT, Stage, populated, staged
from workers.database import Database
from workers.handlers import Applied, handle
from workers.mirror.apply import Mirror
from workers.mirror.tables import ActionSubscription
from workers.refresher import Refresher
from workers.refreshes import Refresh
from workers.simulators.fourhse import Tenancy
from workers.vendors.accounts import OpenAccount, OpenAccounts

KINDS = (RefreshKind.CERTIFICATE, RefreshKind.SUBSCRIBER, RefreshKind.ACTION_SUBSCRIPTION, RefreshKind.OFFICE)
#: More than the clock skew.
SOON = timedelta(seconds=6)


@dataclass(slots=True)
class Scene:
    """What a test moves and looks at."""

    stage: Stage
    database: Database
    accounts: OpenAccounts
    mirror: Mirror
    time: datetime = NOON
    refresher: Refresher = field(init=False)

    def __post_init__(self) -> None:
        self.refresher = Refresher(self.database, self.mirror, self.accounts, self.now)

    def now(self) -> datetime:
        """What the clock shows."""
        return self.time

    @property
    def account(self) -> OpenAccount:
        """The account."""
        return self.accounts["hse"]

    async def tell(self, event: str, *bodies: Mapping[str, Any]) -> None:
        """Webhooks arrive, and are applied."""
        made = [delivery(body, event, received_at=self.time) for body in bodies]
        outcomes = [handle(one, {"hse": self.account.settings}) for one in made]
        effects = [effect for outcome in outcomes if isinstance(outcome, Applied) for effect in outcome.effects]
        async with self.database.transaction() as connection:
            await self.mirror.apply(connection, self.database.dialect, effects)

    async def created(self, *ids: str) -> None:
        """CREATEs of these arrive."""
        await self.tell(CREATE, *(self.stage.tenancy.stored("action-subscription", self.rows[one]) for one in ids))

    async def deleted(self, *ids: str) -> None:
        """DELETEs of these arrive."""
        await self.tell(DELETE, *({"action_subscription_id": one} for one in ids))

    @property
    def rows(self) -> Mapping[str, dict[str, Any]]:
        """What the vendor has."""
        return self.stage.tenancy.tables["action-subscription"]

    async def row(self, subject: str) -> ActionSubscription:
        """What the mirror has."""
        return await ActionSubscription.get(action_subscription_id=subject)

    async def look(self, *kinds: RefreshKind) -> float:
        """Fetch what is due, once for each kind; gives the longest pause."""
        return max([await self.refresher.round(self.account, kind) for kind in kinds or KINDS])

    async def catch_up(self, most: int = 20) -> None:
        """Let time pass until nothing is to be fetched any more."""
        for _ in range(most):
            if not await Refresh.all().count():
                return
            self.time += SOON
            for _ in range(most):
                if not await Refresh.filter(due_at__lte=self.time + timedelta(seconds=1)).count():
                    break
                await self.look()
        raise AssertionError(f"still to be fetched: {await Refresh.all().values('kind', 'subject', 'attempts', 'error')}")

    def calls(self, path: str = "*") -> int:
        """How often the vendor was asked."""
        return self.stage.faults.count(path)


@asynccontextmanager
async def refreshing(database: Database, directory: Path, tenancy: Tenancy | None = None, **limits: Any) -> AsyncIterator[Scene]:
    """Acme's 4HSE, with John Smith subscribed, and nothing in the mirror."""
    async with staged(directory, tenancy or populated()) as stage:
        accounts = OpenAccounts({"hse": stage.account(PATIENT.model_copy(update=limits))}, lambda: NOON)
        try:
            yield Scene(stage, database, accounts, Mirror(frozenset({"hse"})))
        finally:
            await accounts.close()
