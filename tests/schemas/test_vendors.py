"""The vendors' rows, against what the vendors document; their samples are of events they have."""

import json

import pytest
from pydantic import TypeAdapter

from schemas import samples
from schemas.fourhse import CreatedSubscription, DeletedSubscription
from schemas.vendors import VENDORS, Vendor
from schemas.verification import Verification


def test_4hse_documents_eleven_events_and_no_update_of_a_subscription() -> None:
    events = VENDORS["4hse"].events

    assert events is not None
    assert len(events) == 11
    assert {"ACTION_SUBSCRIPTION::CREATE", "ACTION_SUBSCRIPTION::DELETE"} <= events
    assert "ACTION_SUBSCRIPTION::UPDATE" not in events


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=lambda vendor: vendor.name)
def test_a_row_stands_under_its_own_name_and_its_preset_is_a_whole_scheme_but_for_the_secrets(vendor: Vendor) -> None:
    assert VENDORS[vendor.name] is vendor
    if vendor.verify is not None:
        adapter: TypeAdapter[Verification] = TypeAdapter(Verification)
        assert adapter.validate_python({**vendor.verify, "secrets": ["s"]})


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=lambda vendor: vendor.name)
def test_a_vendor_whose_body_names_the_event_says_where(vendor: Vendor) -> None:
    assert (vendor.event_place == "body") == (vendor.event_field is not None)


@pytest.mark.parametrize(("vendor", "event"), samples.SAMPLES)
def test_a_sample_is_of_an_event_its_vendor_has_and_names_it_where_the_vendor_does(vendor: str, event: str) -> None:
    row, body = VENDORS[vendor], samples.body(vendor, event)

    assert row.events is None or event in row.events
    assert body is not None
    assert row.event_place == "address" or json.loads(body)[row.event_field] == event


def test_there_is_no_sample_of_what_nobody_documents() -> None:
    assert samples.body("4hse", "ACTION_SUBSCRIPTION::UPDATE") is None


def test_the_subscriptions_samples_are_read_by_the_mirrors_models() -> None:
    created = samples.body("4hse", "ACTION_SUBSCRIPTION::CREATE")

    assert created is not None
    assert CreatedSubscription.model_validate_json(created).subscriber_type == "PERSON"
    assert DeletedSubscription.model_validate(samples.SUBSCRIPTION_IN_FULL).action_name == "Fire Safety Training Medium Risk"
