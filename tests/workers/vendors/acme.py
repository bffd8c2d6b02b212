"""Acme's 4HSE, with the ids of the vendor's own examples, on a real socket; and clients of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import AnyHttpUrl

from schemas.accounts import FourhseAccount, Limits, Login
from workers.simulators.faults import Faults
from workers.simulators.fourhse import Keycloak, Tenancy, simulator
from workers.simulators.fourhse.login import PATH
from workers.simulators.fourhse.webhooks import Send
from workers.simulators.server import served
from workers.vendors.fourhse import Fourhse

TENANT, OFFICE, OTHER_OFFICE = (
    "b5a7d602-3fc9-4e2a-9d1a-6e5b4c8f7a01",
    "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "0ff1ce00-0000-4000-8000-000000000002",
)
ACTION, PERSON = "c4d5e6f7-a8b9-0c1d-2e3f-4a5b6c7d8e9f", "e3a1f5d2-8c4b-4e7a-9f6d-2b1c3d4e5f6a"
SUBSCRIPTION, SESSION = "d5e6f7a8-b9c0-1d2e-3f4a-5b6c7d8e9f0a", "b1c2d3e4-f5a6-7890-bcde-f12345678901"
#: The document's own example, which is no UUID.
ENROLLMENT = "d3e4f5a6-b7c8-9012-defg-h12345678901"
PLACE = {"subtenant_id": OFFICE, "tenant_id": TENANT}

PASSWORD, KEY = "pa55word-planted", "k3y-planted"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

#: A client that waits, and one that soon gives up waiting; neither waits long between two tries, nor as long as it is asked to.
PATIENT = Limits(rate=1000, concurrency=8, timeout=10, attempts=3, retry_after_max=2, breaker_failures=1000)
HASTY = PATIENT.model_copy(update={"timeout": 0.3, "retry_after_max": 0.2})


def acme(send: Send | None = None) -> Tenancy:
    """One project, two offices, a training action with a session, and John Smith; nobody is subscribed."""
    tenancy = Tenancy(now=lambda: NOON, send=send)
    tenancy.projects[TENANT] = {
        "name": "Acme Construction Ltd",
        "project_type": "safety",
        "status": "ACTIVE",
        "subscription_status": "PAID",
    }
    tenancy.offices |= {OFFICE: "Rome North Site", OTHER_OFFICE: "Milan"}
    training = {
        "action_type": "TRAINING",
        "code": "FST-01",
        "name": "Fire Safety Training Medium Risk",
        "validity": 5,
        "validity_unit": "YEAR",
    }
    tenancy.create("action", {"action_id": ACTION, **training, **PLACE})
    tenancy.create("action-session", {"action_session_id": SESSION, "action_id": ACTION, "date_begin": "2024-03-15", **PLACE})
    smith = {"first_name": "John", "last_name": "Smith", "birth_date": "1980-02-29", "code": "JS001", "project_id": TENANT}
    tenancy.create("person", {"person_id": PERSON, **smith})
    tenancy.journal.clear()
    return tenancy


def populated() -> Tenancy:
    """Acme with John Smith subscribed and enrolled."""
    tenancy = acme()
    tenancy.subscribe(ACTION, PERSON, action_subscription_id=SUBSCRIPTION)
    tenancy.enroll(SESSION, SUBSCRIPTION, action_session_subscription_id=ENROLLMENT)
    tenancy.journal.clear()
    return tenancy


@dataclass(frozen=True, slots=True)
class Stage:
    """A simulated 4HSE that is served."""

    tenancy: Tenancy
    keycloak: Keycloak
    faults: Faults
    url: str
    directory: Path

    @asynccontextmanager
    async def client(self, limits: Limits = PATIENT, **changed: Any) -> AsyncIterator[Fourhse]:
        """A client with an API key, or what `changed` makes of its account."""
        client = Fourhse(self.account(limits, **changed), lambda: datetime.now(UTC))
        try:
            yield client
        finally:
            await client.close()

    def account(self, limits: Limits = PATIENT, **changed: Any) -> FourhseAccount:
        """The account's settings."""
        made = {"vendor": "4hse", "insecure": True, "base_url": self.url, "limits": limits, "access_token_file": self.file("key", KEY)}
        return FourhseAccount.model_validate(made | changed)

    def login(self, **changed: Any) -> dict[str, Any]:
        """What makes an account log in with a password."""
        made = {"username": "muster", "client_id": "muster", "password_file": self.file("password", PASSWORD)}
        return {"login": Login(token_url=AnyHttpUrl(self.url + PATH), **(made | changed)), "access_token_file": None}

    def file(self, name: str, text: str) -> Path:
        """A file with a secret in it."""
        path = self.directory / name
        path.write_text(text + "\n", encoding="utf-8")
        return path


@asynccontextmanager
async def staged(directory: Path, tenancy: Tenancy | None = None, **keycloak: Any) -> AsyncIterator[Stage]:
    """Acme's 4HSE on a socket."""
    tenancy = tenancy or populated()
    login = Keycloak({"muster": PASSWORD}, keys={KEY}, **keycloak)
    faults = Faults(simulator(tenancy, login))
    async with served(faults) as url:
        yield Stage(tenancy, login, faults, url, directory)
    faults.off()
