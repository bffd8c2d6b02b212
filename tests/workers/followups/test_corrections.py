"""A correction of what certified is seen on the need, as long as its certificate stands."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from schemas.states import NeedState, TargetKind
from tests.workers.followups.mirrored import rule
from workers.followups.case import Case, Change, Need, NeedChange, Recorded, Step, Subscription
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


def reason(held: Need, result: Result, **row: Any) -> str | None:
    """The need's reason once it was planned."""
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
    return next((one.need.reason for one in changes if isinstance(one, NeedChange)), held.reason)


BELOW = replace(RESULT, grade=50.0)
ALARM = f"{KEY} certified, and does not pass any more: delete the certificate"


@pytest.mark.parametrize(
    ("held", "row", "before"),
    [
        (need(NeedState.RECORDED, None), {"status": "NEW", "last_certificate_id": None}, ""),
        (need(NeedState.VALID, "certificate c1"), {}, "certificate c1; "),
    ],
)
def test_a_correction_stands_beside_the_reason(held: Need, row: dict[str, Any], before: str) -> None:
    """Until it is taken back; and while it stands, nothing changes."""
    alarmed = replace(held, reason=f"{before}{ALARM}")

    assert reason(held, RESULT, **row) == held.reason
    assert reason(held, BELOW, **row) == reason(alarmed, BELOW, **row) == alarmed.reason
    assert reason(alarmed, RESULT, **row) == held.reason


@pytest.mark.parametrize("row", [{"last_certificate_id": "c2"}, {"status": "EXPIRING"}])
def test_what_certified_an_earlier_certificate_is_left_alone(row: dict[str, Any]) -> None:
    """Its course is taken once more by then."""
    old = need(NeedState.VALID, "certificate c1")

    assert reason(old, replace(RESULT, completed=False, completed_at=None), **row) == "certificate c1"
