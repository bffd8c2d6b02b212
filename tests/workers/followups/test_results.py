"""Results that count, and results that must not: old ones, used ones, withdrawn ones, and verdicts that are none."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.rules import Pass, Target
from schemas.states import TargetKind
from workers.followups.readings import attendances, course_results, observations, session_enrollments
from workers.followups.results import Result, Verdict, completed_on, correction, counts, unsaid

ROME = ZoneInfo("Europe/Rome")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NEW_YORK = ZoneInfo("America/New_York")
NEITHER, PASSED, FAILED = Verdict(), Verdict(passed=True, key="r"), Verdict(passed=False, key="r")


def target(kind: TargetKind = TargetKind.COURSE, **terms: Any) -> Target:
    return Target(kind, "lms", "FIRE", None, False, terms)


def result(kind: TargetKind = TargetKind.COURSE, key: str = "r", **changed: Any) -> Result:
    return replace(Result(key, kind, "JS001", "FIRE", NOON, completed=True), **changed)


def verdict(
    *results: Result, opened: datetime = NOON - DAY, pass_: Mapping[str, Any] = {}, of: Target | None = None, **more: Any
) -> Verdict:
    judged = Pass.model_validate(pass_)
    return counts(of or target(), opened, results, accept_since=judged.accept_since, pass_=judged, **more)


@pytest.mark.parametrize(
    ("changed", "pass_", "expected"),
    [
        ({"grade": 80.0}, {"grade": 80}, PASSED),
        ({"grade": 79.9}, {"grade": 80}, FAILED),
        ({"grade": None}, {"grade": 80}, NEITHER),
        ({"grade": None}, {}, PASSED),
        ({"grade": 100.0, "completed": False}, {"grade": 80}, NEITHER),
        ({"grade": 100.0, "withdrawn": True}, {"grade": 80}, NEITHER),
        ({"completed_at": None}, {}, NEITHER),
    ],
)
def test_a_course_is_passed_when_completed_with_its_grade(changed: Any, pass_: Any, expected: Verdict) -> None:
    """At or over the mark; without a mark completing it is enough."""
    assert verdict(result(**changed), pass_=pass_) == expected


def test_a_course_that_is_finished_is_not_completed() -> None:
    """`finished` is expired or unsubscribed."""
    (read,) = course_results([course(completed=False, finished=True, completed_at=None, grade=100.0)])

    assert verdict(read, pass_={"grade": 80}) == NEITHER


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"grade": 80.0, "total_points": 30.0}, PASSED),
        ({"grade": 60.0, "total_points": 30.0}, FAILED),
        ({"grade": 100.0, "total_points": 10.0}, FAILED),
        ({"grade": 60.0, "total_points": 30.0, "completed": False}, NEITHER),
        ({"grade": None, "total_points": 30.0}, NEITHER),
    ],
)
def test_an_observation_is_judged_by_its_marks(changed: Any, expected: Verdict) -> None:
    """PASSED only says that it is over, and of skipped criteria that the total is small."""
    kind = TargetKind.OBSERVATION

    assert verdict(result(kind, **changed), of=target(kind, result=80, total_points=30)) == expected


@pytest.mark.parametrize(("status", "expected"), [("present", True), ("absent", None), (None, None)])
def test_attendance_is_being_present(status: str | None, expected: bool | None) -> None:
    """At the end of the exercise; nothing else that Kare may say is documented."""
    (read,) = attendances([attendance(status=status)])

    assert (read.completed_at, verdict(read, of=target(TargetKind.EXERCISE)).passed) == (NOON, expected)


@pytest.mark.parametrize(("done", "expected"), [(1, True), (0, False), (-1, None), (None, None)])
def test_a_session_is_what_its_trainer_entered(done: int | None, expected: bool | None) -> None:
    """On the day of the session."""
    (read,) = session_enrollments([seat(done=done)], ROME)

    assert verdict(read, of=target(TargetKind.SESSION)).passed is expected


def test_a_result_of_the_day_that_a_certificate_was_released_is_of_the_cycle_before() -> None:
    """The cycle opens at the end of that day, and a session lasts to the end of its day at most."""
    (read,) = session_enrollments([seat()], ROME)
    opened = datetime(2026, 3, 2, tzinfo=ROME)

    assert read.completed_at is not None
    assert read.completed_at.astimezone(ROME).date() == date(2026, 3, 1)
    assert verdict(read, opened=opened, of=target(TargetKind.SESSION)) == NEITHER
    assert verdict(read, opened=opened - timedelta(hours=1), of=target(TargetKind.SESSION)).passed


def test_a_session_without_a_day_counts_when_its_outcome_came() -> None:
    """Which only a version without an outcome before it tells."""
    nameless = {"date_begin": None, "session_date_begin": None}
    pending, done = seat(done=-1, superseded_at=NOON, **nameless), seat(version=2, **nameless)

    assert [one.completed_at for one in session_enrollments([pending, done], ROME)] == [NOON]
    assert [one.completed_at for one in session_enrollments([seat(**nameless)], ROME)] == [None]


def test_an_old_pass_does_not_count_for_a_new_cycle() -> None:
    """Not even when it was completed in the very moment in which the cycle opened."""
    assert verdict(result(), opened=NOON) == NEITHER
    assert verdict(result(), opened=NOON + DAY) == NEITHER


def test_accept_since_widens_the_cycle_from_its_day_on() -> None:
    """The day is the account's: in Rome it begins an hour before it does in UTC."""
    late: dict[str, Any] = {"opened": NOON + DAY, "zone": ROME}
    early = result(completed_at=datetime(2026, 2, 28, 23, tzinfo=UTC))

    assert verdict(early, pass_={"accept_since": date(2026, 3, 1)}, **late).passed
    assert verdict(early, pass_={"accept_since": date(2026, 3, 2)}, **late) == NEITHER


