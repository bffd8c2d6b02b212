"""ACTION_SUBSCRIPTION::CREATE and ::DELETE: lenient where nothing is lost by it, dead where something would be invented."""

from datetime import date
from typing import Any

import pytest

from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.samples import SUBSCRIPTION, SUBSCRIPTION_IN_FULL
from schemas.states import Reason
from tests.workers.made import CREATE, DELETE, delivery
from workers.handlers import Applied, Dead, Outcome, handle
from workers.mirror.hints import Hint


def said(body: dict[str, Any], event: str = CREATE) -> Outcome:
    """The outcome of a body."""
    return handle(delivery(body, event))


def hint(body: dict[str, Any], event: str = CREATE) -> Hint:
    """The hint in a body that is applied."""
    outcome = said(body, event)
    assert isinstance(outcome, Applied), outcome
    found = outcome.effects[0]
    assert isinstance(found, Hint)
    return found


def test_the_vendors_own_example_is_mirrored_with_every_field() -> None:
    fields = hint(SUBSCRIPTION_IN_FULL | {"data": {"note": "Needs urgent renewal"}, "unheard_of": 1}).fields

    dates = {"certificate_date_release": date(2020, 1, 15), "certificate_date_expire": date(2025, 1, 15)}
    given = SUBSCRIPTION_IN_FULL | dates | {"data": {"note": "Needs urgent renewal"}}
    assert fields == dict.fromkeys(SUBSCRIPTION_FIELDS) | given


def test_nothing_is_odd_about_the_vendors_own_example() -> None:
    assert hint(SUBSCRIPTION_IN_FULL).flags == []


@pytest.mark.parametrize("name", SUBSCRIPTION)
def test_a_create_needs_every_id_that_the_vendor_requires(name: str) -> None:
    outcome = said({key: value for key, value in SUBSCRIPTION.items() if key != name})

    assert outcome == Dead(CREATE, Reason.MISSING_FIELD, name)


@pytest.mark.parametrize("name", [name for name in SUBSCRIPTION if name != "action_subscription_id"])
def test_a_delete_needs_its_own_id_alone(name: str) -> None:
    assert hint({key: value for key, value in SUBSCRIPTION.items() if key != name}, DELETE).deleted
    assert hint({"action_subscription_id": "s1"}, DELETE).fields[name] is None


def test_a_delete_without_its_id_is_dead() -> None:
    assert said({"action_id": "a"}, DELETE) == Dead(DELETE, Reason.MISSING_FIELD, "action_subscription_id")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param("f6a7b8c9-d0e1-2f3a-4b5c-6d7e8f9a0b1c", "f6a7b8c9-d0e1-2f3a-4b5c-6d7e8f9a0b1c", id="a UUID"),
        pytest.param("zzz-not-a-uuid", "zzz-not-a-uuid", id="no UUID"),
        pytest.param(17, "17", id="a number"),
        pytest.param(2**70, str(2**70), id="a large number"),
        pytest.param("x" * 255, "x" * 255, id="a long one"),
        pytest.param("è \U0001f512", "è \U0001f512", id="odd characters"),
    ],
)
def test_ids_are_texts_of_any_kind(given: Any, kept: str) -> None:
    assert hint(SUBSCRIPTION | {"action_subscription_id": given}).subject == kept


@pytest.mark.parametrize("given", ["", "x" * 256, None, True, [], {}], ids=repr)
def test_an_id_that_identifies_nothing_is_dead_and_not_quoted(given: Any) -> None:
    outcome = said(SUBSCRIPTION | {"action_subscription_id": given})

    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.INVALID_FIELD
    assert (outcome.detail or "").startswith("action_subscription_id: ")
    assert "xxx" not in (outcome.detail or "")


@pytest.mark.parametrize(
    ("given", "kept", "flagged"),
    [
        pytest.param("2020-01-15", date(2020, 1, 15), False, id="a date"),
        pytest.param("2020-01-15T23:30:00+02:00", date(2020, 1, 15), False, id="a date-time keeps the day it says"),
        pytest.param("2020-01-15 08:00", date(2020, 1, 15), False, id="a date-time with a space"),
        pytest.param(1579046400, date(2020, 1, 15), False, id="Unix seconds"),
        pytest.param(None, None, False, id="null"),
        pytest.param("", None, False, id="empty"),
        pytest.param("15/01/2020", None, True, id="another order"),
        pytest.param("soon", None, True, id="no date"),
        pytest.param(10**30, None, True, id="beyond the calendar"),
        pytest.param({"year": 2020}, None, True, id="an object"),
        pytest.param("0000-00-00", None, True, id="the date that is none"),
    ],
)
def test_dates_are_read_where_they_can_be_and_flagged_where_not(given: Any, kept: date | None, flagged: bool) -> None:
    found = hint(SUBSCRIPTION | {"certificate_date_expire": given})

    assert found.fields["certificate_date_expire"] == kept
    assert found.flags == ["unreadable_date:certificate_date_expire"] * flagged


@pytest.mark.parametrize(
    ("action", "subscriber", "fits"),
    [
        ("TRAINING", "PERSON", True),
        ("TRAINING", "EQUIPMENT", False),
        ("HEALTH", "ROLE", False),
        ("PER", "PERSON", True),
        ("MAINTENANCE", "EQUIPMENT", True),
        ("MAINTENANCE", "PERSON", False),
        ("CHECK", "SUBSTANCE", True),
        ("SOMETHING_NEW", "PERSON", True),
        (None, "EQUIPMENT", True),
    ],
)
def test_a_subscriber_that_does_not_fit_its_action_is_flagged_and_mirrored(action: str | None, subscriber: str, fits: bool) -> None:
    found = hint(SUBSCRIPTION | {"action_type": action, "subscriber_type": subscriber})

    assert found.fields["subscriber_type"] == subscriber
    assert found.flags == ["subscriber_type_does_not_fit_action_type"] * (not fits)


@pytest.mark.parametrize("data", [{"a": [1, {"b": None}]}, [], "text", 5, 2**80, False], ids=repr)
def test_data_of_any_shape_is_kept(data: Any) -> None:
    assert hint(SUBSCRIPTION | {"data": data}).fields["data"] == data
