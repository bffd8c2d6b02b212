"""The planner, a sentence a case."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.states import EnrollmentState, EnrollmentWish, NeedState, TargetKind
from tests import drawn
from tests.workers.followups.planned import (
    CERTIFIED,
    ME,
    NOON,
    ROME,
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
from workers.followups.case import (
    BEGIN_AGAIN,
    CANCELLED,
    CERTIFICATE_GONE,
    DROPPED,
    GUARD_ENROLLING,
    GUARD_UNDOING,
    Case,
    EnrollmentChange,
    NeedChange,
)
from workers.followups.cycles import opened
from workers.followups.guard import Room
from workers.followups.leases import LEASE
from workers.followups.planner import plan
from workers.followups.results import Result

GONE = {"state": "deleted"}
INACTIVE = {"owned_active": False}


def test_what_a_rule_holds_for_is_planned_once() -> None:
    one = planned(case())
    assert (state(one), need(one).cycle, need(one).opened_at) == (NeedState.PLANNED, "initial", NOON)
    assert (seat(one).state, seat(one).wish, seat(one).due_at, seat(one).round) == (EnrollmentState.PLANNED, EnrollmentWish.ENROLL, NOON, 1)


@pytest.mark.parametrize("row", [GONE, INACTIVE, {"parent_active": False}, {"state": "missing"}, {"action_code": "X"}, {"status": "VALID"}])
def test_what_no_rule_holds_for_needs_nothing(row: dict[str, Any]) -> None:
    assert plan(case(row=row)) == ()


def test_a_rule_that_was_not_applied_plans_nothing_and_what_it_planned_goes_on() -> None:
    assert plan(replace(case(), rules=())) == ()
    assert state(enrolled(moved(planned(case()), rules=()))) is NeedState.ENROLLED


def test_a_cycle_opens_at_the_end_of_the_day_of_release_where_the_schedule_is() -> None:
    expired = case(row={"status": "EXPIRED", "last_certificate_id": "c0", "certificate_date_release": date(2025, 7, 1)})
    assert opened(expired) == datetime(2025, 7, 2, tzinfo=ROME) == datetime(2025, 7, 1, 22, tzinfo=UTC)


def test_the_days_of_a_seat_count_from_planning_where_the_schedule_is() -> None:
    one = case(rule(enroll={"account": "lms", "course": "FIRE", "due": "30d", "start": "1d", "expire": "60d"}))
    one = planned(replace(one, now=datetime(2026, 3, 1, 23, 30, tzinfo=UTC)))
    assert (seat(one).start_on, seat(one).expire_on) == (date(2026, 3, 3), date(2026, 5, 1))
    assert need(one).due_at == need(one).look_at == datetime(2026, 4, 2, tzinfo=ROME)


def test_from_planned_to_valid() -> None:
    one = enrolled(planned(case(rule(record={}))))
    assert state(one) is NeedState.ENROLLED
    one = moved(one, results=reached(result()), now=later(hours=2))
    assert (state(one), seat(one).state, one.certified) == (NeedState.PASSED, EnrollmentState.CLOSED, {"r1": need(one).id})
    assert [row.step for row in one.recordings[need(one).id]] == ["certificate", "certificate_action"]
    one = recorded(one)
    assert (state(one), need(one).look_at) == (NeedState.RECORDED, later(days=7, hours=2))
    assert state(moved(one, CERTIFIED)) is NeedState.VALID


def test_what_is_recorded_and_not_valid_in_time_is_an_alarm_and_stays_recorded() -> None:
    one = recorded(moved(enrolled(planned(case(rule(record={})))), results=reached(result()), now=later(hours=2)))
    late = moved(one, now=later(days=8))
    assert (state(late), need(late).look_at) == (NeedState.RECORDED, None)
    assert "not VALID since" in str(need(late).alarm)
    assert need(moved(late, CERTIFIED)).alarm is None


def test_without_record_nothing_is_written_and_a_refresh_shows_it() -> None:
    one = moved(enrolled(planned(case())), results=reached(result()), now=later(hours=2))
    assert (state(one), one.recordings) == (NeedState.PASSED, {})
    assert state(moved(one, CERTIFIED)) is NeedState.VALID


SESSION = {
    "action_session_subscription_id": "e1",
    "action_session_id": "m1",
    "action_subscription_id": "s1",
    "subtenant_id": "o1",
    "tenant_id": "t1",
    "done": -1,
    "certificate_id": None,
    "session_date_begin": date(2026, 3, 2),
}


@pytest.mark.parametrize(("record", "steps"), [(None, []), ({}, ["failed 1"])])
def test_without_record_not_even_a_failure_is_written(record: dict[str, Any] | None, steps: list[str]) -> None:
    one = enrolled(planned(case(rule(record=record, **{"pass": {"grade": 80}}), session_enrollments=(SESSION,))))
    one = moved(one, results=reached(result(grade=10)), now=later(hours=2))
    assert (state(one), [row.step for rows in one.recordings.values() for row in rows]) == (NeedState.FAILED, steps)


def test_a_course_that_is_completed_without_the_grade_that_is_wanted_is_an_alarm() -> None:
    one = enrolled(planned(case(rule(**{"pass": {"grade": 80}}))))
    one = moved(one, results=reached(result(grade=None)), now=later(hours=2))
    assert (state(one), need(one).alarm) == (NeedState.ENROLLED, "course FIRE is completed without the grade that its rule wants")

    one = moved(one, results=reached(result(grade=90)), now=later(hours=3))
    assert (state(one), need(one).alarm) == (NeedState.PASSED, None)


def test_a_failed_attempt_that_4hse_could_not_be_told_of_is_an_alarm_until_it_is_outdone() -> None:
    one = enrolled(planned(case(rule(record={}, fail={"attempts": 2}, **{"pass": {"grade": 80}}), session_enrollments=(SESSION,))))
    one = moved(one, results=reached(result(grade=10)), now=later(hours=2))
    dead = {key: [replace(row, state="dead", error="not now") for row in rows] for key, rows in one.recordings.items()}
    one = moved(one, recordings=dead)
    assert (state(one), need(one).alarm) == (NeedState.FAILED, "4HSE could not be told of a failed attempt")

    one = moved(one, results=reached(result(grade=10), result("r2", later(hours=3))), now=later(hours=4))
    assert (state(one), need(one).alarm) == (NeedState.PASSED, None)


EXPIRING = {"status": "EXPIRING", "last_certificate_id": "c0", "certificate_date_release": date(2025, 7, 1)}


@pytest.mark.parametrize("record", [None, {}])
def test_what_is_passed_is_valid_too_by_the_same_certificate_prolonged(record: dict[str, Any] | None) -> None:
    one = moved(enrolled(planned(case(rule(record=record), row=EXPIRING))), results=reached(result()), now=later(hours=2))
    one = recorded(one)
    valid = moved(one, {"status": "VALID"})
    assert (state(valid), need(valid).reason) == (NeedState.VALID, "certificate c0, prolonged")


def test_a_certificate_that_is_still_to_be_written_is_written_though_the_one_before_is_prolonged() -> None:
    one = moved(enrolled(planned(case(rule(record={}), row=EXPIRING))), results=reached(result()), now=later(hours=2))
    assert state(moved(one, {"status": "VALID"})) is NeedState.PASSED


def test_a_rule_that_speaks_of_what_is_valid_is_not_met_by_its_being_so() -> None:
    one = planned(case(rule(when={"status": "VALID"}), row=EXPIRING | {"status": "VALID"}))
    assert state(moved(enrolled(one), results=reached(result()), now=later(hours=2))) is NeedState.PASSED


def lost(**before: Any) -> Case:
    """What we certified was valid, and its certificate is gone."""
    one = moved(enrolled(planned(case(rule(record={}), row=before))), results=reached(result()), now=later(hours=2))
    one = moved(recorded(one), CERTIFIED, now=later(hours=3))
    assert state(one) is NeedState.VALID
    return moved(one, {"status": "NEW", "last_certificate_id": None, "certificate_date_release": None} | before, now=later(hours=4))


@pytest.mark.parametrize("before", [{}, EXPIRING])
def test_a_need_whose_certificate_was_deleted_is_valid_no_more_and_a_person_says_what_follows(before: dict[str, Any]) -> None:
    one = lost(**before)
    was, now = one.needs
    written = one.recordings[was.id][0].remote
    assert (was.state, was.reason) == (NeedState.UNDONE, CERTIFICATE_GONE)
    assert (now.state, now.reason, now.cycle, now.opened_at) == (NeedState.HELD, BEGIN_AGAIN, written, later(hours=4))
    assert now.alarm == f"4HSE does not show certificate {written} any more"
    for row in ({"action_code": "X"}, {"action_code": "FST-01"}):
        one = moved(one, row, now=later(hours=5))
    assert ([each.reason for each in one.needs][1:], len(one.enrollments)) == ([BEGIN_AGAIN], 1), "nothing begins by itself"


def test_what_begins_again_at_a_persons_word_passes_by_a_result_of_its_own_and_has_a_certificate_of_its_own() -> None:
    one = lost()
    was, now = one.needs
    one = moved(one, needs=(was, replace(now, released_at=one.now)))
    assert [(each.state, each.round) for each in one.enrollments] == [(EnrollmentState.CLOSED, 1), (EnrollmentState.PLANNED, 2)]
    one = moved(enrolled(one), results=reached(result(), result("r2", at=later(hours=5))), now=later(hours=6))
    written = [{row.remote for row in rows} for rows in one.recordings.values()]
    assert (len(written), written[0] & written[1]) == (2, set())
    one = moved(recorded(one), CERTIFIED | {"last_certificate_id": "c2"}, now=later(hours=7))
    assert [each.state for each in one.needs] == [NeedState.UNDONE, NeedState.VALID]


def test_a_certificate_that_comes_back_ends_the_question() -> None:
    one = lost()
    written = one.needs[1].cycle
    back = moved(one, CERTIFIED | {"last_certificate_id": written}, now=later(hours=5))
    assert [(each.state, each.alarm) for each in back.needs] == [(NeedState.VALID, None), (NeedState.UNDONE, None)]


def test_a_fetch_that_began_before_a_certificate_was_shown_does_not_take_it_away() -> None:
    one = moved(enrolled(planned(case(rule(record={})))), results=reached(result()), now=later(hours=2))
    one = moved(recorded(one), CERTIFIED, now=later(hours=3))
    before = {"status": "NEW", "last_certificate_id": None, "certificate_date_release": None}
    slow = moved(one, before | {"fetched_at": later(hours=2, minutes=59)}, now=later(hours=3, minutes=1))
    assert [each.state for each in slow.needs] == [NeedState.VALID]
    next_ = moved(slow, before | {"fetched_at": later(hours=3, minutes=2)}, now=later(hours=3, minutes=3))
    assert [each.state for each in next_.needs] == [NeedState.UNDONE, NeedState.HELD]


def test_what_only_a_webhook_says_takes_no_certificate_away() -> None:
    one = moved(enrolled(planned(case(rule(record={})))), results=reached(result()), now=later(hours=2))
    one = moved(recorded(one), CERTIFIED, now=later(hours=3))
    assert state(moved(one, {"status": None, "last_certificate_id": None}, confirmed=False)) is NeedState.VALID


def test_a_pass_from_before_the_cycle_does_not_count_and_one_from_before_the_need_does() -> None:
    row = {"status": "EXPIRED", "last_certificate_id": "c0", "certificate_date_release": date(2026, 2, 1)}
    assert state(planned(case(row=row, results=reached(result(at=datetime(2026, 2, 1, 12, tzinfo=UTC)))))) is NeedState.PLANNED
    waited = planned(case(row=row, results=reached(result(at=datetime(2026, 2, 10, tzinfo=UTC)))))
    assert (state(waited), waited.enrollments) == (NeedState.PASSED, ())


def test_a_result_certifies_once_whatever_the_dates() -> None:
    one = moved(enrolled(planned(case())), results=reached(result()), now=later(hours=2))
    expired = {"status": "EXPIRED", "last_certificate_id": "c1", "certificate_date_release": date(2026, 3, 5)}
    again = moved(moved(one, CERTIFIED), expired, results=reached(result(at=later(days=20))), now=later(days=30))
    assert [each.state for each in again.needs] == [NeedState.VALID, NeedState.PLANNED]
    assert seat(again).round == 2


def test_two_rules_in_one_cycle_may_pass_by_one_result() -> None:
    one = planned(case(rule(), rule(name="fire-too"), results=reached(result()), now=later(hours=2)))
    assert [each.state for each in one.needs] == [NeedState.PASSED, NeedState.PASSED]


def test_a_chain_waits_for_the_target_before() -> None:
    chain = [{"account": "lms", "course": "A"}, {"account": "lms", "course": "B", "after": "A"}]
    one = enrolled(planned(case(rule(enroll=chain))))
    assert [each.target for each in one.enrollments] == ["A"]
    one = moved(one, results=reached(result(course="A")), now=later(hours=2))
    assert [(each.target, each.state) for each in one.enrollments] == [("A", EnrollmentState.CLOSED), ("B", EnrollmentState.PLANNED)]
    assert state(one) is NeedState.PLANNED
    both = reached(result(course="A"), result("r2", course="B"))
    assert state(moved(enrolled(one), results=both)) is NeedState.PASSED


def test_whom_nobody_knows_waits_and_goes_by_itself_once_mapped() -> None:
    one = planned(case(learners={}))
    assert (state(one), one.enrollments) == (NeedState.UNMATCHED, ())
    assert state(moved(one, learners={ME: "JS001"})) is NeedState.PLANNED


def test_a_target_and_a_certificate_wait_for_approval() -> None:
    one = planned(case(rule(enroll={"account": "lms", "course": "FIRE", "approve": True}, record={"approve": True})))
    assert (state(one), one.enrollments) == (NeedState.HELD, ())
    one = moved(one, needs=(replace(need(one), approvals=frozenset({"0"}), released_at=NOON),))
    one = moved(enrolled(one), results=reached(result()), now=later(hours=2))
    assert (state(one), one.recordings) == (NeedState.HELD, {})
    one = moved(one, needs=(replace(need(one), approvals=frozenset({"0", "record"}), released_at=one.now),))
    assert (state(one), len(one.recordings[need(one).id])) == (NeedState.PASSED, 2)


def test_the_guard_holds_what_is_too_much_until_a_person_releases_it() -> None:
    full = {"fire": Room(0, 0)}
    one = planned(case(room=full))
    assert (state(one), need(one).reason, one.enrollments) == (NeedState.HELD, GUARD_ENROLLING, ())
    roomy = moved(one, room={}, now=later(hours=2))
    assert state(roomy) is NeedState.HELD, "room again is no release"
    one = enrolled(moved(roomy, needs=(replace(need(roomy), released_at=later(hours=2)),)))
    held = moved(one, GONE, room=full, now=later(hours=3))
    assert (state(held), need(held).reason, seat(held).wish) == (NeedState.HELD, GUARD_UNDOING, None)
    released = moved(held, needs=(replace(need(held), released_at=later(hours=3)),))
    assert (state(released), seat(released).wish) == (NeedState.UNDONE, EnrollmentWish.UNDO)


def test_what_the_guard_held_and_a_person_dropped_stays() -> None:
    held = moved(enrolled(planned(case())), GONE, room={"fire": Room(0, 0)})
    dropped = moved(held, needs=(replace(need(held), state=NeedState.UNDONE, reason=DROPPED),))
    assert (seat(dropped).state, seat(dropped).wish) == (EnrollmentState.CLOSED, None)


def test_what_a_person_cancelled_is_taken_back_and_not_begun_again_in_its_cycle() -> None:
    one = enrolled(planned(case()))
    cancelled = moved(one, needs=(replace(need(one), state=NeedState.UNDONE, reason=CANCELLED),))
    assert (state(cancelled), seat(cancelled).wish) == (NeedState.UNDONE, EnrollmentWish.UNDO)


@pytest.mark.parametrize("row", [GONE, INACTIVE])
def test_what_is_not_needed_any_more_is_taken_back_once_the_api_confirmed_it(row: dict[str, Any]) -> None:
    one = enrolled(planned(case()))
    told = moved(one, row, confirmed=False)
    assert (state(told), seat(told).wish) == (NeedState.ENROLLED, None)
    sure = moved(told, confirmed=True)
    assert (state(sure), seat(sure).wish, seat(sure).terms["undo"]) == (NeedState.UNDONE, EnrollmentWish.UNDO, "unsubscribe")


def test_missing_takes_nothing_back() -> None:
    one = moved(enrolled(planned(case())), {"state": "missing"})
    assert (state(one), seat(one).wish) == (NeedState.ENROLLED, None)


@pytest.mark.parametrize("changed", [{"found": True}, {"completed": True}, {"shared": True}, {"kept": True}, {"rule": "keep"}])
def test_what_was_found_is_completed_shared_or_kept_is_not_taken_back(changed: dict[str, Any]) -> None:
    one = enrolled(planned(case(rule(undo=changed.get("rule", "unsubscribe")))), found="found" in changed)
    if "completed" in changed:
        one = replace(one, results=reached(result(grade=0, completed_at=later(hours=1))), rules=())
    id = seat(one).id  # noqa: A001
    more: dict[str, Any] = (
        {"used_elsewhere": frozenset({id})} if "shared" in changed else {"kept_elsewhere": frozenset({id})} if "kept" in changed else {}
    )
    gone = moved(one, GONE, now=later(hours=2), **more)
    assert state(gone) is NeedState.UNDONE
    assert seat(gone).wish is None
    assert seat(gone).state is (EnrollmentState.ENROLLED if "shared" in changed else EnrollmentState.CLOSED)


def test_what_is_completed_while_it_is_to_be_taken_back_stays() -> None:
    one = moved(enrolled(planned(case())), GONE)
    done = moved(one, results=reached(result()), now=later(hours=2))
    assert (state(done), seat(done).state, seat(done).wish) == (NeedState.UNDONE, EnrollmentState.CLOSED, None)


def test_what_was_never_asked_for_is_undone_without_a_call() -> None:
    one = moved(planned(case()), GONE)
    assert (seat(one).state, seat(one).wish, seat(one).due_at) == (EnrollmentState.UNDONE, None, None)


def test_what_may_have_been_done_is_to_be_undone() -> None:
    one = planned(case())
    asked = moved(one, enrollments=(replace(seat(one), state=EnrollmentState.REQUESTED),))
    gone = moved(asked, GONE)
    assert (seat(gone).state, seat(gone).wish) == (EnrollmentState.REQUESTED, EnrollmentWish.UNDO)


#: When it is next looked at, as the wish is turned, and when it is after that.
LOOKS = {
    "nobody has begun": (NOON, later(hours=1)),
    "somebody works on it": (later(hours=1, minutes=7), later(hours=1, minutes=7)),
    "it is long until another try": (later(days=1), later(hours=1) + LEASE),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_wish_that_turns_waits_for_whoever_works_on_the_one_before(look: str) -> None:
    held, then = LOOKS[look]
    gone = moved(enrolled(planned(case())), GONE)
    back = moved(gone, {"state": "live"}, now=later(hours=1), enrollments=(replace(seat(gone), due_at=held),))
    assert (seat(back).wish, seat(back).due_at) == (EnrollmentWish.ENROLL, then)

    one = planned(case())
    asked = replace(one, enrollments=(replace(seat(one), state=EnrollmentState.REQUESTED, due_at=held),))
    undone = moved(asked, GONE, now=later(hours=1))
    assert (seat(undone).wish, seat(undone).due_at) == (EnrollmentWish.UNDO, then)


def test_what_is_needed_again_keeps_its_seat_or_gets_another() -> None:
    gone = moved(enrolled(planned(case())), GONE)
    back = moved(gone, {"state": "live"})
    assert (state(back), seat(back).wish, seat(back).round) == (NeedState.ENROLLED, EnrollmentWish.ENROLL, 1)
    undone = moved(gone, enrollments=(replace(seat(gone), state=EnrollmentState.UNDONE, wish=None, due_at=None),))
    assert seat(moved(undone, {"state": "live"})).round == 2


def test_a_rule_that_holds_no_more_undoes_what_was_only_planned() -> None:
    other = {"action_code": "X"}
    one = planned(case())
    assert (state(moved(one, other)), seat(moved(one, other)).state) == (NeedState.UNDONE, EnrollmentState.UNDONE)
    assert state(moved(enrolled(one), other)) is NeedState.ENROLLED


def test_a_certificate_of_somebody_elses_ends_it_and_takes_the_seat_back() -> None:
    one = moved(enrolled(planned(case())), CERTIFIED)
    assert (state(one), seat(one).wish) == (NeedState.VALID, EnrollmentWish.UNDO)
    lost = moved(one, {"status": "NEW", "last_certificate_id": None})
    assert (state(lost), seat(lost).wish) == (NeedState.ENROLLED, EnrollmentWish.ENROLL), "the certificate is gone again"


def test_a_new_cycle_takes_over_the_seat_of_the_last() -> None:
    one = enrolled(planned(case()))
    expired = {"status": "EXPIRED", "last_certificate_id": "c1", "certificate_date_release": date(2020, 1, 1)}
    changes = plan(replace(one, subscription=replace(one.subscription, row={**one.subscription.row, **expired})))
    assert not [change for change in changes if isinstance(change, EnrollmentChange)]
    needs = [(change.need.state, change.undoes) for change in changes if isinstance(change, NeedChange)]
    assert needs == [(NeedState.UNDONE, False), (NeedState.ENROLLED, False)]


def test_joining_a_seat_that_ends_earlier_extends_it() -> None:
    short, long = ({"account": "lms", "course": "FIRE", "expire": f"{days}d"} for days in (10, 20))
    one = enrolled(planned(case(rule(enroll=short))))
    assert [seat(one).expire_on] == [date(2026, 3, 11)]
    both = moved(one, rules=(rule(enroll=short), rule(name="longer", enroll=long)))
    assert (len(both.enrollments), seat(both).expire_on, seat(both).wish) == (1, date(2026, 3, 21), EnrollmentWish.ENROLL)


def joined(first: dict[str, Any], second: dict[str, Any], **granted: Any) -> Case:
    """A seat as one rule wants it, that another joins the day after."""
    rules = [rule(name=name, enroll={"account": "lms", "course": "FIRE", **said}) for name, said in (("one", first), ("two", second))]
    return moved(enrolled(planned(case(rules[0])), **granted), rules=tuple(rules), now=later(days=1))


def test_joining_a_seat_that_has_a_last_day_without_wanting_one_takes_it_away() -> None:
    both = joined({"expire": "10d"}, {})
    assert (seat(both).expire_on, seat(both).wish, seat(both).terms["unending"]) == (None, EnrollmentWish.ENROLL, True)
    assert [each.state for each in moved(enrolled(both), now=later(days=99)).needs] == [NeedState.ENROLLED] * 2
    assert seat(joined({}, {"expire": "10d"})).wish is None, "what has no last day lasts longest"


def test_joining_a_seat_that_has_not_begun_pulls_it_forward() -> None:
    both = joined({"start": "20d"}, {"start": "3d"})
    assert (seat(both).start_on, seat(both).wish) == (date(2026, 3, 5), EnrollmentWish.ENROLL)
    assert seat(joined({"start": "20d"}, {})).start_on == date(2026, 3, 2)
    assert seat(joined({"start": "3d"}, {"start": "20d"})).wish is None
    assert seat(joined({"start": "20d"}, {}, found=True)).wish is None


def test_joining_a_seat_that_was_found_leaves_its_last_day_alone() -> None:
    short, long = ({"account": "lms", "course": "FIRE", "expire": f"{days}d"} for days in (10, 20))
    one = enrolled(planned(case(rule(enroll=short))), found=True, expire_on=None)
    both = moved(one, rules=(rule(enroll=short), rule(name="longer", enroll=long)))
    assert ([each.state for each in both.needs], seat(both).wish, seat(both).expire_on) == ([NeedState.ENROLLED] * 2, None, None)


def test_joining_a_seat_has_the_score_given_that_only_the_second_wants() -> None:
    first, second = ({"activity": name, "value": 80.0} for name in ("PRACTICE", "TALK"))
    scoring = [
        rule(name=f"r{n}", enroll={"account": "lms", "course": "FIRE", "score": score}) for n, score in enumerate((None, first, second))
    ]
    one = moved(enrolled(planned(case(scoring[0]))), rules=scoring[:2])
    assert (seat(one).terms["score"], seat(one).wish) == (first, EnrollmentWish.ENROLL)
    one = moved(enrolled(one), rules=scoring)
    assert (seat(one).terms["score"], seat(one).terms["scores"], seat(one).wish) == (first, [second], EnrollmentWish.ENROLL)
    assert seat(moved(enrolled(one), now=later(hours=1))).wish is None


def test_a_failure_is_tried_again_after_the_wait_as_often_as_the_rule_says() -> None:
    again = rule(**{"pass": {"grade": 80}}, fail={"wait": "7d", "attempts": 2})
    one = moved(enrolled(planned(case(again))), results=reached(result(grade=60)), now=later(hours=2))
    assert (state(one), need(one).wait_until, seat(one).state) == (NeedState.FAILED, later(days=7, hours=2), EnrollmentState.CLOSED)
    assert need(one).look_at == need(one).wait_until
    second = moved(one, now=later(days=8))
    assert (state(second), need(second).attempt, seat(second).round) == (NeedState.PLANNED, 2, 2)
    worse = reached(result(grade=60), result("r2", at=later(days=9), grade=70))
    last = moved(enrolled(second), results=worse, now=later(days=9, hours=1))
    assert (state(last), need(last).wait_until, seat(moved(last, now=later(days=99))).round) == (NeedState.FAILED, None, 2)
    assert state(moved(last, results=reached(result(grade=85)))) is NeedState.PASSED, "a corrected grade counts"


def test_a_failure_with_no_wait_opens_the_next_round_at_once() -> None:
    again = rule(**{"pass": {"grade": 80}}, fail={"wait": "0s", "attempts": 3})
    one = moved(enrolled(planned(case(again))), results=reached(result(grade=60)), now=later(hours=2))
    assert (state(one), need(one).attempt, [each.round for each in one.enrollments]) == (NeedState.PLANNED, 2, [1, 2])


def test_a_due_time_that_passes_is_overdue_and_a_pass_counts_still() -> None:
    one = enrolled(planned(case(rule(enroll={"account": "lms", "course": "FIRE", "due": "30d"}))))
    late = moved(one, now=later(days=31))
    assert (state(late), need(late).reason, need(late).look_at) == (NeedState.OVERDUE, "it was due by 2026-03-31", None)
    done = moved(late, results=reached(result(at=later(days=31))))
    assert (state(done), need(done).due_at) == (NeedState.PASSED, None)


@pytest.mark.parametrize(("waits", "learners"), [(NeedState.HELD, {ME: "JS001"}), (NeedState.UNMATCHED, {})])
def test_what_waits_past_its_due_time_keeps_its_state_and_is_an_alarm(waits: NeedState, learners: dict[Any, str]) -> None:
    due = {"account": "lms", "course": "FIRE", "due": "3d", "approve": waits is NeedState.HELD}
    one = planned(case(rule(enroll=due), learners=learners))
    assert (state(one), need(one).alarm, need(one).look_at) == (waits, None, need(one).due_at)
    late = moved(one, now=later(days=9))
    assert (state(late), need(late).alarm, need(late).look_at) == (waits, "it was due by 2026-03-04", None)


def test_the_days_of_a_target_begin_once_nothing_stands_before_it() -> None:
    chain = [{"account": "lms", "course": "A", "due": "30d"}, {"account": "lms", "course": "B", "after": "A", "due": "10d"}]
    one = enrolled(planned(case(rule(enroll=chain))))
    assert need(one).due_at == datetime(2026, 4, 1, tzinfo=ROME)
    late = moved(one, now=later(days=40))
    assert state(late) is NeedState.OVERDUE
    one = moved(late, results=reached(result(course="A", at=later(days=40))), now=later(days=40, hours=1))
    assert (state(one), need(one).due_at) == (NeedState.PLANNED, datetime(2026, 4, 21, tzinfo=ROME)), "B has its own ten days"


def test_of_several_targets_the_one_that_is_due_first_counts_until_it_is_passed() -> None:
    both = [{"account": "lms", "course": "A", "due": "30d"}, {"account": "lms", "course": "B", "due": "10d"}]
    one = enrolled(planned(case(rule(enroll=both))))
    assert need(one).due_at == datetime(2026, 3, 12, tzinfo=ROME)
    one = moved(one, results=reached(result(course="B")), now=later(hours=2))
    assert need(one).due_at == datetime(2026, 4, 1, tzinfo=ROME)


def test_another_attempt_has_its_days_again() -> None:
    again = rule(enroll={"account": "lms", "course": "FIRE", "due": "3d"}, fail={"wait": "7d", "attempts": 2}, **{"pass": {"grade": 80}})
    one = moved(enrolled(planned(case(again))), results=reached(result(grade=60)), now=later(hours=2))
    assert need(moved(one, now=later(days=8))).due_at == datetime(2026, 3, 13, tzinfo=ROME)


def test_a_seat_that_expires_lapses() -> None:
    one = enrolled(planned(case(rule(enroll={"account": "lms", "course": "FIRE", "expire": "60d"}))))
    assert need(one).look_at == datetime(2026, 5, 1, tzinfo=ROME)
    over = moved(one, now=later(days=61))
    assert (state(over), seat(over).state, seat(over).wish) == (NeedState.LAPSED, EnrollmentState.CLOSED, None)


def test_a_seat_that_was_found_does_not_lapse_by_a_day_that_nobody_was_told() -> None:
    one = enrolled(planned(case(rule(enroll={"account": "lms", "course": "FIRE", "expire": "60d"}))), found=True)
    assert need(one).look_at is None
    assert state(moved(one, now=later(days=61))) is NeedState.ENROLLED


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize(
    ("said", "why"), [({"expired": True, "finished": True}, "it has expired in lms"), ({"finished": True}, "it was ended in lms")]
)
def test_a_seat_that_the_lms_says_is_over_lapses(found: bool, said: dict[str, Any], why: str) -> None:
    one = enrolled(planned(case()), found=found)
    over = result(completed=False, completed_at=None, grade=None, observed_at=later(hours=1), **said)
    lapsed = moved(one, results=reached(over), now=later(hours=2))
    assert (state(lapsed), need(lapsed).reason, seat(lapsed).state) == (NeedState.LAPSED, why, EnrollmentState.CLOSED)


@pytest.mark.parametrize(
    "said", [{"observed_at": later(hours=-1), "completed": False, "completed_at": None}, {"observed_at": later(hours=1), "grade": None}]
)
def test_what_the_lms_said_of_an_earlier_seat_or_of_one_that_is_completed_lapses_nothing(said: dict[str, Any]) -> None:
    one = enrolled(planned(case(rule(**{"pass": {"grade": 80}}))))
    assert state(moved(one, results=reached(result(expired=True, finished=True, **said)), now=later(hours=2))) is NeedState.ENROLLED


def test_what_the_enroller_gave_up_is_dead_in_the_vendors_words() -> None:
    one = planned(case())
    dead = moved(one, enrollments=(replace(seat(one), state=EnrollmentState.DEAD, wish=None, due_at=None, reason="no such course"),))
    assert (state(dead), need(dead).reason, len(dead.enrollments)) == (NeedState.DEAD, "no such course", 1)


def test_a_step_of_a_certificate_that_a_person_dropped_holds_up_no_need() -> None:
    one = moved(enrolled(planned(case(rule(record={})))), results=reached(result()), now=later(hours=2))
    first, last = one.recordings[need(one).id]
    dead = moved(one, recordings={need(one).id: [replace(first, state="done"), replace(last, state="dead", error="422")]})
    gone = moved(one, recordings={need(one).id: [replace(first, state="done"), replace(last, state="dropped", error="422")]})
    assert (state(dead), state(gone)) == (NeedState.DEAD, NeedState.RECORDED)


def test_an_observation_is_awaited_without_an_enrollment() -> None:
    watch = {"account": "ispring", "checklist": "check", "result": 80}
    one = planned(case(rule(enroll=None, observe=watch, undo="keep"), learners={(TargetKind.OBSERVATION, "ispring"): "e1"}))
    assert (state(one), one.enrollments) == (NeedState.AWAITING, ())
    seen = Result("o1", TargetKind.OBSERVATION, "e1", "check", later(hours=1), 90, completed=True)
    assert state(moved(one, results={("ispring", "e1", "check"): [seen]})) is NeedState.PASSED


_EVENTS = st.sampled_from(
    [
        "enrolled",
        "found",
        "asked",
        "undone",
        "gone",
        "back",
        "inactive",
        "missing",
        "certified",
        "expired",
        "passed",
        "failed",
        "late",
        "unmapped",
        "written",
        "lost",
        "ended",
        "released",
    ]
)
_RULES = (
    rule(**{"pass": {"grade": 80}}, fail={"wait": "1d", "attempts": 2}, record={}),
    rule(
        name="two",
        enroll=[{"account": "lms", "course": "FIRE", "expire": "9d", "due": "3d"}, {"account": "lms", "course": "B", "after": "FIRE"}],
    ),
)


def _happened(one: Case, event: str, number: int) -> Case:
    now = one.now.replace() + (later(days=4) - NOON if event == "late" else later(minutes=1) - NOON)
    rows: dict[str, dict[str, Any]] = {
        "gone": GONE,
        "back": {"state": "live", "owned_active": True},
        "inactive": INACTIVE,
        "missing": {"state": "missing"},
        "certified": {"status": "VALID", "last_certificate_id": f"c{number}", "certificate_date_release": now.date()},
        "expired": {"status": "EXPIRED"},
        "lost": {"status": "NEW", "last_certificate_id": None, "certificate_date_release": None},
    }
    if event == "written":
        done = {need: [replace(row, state="done") for row in rows] for need, rows in one.recordings.items()}
        return replace(one, now=now, recordings=done)
    if event == "released":
        return replace(one, now=now, needs=tuple(replace(each, released_at=now) for each in one.needs))
    if event == "ended":
        over = result("ended", None, None, completed=False, completed_at=None, expired=True, observed_at=now)
        return replace(one, now=now, results=reached(*[each for group in one.results.values() for each in group], over))
    seats: dict[str, dict[str, Any]] = {
        "enrolled": {"state": EnrollmentState.ENROLLED, "found": False, "enrolled_at": now, "wish": None, "due_at": None},
        "found": {"state": EnrollmentState.ENROLLED, "found": True, "enrolled_at": now, "wish": None, "due_at": None},
        "asked": {"state": EnrollmentState.REQUESTED},
        "undone": {"state": EnrollmentState.UNDONE, "wish": None, "due_at": None},
    }
    if event in seats:
        wish = EnrollmentWish.UNDO if event == "undone" else EnrollmentWish.ENROLL
        changed = tuple(replace(each, **seats[event]) if each.open and each.wish is wish else each for each in one.enrollments)
        return replace(one, now=now, enrollments=changed)
    if event in ("passed", "failed"):
        grade = 90.0 if event == "passed" else 10.0
        found = [result(f"{course}{number}", now, grade, course) for course in ("FIRE", "B")]
        return replace(one, now=now, results=reached(*[each for group in one.results.values() for each in group], *found))
    learners = {} if event == "unmapped" else {ME: "JS001"}
    return replace(
        one, now=now, learners=learners, subscription=replace(one.subscription, row={**one.subscription.row, **rows.get(event, {})})
    )


DRAWN = {what: drawn.moves(what) for what in ("need", "enrollment")}


def _told(before: Case, after: Case) -> None:
    """Every move is one that the README draws, and has a reason."""
    kinds: list[tuple[str, Sequence[Any], Sequence[Any]]] = [
        ("need", before.needs, after.needs),
        ("enrollment", before.enrollments, after.enrollments),
    ]
    for what, old, new in kinds:
        held = {each.id: each.state for each in old}
        for each in new:
            if held.get(each.id) is not each.state:
                assert each.reason, f"{what} {each.state}"
                assert each.id not in held or (held[each.id].value, each.state.value) in DRAWN[what]


@given(st.lists(_EVENTS, max_size=14))
def test_whatever_happens_planning_twice_is_planning_once_and_the_promises_hold(events: list[str]) -> None:
    one = planned(case(*_RULES))
    for number, event in enumerate(events):
        before = _happened(one, event, number)
        one = planned(before)
        _told(before, one)
        open_seats = [each.seat for each in one.enrollments if each.open]
        assert len(open_seats) == len(set(open_seats)), "at most one is open"
        undone = [each for each in one.enrollments if each.wish is EnrollmentWish.UNDO]
        assert not [each for each in undone if each.found], "what was found is never undone"
        for key, by in one.certified.items():
            cycles = {
                each.cycle
                for each in one.needs
                for step in each.steps
                if step.state is NeedState.PASSED and (step.result or {})["key"] == key
            }
            assert len(cycles) <= 1, f"{key} certified in {cycles}, {by}"