def test_accept_since_does_not_narrow_the_cycle() -> None:
    """A result of the cycle counts, whatever day is accepted."""
    assert verdict(result(), pass_={"accept_since": date(2030, 1, 1)}).passed


@given(st.datetimes(), st.datetimes(), st.dates() | st.none())
def test_what_certified_once_never_counts_again(completed: datetime, opened: datetime, since: date | None) -> None:
    """Whatever the dates."""
    used = result(completed_at=completed.replace(tzinfo=UTC))

    assert verdict(used, opened=opened.replace(tzinfo=UTC), pass_={"accept_since": since}, used={"r"}) == NEITHER


def test_what_one_attendee_certified_another_does_not_certify_again() -> None:
    """What certified is the exercise, whoever tells of it."""
    seven, eight, later = attendances([attendance(user_id=7), attendance(user_id=8), attendance(intervention_id=8, user_id=8)])
    late: dict[str, Any] = {"of": target(TargetKind.EXERCISE), "used": {seven.key}}

    assert verdict(seven, eight, **late) == NEITHER
    assert verdict(seven, eight, later, **late).key == later.key


def test_a_session_that_certified_does_not_by_another_enrollment_in_it() -> None:
    """Somebody took the first away, and enrolled once more."""
    gone, again = session_enrollments([seat(withdrawn=True), seat(action_session_subscription_id="f")], ROME)

    assert verdict(gone, again, of=target(TargetKind.SESSION), used={gone.key}) == NEITHER


@pytest.mark.parametrize(
    ("opened", "zone", "expected"),
    [
        (datetime(2026, 3, 1, tzinfo=ROME), ROME, True),
        (datetime(2026, 3, 1, 0, 1, tzinfo=ROME), ROME, False),
        (datetime(2026, 2, 28, 23, 59, tzinfo=ROME), ROME, True),
        (datetime(2026, 3, 1, tzinfo=NEW_YORK), NEW_YORK, True),
        (datetime(2026, 3, 1, 0, 1, tzinfo=NEW_YORK), NEW_YORK, False),
        (datetime(2026, 2, 28, 23, 59, tzinfo=NEW_YORK), NEW_YORK, True),
    ],
)
def test_a_completion_without_its_time_counts_if_all_of_its_day_does(opened: datetime, zone: ZoneInfo, expected: bool) -> None:
    """It is that day wherever the schedule is."""
    dated = result(completed_at=datetime(2026, 3, 1, tzinfo=UTC))

    assert verdict(dated, opened=opened, zone=zone).passed is (expected or None)
    assert completed_on(dated, zone) == date(2026, 3, 1)
    assert verdict(dated, opened=NOON + 9 * DAY, zone=zone, pass_={"accept_since": date(2026, 3, 1)}).passed


