"""Two actions of one person and two rules on one course, whatever happens in whatever order, against a small model of the LMS."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.states import EnrollmentState, EnrollmentWish, NeedState
from tests.workers.followups import planned
from workers.followups.case import Case, Enrollment, Need, Recorded, Subscription
from workers.followups.leases import SETTLED
from workers.followups.planner import plan
from workers.followups.results import Result
from workers.followups.seats import kept, waited_for
from workers.mirror.status import end_of

SUBJECTS = ("s1", "s2")
LIVE = (NeedState.PLANNED, NeedState.ENROLLED)
LONG_AGO = date(2020, 1, 1)
MARK: dict[str, Any] = {"pass": {"grade": 80}}
#: One that certifies, in a seat that ends; and one that does not, in a seat that does not.
RULES = (
    planned.rule(enroll={"account": "lms", "course": "FIRE", "expire": "30d"}, fail={"wait": "1d", "attempts": 3}, record={}, **MARK),
    planned.rule(name="fire-too", **MARK),
)
#: What comes of a try: it is done and told so, done or not done and nobody hears of it, or refused for good.
OUTCOMES = ("done", "landed unheard", "lost", "refused")


@dataclass(slots=True)
class There:
    """A subscription as the LMS has it; `round` is None where it was there before us."""

    round: UUID | None
    expire: date | None = None
    ended: bool = False
    completed_at: datetime | None = None

    def live(self, now: datetime) -> bool:
        """Whether the learner may learn in it."""
        return not self.ended and (self.expire is None or end_of(self.expire, planned.ROME) > now)


class Course(RuleBasedStateMachine):
    """The rows as they are written, and the subscriptions as the LMS has them."""

    @initialize(found=st.booleans(), both=st.integers(1, 2))
    def begin(self, found: bool, both: int) -> None:
        self.now, self.there = planned.NOON, [There(None)] if found else list[There]()
        self.rows: dict[str, Mapping[str, Any]] = {}
        self.needs: dict[Any, Need] = {}
        self.seats: dict[Any, Enrollment] = {}
        self.results: list[Result] = []
        self.recordings: dict[UUID, list[Recorded]] = {}
        self.certified: dict[str, dict[str, Any]] = {subject: {} for subject in SUBJECTS}
        #: How often each round was subscribed and unsubscribed.
        self.balance: dict[UUID, int] = {}
        self.vendor_says(SUBJECTS, both, "live")

    # Planning

    def case(self, subject: str) -> Case:
        """One subscription as it stands."""
        mine = tuple(one for one in self.needs.values() if one.subscription == subject)
        others = [one for one in self.needs.values() if one.subscription != subject]
        return Case(
            Subscription("hse", subject, self.rows[subject]),
            self.now,
            planned.ROME,
            rules=RULES,
            needs=mine,
            enrollments=tuple(self.seats.values()),
            used_elsewhere=frozenset(id for one in others for id in waited_for(one)),  # noqa: A001
            kept_elsewhere=frozenset(id for one in others for id in kept(one)),  # noqa: A001
            learners={planned.ME: "JS001"},
            results=planned.reached(*self.results),
            certified=self.certified[subject],
            recordings={one.id: self.recordings[one.id] for one in mine if one.id in self.recordings},
        )

    def plan(self, subjects: Iterable[str] = SUBJECTS) -> None:
        """Plan for these, one after the other."""
        for subject in subjects:
            if subject in self.rows:
                after = planned.taken(self.case(subject), plan(self.case(subject)))
                self.needs |= {one.id: one for one in after.needs}
                self.seats |= {one.id: one for one in after.enrollments}
                self.recordings |= {key: list(rows) for key, rows in after.recordings.items()}
                self.certified[subject] = dict(after.certified)
                assert plan(self.case(subject)) == ()

    # What 4HSE says

    @rule(subjects=st.permutations(SUBJECTS), count=st.integers(1, 2), row=st.sampled_from(["live", "deleted", "inactive", "missing"]))
    def vendor_says(self, subjects: Sequence[str], count: int, row: str) -> None:
        """Both at once, or one of them."""
        said = {"state": "live", "owned_active": False} if row == "inactive" else {"state": row, "owned_active": True}
        chosen = [one for one in subjects[:count] if one in self.rows or row == "live"]
        for subject in chosen:
            first = {**planned.ROW, "first_seen_at": self.now}
            self.rows[subject] = {**first, **self.rows.get(subject, {}), "action_subscription_id": subject, **said}
        self.plan(chosen)

    @precondition(lambda self: self.recordings)
    @rule(subject=st.sampled_from(SUBJECTS))
    def write(self, subject: str) -> None:
        """What is to be written of a subscription is, and it is valid by the newest certificate of ours."""
        for need in [one for one in self.needs.values() if one.subscription == subject and one.id in self.recordings]:
            self.recordings[need.id] = [replace(row, state="done") for row in self.recordings[need.id]]
            if need.state is NeedState.PASSED and (certificate := self.recordings[need.id][0]).step == "certificate":
                self._valid(subject, certificate.remote)
        self.plan([subject])

    @rule(subject=st.sampled_from(SUBJECTS), number=st.integers(1, 3), released=st.sampled_from([None, LONG_AGO]))
    def certify(self, subject: str, number: int, released: date | None) -> None:
        """Somebody else writes a certificate, of today or of a day long before anything was completed."""
        if subject in self.rows:
            self._valid(subject, f"c{number}", released)
            self.plan([subject])

    def _valid(self, subject: str, certificate: str, released: date | None = None) -> None:
        said = {"status": "VALID", "last_certificate_id": certificate, "certificate_date_release": released or self.now.date()}
        self.rows[subject] = {**self.rows[subject], **said}

    @rule(subject=st.sampled_from(SUBJECTS), status=st.sampled_from(["EXPIRING", "EXPIRED"]))
    def expire(self, subject: str, status: str) -> None:
        """A certificate runs out, and the next cycle is there."""
        if self.rows.get(subject, {}).get("last_certificate_id"):
            self.rows[subject] = {**self.rows[subject], "status": status}
            self.plan([subject])

    # What is done at the LMS

    @rule(outcome=st.sampled_from(OUTCOMES))
    def work(self, outcome: str) -> None:
        """The enroller sees to what is due, and plans for all whom it serves."""
        for seat in [one for one in self.seats.values() if one.wish is not None and one.due_at and one.due_at <= self.now]:
            act = self._enroll if seat.wish is EnrollmentWish.ENROLL else self._undo
            self.seats[seat.id] = act(seat, outcome)
        self.plan()

    @rule()
    def settle(self) -> None:
        """All that is wished for is done, which takes an hour."""
        for _ in range(3):
            self.now += timedelta(minutes=20)
            self.work("done")

    def _current(self) -> There | None:
        return next((one for one in reversed(self.there) if not one.ended), None)

    def _enroll(self, seat: Enrollment, outcome: str) -> Enrollment:
        there = self._current()
        if there is not None and there.live(self.now) and (there.completed_at is None or there.round == seat.id):
            if there.round != seat.id:
                return self._granted(seat, found=True)
            there.expire = seat.expire_on
            return self._granted(seat, found=False)
        if outcome == "refused":
            return replace(seat, state=EnrollmentState.DEAD, state_at=self.now, reason="refused", wish=None, due_at=None)
        if outcome != "lost":
            if there is not None:
                self._end(there)
            self.there.append(There(seat.id, seat.expire_on))
            self.balance[seat.id] = self.balance.get(seat.id, 0) + 1
        if outcome == "done":
            return self._granted(seat, found=False)
        state = seat.state if seat.state is EnrollmentState.ENROLLED else EnrollmentState.REQUESTED
        return replace(seat, state=state, state_at=self.now, found=False, due_at=self.now + timedelta(minutes=1), error="unheard")

    def _granted(self, seat: Enrollment, *, found: bool) -> Enrollment:
        ours = {"expire_on": None} if found else {}
        granted = replace(seat, state=EnrollmentState.ENROLLED, found=found, enrolled_at=seat.enrolled_at or self.now, **ours)  # type: ignore[arg-type]
        return replace(granted, wish=None, due_at=None, error=None, attempts=0)

    def _undo(self, seat: Enrollment, outcome: str) -> Enrollment:
        assert not seat.found, "what was there before us is never undone"
        over = replace(seat, state_at=self.now, wish=None, due_at=None, error=None)
        there = self._current()
        if there is None or there.round != seat.id or not there.live(self.now):
            return replace(over, state=EnrollmentState.UNDONE)
        if there.completed_at is not None:
            return replace(over, state=EnrollmentState.CLOSED)
        if outcome in ("done", "landed unheard"):
            self._end(there)
        if outcome == "done":
            return replace(over, state=EnrollmentState.UNDONE)
        return replace(seat, due_at=self.now + SETTLED, error="unheard")

    def _end(self, there: There) -> None:
        there.ended = True
        if there.round is not None:
            self.balance[there.round] -= 1

    @precondition(lambda self: self.rows and (there := self._current()) and there.live(self.now) and there.completed_at is None)
    @rule(grade=st.sampled_from([50.0, 90.0]), order=st.permutations(SUBJECTS))
    def complete(self, grade: float, order: list[str]) -> None:
        """The learner is through, with or without the mark."""
        self.now += timedelta(hours=1)
        there = self._current()
        assert there is not None
        there.completed_at = self.now
        self.results.append(planned.result(f"r{len(self.results)}", self.now, grade))
        self.plan(order)

    @rule(span=st.sampled_from([timedelta(minutes=20), timedelta(days=1), timedelta(days=3), timedelta(days=40)]))
    def wait(self, span: timedelta) -> None:
        """Time goes by, and the clock looks."""
        self.now += span
        self.plan()

    # What holds, whatever happens

    @invariant()
    def at_most_one_is_open(self) -> None:
        """At most one enrollment of a seat is open."""
        assert sum(one.open for one in self.seats.values()) <= 1

    @invariant()
    def a_round_is_subscribed_once(self) -> None:
        """Of a round at most one subscription stands, and of all of them too."""
        assert all(number in (0, 1) for number in self.balance.values())
        assert sum(one.live(self.now) for one in self.there) <= 1

    @invariant()
    def a_result_certifies_once(self) -> None:
        """In one cycle, which opened before it was completed."""
        for subject in SUBJECTS:
            cycles = dict[str, set[str]]()
            for need in (one for one in self.needs.values() if one.subscription == subject):
                for step in (one for one in need.steps if one.state is NeedState.PASSED and one.result):
                    cycles.setdefault(step.result["key"], set()).add(need.cycle)  # type: ignore[index]
                    assert datetime.fromisoformat(step.result["completed_at"]) > need.opened_at  # type: ignore[index]
            assert all(len(found) == 1 for found in cycles.values()), cycles

    @invariant()
    def what_was_there_before_stays(self) -> None:
        """Unless it was completed, and the course is taken once more."""
        assert not [one for one in self.there if one.round is None and one.ended and one.completed_at is None]

    @invariant()
    def rows_and_vendor_agree(self) -> None:
        """Once nothing is wished for: who still needs it has a seat, and what nobody needs was given back, unless it is not ours to."""
        if any(one.wish is not None for one in self.seats.values()):
            return
        there = self._current()
        live = there is not None and there.live(self.now)
        # What is missing waits until it is there again, or deleted.
        assert live or not [one for one in self.needs.values() if one.state in LIVE and self.rows[one.subscription]["state"] != "missing"]
        if live and there is not None and there.round is not None and there.completed_at is None:
            assert self.seats[there.round].open or self.seats[there.round].state is EnrollmentState.DEAD


TestCourse = Course.TestCase
TestCourse.settings = settings(max_examples=150, stateful_step_count=30)
