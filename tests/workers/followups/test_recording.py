"""What is written to 4HSE of a passed need, and of a failed attempt."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from schemas.states import NeedState, TargetKind
from tests.workers.followups.mirrored import rule
from workers.followups.case import Need, Subscription
from workers.followups.recording import OTHERWISE, ended, failure, not_valid, steps
from workers.followups.results import Result

ROME = ZoneInfo("Europe/Rome")
NOON = datetime(2024, 3, 15, 12, tzinfo=UTC)
ROW = {
    "action_id": "a",
    "action_type": "TRAINING",
    "action_name": "Fire Safety",
    "subscriber_id": "p",
    "tenant_id": "t",
    "subtenant_id": "o",
}
FIVE_YEARS: dict[str, Any] = {"validity": 5, "validity_unit": "YEAR"}
PASS = Result("course_result/lms/JS001/FIRE//0", TargetKind.COURSE, "JS001", "FIRE", NOON, completed=True)


def need(cycle: str = "initial", attempt: int = 1, **record: Any) -> Need:
    made = rule(record=record)
    opened = datetime(2024, 3, 1, tzinfo=UTC)
    return Need(UUID(int=1), "hse", "s", made, cycle, NeedState.PASSED, None, NOON, opened, opened, (), attempt=attempt)


def seat(**changed: Any) -> dict[str, Any]:
    made = {"action_session_subscription_id": "e", "action_session_id": "m", "action_subscription_id": "s", "subtenant_id": "o"}
    return made | {"tenant_id": "t", "done": -1, "certificate_id": None, "session_date_begin": date(2024, 3, 10), **FIVE_YEARS} | changed


def written(
    planned: Need, *sits: dict[str, Any], result: Result = PASS, action: dict[str, Any] | None = FIVE_YEARS
) -> dict[str, dict[str, Any]]:
    rows = steps(planned, Subscription("hse", "s", ROW), sits, result, NOON, zone=ROME, action=action)
    return {row.step: {**row.body, "remote": row.remote} for row in rows}


def test_a_certificate_and_its_link_are_written() -> None:
    """In that order, the second naming the first."""
    found = written(need())
    certificate, link = found["certificate"], found["certificate_action"]

    assert list(found) == sorted(found) == ["certificate", "certificate_action"]
    assert certificate == {
        "date_release": "2024-03-15",
        "date_expire": "2029-03-15",
        "name": "Fire Safety",
        "action_type": "TRAINING",
        "resource_id": "p",
        "tenant_id": "t",
        "remote": certificate["remote"],
        **FIVE_YEARS,
    }
    assert link == {"certificate_id": certificate["remote"], "action_id": "a", "tenant_id": "t", "remote": link["remote"]}


def test_the_outcome_of_a_session_is_one_put_with_its_four_ids() -> None:
    """After the others."""
    found = written(need(), seat())

    assert list(found) == sorted(found)
    assert found["session"] == {
        "action_session_id": "m",
        "action_subscription_id": "s",
        "subtenant_id": "o",
        "tenant_id": "t",
        "done": 1,
        "certificate_id": found["certificate"]["remote"],
        "date_begin": "2024-03-15",
        "date_expire": "2029-03-15",
        "remote": "e",
    }


def test_ids_follow_from_the_need() -> None:
    """The same for whoever plans it, and each another."""
    ids = [one["remote"] for one in written(need()).values()]

    assert ids == [one["remote"] for one in written(need()).values()]
    assert len({UUID(one) for one in ids}) == 2


def test_a_certificate_without_validity_never_expires() -> None:
    """Nothing is said of its end, in the session neither."""
    found = written(need(), seat(validity=None, validity_unit=None), action={"validity": None, "validity_unit": None})

    assert not {"date_expire", "validity", OTHERWISE} & {*found["certificate"], *found["session"]}


@pytest.mark.parametrize("action", [None, {"validity": 5, "validity_unit": "WEEK"}])
def test_how_long_an_action_makes_valid_is_not_guessed_before_it_is_known(action: dict[str, Any] | None) -> None:
    """Whatever the rule says, over which the action stands."""
    planned = written(need(validity="3 YEAR"), seat(validity=None, validity_unit=None), action=action)
    assert not {"date_expire", "validity"} & {*planned["certificate"], *planned["session"]}

    ends = [ended(planned[step], one)["date_expire"] for step in ("certificate", "session") for one in (FIVE_YEARS, {"validity": None})]
    assert ends == ["2029-03-15", "2027-03-15"] * 2


def test_the_validity_of_the_session_needs_no_action() -> None:
    """It stands above all."""
    assert written(need(), seat(), action=None)["session"]["date_expire"] == "2029-03-15"


def test_a_certificate_is_named_by_its_template() -> None:
    """With the day that it begins; where a field is empty by the action."""
    assert written(need(certificate="Drill {date}"))["certificate"]["name"] == "Drill 2024-03-15"
    assert written(need(certificate="For {subscriber_code}"))["certificate"]["name"] == "Fire Safety"
    assert len(written(need(certificate="{action_name}" * 19))["certificate"]["name"]) == 209


@pytest.mark.parametrize(
    ("cycle", "changed", "told"),
    [
        ("initial", {}, True),
        ("initial", {"session_date_begin": date(2019, 1, 1)}, True),
        ("c1", {"session_date_begin": date(2019, 1, 1)}, False),
        ("c1", {"session_date_begin": None}, True),
        ("c1", {"done": 0}, True),
        ("c1", {"done": 1}, False),
    ],
)
def test_only_this_cycles_session_is_told(cycle: str, changed: dict[str, Any], *, told: bool) -> None:
    """Not one that passed before, or was held before the cycle."""
    assert ("session" in written(need(cycle), seat(**changed))) is told


def test_the_session_that_was_passed_is_told_of_its_certificate() -> None:
    """Its outcome was entered there, and says nothing of the certificate that we make."""
    own = Result("session_enrollment/hse/e", TargetKind.SESSION, "s", "m", NOON, passed=True, completed=True)

    assert written(need("c1"), seat(done=1), result=own)["session"]["done"] == 1


def test_a_failed_attempt_is_told_to_the_session() -> None:
    """Once an attempt."""
    (told,) = failure(need(attempt=2), [seat()], PASS)

    assert (told.step, told.remote, told.body["done"]) == ("failed 2", "e", 0)
    assert "certificate_id" not in told.body
    assert [failure(need(), held, PASS) for held in ([], [seat(done=0)], [seat(done=1)])] == [[]] * 3


def test_a_session_that_the_rule_leads_to_is_its_trainers() -> None:
    """Who failed the course before it may pass it yet."""
    chain = rule(enroll=[{"account": "lms", "course": "FIRE"}, {"account": "hse", "session": "next", "after": "FIRE"}])

    assert failure(replace(need(), rule=chain), [seat()], PASS) == []


def test_what_was_recorded_and_is_not_valid_in_time_is_an_alarm() -> None:
    """From the moment on that the rule gives it."""
    week = timedelta(days=7)

    assert not_valid(NOON, week, NOON + week - timedelta(seconds=1)) is None
    assert "not VALID" in str(not_valid(NOON, week, NOON + week))
