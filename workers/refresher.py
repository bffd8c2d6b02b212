"""Fetches what was touched: claims due rows, asks the vendor, writes what it says. Vendor down or throttled, everything waits in its row.

However many refreshers there are, a row is fetched by one: it is claimed by a lease. A refresher that dies leaves its rows to the
others when the lease ends; one that is only slow does no harm, for the evidence decides and not who brings it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

import structlog

from schemas.logs import Log
from schemas.states import RefreshKind
from workers import confirmations
from workers.database import Connection, Database, DatabaseAway, patiently
from workers.mirror import course_results, offices, refresh
from workers.mirror.apply import Mirror
from workers.refreshes import LEASE, Claim, claim, postpone, put_off, retry
from workers.vendors.accounts import OpenAccount, OpenAccounts
from workers.vendors.errors import VendorError
from workers.vendors.pauses import IDLE, pause_wanted

log = structlog.get_logger()

#: Fetches claims and settles them, with no transaction open while the vendor is asked. What it raises VendorError for is tried again.
Fetch = Callable[[Database, Mirror, OpenAccount, Sequence[Claim], Callable[[], datetime]], Awaitable[None]]

#: What is fetched, and how: the index of what a touch leads to.
FETCHES: Mapping[RefreshKind, Fetch] = MappingProxyType(
    {
        RefreshKind.ACTION_SUBSCRIPTION: refresh.subscriptions,
        RefreshKind.OFFICE: offices.walks,
        RefreshKind.SUBSCRIBER: refresh.subscribers,
        RefreshKind.CERTIFICATE: refresh.certificates,
        RefreshKind.COURSE_RESULT: course_results.fetch,
        RefreshKind.CONFIRMATION: confirmations.fetch,
    }
)

#: How many rows are claimed at once.
LIMIT = 100


class Refresher:
    """One task for each account and kind, so that no vendor, and no long walk, holds up what is not its own."""

    def __init__(
        self,
        database: Database,
        mirror: Mirror,
        accounts: OpenAccounts,
        now: Callable[[], datetime],
        fetches: Mapping[RefreshKind, Fetch] = FETCHES,
    ) -> None:
        self._database, self._mirror, self._accounts, self._now, self._fetches = database, mirror, accounts, now, fetches

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for account in self._accounts:
                for kind in self._fetches:
                    group.create_task(self._serve(account, kind))
            await asyncio.Event().wait()

    async def _serve(self, account: OpenAccount, kind: RefreshKind) -> None:
        while True:
            pause = await self.round(account, kind)
            await asyncio.sleep(pause)

    async def round(self, account: OpenAccount, kind: RefreshKind) -> float:
        """Fetch what is due of one kind; gives how many seconds to wait before the next round."""
        claims = await patiently(lambda: claim(self._database, account.name, [kind], self._now(), LEASE, LIMIT))
        fresh = [one for one in claims if not one.attempts]
        # What failed before is tried alone, so that it fails alone.
        batches = [fresh] * bool(fresh) + [[one] for one in claims if one.attempts]
        return max(await asyncio.gather(*(self._fetched(account, kind, batch) for batch in batches)), default=IDLE)

    async def _fetched(self, account: OpenAccount, kind: RefreshKind, claims: Sequence[Claim]) -> float:
        """Fetch; whatever goes wrong, the rows say what, and come due again. Gives how long to leave the account alone."""
        # In a task of its own, so that every line that follows says for whose sake it is.
        deliveries = dict.fromkeys(name for one in claims for name in one.cause.named)
        structlog.contextvars.bind_contextvars(refresh=kind, deliveries=[*deliveries])
        try:
            await self._fetches[kind](self._database, self._mirror, account, claims, self._now)
        except DatabaseAway as away:
            log.error(Log.DATABASE_AWAY, error=str(away))
            await self._write(lambda connection: put_off(connection, self._database.dialect, claims, self._now()))
        except VendorError as error:
            return await self._failed(account, kind, claims, error)
        except Exception as error:  # noqa: BLE001 - the one place: a mistake of ours ends neither the task nor unseen
            log.error(Log.REFRESH_FAILED, account=account.name, kind=kind, rows=len(claims), error=type(error).__name__)
            await self._postpone(claims, type(error).__name__)
        return 0.0

    async def _failed(self, account: OpenAccount, kind: RefreshKind, claims: Sequence[Claim], error: VendorError) -> float:
        pause = pause_wanted(error)
        log.warning(Log.REFRESH_FAILED, account=account.name, kind=kind, rows=len(claims), error=type(error).__name__)
        if pause is None:
            await self._postpone(claims, str(error))
            return 0.0
        due_at = self._now() + timedelta(seconds=pause)
        await self._write(lambda connection: put_off(connection, self._database.dialect, claims, due_at, str(error)))
        return pause

    async def _postpone(self, claims: Sequence[Claim], error: str) -> None:
        due_at = self._now() + retry(max(one.attempts for one in claims) + 1)
        await self._write(lambda connection: postpone(connection, self._database.dialect, claims, due_at, error))

    async def _write(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        async def written() -> None:
            async with self._database.transaction() as connection:
                await work(connection)

        await patiently(written)
