"""Acme Construction, with the ids of the vendors' own documents, at all four simulated vendors on real sockets; for demo and tests."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from schemas.delivery import now_utc
from schemas.samples import SUBSCRIPTION_IN_FULL
from schemas.vendors import VENDORS
from workers.simulators import anewspring, fourhse, ispring, kare
from workers.simulators.faults import Faults
from workers.simulators.server import served

_FULL = SUBSCRIPTION_IN_FULL
TENANT, OFFICE = str(_FULL["tenant_id"]), str(_FULL["subtenant_id"])
ACTION, PERSON, SUBSCRIPTION = str(_FULL["action_id"]), str(_FULL["subscriber_id"]), str(_FULL["action_subscription_id"])
COLLEAGUE = "e3a1f5d2-8c4b-4e7a-9f6d-2b1c3d4e5f6b"
SESSION = "b1c2d3e4-f5a6-7890-bcde-f12345678901"
LEARNER, COURSE, CHECKLIST = str(_FULL["subscriber_code"]), "EXAMPLECOURSE-0001", "3fa85f64-5717-4562-b3fc-2c963f66afa6"
PLACE = {"subtenant_id": OFFICE, "tenant_id": TENANT}

#: What Acme's vendors know muster by; of servers that live for a minute on this machine.
_KEY = "a-key-of-the-demonstration"


def tenancy(now: Callable[[], datetime] = now_utc) -> fourhse.Tenancy:
    """Acme's 4HSE: one project, one office, a training action with a session, and two persons; nobody is subscribed."""
    made = fourhse.Tenancy(now=now)
    made.projects[TENANT] = {"name": _FULL["project_name"], "project_type": "safety", "status": "ACTIVE", "subscription_status": "PAID"}
    made.offices[OFFICE] = str(_FULL["office_name"])
    training = {
        "action_type": "TRAINING",
        "code": _FULL["action_code"],
        "name": _FULL["action_name"],
        "validity": 5,
        "validity_unit": "YEAR",
    }
    made.create("action", {"action_id": ACTION, **training, **PLACE})
    made.create("action-session", {"action_session_id": SESSION, "action_id": ACTION, "date_begin": "2024-03-15", **PLACE})
    for person, code, last in ((PERSON, LEARNER, "Smith"), (COLLEAGUE, "JS002", "Smythe")):
        named = {"first_name": "John", "last_name": last, "birth_date": "1980-02-29"}
        made.create("person", {"person_id": person, "code": code, "project_id": TENANT, **named})
    return made


@dataclass(slots=True)
class Acme:
    """The company's four vendors, each behind switches for faults, and how muster gets in."""

    tenancy: fourhse.Tenancy
    environment: anewspring.Environment
    ispring: ispring.Account
    kare: kare.Register
    faults: Mapping[str, Faults] = field(default_factory=dict)
    #: `[accounts.…]`, by the names hse, lms, ispring and kare.
    accounts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def tell(self, url: str, secret: str) -> fourhse.Webhooks:
        """Let 4HSE and aNewSpring send their webhooks to a receiver's sources hse and lms, under a secret; close what it returns."""
        events = VENDORS["4hse"].events or ()
        webhooks = fourhse.Webhooks({event: f"{url}/hooks/hse/{quote(event, safe=':')}?token={quote(secret)}" for event in events})
        self.tenancy.webhooks.send = webhooks
        self.environment.hook = anewspring.Hook(f"{url}/hooks/lms", lambda body: _signature(body, secret))
        return webhooks


def _signature(body: bytes, secret: str) -> Mapping[str, str]:
    return {"X-WebHook-Signature": base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha1)).decode()}


@asynccontextmanager
async def acme(directory: Path, now: Callable[[], datetime] = now_utc) -> AsyncIterator[Acme]:
    """All of it on free loopback ports while the block runs; credentials are written to files in the directory."""
    company = Acme(tenancy(now), anewspring.Environment(_KEY, now), ispring.Account("muster", _KEY, now), kare.Register(_KEY, _KEY, now))
    for learner in (LEARNER, "JS002"):
        company.environment.add_user(learner)
    company.environment.add_course(COURSE, anewspring.Activity("EXAM"))
    apps = {
        "hse": fourhse.simulator(company.tenancy, fourhse.Keycloak({}, keys={_KEY})),
        "lms": anewspring.simulator(company.environment),
        "ispring": ispring.simulator(company.ispring),
        "kare": kare.simulator(company.kare),
    }
    company.faults = {name: Faults(app) for name, app in apps.items()}
    key = directory / "key"
    key.write_text(_KEY, encoding="utf-8")
    async with AsyncExitStack() as stack:
        urls = {name: await stack.enter_async_context(served(app)) for name, app in company.faults.items()}
        company.accounts = _accounts(urls, str(key))
        stack.push_async_callback(company.environment.close)
        stack.push_async_callback(company.ispring.close)
        yield company


def _accounts(urls: Mapping[str, str], key: str) -> Mapping[str, Mapping[str, Any]]:
    at = {name: {"base_url": url, "insecure": True, "limits": {"rate": 200}} for name, url in urls.items()}
    return {
        "hse": {"vendor": "4hse", "access_token_file": key, **at["hse"]},
        "lms": {"vendor": "anewspring", "api_key_file": key, **at["lms"]},
        "ispring": {"vendor": "ispring", "account_url": urls["ispring"], "client_id": "muster", "client_secret_file": key, **at["ispring"]},
        "kare": {"vendor": "kare", "token_file": key, "session_token_file": key, **at["kare"]},
    }
