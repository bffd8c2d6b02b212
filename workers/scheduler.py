"""Runs what is due, each in a task of its own, so that one vendor that is down holds up no other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import structlog

from schemas.logs import Log
from workers.database import Database, DatabaseAway
from workers.mirror.apply import Mirror
from workers.polls import POLLS, Poll
from workers.schedules import Turn, turns
from workers.vendors.accounts import OpenAccounts
from workers.vendors.errors import VendorError

log = structlog.get_logger()

#: How long a lease lasts that nobody renews, and seconds until a row is looked at again.
LEASE, REST = timedelta(seconds=60), 5.0
_SHOWN = 500


#: What is to be done again and again, whatever it gives.
Chore = tuple[Turn, Callable[[], Awaitable[object]]]


class Scheduler:
    """Every poll of every configured account, and muster's own chores, one worker at a time."""

    def __init__(
        self,
        database: Database,
        mirror: Mirror,
        accounts: OpenAccounts,
        now: Callable[[], datetime],
        *,
        polls: Mapping[tuple[str, str], Poll] = POLLS,
        chores: Sequence[Chore] = (),
        lease: timedelta = LEASE,
        rest: float = REST,
    ) -> None:
        self._database, self._mirror, self._accounts, self._now = database, mirror, accounts, now
        self._polls, self._chores, self._lease, self._rest = polls, chores, lease, rest

    async def run(self) -> None:
        """Run what is due whenever it is, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for turn, poll in self._turns():
                group.create_task(self._keep(turn, poll))
            await asyncio.Event().wait()

    def _turns(self) -> Iterator[Chore]:
        yield from self._chores
        for account in self._accounts:
            for turn in turns(account.name, account.settings):
                poll = self._polls[account.settings.vendor, turn.name]
                yield turn, partial(poll, self._database, self._mirror, account, self._now)

    async def _keep(self, turn: Turn, poll: Callable[[], Awaitable[object]]) -> None:
        # In a task of its own, so that every line that follows says for whose sake it is.
        structlog.contextvars.bind_contextvars(account=turn.account, poll=turn.name)
        while True:
            wait = self._rest
            with suppress(DatabaseAway):  # which the lane logs
                now, holder = self._now(), uuid4()
                due = await turn.due_at(now)
                if due <= now and await turn.take(holder, now, self._lease):
                    await self._run(turn, holder, now, poll)
                wait = min(wait, max((due - now).total_seconds(), 0.0))
            await asyncio.sleep(wait)

    async def _run(self, turn: Turn, holder: UUID, began: datetime, poll: Callable[[], Awaitable[object]]) -> None:
        """Run it while the lease is ours, and write down how it ended."""
        polling, holding = asyncio.ensure_future(poll()), asyncio.create_task(self._hold(turn, holder))
        try:
            await asyncio.wait({polling, holding}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            polling.cancel()
            holding.cancel()
            await asyncio.gather(polling, holding, return_exceptions=True)
            if polling.cancelled():
                with suppress(DatabaseAway):
                    await turn.release(holder)
        if polling.cancelled():
            log.warning(Log.LEASE_LOST, account=turn.account, poll=turn.name)
        elif (error := polling.exception()) is None:
            await turn.succeeded(holder, began, self._now())
            log.info(Log.POLLED, account=turn.account, poll=turn.name, seconds=round((self._now() - began).total_seconds(), 1))
        else:
            # Whatever it was: the next run may do better, and the row says what is wrong.
            log.error(Log.POLL_FAILED, account=turn.account, poll=turn.name, error=type(error).__name__)
            await turn.failed(holder, self._now(), _words(error))

    async def _hold(self, turn: Turn, holder: UUID) -> None:
        """Renew the lease until it is lost."""
        until = self._now() + self._lease
        while self._now() < until:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            with suppress(DatabaseAway):
                if not await turn.renew(holder, self._now() + self._lease):
                    return
                until = self._now() + self._lease


def _words(error: BaseException) -> str:
    """The vendor's words, or ours; of an error that nobody foresaw the name, for its text may hold values."""
    foreseen = isinstance(error, VendorError) or str(error) == type(error).__doc__
    return str(error)[:_SHOWN] if foreseen else type(error).__name__
