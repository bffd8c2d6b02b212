"""Who a subscription's person or office is in an account, and the other direction."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.accounts import Account, AnewspringAccount
from schemas.states import TargetKind
from tests.workers.followups.mirrored import ACCOUNTS
from workers.followups.identities import bearers, learner

PERSON = {
    "action_subscription_id": "s1",
    "subscriber_type": "PERSON",
    "subscriber_id": "p1",
    "subscriber_code": "JS001",
    "subtenant_id": "o1",
    "tenant_id": "t1",
}
OFFICE = PERSON | {"subscriber_type": "OFFICE", "subscriber_id": "o2"}
LMS, ISPRING, KARE = (ACCOUNTS[name] for name in ("lms", "ispring", "kare"))


def with_template(account: Account, template: str | None) -> Account:
    """The account with another template."""
    return account.model_copy(update={"learner": template})


@pytest.mark.parametrize(
    ("kind", "account", "row", "known", "expected"),
    [
        (TargetKind.COURSE, LMS, PERSON, {}, "JS001"),
        (TargetKind.COURSE, LMS, PERSON | {"subscriber_code": None}, {}, None),
        (TargetKind.COURSE, LMS, PERSON | {"subscriber_code": ""}, {}, None),
        (TargetKind.COURSE, LMS, PERSON, {("person", "p1"): "john"}, "john"),
        (TargetKind.COURSE, LMS, PERSON, {("person", "p2"): "jane", ("office", "p1"): "x"}, "JS001"),
        (TargetKind.COURSE, LMS, OFFICE, {("person", "o2"): "john"}, None),
        (TargetKind.OBSERVATION, ISPRING, PERSON, {}, None),
        (TargetKind.OBSERVATION, ISPRING, PERSON, {("person", "p1"): "u1"}, "u1"),
        (TargetKind.OBSERVATION, with_template(ISPRING, "{tenant_id}/{subscriber_code}"), PERSON, {}, "t1/JS001"),
        (TargetKind.EXERCISE, KARE, OFFICE, {("office", "o2"): "12", ("office", "o1"): "11"}, "12"),
        (TargetKind.EXERCISE, KARE, PERSON, {("office", "o1"): "11"}, "11"),
        (TargetKind.EXERCISE, KARE, OFFICE, {}, None),
        (TargetKind.SESSION, ACCOUNTS["hse"], OFFICE, {}, "s1"),
    ],
)
def test_the_table_stands_above_the_template_and_nothing_is_guessed(
    kind: TargetKind, account: Account, row: dict[str, Any], known: dict[tuple[str, str], str], expected: str | None
) -> None:
    assert learner(kind, account, row, known) == expected


def test_the_other_direction_gives_what_the_subscriptions_look_like() -> None:
    assert bearers(TargetKind.COURSE, LMS, "JS001", {}) == ({"subscriber_code": "JS001"},)
    assert bearers(TargetKind.COURSE, LMS, "u1", {("person", "p1"): "u1"}) == ({"subscriber_id": "p1"}, {"subscriber_code": "u1"})
    assert bearers(TargetKind.OBSERVATION, ISPRING, "u1", {}) == ()
    assert bearers(TargetKind.EXERCISE, KARE, "12", {("office", "o2"): "12"}) == ({"subscriber_id": "o2"}, {"subtenant_id": "o2"})
    assert bearers(TargetKind.SESSION, ACCOUNTS["hse"], "s1", {}) == ({"action_subscription_id": "s1"},)
    assert bearers(TargetKind.OBSERVATION, with_template(ISPRING, "x-{subscriber_code}"), "y-1", {}) == ()


@given(code=st.text(min_size=1, max_size=9), office=st.text("-A/", min_size=1, max_size=5))
@pytest.mark.parametrize(
    "template",
    ["{subscriber_code}", "4hse.{subscriber_code}*", "{subscriber_code}/{subscriber_code}", "{office_name}-{subscriber_code}"],
)
def test_whoever_a_template_leads_to_leads_back(template: str, code: str, office: str) -> None:
    account = with_template(LMS, template)
    row = {"subscriber_code": code, "office_name": office}
    there = learner(TargetKind.COURSE, account, PERSON | row, {})

    assert there is not None
    assert {name: value for name, value in row.items() if name in template} in bearers(TargetKind.COURSE, account, there, {})


def test_of_several_readings_of_a_template_each_is_given() -> None:
    account = with_template(LMS, "{office_name}-{subscriber_code}")

    assert bearers(TargetKind.COURSE, account, "A-B-7", {}) == (
        {"office_name": "A", "subscriber_code": "B-7"},
        {"office_name": "A-B", "subscriber_code": "7"},
    )


@pytest.mark.parametrize("template", ["{first_name}", "JS001", "{subscriber_code.x}", "{subscriber_code!r}", "{", "{}", "{data}", "{0}"])
def test_a_template_that_names_no_field_or_an_unknown_one_is_refused(template: str) -> None:
    with pytest.raises(ValidationError):
        AnewspringAccount.model_validate(LMS.model_dump() | {"learner": template})
