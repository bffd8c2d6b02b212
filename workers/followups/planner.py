"""What should change about one subscription's needs and enrollments, by everything that is known of it. Pure.

Nothing here depends on having seen something happen: the same case gives the same changes whenever it is looked at, and a case
to which they were applied gives none.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from schemas.rules import Rule, Target, matches
from schemas.states import EnrollmentState, EnrollmentWish, NeedState, SubscriptionState, TargetKind
from workers.followups import alarms, reasons, recording
from workers.followups.case import (
    ALL_THE_SAME,
    BEGIN_AGAIN,
    CANCELLED,
    CERTIFICATE_GONE,
    CORRECTED,
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
from workers.followups.results import Result, counts, judged

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
#: What may become overdue. What waits for a person stays with its reason, and alarms (`alarms.WAITING`).
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
        for need in list(self._needs.values()):
            self._needs[need.id] = self._by_certificate(need)
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
        looking = (self._looking(replace(one, alarm=alarms.alarm(self._case, one))) for one in self._needs.values())
        yield from (NeedChange(one, needs.get(one.id)) for one in looking if one != needs.get(one.id))
        yield from (RecordingPlanned(row) for row in self._recordings.values() if row.id not in held)
        yield from (one for one in self._certifies.values() if one.result not in self._case.certified)

    # Needs

    def _begin(self) -> None:
        """A need for each rule that holds, once a cycle."""
        for rule in self._case.rules:
            cycle = self._cycle(rule.name)
            id = self._id(rule.name, cycle)  # noqa: A001
            held = self._needs.get(id)
            if (held is None or self._again(held)) and not matches(rule.when, self._row):
                self._needs[id] = self._begun(id, rule, cycle, held)

    def _again(self, need: Need) -> bool:
        """Whether a need that is over is one again once its rule holds: it was undone, or what made it valid is gone."""
        if need.state is NeedState.VALID:
            return not self._certifying(need)
        return need.state is NeedState.UNDONE and need.reason not in (CANCELLED, DROPPED)

    def _begun(self, id: UUID, rule: Rule, cycle: str, held: Need | None) -> Need:  # noqa: A002
        subscription, now, count = self._case.subscription, self._case.now, len(rule.targets())
        undone = held is not None and held.state is NeedState.UNDONE
        kept = held.steps if held and undone and len(held.steps) == count else (Step(),) * count
        # A person took away what we wrote: whether it all begins again is a person's word too.
        lost = cycle != subscription.cycle
        since = held.opened_at if held and undone else now if held or lost else opened(self._case)
        return Need(
            id=id,
            account=subscription.account,
            subscription=subscription.id,
            rule=rule,
            cycle=cycle,
            state=NeedState.HELD if lost else NeedState.PLANNED,
            reason=BEGIN_AGAIN if lost else None,
            state_at=now,
            opened_at=since,
            created_at=held.created_at if held else now,
            steps=tuple(step if step.state is NeedState.PASSED else Step() for step in kept),
        )

    def _id(self, rule: str, cycle: str) -> UUID:
        return derived("need", self._case.subscription.account, self._case.subscription.id, rule, cycle)

    def _cycle(self, rule: str) -> str:
        """The life of the last certificate, also of one that we wrote for this rule and that 4HSE does not show any more."""
        cycle, seen = self._case.subscription.cycle, set[str]()
        while cycle not in seen and (held := self._needs.get(self._id(rule, cycle))) and held.reason == CERTIFICATE_GONE:
            seen.add(cycle)
            cycle = self._written_certificate(held) or cycle
        return cycle

    def _written_certificate(self, need: Need) -> str | None:
        return next((row.remote for row in self._certifying(need) if row.step == recording.Step.CERTIFICATE.value), None)

    def _by_certificate(self, need: Need) -> Need:
        """A need that was valid by a certificate of ours: not any more while the row says again what it said before there was one."""
        subscription, written = self._case.subscription, self._written_certificate(need)
        if written is None or not self._live() or not self._case.confirmed:
            return need
        if need.reason == CERTIFICATE_GONE and (subscription.status, subscription.cycle) == (_VALID, written):
            return self._in_state(need, NeedState.VALID, reasons.certificate(written))
        lost = need.state is NeedState.VALID and self._cycle(need.rule.name) == need.cycle
        shown = subscription.status in (None, _VALID)
        return self._in_state(need, NeedState.UNDONE, CERTIFICATE_GONE) if lost and not shown else need

    def _live(self) -> bool:
        return self._case.subscription.state is SubscriptionState.LIVE and self._case.subscription.active

    def _due(self, target: Target) -> datetime | None:
        days = target.terms.get("due_days")
        return None if days is None else end_of(self._day(days), self._case.zone)

    def _day(self, days: int) -> date:
        return self._today + timedelta(days=days)

    def _advanced(self, need: Need) -> Need:
        if need.state in (NeedState.UNDONE, NeedState.VALID):
            return need
        if ending := self._ending(need):
            return self._ended(need, *ending)
        if not self._live() or (need.reason == BEGIN_AGAIN and not self._released(need, BEGIN_AGAIN)):
            return need
        need = self._tried_again(self._reviewed(need))
        steps = self._steps(need)
        due = [step.due_at for step in steps if step.state is not NeedState.PASSED and step.due_at is not None]
        need = replace(need, steps=steps, due_at=min(due, default=None))
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
        cycle = self._cycle(need.rule.name)
        if subscription.status == _VALID and (valid := self._valid(need, cycle)):
            return NeedState.VALID, valid
        if _all_passed(need):
            return None
        if cycle != need.cycle:
            return NeedState.UNDONE, f"another cycle has begun: {cycle}"
        if not self._begun_at_vendor(need) and (wrong := matches(need.rule.when, self._row)):
            return NeedState.UNDONE, f"its rule holds no more: {wrong[0]}"
        return None

    def _valid(self, need: Need, cycle: str) -> str | None:
        """By what a need is met where its subscription is shown as valid: another certificate than the one before it, or that one still."""
        certificate = reasons.certificate(self._case.subscription.cycle)
        if cycle != need.cycle:
            return certificate
        # A rule that speaks of what is valid is not met by its being so.
        still = _outcome_stands(need) and _VALID not in need.rule.when.status
        return f"{certificate}, prolonged" if still else None

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
            return self._released(need, guard)
        room = self._case.room.get(need.rule.name)
        return room is None or (room.enrolling if guard == GUARD_ENROLLING else room.undoing) > 0

    def _released(self, need: Need, why: str) -> bool:
        held = need.state is NeedState.HELD and need.reason == why
        return held and need.released_at is not None and need.released_at >= need.state_at

    def _tried_again(self, need: Need) -> Need:
        """The next attempt, once the rule's wait after a failure is over."""
        if need.wait_until is None or need.wait_until > self._case.now:
            return need
        steps = tuple(
            replace(step, state=NeedState.PLANNED, enrollment=None, due_at=None) if step.state is NeedState.FAILED else step
            for step in need.steps
        )
        return replace(need, steps=steps, attempt=need.attempt + 1, wait_until=None)

    def _state(self, need: Need) -> tuple[NeedState, str | None]:
        """What follows from its steps, and why."""
        if _all_passed(need):
            return self._outcome(need)
        number, state = min(enumerate(step.state for step in need.steps), key=lambda each: _FOREMOST.index(each[1]))
        if state in _RUNNING and need.due_at is not None and need.due_at <= self._case.now:
            return NeedState.OVERDUE, alarms.overdue(self._case, need.due_at)
        return state, self._reason(need, number, state)

    def _reason(self, need: Need, number: int, state: NeedState) -> str | None:
        target, seat = need.rule.targets()[number], self._seat(need.steps[number])
        if state in (NeedState.LAPSED, NeedState.DEAD):
            return seat.reason if seat is not None else None
        if state is NeedState.HELD and _approved(need, number, target):
            return GUARD_ENROLLING
        return reasons.of_step(need, target, state)

    def _outcome(self, need: Need) -> tuple[NeedState, str | None]:
        """Every target is passed: what is written of it, and how far that is."""
        record = need.rule.record
        if record is None:
            return NeedState.PASSED, reasons.EVERY_TARGET
        if record.approve and RECORD not in need.approvals:
            return NeedState.HELD, reasons.APPROVE_CERTIFICATE
        rows = self._certifying(need) or self._record(need)
        if dead := next((row for row in rows if row.state == recording.DEAD), None):
            return NeedState.DEAD, dead.error
        if all(row.state in recording.OVER for row in rows):
            return NeedState.RECORDED, reasons.RECORDED
        if ALL_THE_SAME not in need.approvals and any(alarms.corrections(self._case, need)):
            return NeedState.HELD, CORRECTED
        return NeedState.PASSED, reasons.EVERY_TARGET

    def _certifying(self, need: Need) -> list[Recorded]:
        """The steps of writing its certificate, if it came so far."""
        told = recording.Step.FAILED.value
        return [row for row in self._recordings.values() if row.need == need.id and not row.step.startswith(told)]

    def _record(self, need: Need) -> list[Recorded]:
        case = self._case
        passed = (alarms.passed_by(step, target) for step, target in zip(need.steps, need.rule.targets(), strict=True))
        last = max(passed, key=_completion)
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
        if need.state in _RUNNING | alarms.WAITING:
            moments.append(need.due_at)
        if need.state is NeedState.RECORDED and need.rule.record is not None:
            moments.append(need.state_at + need.rule.record.valid_within)
        if need.state not in _OVER:
            moments += [_over_at(seat, self._case.zone) for seat in self._seats_of(need) if seat.state is EnrollmentState.ENROLLED]
        return replace(need, look_at=min((one for one in moments if one is not None and one > self._case.now), default=None))

    # Targets

    def _steps(self, need: Need) -> tuple[Step, ...]:
        """What became of each target, the earlier ones first."""
        targets, done = need.rule.targets(), list[Step]()
        for number, (target, step) in enumerate(zip(targets, need.steps, strict=True)):
            waits = any(one.target == target.after and done[n].state is not NeedState.PASSED for n, one in enumerate(targets[:number]))
            if step.state is not NeedState.PASSED:
                step = self._stepped(need, number, step, waits=waits)
                # Its days begin with its turn, whoever has to do something about it.
                step = step if waits or step.due_at else replace(step, due_at=self._due(target))
            done.append(step)
        return tuple(done)

    def _stepped(self, need: Need, number: int, step: Step, *, waits: bool) -> Step:
        target = need.rule.targets()[number]
        seat = self._seat(step)
        learner = seat.learner if seat is not None else self._case.learners.get((target.kind, target.account))
        verdict = self._judged(need, target, step, learner) if learner is not None else None
        if verdict is not None or step.state is NeedState.FAILED:
            return verdict or step
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
        # Its own too, until something was written by it: a correction of it counts as well.
        same = {one.id for one in self._needs.values() if one.cycle == need.cycle and (one.id != need.id or not self._certifying(need))}
        certified = {**self._case.certified, **{key: one.need for key, one in self._certifies.items()}}
        used = {key for key, by in certified.items() if by not in same}
        accepted = need.rule.pass_.accept_since
        verdict = counts(target, need.opened_at, results, accept_since=accepted, pass_=need.rule.pass_, used=used, zone=self._case.zone)
        failed = list((step.result or {}).get("failed", ()))
        if verdict.key is None or verdict.passed is None or (not verdict.passed and verdict.key in failed):
            return None
        result = next(one for one in results if one.key == verdict.key)
        if verdict.passed:
            self._certifies.setdefault(result.key, Certifies(result.key, need.id))
            return replace(step, state=NeedState.PASSED, result=_said(result, failed))
        return self._failed(need, step, result)

    def _failed(self, need: Need, step: Step, result: Result) -> Step:
        if need.rule.record is not None:
            self._written(recording.failure(need, self._session(result), result, self._case.zone))
        failed = [*(step.result or {}).get("failed", ()), result.key]
        return replace(step, state=NeedState.FAILED, result=_said(result, failed))

    def _reviewed(self, need: Need) -> Need:
        """A need with its passed targets as their results say it by now, as long as nothing is written by them.

        What is not completed any more decides nothing: the course may be taken once more.
        """
        if self._certifying(need):
            return need
        targets = need.rule.targets()
        return replace(need, steps=tuple(self._seen_again(need, target, step) for target, step in zip(targets, need.steps, strict=True)))

    def _seen_again(self, need: Need, target: Target, step: Step) -> Step:
        now = alarms.now_of(self._case, target, step) if step.state is NeedState.PASSED else None
        verdict = None if now is None or now.withdrawn or now.completed_at is None else judged(now, target, need.rule.pass_)
        if now is None or verdict is None:
            return step
        return replace(step, result=_said(now, (step.result or {}).get("failed", ()))) if verdict else self._failed(need, step, now)

    # Enrollments

    def _seated(self, need: Need, target: Target, step: Step, learner: str) -> Step:
        """A step with a seat: the open one, or one in the next round, if the guard lets it through."""
        rounds = [one for one in self._seats.values() if one.seat == (target.account, learner, target.target)]
        open_one = next((one for one in rounds if one.open), None)
        number = 1 + max((one.round for one in rounds), default=0)
        seat = self._joined(open_one, need, target) if open_one else self._opened(need, target, learner, number)
        if seat != open_one and not self._may(need, GUARD_ENROLLING):
            return replace(step, state=NeedState.HELD, enrollment=None)
        self._seats[seat.id] = seat
        return replace(step, state=_OF_SEAT[seat.state], enrollment=seat.id)

    def _opened(self, need: Need, target: Target, learner: str, number: int) -> Enrollment:
        return Enrollment(
            id=derived("enrollment", target.account, learner, target.target, number),
            account=target.account,
            kind=target.kind,
            learner=learner,
            target=target.target,
            round=number,
            state=EnrollmentState.PLANNED,
            state_at=self._case.now,
            reason=reasons.wanted(need),
            wish=EnrollmentWish.ENROLL,
            due_at=self._case.now,
            terms=target.terms,
            start_on=self._on(target, "start_days"),
            expire_on=self._on(target, "expire_days"),
        )

    def _joined(self, seat: Enrollment, need: Need, target: Target) -> Enrollment:
        """An open seat as one more need wants it: not given back, for as long as the longest, and with every score.

        How long one that was found lasts nobody tells, and a day of ours might shorten it.
        """
        expire_on, terms = self._on(target, "expire_days"), _scoring(seat.terms, target.terms.get("score"))
        longer = not seat.found and expire_on is not None and seat.expire_on is not None and expire_on > seat.expire_on
        if not longer and terms == seat.terms and seat.wish is not EnrollmentWish.UNDO:
            return seat
        wished = replace(seat, wish=EnrollmentWish.ENROLL, due_at=self._case.now, attempts=0, error=None)
        return replace(wished, reason=reasons.wanted(need), terms=terms, expire_on=expire_on if longer else seat.expire_on)

    def _on(self, target: Target, term: str) -> date | None:
        days = target.terms.get(term)
        return None if days is None else self._day(days)

    def _finished(self, seat: Enrollment) -> Enrollment:
        """A seat that is over at the vendor: its last day has passed, or everybody who used it has passed or failed."""
        if not seat.open:
            return seat
        if seat.state is EnrollmentState.ENROLLED and seat.wish is None and (expired := self._expired(seat)):
            return self._over(seat, EnrollmentState.CLOSED, expired)
        came = any(step.state in _STEP_OVER for _, step in self._users(seat)) or self._completed(seat)
        if came and seat.state is not EnrollmentState.PLANNED and not self._used(seat):
            return self._over(seat, EnrollmentState.CLOSED, "completed")
        return seat

    def _left(self, seat: Enrollment) -> Enrollment:
        """A seat that nobody uses any more: to be given back, unless it was found there or stays by a rule."""
        users = self._users(seat)
        if not seat.open or not users or self._used(seat) or seat.wish is EnrollmentWish.UNDO:
            return seat
        why = reasons.unneeded(max((need for need, _ in users), key=lambda need: (need.state_at, need.id)))
        if seat.state is EnrollmentState.PLANNED:
            return self._over(seat, EnrollmentState.UNDONE, f"{why}; it was never asked for")
        if seat.found:
            return self._over(seat, EnrollmentState.CLOSED, f"{why}; it was there before us")
        if seat.id in self._case.kept_elsewhere or any(_keeps(need) for need, _ in users):
            return self._over(seat, EnrollmentState.CLOSED, f"{why}; it stays")
        how = "unsubscribe" if any(need.rule.undo == "unsubscribe" for need, _ in users) else "expire"
        terms = {**seat.terms, "undo": how}
        return replace(seat, wish=EnrollmentWish.UNDO, due_at=self._case.now, attempts=0, error=None, terms=terms, reason=why)

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

    def _expired(self, seat: Enrollment) -> str | None:
        """Why a seat is over though nothing was reached in it: by its last day, or by what the LMS says since we have it."""
        last = _over_at(seat, self._case.zone)
        if last is not None and last <= self._case.now:
            return f"its last day was {seat.expire_on}"
        said = [one for one in self._case.results.get(seat.seat, ()) if not one.withdrawn and _later(one.observed_at, seat.enrolled_at)]
        if self._completed(seat) or not any(one.finished or one.expired for one in said):
            return None
        return f"it has expired in {seat.account}" if any(one.expired for one in said) else f"it was ended in {seat.account}"

    def _over(self, seat: Enrollment, state: EnrollmentState, reason: str) -> Enrollment:
        return replace(seat, state=state, reason=reason, state_at=self._case.now, wish=None, due_at=None, error=None)

    def _seat(self, step: Step) -> Enrollment | None:
        return None if step.enrollment is None else self._seats.get(step.enrollment)

    def _seats_of(self, need: Need) -> list[Enrollment]:
        return [seat for step in need.steps if (seat := self._seat(step)) is not None]


