"""What a delivery means: an outcome for whatever may come, with a reason that a person understands."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import AnyHttpUrl

from schemas.accounts import AnewspringAccount
from schemas.samples import SAMPLES, body
from schemas.states import EXPLANATIONS, Reason, RefreshKind
from schemas.vendors import VENDORS
from tests.workers.made import CREATE, DELETE, created, deleted, delivery
from workers.causes import Cause
from workers.handlers import HANDLERS, Applied, Dead, Ignored, handle
from workers.mirror.evidence import Touch
from workers.mirror.hints import Hint
from workers.mirror.versions import Fact


def test_handlers_are_for_events_that_their_vendor_documents() -> None:
    for vendor, event in HANDLERS:
        events = VENDORS[vendor].events
        assert event is None if events is None else event in events


def test_a_create_and_a_delete_are_hints() -> None:
    for made, gone in ((created("s1"), False), (deleted("s1"), True)):
        outcome = handle(made)

        assert isinstance(outcome, Applied)
        hint, touch = outcome.effects
        assert isinstance(hint, Hint)
        assert (outcome.event, outcome.subject, hint.key, hint.deleted) == (made.event, "s1", ("hse", "s1"), gone)
        assert (hint.received_at, hint.fingerprint.hex()) == (made.received_at, made.fingerprint)
        assert touch == Touch("hse", RefreshKind.ACTION_SUBSCRIPTION, "s1", made.received_at, cause=Cause.of(made))


@pytest.mark.parametrize(("vendor", "event"), sorted(one for one in SAMPLES if one not in HANDLERS and (one[0], None) not in HANDLERS))
def test_a_known_event_without_a_handler_is_ignored_under_its_name(vendor: str, event: str) -> None:
    sample = body(vendor, event)
    assert sample is not None

    assert handle(delivery(sample, None, vendor=vendor)) == Ignored(event, Reason.NOT_HANDLED)


def test_what_the_body_says_counts_where_the_vendor_names_the_event_in_the_body() -> None:
    said = delivery(b'{"type": "USER_REGISTERED"}', "COURSE_STATUS_CHANGED", vendor="ispring")

    assert handle(said) == Ignored("USER_REGISTERED", Reason.NOT_HANDLED)


def test_the_address_counts_where_the_body_names_no_event() -> None:
    assert handle(delivery(b"{}", "USER_REGISTERED", vendor="ispring")) == Ignored("USER_REGISTERED", Reason.NOT_HANDLED)


def test_the_body_of_a_vendor_that_names_events_in_the_address_is_not_asked() -> None:
    assert handle(delivery(b'{"event": "PERSON::DELETE", "type": "PERSON::UPDATE"}', "PERSON::CREATE")).event == "PERSON::CREATE"


@pytest.mark.parametrize(
    ("said", "reason", "detail"),
    [
        pytest.param({"vendor": "moodle"}, Reason.UNKNOWN_VENDOR, "moodle", id="unknown vendor"),
        pytest.param({"event": None}, Reason.EVENT_MISSING, None, id="no event in the address"),
        pytest.param({"vendor": "kare", "event": None, "body": b"{}"}, Reason.EVENT_MISSING, None, id="no event in the body"),
        pytest.param({"event": "ACTION_SUBSCRIPTION::UPDATE"}, Reason.UNKNOWN_EVENT, "ACTION_SUBSCRIPTION::UPDATE", id="unknown event"),
        pytest.param({"event": CREATE.lower()}, Reason.UNKNOWN_EVENT, CREATE.lower(), id="an event in other letters"),
        pytest.param({"vendor": "ispring", "body": b'{"type": "X"}'}, Reason.UNKNOWN_EVENT, "X", id="an unknown event in the body"),
        pytest.param({"vendor": "ispring", "body": b"<a/>"}, Reason.UNPARSABLE, "not JSON", id="a body that should name the event"),
        pytest.param({"body": b"{"}, Reason.UNPARSABLE, "not JSON: EOF", id="an unparsable body"),
        pytest.param({"body": b"[]"}, Reason.UNPARSABLE, "not a JSON object", id="a body that is no object"),
        pytest.param({"body": b"{}"}, Reason.MISSING_FIELD, "action_subscription_id, action_id, ", id="missing fields"),
    ],
)
def test_what_cannot_be_handled_is_dead_with_a_reason(said: dict[str, Any], reason: Reason, detail: str | None) -> None:
    outcome = handle(delivery(said.pop("body", b"{}"), said.pop("event", CREATE), **said))

    assert isinstance(outcome, Dead)
    assert outcome.reason is reason
    assert (outcome.detail is None) if detail is None else (outcome.detail or "").startswith(detail)
    assert reason in EXPLANATIONS


COMPLETED = "COURSE_COMPLETED_SUCCESSFULLY"
LMS = AnewspringAccount(vendor="anewspring", base_url=AnyHttpUrl("https://acme.anewspring.com"), api_key_file=Path("key"))

_events = st.none() | st.text(max_size=10) | st.sampled_from([CREATE, DELETE, "PERSON::CREATE", "USER_REGISTERED", COMPLETED])
_ids = st.none() | st.text(max_size=10) | st.integers() | st.floats() | st.lists(st.none(), max_size=1) | st.booleans()
_completions = st.dictionaries(st.sampled_from(["courseId", "learnerId", "completionDate"]), _ids | st.integers(10**9, 10**19))
_shaped = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("action_subscription_id", "action_id", "subscriber_id", "subscriber_type", "subtenant_id", "tenant_id"), _ids)
    | dict.fromkeys(("type", "event", "data", "certificate_date_release", "owned_active", "status"), _ids)
    | dict.fromkeys(("user", "learner"), st.dictionaries(st.just("id"), _ids) | st.lists(_ids, max_size=2))
    | {"courseID": _ids, "payloads": st.lists(_ids | _completions | _completions.map(json.dumps), max_size=3) | _ids},
).map(lambda value: json.dumps(value).encode())
_bodies = st.binary(max_size=50) | _shaped | st.text("<>/?!type &;x[]\"'=", max_size=40).map(str.encode)


@given(body=_bodies, event=_events, vendor=st.sampled_from([*VENDORS, "moodle", ""]))
@example(body=b"[" * 1_000_000, event=CREATE, vendor="4hse")
@example(body=b"<" * 1_000_000, event=None, vendor="anewspring")
@example(body=b"\xff\xfe", event=DELETE, vendor="4hse")
def test_whatever_comes_there_is_an_outcome(body: bytes, event: str | None, vendor: str) -> None:
    outcome = handle(delivery(body, event, vendor=vendor), {"hse": LMS})

    match outcome:
        case Applied(effects=(Hint() as hint, Touch() as touch)):
            assert hint.fields["action_subscription_id"] == hint.subject == touch.subject == outcome.subject != ""
        case Applied(effects=effects):
            assert effects
            assert {type(effect) for effect in effects} <= {Touch, Fact}
        case Ignored(reason=reason) | Dead(reason=reason):
            assert reason in EXPLANATIONS
