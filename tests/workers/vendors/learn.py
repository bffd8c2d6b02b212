"""An iSpring Learn account that is served, and muster's account of it, `lms`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.accounts import IspringAccount
from schemas.delivery import now_utc
from workers.simulators.faults import Faults
from workers.simulators.ispring import Account, Subscriber, simulator
from workers.simulators.server import served
from workers.vendors.accounts import OpenAccount
from workers.vendors.ispring import Ispring

ID, SECRET, HOOK_SECRET = "788f274b-68f4-11ee-b2b4-d6615e040b19", "s3cret-planted", "h00k-planted"
#: Nobody listens there: codes that are sent are lost, but to whoever asks the subscriber.
NOWHERE = "http://127.0.0.1:9/hooks/lms?token=t0ken-planted"
EVENT = "COURSE_COMPLETED_SUCCESSFULLY"


@dataclass(frozen=True, slots=True)
class Learn:
    """The simulated account behind its faults, and ours."""

    vendor: Account
    faults: Faults
    url: str
    ours: OpenAccount

    def subscriber(self, name: str, *, asked: bool = True) -> Subscriber:
        """A subscriber that is registered there; if `asked`, with a code on its way."""
        self.vendor.register(name, NOWHERE, HOOK_SECRET)
        if asked:
            self.vendor.subscribers[name].send_code()
        return self.vendor.subscribers[name]


@asynccontextmanager
async def learning(home: Path) -> AsyncIterator[Learn]:
    """Serve it; calls time out after 0.5 s."""
    vendor = Account(ID, SECRET, now_utc)
    faults = Faults(simulator(vendor))
    (home / "client-secret").write_text(SECRET)
    async with served(faults) as url:
        settings = IspringAccount.model_validate(
            {
                "vendor": "ispring",
                "insecure": True,
                "base_url": url,
                "account_url": "https://acme.ispringlearn.com",
                "client_id": ID,
                "client_secret_file": home / "client-secret",
                "limits": {"rate": 1000, "timeout": 0.5, "attempts": 2, "breaker_failures": 1000, "retry_after_max": 0.2},
            }
        )
        client = Ispring(settings, now_utc)
        try:
            yield Learn(vendor, faults, url, OpenAccount("lms", settings, client))
        finally:
            await client.close()
    faults.off()
    await vendor.close()
