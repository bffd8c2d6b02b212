"""A vendor's row as a sighting: lenient in what it reads, strict in what it keeps."""

from datetime import date
from typing import Any

import pytest

from schemas.fourhse import SUBSCRIPTION_FIELDS
from tests.workers.made import NOON
from workers.mirror.sightings import Unreadable, sighting


def test_every_field_is_read_and_an_unknown_one_is_left() -> None:
    found = sighting("hse", {"action_subscription_id": "s1", "status": "VALID", "certificate_date_expire": "2029-03-15", "new": 1}, NOON)

    assert tuple(found.fields) == SUBSCRIPTION_FIELDS
    assert (found.account, found.subject, found.began, found.flags) == ("hse", "s1", NOON, [])
    assert (found.fields["status"], found.fields["certificate_date_expire"], found.fields["data"]) == ("VALID", date(2029, 3, 15), None)


def test_what_is_odd_is_flagged() -> None:
    row = {"action_subscription_id": "s1", "action_type": "TRAINING", "subscriber_type": "PPE", "last_session_date": "soon"}

    assert sighting("hse", row, NOON).flags == ["unreadable_date:last_session_date", "subscriber_type_does_not_fit_action_type"]


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({}, "action_subscription_id"),
        ({"action_subscription_id": ""}, "action_subscription_id"),
        ({"action_subscription_id": "s1", "status": [1], "action_id": {}}, "action_id, status"),
        ({"action_subscription_id": "s1", "status": "a\0b"}, "U\\+0000"),
        ({"action_subscription_id": "s1", "data": {"a": [{"b\0": 1}]}}, "U\\+0000"),
        ({"action_subscription_id": "s1", "manager": "\0"}, "U\\+0000"),
    ],
)
def test_what_cannot_be_kept_is_named_without_its_value(row: dict[str, Any], named: str) -> None:
    with pytest.raises(Unreadable, match=named):
        sighting("hse", row, NOON)