def _approved(need: Need, number: int, target: Target) -> bool:
    return not target.approve or str(number) in need.approvals


def _outcome_stands(need: Need) -> bool:
    """Whether muster has nothing more to write of a need that is passed."""
    return need.state is NeedState.RECORDED or (need.state is NeedState.PASSED and need.rule.record is None)


def _over_at(seat: Enrollment, zone: ZoneInfo) -> datetime | None:
    """When the last day is over that we gave it; one that was found has none of ours."""
    return None if seat.expire_on is None or seat.found else end_of(seat.expire_on, zone)


def _later(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one > other


def _scoring(terms: Mapping[str, Any], score: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A seat's terms with one more score to be given; each activity has one."""
    given = [one for one in (terms.get("score"), *terms.get("scores", ())) if one]
    if score is None or any(one["activity"] == score["activity"] for one in given):
        return terms
    return {**terms, "scores": [*terms.get("scores", ()), score]} if given else {**terms, "score": score}


def _said(result: Result, failed: Iterable[str]) -> dict[str, Any]:
    at = result.completed_at
    return {"key": result.key, "completed_at": at.isoformat() if at else None, "failed": [*failed]}


def _completion(result: Result) -> tuple[float, str]:
    return result.completed_at.timestamp() if result.completed_at else 0.0, result.key
