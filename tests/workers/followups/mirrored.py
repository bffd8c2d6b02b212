"""Rows of the mirror and of the follow-ups, as the tests of rules and identities need them."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from schemas.accounts import Account, AnewspringAccount, FourhseAccount, IspringAccount, KareAccount
from schemas.rules import Rule
from schemas.states import NeedState, RunState
from workers.followups.tables import Need
from workers.mirror.tables import ActionSubscription, ReconcileRun

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACCOUNTS: dict[str, Account] = {
    "hse": FourhseAccount.model_validate({"vendor": "4hse", "access_token_file": "key"}),
    "lms": AnewspringAccount.model_validate({"vendor": "anewspring", "base_url": "https://lms.example.com", "api_key_file": "key"}),
    "ispring": IspringAccount.model_validate(
        {"vendor": "ispring", "account_url": "https://i.example.com", "client_id": "c", "client_secret_file": "key"}
    ),
    "kare": KareAccount.model_validate(
        {"vendor": "kare", "base_url": "https://k.example.com", "token_file": "key", "session_token_file": "key"}
    ),
}


def rule(name: str = "fire", **said: Any) -> Rule:
    """A rule that leads to a course, or what `said` makes of it."""
    return Rule.model_validate({"name": name, "when": {"action_code": "FST-*"}, "enroll": {"account": "lms", "course": "FIRE"}} | said)


async def subscription(id_: str, **changed: Any) -> ActionSubscription:
    """A person who is new to fire safety."""
    made = {
        "account": "hse",
        "action_subscription_id": id_,
        "state": "live",
        "action_type": "TRAINING",
        "action_code": "FST-01",
        "subscriber_type": "PERSON",
        "subscriber_id": f"p-{id_}",
        "subscriber_code": f"C-{id_}",
        "subtenant_id": "o1",
        "office_name": "Rome",
        "status": "NEW",
        "flags": [],
    }
    return await ActionSubscription.create(**(made | changed))


async def need(subscription: str, planned: Rule, **changed: Any) -> Need:
    """A need that a rule planned."""
    made: dict[str, Any] = {
        "id": uuid4(),
        "account": "hse",
        "action_subscription_id": subscription,
        "rule": planned.name,
        "cycle": "initial",
        "digest": planned.digest,
        "plan": planned.snapshot(),
        "state": NeedState.UNMATCHED.value,
        "state_at": NOON,
        "opened_at": NOON,
        "created_at": NOON,
        "attempt": 1,
        "approvals": [],
    }
    return await Need.create(**(made | changed))


async def filled(account: str = "hse", **changed: Any) -> None:
    """A run of reconcile, over everything and to its end unless `changed` says otherwise."""
    counted = dict.fromkeys(("seen", "calls", "missing", "extra", "different", "unreadable"), 0)
    made: dict[str, Any] = {
        "id": uuid4(),
        "account": account,
        "asked": {},
        "dry_run": False,
        "backfill": True,
        "state": RunState.DONE.value,
        "walk": 1,
        "next_page": 0,
        "began_at": NOON,
        "step_at": NOON,
        "holder": uuid4(),
    }
    await ReconcileRun.create(**(made | counted | changed))
