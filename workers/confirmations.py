"""Codes that iSpring delivered, given back to it by API: that confirms a webhook subscriber's address.

A code does not say whose it is: it is tried on the subscribers that wait for one, newest asked first. A row says what is tried before
it is, so that after an unknown outcome, or another worker's death, one looks before one tries again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from schemas.logs import Log
from schemas.states import SubscriberState
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.refreshes import Claim, settle
from workers.subscribers import WebhookSubscriber, move
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import Conflict, NotFound, Refused
from workers.vendors.ispring import Ispring

log = structlog.get_logger()

_WAITING = (SubscriberState.CODE_REQUESTED.value, SubscriberState.CONFIRMING.value)
#: It is this login that is refused, and not the code.
_NOT_FOR_US = (401, 403)


async def fetch(database: Database, mirror: Mirror, account: OpenAccount, claims: Sequence[Claim], now: Callable[[], datetime]) -> None:
    """Give back these codes, one after the other; raises VendorError where it cannot be told whether one is good."""
    for one in claims:
        began = now()
        with one.followed(account.tracer):
            found = await Code(database, account, one.subject, now).given_back()
        if not found:
            log.warning(Log.CONFIRMATION_UNCLAIMED, account=account.name)
        async with database.transaction() as connection:
            await settle(connection, database.dialect, [one], began, mirror.clock_skew)


@dataclass(frozen=True, slots=True)
class Code:
    """A code of an account's, and where it may fit."""

    database: Database
    account: OpenAccount
    code: str = field(repr=False)
    now: Callable[[], datetime]

    async def given_back(self) -> bool:
        """Whether a subscriber was found whose code it is."""
        waiting = await WebhookSubscriber.filter(account=self.account.name, state__in=_WAITING).order_by("-asked_at", "-id")
        for row in sorted(waiting, key=lambda one: one.code != self.code):
            if row.code == self.code and await self._stands(row):
                await self._confirmed(row)
                return True
            if await self._fits(row):
                return True
        return False

    async def _fits(self, row: WebhookSubscriber) -> bool:
        """Whether it is this subscriber's; a code that is refused leaves the subscriber waiting for a newer one."""
        waiting = WebhookSubscriber.filter(id=row.id, state__in=_WAITING)
        if not await move(self.database, waiting, SubscriberState.CONFIRMING, self.now(), code=self.code):
            return False
        try:
            await self._ispring.confirm(row.name, self.code)
        except (Refused, NotFound, Conflict) as error:
            if isinstance(error, Refused) and error.status in _NOT_FOR_US:
                raise
            await self._refused(row, str(error))
            return False
        await self._confirmed(row)
        return True

    async def _refused(self, row: WebhookSubscriber, error: str) -> None:
        if await self._stands(row):  # by another code, or by this one behind an answer that said nothing was done
            await self._confirmed(row)
            return
        ours = WebhookSubscriber.filter(id=row.id, state=SubscriberState.CONFIRMING.value, code=self.code)
        await move(self.database, ours, SubscriberState.CODE_REQUESTED, self.now(), error=error)

    async def _confirmed(self, row: WebhookSubscriber) -> None:
        await move(self.database, WebhookSubscriber.filter(id=row.id), SubscriberState.CONFIRMED, self.now())
        log.info(Log.SUBSCRIBER_CONFIRMED, account=row.account, subscriber=row.name)

    async def _stands(self, row: WebhookSubscriber) -> bool:
        try:
            return (await self._ispring.subscriber(row.name)).confirmed
        except NotFound:
            return False

    @property
    def _ispring(self) -> Ispring:
        assert isinstance(self.account.client, Ispring)
        return self.account.client
