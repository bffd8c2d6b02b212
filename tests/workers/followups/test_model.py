"""Two actions of one person on one course, whatever happens to them in whatever order, against a small model of the LMS."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.states import EnrollmentState, EnrollmentWish, NeedState
from tests.workers.followups import planned
from workers.followups.case import Case, Enrollment, Need, Subscription
from workers.followups.planner import plan
from workers.followups.results import Result
from workers.followups.seats import kept, waited_for

SUBJECTS = ("s1", "s2")
LIVE = (NeedState.PLANNED, NeedState.ENROLLED)
#: By a result, which may have come before the seat that was asked for.
ENDED = (NeedState.PASSED, NeedState.FAILED)
RULE = planned.rule(**{"pass": {"grade": 80}}, fail={"wait": "1d", "attempts": 3})


class Course(RuleBasedStateMachine):
    """The rows as they are written, and the seat as the LMS has it."""

    @initialize(found=st.booleans())
    def begin(self, found: bool) -> None:
        self.now, self.found, self.seated, self.completed = planned.NOON, found, found, False
        self.rows: dict[str, Mapping[str, Any]] = {}
        self.needs: dict[Any, Need] = {}
        self.seats: dict[Any, Enrollment] = {}
        self.results: list[Result] = []
        self.certified: dict[str, dict[str, Any]] = {subject: {} for subject in SUBJECTS}

    def case(self, subject: str) -> Case:
        """One subscription as it stands."""
        mine = tuple(one for one in self.needs.values() if one.subscription == subject)
        others = [one for one in self.needs.values() if one.subscription != subject]
        return Case(
            Subscription("hse", subject, self.rows[subject]),
            self.now,
            rules=(RULE,),
            needs=mine,
            enrollments=tuple(self.seats.values()),
            used_elsewhere=frozenset(id for one in others for id in waited_for(one)),  # noqa: A001
            kept_elsewhere=frozenset(id for one in others for id in kept(one)),  # noqa: A001
            learners={planned.ME: "JS001"},
            results=planned.reached(*self.results),
            certified=self.certified[subject],
        )

    def plan(self, *subjects: str) -> None:
        """Plan for these, one after the other."""
        for subject in subjects:
            if subject in self.rows:
                after = planned.taken(self.case(subject), plan(self.case(subject)))
                self.needs |= {one.id: one for one in after.needs}
                self.seats |= {one.id: one for one in after.enrollments}
                self.certified[subject] = dict(after.certified)
                assert plan(self.case(subject)) == ()

    @rule(subjects=st.permutations(SUBJECTS), count=st.integers(1, 2), row=st.sampled_from(["live", "deleted", "inactive", "missing"]))
    def vendor_says(self, subjects: list[str], count: int, row: str) -> None:
        """Both at once, or one of them."""
        said = {"state": "live", "owned_active": False} if row == "inactive" else {"state": row, "owned_active": True}
        chosen = [one for one in subjects[:count] if one in self.rows or row == "live"]
        for subject in chosen:
            self.rows[subject] = {**planned.ROW, **self.rows.get(subject, {}), "action_subscription_id": subject, **said}
        self.plan(*chosen)

    @rule()
    def work(self) -> None:
        """The enroller sees to what is wished for, and plans for all whom it serves."""
        for seat in [one for one in self.seats.values() if one.wish is not None]:
            if seat.wish is EnrollmentWish.ENROLL:
                found = seat.found if seat.found is not None else self.seated and not self.completed
                self.seated, self.completed = True, self.completed and found
                granted: dict[str, Any] = {"state": EnrollmentState.ENROLLED, "found": found, "enrolled_at": seat.enrolled_at or self.now}
                self.seats[seat.id] = replace(seat, wish=None, due_at=None, **granted)
            else:
                assert not seat.found
                assert not self.completed
                self.seated = False
                self.seats[seat.id] = replace(seat, wish=None, due_at=None, state=EnrollmentState.UNDONE)
        self.plan(*SUBJECTS)

    @precondition(lambda self: self.seated and not self.completed and self.rows)
    @rule(grade=st.sampled_from([50.0, 90.0]), order=st.permutations(SUBJECTS))
    def complete(self, grade: float, order: list[str]) -> None:
        """The learner is through, with or without the mark."""
        self.now += timedelta(hours=1)
        # What was there before us is over, and what comes after it is ours.
        self.completed, self.found = True, False
        self.results.append(planned.result(f"r{len(self.results)}", self.now, grade))
        self.plan(*order)

    @rule(days=st.integers(1, 3))
    def wait(self, days: int) -> None:
        """Days go by, and the clock looks."""
        self.now += timedelta(days=days)
        self.plan(*SUBJECTS)

    @invariant()
    def at_most_one_is_open(self) -> None:
        """At most one enrollment of a seat is open."""
        assert sum(one.open for one in self.seats.values()) <= 1

    @invariant()
    def rows_and_vendor_agree(self) -> None:
        """Once nothing is wished for: who still needs it has a seat, and what nobody needs was given back, unless it is not ours to."""
        if any(one.wish is not None for one in self.seats.values()):
            return
        wanted = [one for one in self.needs.values() if one.state in LIVE]
        assert self.seated or not wanted
        if self.found:
            assert self.seated
        elif self.seats and not wanted and not self.completed and not any(one.state in ENDED for one in self.needs.values()):
            assert not self.seated


TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
