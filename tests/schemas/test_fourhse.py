"""4HSE's payloads: lenient where the vendor's own examples are, strict where a row would have no key."""

from contextlib import suppress
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.fourhse import (
    SUBSCRIPTION_FIELDS,
    Action,
    ActionSession,
    CreatedSubscription,
    DeletedSubscription,
    SessionSubscription,
    fits,
    lenient_date,
)
from schemas.samples import SUBSCRIPTION, SUBSCRIPTION_IN_FULL

REQUIRED = ("action_subscription_id", "action_id", "subscriber_id", "subscriber_type", "subtenant_id", "tenant_id")


def test_the_vendors_example_is_read_with_every_field_of_the_document() -> None:
    read = CreatedSubscription.model_validate(SUBSCRIPTION_IN_FULL)

    assert read.certificate_date_expire == date(2025, 1, 15)
    assert read.owned_active is True
    assert set(SUBSCRIPTION_IN_FULL) <= set(SUBSCRIPTION_FIELDS)
    assert all(getattr(read, name) is not None for name in SUBSCRIPTION_IN_FULL)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("how", ["missing", "null", "empty", "a list"])
def test_a_create_needs_its_six_identifiers(name: str, how: str) -> None:
    body: dict[str, Any] = {key: value for key, value in SUBSCRIPTION.items() if key != name}
    wrong: dict[str, dict[str, Any]] = {"missing": {}, "null": {name: None}, "empty": {name: ""}, "a list": {name: ["x"]}}
    body |= wrong[how]
    with pytest.raises(ValidationError, match=name):
        CreatedSubscription.model_validate(body)


def test_a_delete_needs_its_id_alone() -> None:
    assert DeletedSubscription.model_validate({"action_subscription_id": "x"}).subscriber_id is None
    with pytest.raises(ValidationError, match="action_subscription_id"):
        DeletedSubscription.model_validate({"subscriber_id": "x"})


def test_identifiers_are_strings_whatever_they_look_like() -> None:
    read = CreatedSubscription.model_validate(SUBSCRIPTION | {"tenant_id": 2**70, "action_id": "not-a-uuid", "subscriber_id": "0001"})

    assert (read.tenant_id, read.action_id, read.subscriber_id) == (str(2**70), "not-a-uuid", "0001")


def test_a_field_that_nobody_documented_is_passed_over() -> None:
    assert CreatedSubscription.model_validate(SUBSCRIPTION | {"new_field": {"deep": []}}).tenant_id == SUBSCRIPTION["tenant_id"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-03-15", date(2024, 3, 15)),
        ("2024-03-15T00:00:00Z", date(2024, 3, 15)),
        ("2024-03-15T23:59:59.999+02:00", date(2024, 3, 15)),
        ("2024-03-15 10:00:00", date(2024, 3, 15)),
        (1_710_460_800, date(2024, 3, 15)),
        (1_710_460_800.5, date(2024, 3, 15)),
        (0, date(1970, 1, 1)),
        ("", None),
        (None, None),
        (True, None),
        ("soon", None),
        ("15/03/2024", None),
        ("2024-02-30", None),
        ("0000-00-00", None),
        (10**400, None),
        (float("nan"), None),
        (float("inf"), None),
        (["2024-03-15"], None),
        ({}, None),
    ],
    ids=repr,
)
def test_dates_are_read_where_there_is_one_and_are_none_where_there_is_none(value: object, expected: date | None) -> None:
    assert lenient_date(value) == expected