OPENED = "on 2026-03-01, when its cycle opened, and nobody says at what time: if it counts, enter the certificate in 4HSE"
UNDATED = "and nobody says on which day: if it counts, enter the certificate in 4HSE"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"grade": None}, "without the grade that its rule wants"),
        ({"grade": None, "completed_at": NOON - DAY}, None),
        ({"completed_at": None}, UNDATED),
        ({"completed_at": None, "grade": None}, UNDATED),
        ({"completed_at": None, "grade": 10.0}, None),
        ({"completed_at": None, "completed": False}, None),
        ({"completed_at": None, "withdrawn": True}, None),
        ({"completed_at": datetime(2026, 3, 1, tzinfo=UTC)}, OPENED),
        ({"completed_at": datetime(2026, 3, 1, tzinfo=UTC), "grade": 10.0}, None),
        ({"completed_at": datetime(2026, 2, 28, tzinfo=UTC)}, None),
        ({"completed_at": datetime(2026, 3, 2, tzinfo=UTC)}, None),
    ],
)
def test_what_nobody_says_of_a_completed_course_is_told(changed: Any, said: str | None) -> None:
    """Where it may count, and does not for want of it."""
    assert unsaid(result(**({"grade": 90.0, "completed_at": NOON + DAY} | changed)), target(), NOON, Pass(grade=80), ROME) == said


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        (TargetKind.OBSERVATION, {"grade": None}, "without the result that its rule wants"),
        (TargetKind.OBSERVATION, {"grade": 90.0, "completed_at": None}, UNDATED),
        (TargetKind.EXERCISE, {"passed": True, "completed_at": None}, UNDATED),
        (TargetKind.SESSION, {"passed": True, "completed_at": None}, UNDATED),
        (TargetKind.SESSION, {"passed": False, "completed_at": None}, None),
        (TargetKind.OBSERVATION, {"grade": 90.0, "completed_at": datetime(2026, 3, 1, tzinfo=UTC)}, None),
    ],
)
def test_what_nobody_says_of_others_is_told_too(kind: TargetKind, changed: Any, said: str | None) -> None:
    """Of an observation, an exercise, a session."""
    assert unsaid(result(kind, **({"completed_at": NOON + DAY} | changed)), target(kind, result=80), NOON, Pass(), ROME) == said


def test_the_first_pass_counts_and_else_the_last_failure() -> None:
    """However the results are ordered."""
    failed, early, late = (
        result(key=key, completed_at=NOON + n * DAY, grade=grade)
        for n, (key, grade) in enumerate([("failed", 10.0), ("early", 90.0), ("late", 95.0)])
    )

    assert verdict(late, failed, early, pass_={"grade": 80}).key == "early"
    assert verdict(late, failed, early, pass_={"grade": 99}).key == "late"


def test_a_corrected_course_is_the_same_result() -> None:
    """Also when the time of its completion is corrected: by when it was first seen it had been completed."""
    first = course(grade=90.0, observed_at=NOON + DAY, superseded_at=NOON + 9 * DAY)
    second = course(grade=50.0, completed_at=NOON + DAY / 2, observed_at=NOON + 9 * DAY, version=2)

    assert [one.key for one in course_results([second, first])] == ["course_result/lms/JS001/FIRE//0"]


def test_a_course_that_is_completed_once_more_is_another_result() -> None:
    """Its row is the same at aNewSpring: a refresher could never certify otherwise."""
    first = course(observed_at=NOON + DAY, superseded_at=NOON + 400 * DAY)
    again = course(completed_at=NOON + 400 * DAY, observed_at=NOON + 400 * DAY, version=2)
    (read,) = course_results([first, again])

    assert read.key == "course_result/lms/JS001/FIRE//0#2"
    assert verdict(read, opened=NOON + 300 * DAY, used={"course_result/lms/JS001/FIRE//0"}).passed


@given(st.lists(st.tuples(st.integers(0, 48), st.booleans(), st.booleans()), max_size=6))
def test_one_pass_stays_one_result_however_it_is_corrected(said: list[tuple[int, bool, bool]]) -> None:
    """It had been completed when it was first seen, so that no correction can be of anything later."""
    rows = [course(observed_at=NOON + 2 * DAY, superseded_at=NOON + 3 * DAY)]
    for number, (hours, completed, withdrawn) in enumerate(said, 2):
        at = NOON + number * DAY + DAY
        when = {"completed_at": NOON + timedelta(hours=hours), "observed_at": at, "superseded_at": at + DAY}
        rows.append(course(version=number, completed=completed, withdrawn=withdrawn, **when))

    assert [one.key for one in course_results(reversed(rows))] == ["course_result/lms/JS001/FIRE//0"]


def test_a_result_that_was_withdrawn_and_shown_again_is_the_same() -> None:
    """Rights that come back are no second completion."""
    gone = course(version=2, withdrawn=True, observed_at=NOON + 2 * DAY, superseded_at=NOON + 3 * DAY)
    rows = [course(observed_at=NOON + DAY, superseded_at=NOON + 2 * DAY), gone, course(version=3, observed_at=NOON + 3 * DAY)]

    assert [one.key for one in course_results(rows)] == ["course_result/lms/JS001/FIRE//0"]


