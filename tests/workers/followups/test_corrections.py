"""A correction of what certified is seen on the need, as long as its certificate stands."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from schemas.states import NeedState, TargetKind
from tests.workers.followups import planned
from tests.workers.followups.mirrored import rule
from workers.followups import reasons
from workers.followups.case import ALL_THE_SAME, CORRECTED, Case, Change, Need, NeedChange, Recorded, Step, Subscription
from workers.followups.planner import plan
from workers.followups.results import Result

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "course_result/lms/JS001/FIRE//0"
RESULT = Result(KEY, TargetKind.COURSE, "JS001", "FIRE", NOON, 90.0, completed=True)
MARK: dict[str, Any] = {"pass": {"grade": 80}}
RULE = rule(record={}, **MARK)
ROW = {"state": "live", "status": "VALID", "last_certificate_id": "c1", "certificate_date_release": date(2026, 3, 1)}


def need(state: NeedState, reason: str | None) -> Need:
    step = Step(NeedState.PASSED, result={"key": KEY, "completed_at": NOON.isoformat(), "failed": []})
    return Need(UUID(int=1), "hse", "s", RULE, "initial", state, reason, NOON, NOON - timedelta(days=9), NOON, (step,))


def after(held: Need, result: Result, **row: Any) -> Need:
    """The need once it was planned."""
    recording = Recorded(UUID(int=2), held.id, "certificate", "done", {}, "c1")
    case = Case(
        Subscription("hse", "s", {**ROW, **row}),
        NOON + timedelta(days=1),
        ZoneInfo("UTC"),
        needs=(held,),
        learners={(TargetKind.COURSE, "lms"): "JS001"},
        results={("lms", "JS001", "FIRE"): [result]},
        certified={KEY: held.id},
        recordings={held.id: [recording]},
    )
    changes: tuple[Change, ...] = plan(case)
    return next((one.need for one in changes if isinstance(one, NeedChange)), held)


BELOW = replace(RESULT, grade=50.0)
ALARM = "course FIRE certified, and does not pass any more: delete the certificate"


@pytest.mark.parametrize(
    ("held", "row"),
    [
        (need(NeedState.RECORDED, reasons.RECORDED), {"status": "NEW", "last_certificate_id": None}),
        (need(NeedState.VALID, "certificate c1"), {}),
    ],
)
def test_a_correction_is_an_alarm_beside_the_reason(held: Need, row: dict[str, Any]) -> None:
    """Until it is taken back; and while it stands, nothing changes."""
    alarmed = replace(held, alarm=ALARM)

    assert (after(held, RESULT, **row).reason, after(held, RESULT, **row).alarm) == (held.reason, None)
    assert after(held, BELOW, **row).alarm == after(alarmed, BELOW, **row).alarm == ALARM
    assert after(alarmed, BELOW, **row).reason == held.reason
    assert after(alarmed, RESULT, **row).alarm is None


@pytest.mark.parametrize("row", [{"last_certificate_id": "c2"}, {"status": "EXPIRING"}])
def test_what_certified_an_earlier_certificate_is_left_alone(row: dict[str, Any]) -> None:
    """Its course is taken once more by then."""
    old = need(NeedState.VALID, "certificate c1")

    assert after(old, replace(RESULT, completed=False, completed_at=None), **row).alarm is None


def passed(**record: Any) -> Case:
    """A need that was passed, of which nothing is written yet."""
    one = planned.enrolled(planned.planned(planned.case(planned.rule(record=record, fail={"attempts": 2}, **MARK))))
    return planned.moved(one, results=planned.reached(planned.result(grade=90)), now=planned.later(hours=2))


def corrected(one: Case, **changed: Any) -> Case:
    """The course's result says something else an hour later."""
    return planned.moved(one, results=planned.reached(planned.result(**changed)), now=planned.later(hours=3))


def test_what_was_corrected_before_its_certificate_is_approved_is_not_passed_any_more() -> None:
    one = passed(approve=True)
    below = corrected(one, grade=10)

    assert (planned.state(one), planned.state(below), below.recordings) == (NeedState.HELD, NeedState.FAILED, {})
    assert planned.need(below).wait_until == planned.later(days=1, hours=3)
    assert planned.state(corrected(below, grade=85)) is NeedState.HELD, "it counts again once it passes again"


def test_what_is_not_completed_any_more_before_it_is_approved_is_an_alarm_alone() -> None:
    """The course may be taken once more."""
    again = corrected(passed(approve=True), grade=None, completed=False)

    assert (planned.state(again), "does not pass any more" in str(planned.need(again).alarm)) == (NeedState.HELD, True)


def test_what_was_corrected_before_its_certificate_is_written_waits_for_a_person() -> None:
    below = corrected(passed(), grade=10)
    one = planned.need(below)
    yes = replace(one, approvals=frozenset({ALL_THE_SAME}), released_at=below.now)

    assert (one.state, one.reason) == (NeedState.HELD, CORRECTED)
    assert one.alarm == "course FIRE certified, and does not pass any more: delete the certificate"
    assert planned.state(corrected(below, grade=85)) is NeedState.PASSED, "it was taken back"
    assert planned.state(planned.moved(below, needs=(yes,))) is NeedState.PASSED, "a person wants it all the same"


def test_without_record_a_correction_fails_what_was_passed() -> None:
    one = planned.enrolled(planned.planned(planned.case(planned.rule(**MARK))))
    one = planned.moved(one, results=planned.reached(planned.result(grade=90)), now=planned.later(hours=2))

    assert (planned.state(one), planned.state(corrected(one, grade=10))) == (NeedState.PASSED, NeedState.FAILED)
