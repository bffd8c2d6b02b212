"""What should change about one subscription's needs and enrollments, by everything that is known of it. Pure.

Nothing here depends on having seen something happen: the same case gives the same changes whenever it is looked at, and a case
to which they were applied gives none.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from schemas.rules import Rule, Target, matches
from schemas.states import EnrollmentState, EnrollmentWish, NeedState, SubscriptionState, TargetKind
from workers.followups import recording
from workers.followups.case import (
    CANCELLED,
    DROPPED,
    GUARD_ENROLLING,
    GUARD_UNDOING,
    INITIAL,
    RECORD,
    Case,
    Certifies,
    Change,
    Enrollment,
    EnrollmentChange,
    Need,
    NeedChange,
    Recorded,
    RecordingPlanned,
    Step,
    derived,
    end_of,
)
from workers.followups.results import Result, correction, counts

#: Needs that wait for no seat any more, and steps.
_OVER = frozenset({NeedState.PASSED, NeedState.RECORDED, NeedState.VALID, NeedState.UNDONE})
_STEP_OVER = frozenset({NeedState.PASSED, NeedState.FAILED})
#: Of several targets, what is to be seen first; the order of NeedState is no order of urgency.
_FOREMOST = (
    NeedState.DEAD,
    NeedState.FAILED,
    NeedState.LAPSED,
    NeedState.HELD,
    NeedState.UNMATCHED,
    NeedState.ENROLLED,
    NeedState.AWAITING,
    NeedState.PLANNED,
    NeedState.PASSED,
)
#: What may become overdue. What waits for a person stays with its reason, whatever the day.
_RUNNING = frozenset({NeedState.PLANNED, NeedState.ENROLLED, NeedState.AWAITING})
#: A step by its seat. A seat that was closed while somebody still waited for it has expired.
_OF_SEAT = {
    EnrollmentState.PLANNED: NeedState.PLANNED,
    EnrollmentState.REQUESTED: NeedState.PLANNED,
    EnrollmentState.ENROLLED: NeedState.ENROLLED,
    EnrollmentState.CLOSED: NeedState.LAPSED,
    EnrollmentState.DEAD: NeedState.DEAD,
}
_VALID = "VALID"
#: Far more steps than any case takes.
_MOST = 1000


class Endless(Exception):
    """The planner does not come to rest on a case: an error of ours, which must hang nothing."""


def plan(case: Case) -> tuple[Change, ...]:
    """What should change; raises Endless."""
    planning = _Planning(case)
    for _ in range(_MOST):
        if not planning.moved():
            return tuple(planning.changes())
    raise Endless(case.subscription.id)


def opened(case: Case) -> datetime:
    """When the present cycle opened: at the end of the day of its certificate's release; the first when the row was first seen."""
    row = case.subscription.row
    if case.subscription.cycle == INITIAL:
        return row.get("first_seen_at") or case.now
    released = row.get("certificate_date_release")
    # Of a release that is not known, only what comes from now on is surely later.
    return end_of(released, case.zone) if released else case.now


def waited_for(need: Need) -> Iterator[UUID]:
    """The enrollments that a need still uses."""
    return (step.enrollment for step in need.steps if step.enrollment is not None and _waits(need, step))


def kept(need: Need) -> Iterator[UUID]:
    """The enrollments that stay, by the need's rule or by a person's word, when nobody uses them any more."""
    return (step.enrollment for step in need.steps if step.enrollment is not None and _keeps(need))


def _waits(need: Need, step: Step) -> bool:
    return need.state not in _OVER and step.state not in _STEP_OVER


def _keeps(need: Need) -> bool:
    return need.rule.undo == "keep" or need.reason == DROPPED


def _all_passed(need: Need) -> bool:
    return all(step.state is NeedState.PASSED for step in need.steps)


