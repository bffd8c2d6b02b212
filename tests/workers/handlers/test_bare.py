"""PERSON, CERTIFICATE and CERTIFICATE_ACTION: each touches what of the mirror it is about, and is dead only where nobody could tell."""

from pathlib import Path
from typing import Any

import pytest

from schemas.accounts import FourhseAccount
from schemas.samples import CERTIFICATE, CERTIFICATE_ACTION, PERSON
from schemas.states import Reason, RefreshKind
from tests.workers.made import delivery
from workers.causes import Cause
from workers.handlers import Applied, Dead, Ignored, Outcome, handle
from workers.mirror.evidence import Touch

ACCOUNT = FourhseAccount(vendor="4hse", access_token_file=Path("key"))
HOLDER, CERTIFICATE_ID, ACTION = PERSON["person_id"], CERTIFICATE["certificate_id"], CERTIFICATE_ACTION["action_id"]


def said(event: str, body: Any) -> Outcome:
    """The outcome of a body, for an account with an API."""
    return handle(delivery(body, event), {"hse": ACCOUNT})


@pytest.mark.parametrize("verb", ["CREATE", "UPDATE", "DELETE"])
@pytest.mark.parametrize(
    ("noun", "body", "kind", "subject", "scope"),
    [
        pytest.param("PERSON", PERSON, RefreshKind.SUBSCRIBER, HOLDER, "", id="a person's subscriptions"),
        pytest.param("PERSON", {"person_id": 17}, RefreshKind.SUBSCRIBER, "17", "", id="a person of whom the id alone is told"),
        pytest.param("CERTIFICATE", CERTIFICATE, RefreshKind.SUBSCRIBER, HOLDER, "", id="the holder's subscriptions"),
        pytest.param(
            "CERTIFICATE", {"certificate_id": "c1"}, RefreshKind.CERTIFICATE, "c1", "", id="a certificate that does not say whose it is"
        ),
        pytest.param(
            "CERTIFICATE_ACTION",
            CERTIFICATE_ACTION,
            RefreshKind.CERTIFICATE,
            CERTIFICATE_ID,
            ACTION,
            id="the holder's subscription to the action",
        ),
        pytest.param(
            "CERTIFICATE_ACTION", {"certificate_id": "c1"}, RefreshKind.CERTIFICATE, "c1", "", id="a link that does not name its action"
        ),
    ],
)
def test_each_event_touches_what_it_is_about(
    noun: str, verb: str, body: dict[str, Any], kind: RefreshKind, subject: str, scope: str
) -> None:
    made = delivery(body, f"{noun}::{verb}")

    touch = Touch("hse", kind, subject, made.received_at, scope, Cause.of(made))
    assert handle(made, {"hse": ACCOUNT}) == Applied(f"{noun}::{verb}", (touch,), subject)


@pytest.mark.parametrize(
    ("event", "body", "reason", "detail"),
    [
        ("PERSON::UPDATE", {"first_name": "John"}, Reason.MISSING_FIELD, "person_id"),
        ("CERTIFICATE::DELETE", {"resource_id": "p1"}, Reason.MISSING_FIELD, "certificate_id"),
        ("CERTIFICATE_ACTION::CREATE", {"action_id": "a1"}, Reason.MISSING_FIELD, "certificate_id"),
        ("PERSON::CREATE", {"person_id": ""}, Reason.INVALID_FIELD, "person_id: String should have at least 1 character"),
        ("CERTIFICATE::CREATE", {"certificate_id": "c", "resource_id": []}, Reason.INVALID_FIELD, "resource_id: "),
        ("PERSON::CREATE", b"[]", Reason.UNPARSABLE, "not a JSON object"),
    ],
)
def test_a_body_that_does_not_say_what_it_is_about_is_dead(event: str, body: Any, reason: Reason, detail: str) -> None:
    outcome = said(event, body)

    assert isinstance(outcome, Dead)
    assert (outcome.event, outcome.reason) == (event, reason)
    assert (outcome.detail or "").startswith(detail)
    assert "John" not in (outcome.detail or "")


@pytest.mark.parametrize("event", ["PERSON::DELETE", "CERTIFICATE::CREATE", "CERTIFICATE_ACTION::UPDATE"])
def test_an_account_without_api_ignores_what_it_could_only_fetch_and_says_so(event: str) -> None:
    detail = "to fetch what it touches, the workers need [accounts.hse] with 4HSE's API"
    assert handle(delivery(b"{}", event)) == Ignored(event, Reason.NOT_HANDLED, detail)
