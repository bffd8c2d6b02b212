"""What the simulated 4HSE computes: statuses, what an index holds, and what goes with what."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.vendors.acme import (
    ACTION,
    ENROLLMENT,
    NOON,
    OFFICE,
    OTHER_OFFICE,
    PERSON,
    PLACE,
    SESSION,
    SUBSCRIPTION,
    TENANT,
    acme,
    populated,
)
from workers.simulators.fourhse import Tenancy
from workers.simulators.fourhse.compliance import status
from workers.simulators.fourhse.tenancy import Absent, Invalid


def shown(tenancy: Tenancy, subscription: str = SUBSCRIPTION) -> dict[str, Any]:
    """A subscription as view gives it."""
    return tenancy.view("action-subscription", subscription)


def certificate(tenancy: Tenancy, release: str, expire: str | None, **changed: Any) -> str:
    """A certificate of John Smith's that is linked to nothing."""
    made = {
        "date_release": release,
        "date_expire": expire,
        "name": "Fire",
        "action_type": "TRAINING",
        "resource_id": PERSON,
        "tenant_id": TENANT,
    }
    return str(tenancy.create("certificate", made | changed)["certificate_id"])


def link(tenancy: Tenancy, certificate_id: str, **changed: Any) -> str:
    """Link a certificate to the training."""
    made = {"certificate_id": certificate_id, "action_id": ACTION, "tenant_id": TENANT, **changed}
    return str(tenancy.create("certificate-action", made)["certificate_action_id"])


def indexed(tenancy: Tenancy, **query: Any) -> list[str]:
    """The subscribers' names or ids of an index, in its order."""
    return [tenancy.tables["action-subscription"][one]["subscriber_id"] for one in tenancy.ids("action-subscription", query)]


def three() -> Tenancy:
    """Subscriptions of p1 (certified until 2030), p2 (not) and p3 (of the other office, historicized)."""
    tenancy = acme()
    tenancy.certify(tenancy.subscribe(ACTION, "p1"), "2025-01-01", "2030-01-01")
    tenancy.subscribe(ACTION, "p2", data={"note": "urgent"})
    tenancy.historicize(tenancy.subscribe(ACTION, "p3", subtenant_id=OTHER_OFFICE))
    return tenancy


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["p1", "p2"]),
        ({"history": True}, ["p1", "p2", "p3"]),
        ({"filter": {"status": "VALID"}}, ["p1"]),
        ({"filter": {"status": ["NEW", "VALID"]}, "sort": "status"}, ["p2", "p1"]),
        ({"filter": {"status": "NEW"}, "history": True}, ["p2", "p3"]),
        ({"filter": {"subtenant_id": OTHER_OFFICE}, "history": True}, ["p3"]),
        ({"filter": {"office_name": "milan"}, "history": True}, ["p3"]),
        ({"filter": {"subscriber_id": "p2", "action_type": "TRAINING"}}, ["p2"]),
        ({"filter": {"owned_active": False}, "history": True}, ["p3"]),
        ({"filter": {"last_certificate_id": None}}, ["p2"]),
        ({"sort": "-subscriber_id"}, ["p2", "p1"]),
        ({"sort": "-certificate_date_expire"}, ["p1", "p2"]),
        ({"sort": "certificate_date_expire"}, ["p2", "p1"]),
        ({"sort": "nonsense"}, ["p1", "p2"]),
    ],
    ids=lambda value: repr(value) if isinstance(value, Mapping) else None,
)
def test_an_index_filters_by_any_field_and_sorts_by_one(query: dict[str, Any], found: list[str]) -> None:
    assert indexed(three(), **query) == found


@pytest.mark.parametrize(
    ("inactive", "flags"),
    [
        ((), (True, True)),
        ((SUBSCRIPTION,), (False, True)),
        ((ACTION,), (True, False)),
        ((PERSON,), (True, False)),
        ((OFFICE,), (True, False)),
    ],
    ids=["none", "itself", "its action", "its person", "its office"],
)
def test_what_is_historicized_or_has_a_historicized_parent_leaves_the_index_but_not_view(
    inactive: tuple[str, ...], flags: tuple[bool, bool]
) -> None:
    tenancy = populated()
    tenancy.historicize(*inactive)

    assert (shown(tenancy)["owned_active"], shown(tenancy)["parent_active"]) == flags
    assert bool(indexed(tenancy)) is all(flags)
    assert indexed(tenancy, history=True) == [PERSON]
    tenancy.reactivate(*inactive)
    assert indexed(tenancy) == [PERSON]


def test_a_certificate_alone_changes_nothing_and_its_link_to_the_action_does() -> None:
    tenancy = populated()
    made = certificate(tenancy, "2026-01-01", "2031-01-01")
    before = shown(tenancy)["status"]
    link(tenancy, made)

    assert (before, shown(tenancy)["status"], shown(tenancy)["last_certificate_id"]) == ("NEW", "VALID", made)


@pytest.mark.parametrize("other", ["resource", "action"])
def test_a_certificate_of_another_resource_or_action_changes_nothing(other: str) -> None:
    tenancy = populated()
    tenancy.create("action", {"action_id": "other", "action_type": "TRAINING", "name": "Other", **PLACE})
    link(
        tenancy,
        certificate(tenancy, "2026-01-01", None, **{"resource_id": "other"} if other == "resource" else {}),
        action_id="other" if other == "action" else ACTION,
    )

    assert shown(tenancy)["status"] == "NEW"


