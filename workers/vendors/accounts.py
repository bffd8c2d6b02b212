"""The configured accounts, each with its vendor's client."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from schemas.accounts import Account
from workers.vendors.anewspring import Anewspring
from workers.vendors.fourhse import Fourhse
from workers.vendors.ispring import Ispring
from workers.vendors.kare import Kare


class Client(Protocol):
    """What every vendor's client can do."""

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


class OpenAccounts:
    """The configured accounts with one client each, shared by everything in the process that asks their vendors."""

    def __init__(self, accounts: Mapping[str, Account], now: Callable[[], datetime]) -> None:
        self._open = {name: OpenAccount(name, account, client(account, now)) for name, account in accounts.items()}

    def __getitem__(self, name: str) -> OpenAccount:
        return self._open[name]

    def __iter__(self) -> Iterator[OpenAccount]:
        return iter(self._open.values())

    async def close(self) -> None:
        """Close every client's connections."""
        for account in self:
            await account.client.close()
