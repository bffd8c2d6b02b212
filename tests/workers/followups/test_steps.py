"""What a need's targets are passed by, and what they must not be: by an old pass, however a rule widens what it accepts."""

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schemas.rules import Rule
from schemas.states import NeedState, TargetKind
from tests.workers.followups.planned import (
    CERTIFIED,
    NOON,
    case,
    enrolled,
    later,
    moved,
    need,
    planned,
    reached,
    recorded,
    result,
    rule,
    seat,
    state,
)
from workers.followups.case import Case
from workers.followups.readings import attendances
from workers.followups.results import Result

SINCE: dict[str, Any] = {"pass": {"accept_since": "2025-01-01"}}
OLD, THEN = later(days=-100), later(hours=1)
EXPIRING = {"status": "EXPIRING", "last_certificate_id": "c1", "certificate_date_release": date(2026, 3, 1)}


def states(one: Case) -> list[tuple[str, NeedState]]:
    """Cycle and state of each need."""
    return [(each.cycle, each.state) for each in one.needs]


def test_accept_since_widens_the_first_cycle() -> None:
    """By a pass from before the row was seen."""
    assert state(planned(case(rule(**SINCE), results=reached(result(at=OLD))))) is NeedState.PASSED
    assert state(planned(case(rule(), results=reached(result(at=OLD))))) is NeedState.PLANNED
    late = rule(**{"pass": {"accept_since": "2026-02-28"}})
    assert state(planned(case(late, results=reached(result(at=OLD))))) is NeedState.PLANNED


@pytest.mark.parametrize("at", [NOON, later(days=-1), OLD])
def test_what_made_the_present_certificate_passes_no_later_cycle(at: datetime) -> None:
    """Whoever wrote that one down: it was completed on the day of its release, or before."""
    one = planned(case(rule(record={}, **SINCE), row=EXPIRING, now=later(days=300), results=reached(result(at=at))))

    assert (states(one), one.recordings) == ([("c1", NeedState.PLANNED)], {})


def test_a_certificate_without_a_day_opens_its_cycle_when_it_is_seen() -> None:
    """Nobody knows what it was made by."""
    row = EXPIRING | {"certificate_date_release": None}

    assert states(planned(case(rule(**SINCE), row=row, now=later(days=9), results=reached(result())))) == [("c1", NeedState.PLANNED)]


def passed_without_record(*rules: Rule) -> Case:
    """Valid by a certificate that somebody else wrote."""
    one = moved(enrolled(planned(case(*rules))), results=reached(result()), now=later(hours=2))
    one = moved(one, CERTIFIED, now=later(days=5))
    assert {each.state for each in one.needs} == {NeedState.VALID}
    return one


@pytest.mark.parametrize("rules", [1, 2])
def test_what_begins_again_is_not_passed_by_what_it_was_passed_by_before(rules: int) -> None:
    """The certificate was deleted: the same need begins again, in the same cycle."""
    one = passed_without_record(*(rule(name=f"fire{n}", **SINCE) for n in range(rules)))
    one = moved(one, {"status": "NEW", "last_certificate_id": None, "certificate_date_release": None}, now=later(days=9))
    assert states(one) == [("initial", NeedState.PLANNED)] * rules

    one = moved(enrolled(one), results=reached(result(), result("r2", later(days=10))), now=later(days=11))
    assert states(one) == [("initial", NeedState.PASSED)] * rules


def test_a_pass_that_was_corrected_and_corrected_back_counts_again() -> None:
    """As long as nothing is written by it, also where only its rule's `accept_since` lets it count."""
    one = planned(case(rule(fail={"attempts": 2}, **{"pass": {"grade": 80, "accept_since": "2025-01-01"}})))
    for grade, expected in ((90, NeedState.PASSED), (10, NeedState.FAILED), (85, NeedState.PASSED)):
        one = moved(one, results=reached(result(at=OLD, grade=grade)))
        assert state(one) is expected


DRILL = {
    "name": "drill",
    "when": {"subscriber_type": "OFFICE"},
    "exercise": {"account": "kare", "rule_id": 7, "start": "+14d 10:00", "length": "1h"},
    "record": {},
}


