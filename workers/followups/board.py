"""The needs, seats and recordings of a case while it is planned: what the steps of planning read and write. Pure."""

from dataclasses import replace
from datetime import date, timedelta
from uuid import UUID

from schemas.states import NeedState, SubscriptionState
from workers.followups import recording
from workers.followups.case import GUARD_ENROLLING, Case, Certifies, Enrollment, Need, Recorded, Step

#: Needs that wait for no seat any more, and steps.
OVER = frozenset({NeedState.PASSED, NeedState.RECORDED, NeedState.VALID, NeedState.UNDONE})
STEP_OVER = frozenset({NeedState.PASSED, NeedState.FAILED})


class Board:
    """One case on its way to where nothing more follows from it."""

    def __init__(self, case: Case) -> None:
        self.case, self.row = case, case.subscription.row
        self.today = case.now.astimezone(case.zone).date()
        self.needs = {need.id: need for need in case.needs}
        self.seats = {one.id: one for one in case.enrollments}
        self.recordings = {row.id: row for rows in case.recordings.values() for row in rows}
        self.certifies: dict[str, Certifies] = {}
        #: Needs that ended though a seat is given back for it: the guard let them.
        self.undoing = set[UUID]()

    def live(self) -> bool:
        """Whether the subscription is there, and not historicized."""
        return self.case.subscription.state is SubscriptionState.LIVE and self.case.subscription.active

    def day(self, days: int) -> date:
        """So many days from today, where the schedule is."""
        return self.today + timedelta(days=days)

    def seat(self, step: Step) -> Enrollment | None:
        """The seat that a step names."""
        return None if step.enrollment is None else self.seats.get(step.enrollment)

    def seats_of(self, need: Need) -> list[Enrollment]:
        """The seats that a need names."""
        return [seat for step in need.steps if (seat := self.seat(step)) is not None]

    def users(self, seat: Enrollment) -> list[tuple[Need, Step]]:
        """Who names a seat, among the subscription's own needs."""
        return [(need, step) for need in self.needs.values() for step in need.steps if step.enrollment == seat.id]

    def used(self, seat: Enrollment) -> bool:
        """Whether a need waits for a seat."""
        return seat.id in self.case.used_elsewhere or any(waits(need, step) for need, step in self.users(seat))

    def certifying(self, need: Need) -> list[Recorded]:
        """The steps of writing its certificate, if it came so far."""
        return [row for row in self.recordings.values() if row.need == need.id and recording.certifies(row)]

    def write(self, rows: list[Recorded]) -> list[Recorded]:
        """Have these steps written, unless they are there already."""
        for row in rows:
            self.recordings.setdefault(row.id, row)
        return rows

    def lets(self, need: Need, guard: str) -> bool:
        """Whether the guard lets a need through, by itself or because a person released it."""
        if need.state is NeedState.HELD and need.reason == guard:
            return self.released(need, guard)
        room = self.case.room.get(need.rule.name)
        return room is None or (room.enrolling if guard == GUARD_ENROLLING else room.undoing) > 0

    def released(self, need: Need, why: str) -> bool:
        """Whether a person released what was held for this reason."""
        held = need.state is NeedState.HELD and need.reason == why
        return held and need.released_at is not None and need.released_at >= need.state_at

    def moved(self, need: Need, state: NeedState, reason: str | None) -> Need:
        """A need in a state, since now if it was in another."""
        wait = need.wait_until
        if state is not NeedState.FAILED:
            wait = None
        elif wait is None and need.attempt < need.rule.fail.attempts:
            wait = self.case.now + need.rule.fail.wait
        # What the guard holds anew is released anew.
        same = need.state is state and (state is not NeedState.HELD or need.reason == reason)
        return replace(need, state=state, reason=reason, state_at=need.state_at if same else self.case.now, wait_until=wait)


def waits(need: Need, step: Step) -> bool:
    """Whether a need still waits for what a step names."""
    return need.state not in OVER and step.state not in STEP_OVER


def all_passed(need: Need) -> bool:
    """Whether every target is passed."""
    return all(step.state is NeedState.PASSED for step in need.steps)