def test_a_completion_in_the_future_is_no_other_completion() -> None:
    """A wrong date at the vendor certifies nothing again."""
    rows = [course(superseded_at=NOON + DAY), course(version=2, completed_at=NOON + 9999 * DAY, observed_at=NOON + DAY)]

    assert [one.key for one in course_results(rows)] == ["course_result/lms/JS001/FIRE//0"]


def test_activities_and_their_attempts_are_no_results_of_the_course() -> None:
    """A passed activity is not the course passed."""
    assert course_results([course(activity="EXAM"), course(activity="EXAM", attempt=2)]) == []


def test_an_observation_of_somebody_else_by_now_was_withdrawn_from_whose_it_was() -> None:
    """Under the same key, so that whom it certified is known."""
    now, before = observations([observation(superseded_at=NOON), observation(employee_id="f", version=2)])

    assert (now.learner, now.withdrawn, now.version) == ("f", False, 2)
    assert (before.learner, before.withdrawn, before.key) == ("e", True, now.key)


def test_a_session_at_the_end_of_the_calendar_is_read() -> None:
    """9999-12-31 is how some write never."""
    (read,) = session_enrollments([seat(session_date_begin=date.max)], ROME)

    assert read.completed_at is not None
    assert read.completed_at.year == 9999


def test_observations_keep_what_they_are_judged_by() -> None:
    """Who, what, when, and both numbers."""
    (read,) = observations([observation()])

    assert read == Result("observation/ispring/s", TargetKind.OBSERVATION, "e", "c", NOON, 60.0, completed=True, total_points=30.0)


def test_a_day_without_its_time_is_the_same_day_in_a_correction() -> None:
    """West of UTC too."""
    dated = result(grade=90.0, completed_at=datetime(2026, 3, 1, tzinfo=UTC))

    assert correction(dated, datetime(2026, 3, 1, tzinfo=UTC), target(), Pass(), NEW_YORK) is None
    assert correction(dated, datetime(2026, 3, 1, 20, tzinfo=UTC), target(), Pass(), NEW_YORK) is None


@pytest.mark.parametrize(
    ("changed", "reason", "proposal"),
    [
        ({"withdrawn": True}, "was withdrawn", "see whether the certificate stands"),
        ({"completed": False, "completed_at": None}, "was withdrawn", "see whether the certificate stands"),
        ({"grade": 50.0}, "does not pass", "delete the certificate"),
        ({"completed_at": datetime(2026, 2, 27, 23, 30, tzinfo=UTC)}, "on another day", "let the certificate begin on 2026-02-28"),
    ],
)
def test_a_correction_of_what_certified_is_an_alarm_with_a_proposal(changed: Any, reason: str, proposal: str) -> None:
    """What was certified stays until a person decides."""
    rows = [course(superseded_at=NOON + 2 * DAY), course(version=2, observed_at=NOON + 2 * DAY) | changed]
    (read,) = course_results(rows)
    found = correction(read, NOON, target(), Pass(grade=80), ROME)

    assert found is not None
    assert reason in found.reason
    assert found.proposal == proposal


@pytest.mark.parametrize("changed", [{"expired": True, "finished": True}, {"grade": 80.0}, {"completed_at": NOON + timedelta(hours=3)}])
def test_what_changes_nothing_about_the_certificate_is_no_alarm(changed: Any) -> None:
    """That the course has expired, another grade that passes, another hour of the day."""
    (read,) = course_results([course(superseded_at=NOON + DAY), course(version=2) | changed])

    assert correction(read, NOON, target(), Pass(grade=80), ROME) is None


def course(**changed: Any) -> dict[str, Any]:
    made = {"account": "lms", "learner": "JS001", "course": "FIRE", "activity": "", "attempt": 0, "grade": 90.0, "passed": None}
    return made | {"completed": True, "expired": False, "finished": False, "completed_at": NOON, **_version()} | changed


def observation(**changed: Any) -> dict[str, Any]:
    made = {"account": "ispring", "session_id": "s", "checklist_id": "c", "employee_id": "e", "status": "PASSED", "completed_at": NOON}
    return made | {"result": 60.0, "total_points": 30.0, **_version()} | changed


def attendance(**changed: Any) -> dict[str, Any]:
    return {"account": "kare", "intervention_id": 7, "user_id": 12, "status": "present", "ended_at": NOON, **_version()} | changed


def seat(**changed: Any) -> dict[str, Any]:
    made = {"account": "hse", "action_session_subscription_id": "e", "action_session_id": "s", "action_subscription_id": "a", "done": 1}
    return made | {"date_begin": None, "session_date_begin": date(2026, 3, 1), **_version()} | changed


def _version() -> dict[str, Any]:
    return {"version": 1, "observed_at": NOON, "superseded_at": None, "withdrawn": False}
