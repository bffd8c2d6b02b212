"""What a redacted delivery keeps, and what it does not."""

import json
from typing import Any

import pytest

from schemas import samples
from schemas.accounts import Account, AnewspringAccount, FourhseAccount
from schemas.delivery import Delivery, fingerprint
from schemas.vendors import VENDORS
from tests.workers.made import delivery
from workers.handlers import handle
from workers.redaction import redacted

ACCOUNTS: dict[str, Account] = {
    "hse": FourhseAccount.model_validate({"vendor": "4hse", "access_token_file": "key"}),
    "lms": AnewspringAccount.model_validate({"vendor": "anewspring", "base_url": "https://a.example", "api_key_file": "key"}),
}


def said(body: Any, vendor: str = "4hse", **changed: Any) -> Any:
    """What is left of a JSON body."""
    found = redacted(delivery(body, vendor=vendor, **changed))
    assert found is not None
    return json.loads(found.body)


def test_what_is_personal_of_a_person_is_null_and_ids_and_codes_stay() -> None:
    person = samples.PERSON | {"tax_code": "SMTJHN80B29H501X", "entity_id": "john@example.com", "phone": {"home": "1"}, "is_employee": 1}

    assert said(person) == {
        "person_id": person["person_id"],
        "first_name": None,
        "last_name": None,
        "birth_date": None,
        "code": "JS001",
        "project_id": person["project_id"],
        "tax_code": None,
        "entity_id": None,
        "phone": None,
        "is_employee": 1,
    }


def test_names_of_people_go_and_names_of_things_stay_however_deep_they_are() -> None:
    body = {
        "event": "x",
        "course": {"id": "C", "name": "Fire"},
        "results": [{"learner": {"id": "L", "name": "Smith", "E-Mail": "j@x.org"}}],
    }

    assert said(body, "anewspring") == {
        "event": "x",
        "course": {"id": "C", "name": "Fire"},
        "results": [{"learner": {"id": "L", "name": None, "E-Mail": None}}],
    }


def test_of_a_kare_exercise_who_signed_said_and_did_it_is_null_and_what_it_is_stays() -> None:
    kept = {
        "id": 41,
        "status": 2,
        "ruleId": 7,
        "siteIds": [3],
        "creationStatus": 1,
        "assignedUserId": 12,
        "verifiedByUserId": 13,
        "scheduledStart": "2026-03-01T10:00:00.000Z",
        "attendeeCount": 25,
        "organizationId": 2,
    }
    names = (
        "description",
        "imgSignature",
        "providerName",
        "providerEmail",
        "providerActionComment",
        "providerGeneralComment",
        "decisionComment",
    )
    personal: dict[str, Any] = dict.fromkeys(names, "Smith was here") | {"codePin": 4711, "attendanceProof": {"at": "Smith"}}

    assert said({"data": kept | personal}, "kare") == {"data": kept | dict.fromkeys(personal)}


def test_of_a_session_enrollment_the_subscribers_name_and_notes_are_null_and_what_it_is_stays() -> None:
    kept = {
        "action_session_subscription_id": "e1",
        "action_subscription_id": "s1",
        "subscriber_id": "p1",
        "subscriber_code": "JS001",
        "action_name": "Fire",
        "office_name": "Depot",
        "done": 1,
        "warning": 0,
    }
    personal = {"subscriber_name": "Smith", "note": "Smith", "data": {"x": "Smith"}, "session_note": "Smith"}

    assert said(kept | personal) == kept | dict.fromkeys(personal)


def test_a_token_in_a_body_is_null() -> None:
    assert said({"token": "t", "accessToken": "t", "password": "p", "tokens_left": 1}) == {
        "token": None,
        "accessToken": None,
        "password": None,
        "tokens_left": 1,
    }


def test_an_e_mail_address_goes_wherever_it_is_but_in_an_id() -> None:
    body = {
        "text": "ask john@example.com",
        "id": "john@example.com",
        "learnerIds": ["a@b.org"],
        "code": "a@b.org",
        "others": ["a@b.org", 7],
    }

    assert said(body) == {"text": None, "id": "john@example.com", "learnerIds": ["a@b.org"], "code": "a@b.org", "others": [None, 7]}


def test_json_in_a_text_is_redacted_too() -> None:
    payload = {"userId": "u1", "login": "jsmith", "email": None}
    (text,) = said({"type": "USER_REGISTERED", "payloads": [json.dumps(payload)]}, "ispring")["payloads"]

    assert json.loads(text) == {"userId": "u1", "login": None, "email": None}
    assert said({"x": "{broken john"}) == {"x": None}


def test_xml_stays_xml() -> None:
    body = (
        b'<webhook><type>done</type><learner id="L" name="Smith"><email>j@x.org</email>Smith</learner><note><b>x</b></note>tail</webhook>'
    )
    found = redacted(delivery(body, vendor="anewspring"))

    assert found is not None
    assert found.body == b'<webhook><type>done</type><learner id="L" name=""><email /></learner><note /></webhook>'


def test_a_body_that_cannot_be_read_is_not_redacted() -> None:
    assert redacted(delivery(b"Smith, John")) is None
    assert redacted(delivery(b"<a", vendor="anewspring")) is None


def test_headers_that_prove_or_tell_something_go_and_the_fingerprint_tells_nothing_of_the_old_body() -> None:
    whole = delivery(samples.PERSON, headers={"content-type": "application/json", "user-agent": "John's", "x-webhook-signature": "s"})
    found = redacted(whole)

    assert found is not None
    assert found.headers == {"content-type": "application/json"}
    assert found.fingerprint == fingerprint(found.event, found.body) != whole.fingerprint
    assert (found.id, found.received_at, found.event, found.source) == (whole.id, whole.received_at, whole.event, whole.source)


@pytest.mark.parametrize(("vendor", "event"), samples.SAMPLES)
def test_every_sample_means_the_same_to_muster_without_what_is_personal(vendor: str, event: str) -> None:
    body = samples.body(vendor, event)
    assert body is not None
    account = {"4hse": "hse", "anewspring": "lms"}.get(vendor, vendor)
    whole = delivery(body, event if VENDORS[vendor].event_place == "address" else None, vendor=vendor, account=account)
    found = redacted(whole)

    assert found is not None
    assert _meaning(found) == _meaning(whole)


def _meaning(one: Delivery) -> tuple[type, object, set[tuple[str, object]]]:
    outcome = handle(one, ACCOUNTS)
    effects = getattr(outcome, "effects", ())
    return type(outcome), getattr(outcome, "subject", None), {(type(effect).__name__, effect.key) for effect in effects}
