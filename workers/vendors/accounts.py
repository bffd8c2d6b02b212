"""The configured accounts, each with its vendor's client."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import structlog

from schemas.accounts import Account
from schemas.logs import Log
from schemas.traces import OFF, Tracer
from workers.vendors.anewspring import Anewspring
from workers.vendors.calls import Called
from workers.vendors.fourhse import Fourhse
from workers.vendors.http import Http
from workers.vendors.ispring import Ispring
from workers.vendors.kare import Kare

log = structlog.get_logger()


class Client(Protocol):
    """What every vendor's client can do."""

    @property
    def http(self) -> Http:
        """The HTTP layer, for its counts and its breaker's state."""

    def tell(self, told: Callable[[Called], None]) -> None:
        """Have every request told of, those for a token included."""

    async def login(self) -> None:
        """See that the account is let in; raises the errors of `workers.vendors.errors`."""

    async def close(self) -> None:
        """Close the connections."""


#: Vendor to its client: adding a vendor is adding a row.
CLIENTS: Mapping[str, Callable[[Any, Callable[[], datetime]], Client]] = {
    "4hse": Fourhse,
    "anewspring": Anewspring,
    "ispring": Ispring,
    "kare": Kare,
}


def client(account: Account, now: Callable[[], datetime]) -> Client:
    """An account's client; it connects when it is first used."""
    return CLIENTS[account.vendor](account, now)


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """An account by its name, with its client; work that is for one vendor asserts that the client is that vendor's."""

    name: str
    settings: Account
    client: Client
    #: What follows the traces of the rows that are worked off here.
    tracer: Tracer = OFF


def nobody(_account: str, _called: Called) -> None:
    """Is told of a request, and does nothing."""


class OpenAccounts:
    """The configured accounts with one client each, shared by everything in the process that asks their vendors.

    Every request that they send is logged, and `told`, under the account's name.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account],
        now: Callable[[], datetime],
        told: Callable[[str, Called], None] = nobody,
        tracer: Tracer = OFF,
    ) -> None:
        self._open = {name: OpenAccount(name, account, client(account, now), tracer) for name, account in accounts.items()}
        self._told = told
        for one in self:
            one.client.tell(partial(self._tell, one.name))

    def __getitem__(self, name: str) -> OpenAccount:
        return self._open[name]

    def __iter__(self) -> Iterator[OpenAccount]:
        return iter(self._open.values())

    def _tell(self, account: str, called: Called) -> None:
        log.info(
            Log.VENDOR_CALLED,
            account=account,
            call=called.operation,
            outcome=called.outcome,
            status=called.status,
            seconds=round(called.seconds, 3),
        )
        self._told(account, called)

    async def close(self) -> None:
        """Close every client's connections."""
        for account in self:
            await account.client.close()