def test_a_links_own_date_goes_before_the_certificates() -> None:
    tenancy = populated()
    link(tenancy, certificate(tenancy, "2020-01-01", "2035-01-01"), date_expire="2021-01-01")

    assert (shown(tenancy)["status"], shown(tenancy)["certificate_date_expire"]) == ("EXPIRED", "2021-01-01")


def test_the_most_recent_certificate_counts_and_when_it_is_deleted_the_one_before() -> None:
    tenancy = populated()
    tenancy.certify(SUBSCRIPTION, "2020-01-01", "2021-01-01")
    newer = tenancy.certify(SUBSCRIPTION, "2026-01-01", "2031-01-01")
    before = shown(tenancy)["status"]
    tenancy.delete("certificate", newer)

    assert (before, shown(tenancy)["status"]) == ("VALID", "EXPIRED")


@given(st.integers(-400, 400), st.integers(0, 90))
def test_a_certificate_is_valid_then_expiring_for_the_actions_interval_then_expired(days: int, interval: int) -> None:
    today = date(2026, 3, 1)
    expected = "EXPIRED" if days < 0 else "EXPIRING" if days <= interval else "VALID"

    assert status(today + timedelta(days=days), interval, today) == expected


def test_a_certificate_without_an_end_is_valid() -> None:
    assert status(None, 30, date(2026, 3, 1)) == "VALID"


def test_as_time_goes_by_a_status_changes_without_anybody_doing_anything() -> None:
    tenancy, told = populated(), []
    tenancy.certify(SUBSCRIPTION, "2026-01-01", "2026-06-01")
    for days in (0, 70, 100):
        tenancy.now = partial(NOON.__add__, timedelta(days=days))
        told.append((shown(tenancy)["status"], indexed(tenancy, filter={"status": shown(tenancy)["status"]})))

    assert told == [("VALID", [PERSON]), ("EXPIRING", [PERSON]), ("EXPIRED", [PERSON])]


@pytest.mark.parametrize("generates", [False, True])
def test_a_passed_session_makes_a_certificate_where_4hse_is_set_to(generates: bool) -> None:
    tenancy = populated()
    tenancy.generates_certificates = generates
    tenancy.record(ENROLLMENT, 1)

    assert (shown(tenancy)["status"], bool(tenancy.view("action-session-subscription", ENROLLMENT)["certificate_id"])) == (
        "VALID" if generates else "NEW",
        generates,
    )


def test_a_session_counts_its_outcomes_and_its_own_validity_goes_before_the_actions() -> None:
    tenancy = populated()
    tenancy.update("action-session", SESSION, tenancy.row("action-session", SESSION) | {"validity": 6, "validity_unit": "MONTH"})
    tenancy.record(tenancy.enroll(SESSION, tenancy.subscribe(ACTION, "p2")), 0)
    session, enrollment = tenancy.view("action-session", SESSION), tenancy.view("action-session-subscription", ENROLLMENT)

    assert {name: session[f"count_{name}"] for name in ("subscribed", "done", "fail", "unknown")} == {
        "subscribed": 2,
        "done": 0,
        "fail": 1,
        "unknown": 1,
    }
    assert (enrollment["validity"], enrollment["validity_unit"]) == (6, "MONTH")


@pytest.mark.parametrize(("path", "id_"), [("action", ACTION), ("person", PERSON)])
def test_deleting_a_parent_deletes_everything_below_it(path: str, id_: str) -> None:
    tenancy = populated()
    tenancy.certify(SUBSCRIPTION)
    tenancy.delete(path, id_)

    left = {name for name, rows in tenancy.tables.items() if rows}
    assert left == ({"person", "certificate"} if path == "action" else {"action", "action-session"})
    with pytest.raises(Absent):
        tenancy.view(path, id_)


STEPS: dict[str, Callable[[Tenancy, int], object]] = {
    "subscribe": lambda tenancy, number: tenancy.subscribe(
        ACTION, f"p{number}", action_subscription_id=f"s{number}", subtenant_id=place(number)
    ),
    "certify": lambda tenancy, number: tenancy.certify(tenancy.row("action-subscription", f"s{number}")["action_subscription_id"]),
    "delete": lambda tenancy, number: tenancy.delete("action-subscription", f"s{number}"),
    "historicize": lambda tenancy, number: tenancy.historicize(f"s{number}"),
    "withdraw": lambda tenancy, number: tenancy.withdraw(place(number)),
    "restore": lambda tenancy, number: tenancy.restore(place(number)),
}


def place(number: int) -> str:
    """One of the two offices."""
    return (OFFICE, OTHER_OFFICE)[number % 2]


@given(st.lists(st.tuples(st.sampled_from(list(STEPS)), st.integers(0, 4)), max_size=30))
def test_whatever_was_done_index_and_view_agree(steps: list[tuple[str, int]]) -> None:
    tenancy = acme()
    for step, number in steps:
        with suppress(Invalid, Absent):
            STEPS[step](tenancy, number)

    listed = set(tenancy.ids("action-subscription", {"history": True}))
    viewed = {name: row for name in (f"s{number}" for number in range(5)) if (row := seen(tenancy, name))}
    active = {name for name, row in viewed.items() if row["owned_active"]}
    assert listed == set(viewed)
    assert set(tenancy.ids("action-subscription", {})) == active
    for name in active:
        assert name in tenancy.ids("action-subscription", {"filter": {"status": viewed[name]["status"]}})


def seen(tenancy: Tenancy, subscription: str) -> dict[str, Any] | None:
    """A subscription as view gives it, if it does."""
    with suppress(Absent):
        return shown(tenancy, subscription)
    return None
