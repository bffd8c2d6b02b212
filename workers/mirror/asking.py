"""4HSE asked for subscriptions, and the answers written: what refreshes of every kind share."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.accounts import zone_of
from schemas.states import RefreshKind
from schemas.traces import current
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Absence, Sighting, Touch
from workers.mirror.sightings import Unreadable, sighting
from workers.mirror.walk import Turned, walk
from workers.refreshes import Claim, answered, mark, postpone, put_off, retry, settle
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import VendorError
from workers.vendors.fourhse import Fourhse, Page
from workers.vendors.pauses import pause_wanted

Row = Mapping[str, Any]


def client(account: OpenAccount) -> Fourhse:
    """The account's client."""
    assert isinstance(account.client, Fourhse)
    return account.client


async def listed(
    account: OpenAccount, wanted: Row, now: Callable[[], datetime], number: int = 1, per_page: int | None = None
) -> tuple[Page, datetime]:
    """A page of the subscriptions' index, history included, and when asking for it began; raises Unreadable where it shows others."""
    began = now()
    page = await client(account).resources["action-subscription"].page(number, filter=wanted, history=True, per_page=per_page)
    # Absence is told from what an index does not show, so that one which ignores its filter tells nothing.
    if strange := [name for name, value in wanted.items() for row in page.rows if str(row.get(name)) != value]:
        raise Unreadable(f"the index was asked for one {strange[0]} and shows others")
    return page, began


@dataclass(frozen=True, slots=True)
class Asking:
    """Whom to ask, and where to write what is said."""

    database: Database
    mirror: Mirror
    account: OpenAccount
    now: Callable[[], datetime]

    async def each(self, claims: Sequence[Claim], fetch: Callable[[Claim], Awaitable[None]]) -> None:
        """Fetch these, a few at once. One that fails is postponed with the reason and holds up no other; raises what does."""
        many = self.account.settings.limits.concurrency
        for start in range(0, len(claims), many):
            some = claims[start : start + many]
            outcomes = await asyncio.gather(*(self._traced(fetch, one) for one in some), return_exceptions=True)
            fatal = [outcome for one, outcome in zip(some, outcomes, strict=True) if outcome and not await self._postponed(one, outcome)]
            if fatal:
                raise fatal[0]

    async def _traced(self, fetch: Callable[[Claim], Awaitable[None]], claim: Claim) -> None:
        with claim.traced(self.account.tracer):
            await fetch(claim)

    async def _postponed(self, one: Claim, error: BaseException) -> bool:
        of_this_one = isinstance(error, Unreadable) or (isinstance(error, VendorError) and pause_wanted(error) is None)
        if of_this_one:
            reason = f"a row that cannot be read: {error}" if isinstance(error, Unreadable) else str(error)
            async with self.database.transaction() as connection:
                await postpone(connection, self.database.dialect, [one], self.now() + retry(one.attempts + 1), reason)
        return of_this_one

    def pages(self, wanted: Row) -> AsyncGenerator[Turned, None]:
        """Every page of the index, history included; close it."""
        return walk(lambda number: listed(self.account, wanted, self.now, number), 1, None, self.account.settings.limits.concurrency)

    async def keep(self, rows: Sequence[Row], began: datetime) -> None:
        """Write what a page shows, which answers every touch of it; what cannot be read is touched, for its refresh to tell why."""
        sightings, unreadable = self._read(rows, began)
        touches = [self.touch(subject, began) for subject in unreadable]
        async with self.database.transaction() as connection:
            dialect, covers = self.database.dialect, began - self.mirror.clock_skew
            await self.mirror.sighted(connection, dialect, sightings)
            shown = [one.subject for one in sightings]
            await answered(connection, dialect, self.account.name, RefreshKind.ACTION_SUBSCRIPTION, shown, covers)
            await mark(connection, dialect, touches, self.mirror.clock_skew)

    async def decide(self, found: Sighting | Absence, claim: Claim) -> None:
        """Write what became of one subscription."""
        async with self.database.transaction() as connection:
            if isinstance(found, Sighting):
                await self.mirror.sighted(connection, self.database.dialect, [found])
            else:
                await self.mirror.absent(connection, self.database.dialect, [found])
            await settle(connection, self.database.dialect, [claim], found.began, self.mirror.clock_skew)

    async def pass_on(self, touches: Sequence[Touch], claim: Claim, began: datetime) -> None:
        """The claim is answered by what it touches in turn."""
        async with self.database.transaction() as connection:
            await mark(connection, self.database.dialect, touches, self.mirror.clock_skew)
            await settle(connection, self.database.dialect, [claim], began, self.mirror.clock_skew)

    async def hold(self, claims: Sequence[Claim], lease: timedelta) -> None:
        """Keep claims for longer."""
        async with self.database.transaction() as connection:
            await put_off(connection, self.database.dialect, claims, self.now() + lease)

    def touch(self, subject: str, at: datetime) -> Touch:
        """A touch of one subscription."""
        return Touch(self.account.name, RefreshKind.ACTION_SUBSCRIPTION, subject, at, trace=current().trace)

    def _read(self, rows: Sequence[Row], began: datetime) -> tuple[list[Sighting], list[str]]:
        sightings: dict[str, Sighting] = {}
        unreadable = []
        for row in rows:
            try:
                found = sighting(self.account.name, row, began, zone_of(self.account.settings))
                sightings[found.subject] = found
            except Unreadable:
                if isinstance(subject := row.get("action_subscription_id"), str):
                    unreadable.append(subject)
        return list(sightings.values()), unreadable