ROME, NEW_YORK = ZoneInfo("Europe/Rome"), ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("value", "rome", "new_york"),
    [
        ("2024-03-14T23:00:00Z", 15, 14),
        ("2024-03-14T23:00:00+00:00", 15, 14),
        ("2024-03-15T03:00:00+00:00", 15, 14),
        ("2024-03-15T00:00:00+01:00", 15, 14),
        ("2024-03-15T00:00:00Z", 15, 15),
        ("2024-03-15T00:00:00.000Z", 15, 15),
        ("2024-03-15T23:00:00", 15, 15),
        ("2024-03-15", 15, 15),
        (1_710_457_200, 15, 14),
        (1_710_460_800, 15, 15),
    ],
)
def test_a_moment_is_the_accounts_day_and_midnight_in_utc_a_date(value: object, rome: int, new_york: int) -> None:
    """The document promises date-times, and shows dates."""
    assert (lenient_date(value, ROME), lenient_date(value, NEW_YORK)) == (date(2024, 3, rome), date(2024, 3, new_york))
    shown = {"action_subscription_id": "s", "certificate_date_release": value}
    assert DeletedSubscription.model_validate(shown, context=ROME).certificate_date_release == date(2024, 3, rome)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=50)
@given(_json)
def test_no_value_makes_reading_a_date_fail(value: object) -> None:
    assert lenient_date(value) is None or isinstance(lenient_date(value), date)


@settings(max_examples=50)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(SUBSCRIPTION_FIELDS, _json)))
def test_no_body_makes_reading_fail_but_by_a_validation_error(body: dict[str, Any]) -> None:
    with suppress(ValidationError):
        read = CreatedSubscription.model_validate(body)

        assert all(getattr(read, name) for name in REQUIRED)


def test_a_refused_body_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ValidationError) as caught:
        CreatedSubscription.model_validate(SUBSCRIPTION | {"tenant_id": ["planted-value"]})

    assert "planted-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("action_type", "subscriber_type", "expected"),
    [
        ("TRAINING", "PERSON", True),
        ("TRAINING", "EQUIPMENT", False),
        ("HEALTH", "OFFICE", False),
        ("PER", "PERSON", True),
        ("MAINTENANCE", "EQUIPMENT", True),
        ("MAINTENANCE", "PERSON", False),
        ("CHECK", "PERSON", True),
        ("CHECK", "PPE", True),
        ("NEW_TYPE", "PERSON", True),
        (None, "PERSON", True),
        ("TRAINING", None, True),
    ],
)
def test_a_subscriber_type_fits_as_the_document_says(action_type: str | None, subscriber_type: str | None, expected: bool) -> None:
    assert fits(action_type, subscriber_type) is expected


@pytest.mark.parametrize(
    ("said", "read"),
    [
        pytest.param(
            {"validity": "5", "expire_interval": 30.0}, {"validity": 5, "expire_interval": 30}, id="numbers as text and as floats"
        ),
        pytest.param({"validity": "", "subtenant_id": ""}, {"validity": None, "subtenant_id": None}, id="nothing as empty text"),
        pytest.param({"action_id": 17}, {"action_id": "17"}, id="an id that is a number"),
        pytest.param(
            {"action_id": "d3e4f5a6-b7c8-9012-defg-h12345678901"}, {"action_id": "d3e4f5a6-b7c8-9012-defg-h12345678901"}, id="no UUID"
        ),
        pytest.param({"manager": [{"id": 1}], "description": None}, {"name": None}, id="fields that nobody asked for"),
    ],
)
def test_rows_of_what_no_webhook_tells_are_read_leniently(said: dict[str, Any], read: dict[str, Any]) -> None:
    row = Action.model_validate({"action_id": "a1"} | said)

    assert row.model_dump(include=set(read)) == read


@pytest.mark.parametrize("value", ["2024-03-15", "2024-03-15T10:00:00Z", "2024-03-15 10:00:00", 1710460800])
def test_their_dates_are_dates_or_date_times(value: object) -> None:
    row = SessionSubscription.model_validate({"action_session_subscription_id": "e1", "date_begin": value, "session_date_begin": "soon"})

    assert (row.date_begin, row.session_date_begin) == (date(2024, 3, 15), None)


@pytest.mark.parametrize(
    "body", [{}, {"action_session_id": ""}, {"action_session_id": None}, {"action_session_id": "s1", "validity": "five"}]
)
def test_a_row_without_its_id_or_with_a_number_that_is_none_cannot_be_read(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ActionSession.model_validate(body)
