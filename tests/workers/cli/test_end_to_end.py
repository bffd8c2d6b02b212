"""The main job through the real commands, on every transport and database."""

import json

from tests.services import until
from tests.services.muster import Muster

SUBSCRIPTION = "d5e6f7a8-b9c0-1d2e-3f4a-5b6c7d8e9f0a"


def listed(muster: Muster) -> list[dict[str, str]]:
    """The delivery log as `deliveries list --json` gives it."""
    found: list[dict[str, str]] = json.loads(muster.run("deliveries", "list", "--json").stdout)
    return found


def test_a_created_subscription_is_mirrored_and_a_deleted_one_leaves_a_tombstone(muster: Muster) -> None:
    muster.run("trigger", "hse", "ACTION_SUBSCRIPTION::CREATE")
    until(lambda: [one["state"] for one in listed(muster)] == ["applied"], 10, "the CREATE's application")
    shown = json.loads(muster.run("subscriptions", "show", SUBSCRIPTION, "--json").stdout)

    assert shown["state"] == "live"
    assert shown["subscriber_type"] == "PERSON"

    muster.run("trigger", "hse", "ACTION_SUBSCRIPTION::DELETE")
    until(lambda: [one["state"] for one in listed(muster)] == ["applied"] * 2, 10, "the DELETE's application")

    assert json.loads(muster.run("subscriptions", "show", SUBSCRIPTION, "--json").stdout)["state"] == "deleted"


def test_an_lms_delivery_is_logged_with_the_event_its_body_names_to_be_understood_later(muster: Muster) -> None:
    muster.run("trigger", "ispring", "USER_REGISTERED")
    until(lambda: listed(muster), 10, "the delivery's logging")

    (one,) = listed(muster)
    assert (one["source"], one["event"], one["state"], one["reason"]) == ("ispring", "USER_REGISTERED", "ignored", "not_handled")