class _Planning:
    """One case on its way to where nothing more follows from it."""

    def __init__(self, case: Case) -> None:
        self._case, self._row = case, case.subscription.row
        self._today = case.now.astimezone(case.zone).date()
        self._needs = {need.id: need for need in case.needs}
        self._seats = {one.id: one for one in case.enrollments}
        self._recordings = {row.id: row for rows in case.recordings.values() for row in rows}
        self._certifies: dict[str, Certifies] = {}

    def moved(self) -> bool:
        """Go one step on; whether there was anything to be done."""
        before = dict(self._needs), dict(self._seats)
        self._each_seat(self._finished)
        for need in list(self._needs.values()):
            self._needs[need.id] = self._advanced(need)
        self._begin()
        if before == (self._needs, self._seats):
            # Not before: a need that begins takes over the seat of one that is over.
            self._each_seat(self._left)
        return before != (self._needs, self._seats)

    def _each_seat(self, change: Callable[[Enrollment], Enrollment]) -> None:
        for seat in list(self._seats.values()):
            self._seats[seat.id] = change(seat)

    def changes(self) -> Iterator[Change]:
        """What is other than it was: enrollments before the needs that name them."""
        enrollments = {one.id: one for one in self._case.enrollments}
        needs = {one.id: one for one in self._case.needs}
        held = {row.id for rows in self._case.recordings.values() for row in rows}
        yield from (EnrollmentChange(one, enrollments.get(one.id)) for one in self._seats.values() if one != enrollments.get(one.id))
        looking = (self._looking(self._alarmed(one)) for one in self._needs.values())
        yield from (NeedChange(one, needs.get(one.id)) for one in looking if one != needs.get(one.id))
        yield from (RecordingPlanned(row) for row in self._recordings.values() if row.id not in held)
        yield from (one for one in self._certifies.values() if one.result not in self._case.certified)

    # Needs

    def _begin(self) -> None:
        """A need for each rule that holds, once a cycle."""
        subscription = self._case.subscription
        for rule in self._case.rules:
            id = derived("need", subscription.account, subscription.id, rule.name, subscription.cycle)  # noqa: A001
            held = self._needs.get(id)
            if (held is None or self._again(held)) and not matches(rule.when, self._row):
                self._needs[id] = self._begun(id, rule, held)

    def _again(self, need: Need) -> bool:
        """Whether a need that is over is one again once its rule holds: it was undone, or what made it valid is gone."""
        if need.state is NeedState.VALID:
            return not self._certifying(need)
        return need.state is NeedState.UNDONE and need.reason not in (CANCELLED, DROPPED)

    def _begun(self, id: UUID, rule: Rule, held: Need | None) -> Need:  # noqa: A002
        subscription, now, count = self._case.subscription, self._case.now, len(rule.targets())
        kept = held.steps if held and held.state is NeedState.UNDONE and len(held.steps) == count else (Step(),) * count
        return Need(
            id=id,
            account=subscription.account,
            subscription=subscription.id,
            rule=rule,
            cycle=subscription.cycle,
            state=NeedState.PLANNED,
            reason=None,
            state_at=now,
            opened_at=held.opened_at if held else opened(self._case),
            created_at=held.created_at if held else now,
            steps=tuple(step if step.state is NeedState.PASSED else Step() for step in kept),
            due_at=self._due(rule),
        )

    def _due(self, rule: Rule) -> datetime | None:
        days = [target.terms["due_days"] for target in rule.targets() if target.terms.get("due_days") is not None]
        return end_of(self._day(max(days)), self._case.zone) if days else None

    def _day(self, days: int) -> date:
        return self._today + timedelta(days=days)

    def _advanced(self, need: Need) -> Need:
        if need.state in (NeedState.UNDONE, NeedState.VALID):
            return need
        if ending := self._ending(need):
            return self._ended(need, *ending)
        if self._case.subscription.state is not SubscriptionState.LIVE or not self._case.subscription.active:
            return need
        need = self._tried_again(need)
        need = replace(need, steps=self._steps(need))
        return self._in_state(need, *self._state(need))

    def _ending(self, need: Need) -> tuple[NeedState, str] | None:
        """Whether a need is over by what the row says, and why."""
        subscription = self._case.subscription
        if not self._case.confirmed or subscription.state is SubscriptionState.MISSING:
            return None
        if subscription.state is SubscriptionState.DELETED:
            return NeedState.UNDONE, "the subscription is deleted"
        if not subscription.active:
            return NeedState.UNDONE, "the subscription is inactive"
        if subscription.cycle != need.cycle and subscription.status == _VALID:
            return NeedState.VALID, _certificate(subscription.cycle)
        if _all_passed(need):
            return None
        if subscription.cycle != need.cycle:
            return NeedState.UNDONE, f"another cycle has begun: {subscription.cycle}"
        if not self._begun_at_vendor(need) and (wrong := matches(need.rule.when, self._row)):
            return NeedState.UNDONE, f"its rule holds no more: {wrong[0]}"
        return None

    def _begun_at_vendor(self, need: Need) -> bool:
        asked = any(seat.state is not EnrollmentState.PLANNED for seat in self._seats_of(need))
        return asked or any(step.state is NeedState.PASSED for step in need.steps)

    def _ended(self, need: Need, state: NeedState, reason: str) -> Need:
        """Over, unless that would undo more than the guard lets through."""
        over = self._in_state(need, state, reason)
        if self._undoes(over) and not self._may(need, GUARD_UNDOING):
            return self._in_state(need, NeedState.HELD, GUARD_UNDOING)
        return over

    def _undoes(self, over: Need) -> bool:
        """Whether a seat would be given back if this need were over."""
        held, self._needs[over.id] = self._needs[over.id], over
        undone = any(self._left(self._finished(seat)).wish is EnrollmentWish.UNDO is not seat.wish for seat in self._seats_of(over))
        self._needs[over.id] = held
        return undone

    def _may(self, need: Need, guard: str) -> bool:
        """Whether the guard lets a need through, by itself or because a person released it."""
        if need.state is NeedState.HELD and need.reason == guard:
            return need.released_at is not None and need.released_at >= need.state_at
        room = self._case.room.get(need.rule.name)
        return room is None or (room.enrolling if guard == GUARD_ENROLLING else room.undoing) > 0

    def _tried_again(self, need: Need) -> Need:
        """The next attempt, once the rule's wait after a failure is over."""
        if need.wait_until is None or need.wait_until > self._case.now:
            return need
        steps = tuple(
            replace(step, state=NeedState.PLANNED, enrollment=None) if step.state is NeedState.FAILED else step for step in need.steps
        )
        return replace(need, steps=steps, attempt=need.attempt + 1, wait_until=None, due_at=self._due(need.rule))

    def _state(self, need: Need) -> tuple[NeedState, str | None]:
        """What follows from its steps, and why."""
        if _all_passed(need):
            return self._outcome(need)
        number, state = min(enumerate(step.state for step in need.steps), key=lambda each: _FOREMOST.index(each[1]))
        if state in _RUNNING and need.due_at is not None and need.due_at <= self._case.now:
            return NeedState.OVERDUE, f"it was due by {(need.due_at - timedelta(microseconds=1)).astimezone(self._case.zone):%Y-%m-%d}"
        return state, self._reason(need, number, state)

    def _reason(self, need: Need, number: int, state: NeedState) -> str | None:
        target, seat = need.rule.targets()[number], self._seat(need.steps[number])
        if state is NeedState.HELD:
            return GUARD_ENROLLING if _approved(need, number, target) else f"{target.kind} {target.target} waits for a person to approve it"
        if state is NeedState.UNMATCHED:
            return f"nobody knows who this is in {target.account}"
        if state is NeedState.FAILED:
            return f"{target.kind} {target.target} was failed, attempt {need.attempt} of {need.rule.fail.attempts}"
        return seat.reason if seat is not None and state in (NeedState.LAPSED, NeedState.DEAD) else None

    def _outcome(self, need: Need) -> tuple[NeedState, str | None]:
        """Every target is passed: what is written of it, and how far that is."""
        record = need.rule.record
        if record is None:
            return NeedState.PASSED, None
        if record.approve and RECORD not in need.approvals:
            return NeedState.HELD, "the certificate waits for a person to approve it"
        rows = self._certifying(need) or self._record(need)
        if dead := next((row for row in rows if row.state == recording.DEAD), None):
            return NeedState.DEAD, dead.error
        if any(row.state != recording.DONE for row in rows):
            return NeedState.PASSED, None
        recorded_at = need.state_at if need.state is NeedState.RECORDED else self._case.now
        return NeedState.RECORDED, recording.not_valid(recorded_at, record.valid_within, self._case.now)

    def _alarmed(self, need: Need) -> Need:
        """A need with the alarm beside its reason while what it was recorded by says something else than it did."""
        subscription, reason = self._case.subscription, need.reason or ""
        # Later the course may be taken once more, and say that it is not completed.
        valid = need.state is NeedState.VALID and subscription.status == _VALID and reason.startswith(_certificate(subscription.cycle))
        if need.rule.record is None or not (valid or need.state is NeedState.RECORDED):
            return need
        found = (self._corrected(need, step, target) for step, target in zip(need.steps, need.rule.targets(), strict=True))
        said = [reason.partition("; ")[0], *filter(None, found)]
        return replace(need, reason="; ".join(filter(None, said)) or None)

    def _corrected(self, need: Need, step: Step, target: Target) -> str | None:
        case, was = self._case, _result(step, target)
        who = case.learners.get((target.kind, target.account), "")
        now = next((one for one in case.results.get((target.account, who, target.target), ()) if one.key == was.key), None)
        if now is None or was.completed_at is None:
            return None
        alarm = correction(now, was.completed_at, target, need.rule.pass_, case.zone)
        return f"{alarm.reason}: {alarm.proposal}" if alarm else None

    def _certifying(self, need: Need) -> list[Recorded]:
        """The steps of writing its certificate, if it came so far."""
        told = recording.Step.FAILED.value
        return [row for row in self._recordings.values() if row.need == need.id and not row.step.startswith(told)]

    def _record(self, need: Need) -> list[Recorded]:
        case = self._case
        last = max((_result(step, target) for step, target in zip(need.steps, need.rule.targets(), strict=True)), key=_completion)
        session = self._session(last)
        return self._written(recording.steps(need, case.subscription, session, last, case.now, action=case.action, zone=case.zone))

    def _session(self, result: Result) -> Mapping[str, Any] | None:
        """The 4HSE session enrollment that an outcome is for: the result's own, else the latest."""
        held = self._case.session_enrollments
        own = (one for one in held if result.key.endswith(f"/{one['action_session_subscription_id']}"))
        return next(own, held[-1] if held else None)

    def _written(self, rows: list[Recorded]) -> list[Recorded]:
        for row in rows:
            self._recordings.setdefault(row.id, row)
        return rows

    def _in_state(self, need: Need, state: NeedState, reason: str | None) -> Need:
        wait = need.wait_until
        if state is not NeedState.FAILED:
            wait = None
        elif wait is None and need.attempt < need.rule.fail.attempts:
            wait = self._case.now + need.rule.fail.wait
        # What the guard holds anew is released anew.
        same = need.state is state and (state is not NeedState.HELD or need.reason == reason)
        return replace(need, state=state, reason=reason, state_at=need.state_at if same else self._case.now, wait_until=wait)

    def _looking(self, need: Need) -> Need:
        """A need with the next moment at which the calendar may change something about it."""
        moments: list[datetime | None] = [need.wait_until]
        if need.state in _RUNNING:
            moments.append(need.due_at)
        if need.state is NeedState.RECORDED and need.rule.record is not None:
            moments.append(need.state_at + need.rule.record.valid_within)
        if need.state not in _OVER:
            moments += [self._over_at(seat) for seat in self._seats_of(need) if seat.state is EnrollmentState.ENROLLED]
        return replace(need, look_at=min((one for one in moments if one is not None and one > self._case.now), default=None))

    # Targets

    def _steps(self, need: Need) -> tuple[Step, ...]:
        """What became of each target, the earlier ones first."""
        targets, done = need.rule.targets(), list[Step]()
        for number, (target, step) in enumerate(zip(targets, need.steps, strict=True)):
            waits = any(one.target == target.after and done[n].state is not NeedState.PASSED for n, one in enumerate(targets[:number]))
            done.append(step if step.state is NeedState.PASSED else self._stepped(need, number, step, waits=waits))
        return tuple(done)

    def _stepped(self, need: Need, number: int, step: Step, *, waits: bool) -> Step:
        target = need.rule.targets()[number]
        seat = self._seat(step)
        learner = seat.learner if seat is not None else self._case.learners.get((target.kind, target.account))
        judged = self._judged(need, target, step, learner) if learner is not None else None
        if judged is not None or step.state is NeedState.FAILED:
            return judged or step
        if seat is not None and seat.state is not EnrollmentState.UNDONE:
            return replace(step, state=_OF_SEAT[seat.state])
        if waits or learner is None:
            return replace(step, state=NeedState.PLANNED if waits else NeedState.UNMATCHED, enrollment=None)
        if not _approved(need, number, target):
            return replace(step, state=NeedState.HELD, enrollment=None)
        if target.kind is TargetKind.OBSERVATION:
            return replace(step, state=NeedState.AWAITING)
        return self._seated(need, target, step, learner)

    def _judged(self, need: Need, target: Target, step: Step, learner: str) -> Step | None:
        """A step that its learner has passed or failed."""
        results = self._case.results.get((target.account, learner, target.target), ())
        same = {one.id for one in self._needs.values() if one.cycle == need.cycle and one.id != need.id}
        certified = {**self._case.certified, **{key: one.need for key, one in self._certifies.items()}}
        used = {key for key, by in certified.items() if by not in same}
        accepted = need.rule.pass_.accept_since
        verdict = counts(target, need.opened_at, results, accept_since=accepted, pass_=need.rule.pass_, used=used, zone=self._case.zone)
        failed = list((step.result or {}).get("failed", ()))
        if verdict.key is None or verdict.passed is None or (not verdict.passed and verdict.key in failed):
            return None
        result = next(one for one in results if one.key == verdict.key)
        said = {"key": result.key, "completed_at": result.completed_at.isoformat() if result.completed_at else None}
        if verdict.passed:
            self._certifies.setdefault(result.key, Certifies(result.key, need.id))
            return replace(step, state=NeedState.PASSED, result={**said, "failed": failed})
        self._written(recording.failure(need, self._session(result), result, self._case.zone))
        return replace(step, state=NeedState.FAILED, result={**said, "failed": [*failed, result.key]})

    # Enrollments

    def _seated(self, need: Need, target: Target, step: Step, learner: str) -> Step:
        """A step with a seat: the open one, or one in the next round, if the guard lets it through."""
        rounds = [one for one in self._seats.values() if one.seat == (target.account, learner, target.target)]
        open_one = next((one for one in rounds if one.open), None)
        seat = (
            self._joined(open_one, target) if open_one else self._opened(target, learner, 1 + max((one.round for one in rounds), default=0))
        )
        if seat != open_one and not self._may(need, GUARD_ENROLLING):
            return replace(step, state=NeedState.HELD, enrollment=None)
        self._seats[seat.id] = seat
        return replace(step, state=_OF_SEAT[seat.state], enrollment=seat.id)

    def _opened(self, target: Target, learner: str, number: int) -> Enrollment:
        return Enrollment(
            id=derived("enrollment", target.account, learner, target.target, number),
            account=target.account,
            kind=target.kind,
            learner=learner,
            target=target.target,
            round=number,
            state=EnrollmentState.PLANNED,
            state_at=self._case.now,
            wish=EnrollmentWish.ENROLL,
            due_at=self._case.now,
            terms=target.terms,
            start_on=self._on(target, "start_days"),
            expire_on=self._on(target, "expire_days"),
        )

    def _joined(self, seat: Enrollment, target: Target) -> Enrollment:
        """An open seat as one more need wants it: not given back, and for as long as the longest."""
        expire_on = self._on(target, "expire_days")
        longer = expire_on is not None and seat.expire_on is not None and expire_on > seat.expire_on
        if not longer and seat.wish is not EnrollmentWish.UNDO:
            return seat
        wished = replace(seat, wish=EnrollmentWish.ENROLL, due_at=self._case.now, attempts=0, error=None)
        return replace(wished, expire_on=expire_on) if longer else wished

    def _on(self, target: Target, term: str) -> date | None:
        days = target.terms.get(term)
        return None if days is None else self._day(days)

    def _finished(self, seat: Enrollment) -> Enrollment:
        """A seat that is over at the vendor: its last day has passed, or everybody who used it has passed or failed."""
        if not seat.open:
            return seat
        last = self._over_at(seat) if seat.state is EnrollmentState.ENROLLED and seat.wish is None else None
        if last is not None and last <= self._case.now:
            return self._over(seat, EnrollmentState.CLOSED, f"its last day was {seat.expire_on}")
        came = any(step.state in _STEP_OVER for _, step in self._users(seat)) or self._completed(seat)
        if came and seat.state is not EnrollmentState.PLANNED and not self._used(seat):
            return self._over(seat, EnrollmentState.CLOSED, "completed")
        return seat

    def _left(self, seat: Enrollment) -> Enrollment:
        """A seat that nobody uses any more: to be given back, unless it was found there or stays by a rule."""
        users = self._users(seat)
        if not seat.open or not users or self._used(seat) or seat.wish is EnrollmentWish.UNDO:
            return seat
        if seat.state is EnrollmentState.PLANNED:
            return self._over(seat, EnrollmentState.UNDONE, "not needed any more, and never asked for")
        if seat.found:
            return self._over(seat, EnrollmentState.CLOSED, "not needed any more; it was there before us")
        if seat.id in self._case.kept_elsewhere or any(_keeps(need) for need, _ in users):
            return self._over(seat, EnrollmentState.CLOSED, "not needed any more; it stays")
        how = "unsubscribe" if any(need.rule.undo == "unsubscribe" for need, _ in users) else "expire"
        terms = {**seat.terms, "undo": how}
        return replace(seat, wish=EnrollmentWish.UNDO, due_at=self._case.now, attempts=0, error=None, terms=terms)

    def _users(self, seat: Enrollment) -> list[tuple[Need, Step]]:
        return [(need, step) for need in self._needs.values() for step in need.steps if step.enrollment == seat.id]

    def _used(self, seat: Enrollment) -> bool:
        return seat.id in self._case.used_elsewhere or any(_waits(need, step) for need, step in self._users(seat))

    def _completed(self, seat: Enrollment) -> bool:
        """Whether a result says so that came after the seat did."""
        since = seat.enrolled_at
        results = self._case.results.get(seat.seat, ())
        return since is not None and any(
            one.completed and not one.withdrawn and one.completed_at is not None and one.completed_at >= since for one in results
        )

    def _over_at(self, seat: Enrollment) -> datetime | None:
        return None if seat.expire_on is None else end_of(seat.expire_on, self._case.zone)

    def _over(self, seat: Enrollment, state: EnrollmentState, reason: str) -> Enrollment:
        return replace(seat, state=state, reason=reason, state_at=self._case.now, wish=None, due_at=None, error=None)

    def _seat(self, step: Step) -> Enrollment | None:
        return None if step.enrollment is None else self._seats.get(step.enrollment)

    def _seats_of(self, need: Need) -> list[Enrollment]:
        return [seat for step in need.steps if (seat := self._seat(step)) is not None]


def _approved(need: Need, number: int, target: Target) -> bool:
    return not target.approve or str(number) in need.approvals


def _certificate(cycle: str) -> str:
    return f"certificate {cycle}"


def _result(step: Step, target: Target) -> Result:
    """The result that a step was passed by, as it was then."""
    said = step.result or {}
    at = said.get("completed_at")
    return Result(said.get("key", ""), target.kind, "", target.target, datetime.fromisoformat(at) if at else None, completed=True)


def _completion(result: Result) -> tuple[float, str]:
    return result.completed_at.timestamp() if result.completed_at else 0.0, result.key
