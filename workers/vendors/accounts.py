"""The configured accounts, each with its vendor's client."""

from collections.abc import Callable, Mapping
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