def attended(*users: int, at: datetime | None = THEN) -> list[Result]:
    """Who was at the exercise."""
    version = {"account": "kare", "version": 1, "withdrawn": False}
    return attendances([{"intervention_id": 41, "user_id": one, "status": "present", "ended_at": at, **version} for one in users])


def drilled(*results: Result) -> Case:
    """An office whose exercise took place."""
    office = {"subscriber_type": "OFFICE", "subscriber_id": "o1"}
    one = enrolled(planned(case(Rule.model_validate(DRILL | SINCE), row=office, learners={(TargetKind.EXERCISE, "kare"): "3"})))
    return moved(one, results={seat(one).seat: [*results]}, now=later(hours=2))


def test_an_exercise_certifies_once_however_many_were_there() -> None:
    one = recorded(drilled(*attended(7, 8)))
    (written,) = (row.remote for row in one.recordings[need(one).id] if row.step == "certificate")
    one = moved(one, CERTIFIED | {"last_certificate_id": written}, now=later(days=5))
    one = moved(one, {"status": "EXPIRING"}, now=later(days=300))

    assert states(one) == [("initial", NeedState.VALID), (written, NeedState.PLANNED)]


def test_an_exercise_without_its_end_is_an_alarm() -> None:
    one = drilled(*attended(7, at=None))

    said = "exercise 41 is completed and nobody says on which day: if it counts, enter the certificate in 4HSE"
    assert (state(one), need(one).alarm) == (NeedState.ENROLLED, said)
    assert need(moved(one, results={seat(one).seat: attended(7)})).alarm is None


def test_an_observation_that_says_too_little_is_an_alarm() -> None:
    """It is PASSED, without its result or without its day."""
    watch = {"account": "ispring", "checklist": "check", "result": 80}
    one = planned(case(rule(enroll=None, observe=watch, undo="keep"), learners={(TargetKind.OBSERVATION, "ispring"): "e1"}))
    for grade, at in ((None, later(hours=1)), (90.0, None)):
        seen = Result("o1", TargetKind.OBSERVATION, "e1", "check", at, grade, completed=True)
        told = moved(one, results={("ispring", "e1", "check"): [seen]}, now=later(hours=2))
        assert state(told) is NeedState.AWAITING
        assert str(need(told).alarm).startswith("observation check is completed ")


def test_a_course_that_was_completed_on_the_day_its_cycle_opened_without_a_time_is_a_persons_to_judge() -> None:
    """The day after it counts by itself."""
    told = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2)]
    one, other = (moved(enrolled(planned(case())), results=reached(result(at=at)), now=later(days=2)) for at in told)

    assert (state(one), state(other)) == (NeedState.ENROLLED, NeedState.PASSED)
    assert "nobody says at what time" in str(need(one).alarm)


def test_a_completion_without_its_time_is_certified_on_its_day_west_of_utc_too() -> None:
    for zone in ("Europe/Rome", "America/New_York"):
        one, day = enrolled(planned(case(rule(record={}), zone=ZoneInfo(zone)))), datetime(2026, 3, 4, tzinfo=UTC)
        one = moved(one, results=reached(result(at=day)), now=later(days=4))
        assert one.recordings[need(one).id][0].body["date_release"] == "2026-03-04"


SEAT = {"action_session_id": "m", "action_subscription_id": "s1", "subtenant_id": "o1", "tenant_id": "t1", "validity": None}


def test_of_several_session_enrollments_the_one_that_is_open_is_told() -> None:
    """The latest by its day is an old one, which was passed; the open one has no day yet."""
    held = [
        SEAT | {"action_session_subscription_id": "open", "done": -1, "session_date_begin": None},
        SEAT | {"action_session_subscription_id": "old", "done": 1, "session_date_begin": date(2021, 3, 1)},
    ]
    row = EXPIRING | {"certificate_date_release": date(2021, 3, 1)}
    one = enrolled(planned(case(rule(record={}), row=row, session_enrollments=tuple(held))))
    one = moved(one, results=reached(result()), now=later(hours=2))

    assert [(each.step, each.remote) for each in one.recordings[need(one).id]][2:] == [("session", "open")]
