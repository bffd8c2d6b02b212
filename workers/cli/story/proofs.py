"""What shows that something has happened: what muster knows now, where that differs from what it knew before. Pure."""

from http import HTTPStatus
from typing import Any

from workers.cli.story.known import COLLEAGUE, Known
from workers.cli.story.scene import Proof, Shown
from workers.followups.tables import Need
from workers.log import LoggedDelivery
from workers.mirror.tables import ActionSubscription
from workers.simulators import acme
from workers.simulators.anewspring.environment import Seat


def applied(before: Known, now: Known) -> Shown | None:
    """A rule is applied that was not, and stands in the audit log."""
    ((name, state),) = now.rules.items()
    if before.rules == now.rules or state != "applied" or len(now.deeds) <= len(before.deeds):
        return None
    return Shown(f"{name}: {state}", f"{now.deeds[-1].verb}, by {now.deeds[-1].who}")


def subscription(state: str, status: str | None = None) -> Proof:
    """The subscription, fetched from 4HSE, has come into this state and status."""

    def proof(before: Known, now: Known) -> Shown | None:
        row, old = now.row, before.row
        if row is None or row.fetched_at is None or row.state != state or (status is not None and row.status != status):
            return None
        if old is not None and (old.state, old.status) == (row.state, row.status):
            return None
        what = row.state if status is None else f"{row.state}, {row.status}: {row.action_name}, {row.subscriber_code}"
        return Shown(what, _why(row, now.warned))

    return proof


def _why(row: ActionSubscription, warned: int | None) -> str:
    """What its state or status follows from."""
    if row.state == "deleted":
        return "a DELETE told of it, and the API does not show it" if row.hint_deleted else "the API does not show it"
    if row.certificate_date_release is None:
        return "it has no certificate"
    until = f"certificate of {row.certificate_date_release}, until {row.certificate_date_expire}"
    return f"{until}; EXPIRING from {warned} days before" if row.status == "EXPIRING" else until


def enrolled(before: Known, now: Known) -> Shown | None:
    """A need more has its seat, and the LMS says that the learner has one: a new one, or for longer than before."""
    seat, old = now.seats.get(acme.LEARNER), before.seats.get(acme.LEARNER)
    need = _moved(before, now, "enrolled")
    if need is None or len(now.needs) == len(before.needs) or seat is None or seat.ended or seat.expire is None:
        return None
    if old is not None and old.expire is not None and seat.expire <= old.expire:
        return None
    again = f", again after {old.completed_at.date()}" if old is not None and old.completed_at is not None else ""
    return Shown(f"need enrolled; seat in the course until {seat.expire}{again}", f"{now.wanted}: {need.reason}")


def met(before: Known, now: Known) -> Shown | None:
    """The need is valid, for the LMS says that the course was completed since."""
    need, seat, old = _moved(before, now, "valid"), now.seats.get(acme.LEARNER), before.seats.get(acme.LEARNER)
    if need is None or seat is None or old is None or seat.completed_at in (None, old.completed_at):
        return None
    return Shown("need valid; course completed", str(need.reason))


def undone(before: Known, now: Known) -> Shown | None:
    """The need is undone, and the LMS says that the seat is no more."""
    need = _moved(before, now, "undone")
    if need is None or not _ended(now.seats.get(acme.LEARNER)) or _ended(before.seats.get(acme.LEARNER)):
        return None
    return Shown("need undone; no seat in the course", str(need.reason))


def _ended(seat: Seat | None) -> bool:
    return seat is None or seat.ended


def _moved(before: Known, now: Known, state: str) -> Need | None:
    """The last need, if it has come into this state."""
    was = {need.id: need.state for need in before.needs}
    return next((need for need in now.needs[-1:] if need.state == state != was.get(need.id)), None)


def result(noun: str, poll: str | None = None, **expected: Any) -> Proof:
    """The mirror holds a version of a result that says so, and did not hold it."""

    def proof(before: Known, now: Known) -> Shown | None:
        old = {row.id for row in before.results[noun]}
        new = (row for row in now.results[noun] if row.id not in old)
        found = next((row for row in new if all(getattr(row, name) == value for name, value in expected.items())), None)
        if found is None or now.delivery is None or (poll is not None and poll not in now.polls):
            return None
        what = f"{noun.replace('_', ' ')}: " + ", ".join(f"{name} {value}" for name, value in expected.items())
        asked = f"poll {poll} of {found.account}" if poll else f"delivery of {now.delivery.source}, {now.delivery.state}; then fetched"
        return Shown(what, f"{asked}: version {found.version}")

    return proof


def _arrived(before: Known, now: Known, state: str) -> LoggedDelivery | None:
    """The last delivery, if it has come since and ended so."""
    if now.delivery is None or now.delivery.state != state or (before.delivery is not None and before.delivery.id == now.delivery.id):
        return None
    return now.delivery


def repeated(before: Known, now: Known) -> Shown | None:
    """A delivery was taken that repeats one, and nothing followed from it."""
    told = _arrived(before, now, "applied")
    if told is None or told.repeat_of is None or _standing(before) != _standing(now):
        return None
    return Shown(told.state, f"it repeats delivery {told.repeat_of}")


def refused(before: Known, now: Known) -> Shown | None:
    """What was posted was not let in, nothing of it is in the log, and nothing followed from it."""
    if now.answers[len(before.answers) :] != (HTTPStatus.UNAUTHORIZED,) or now.row is None:
        return None
    if now.delivery is None or before.delivery is None or now.delivery.id != before.delivery.id or _standing(before) != _standing(now):
        return None
    return Shown(now.row.state, "the token is wrong: no delivery of it is in the log")


def dead(before: Known, now: Known) -> Shown | None:
    """A delivery was kept that nobody understands."""
    told = _arrived(before, now, "dead")
    return None if told is None else Shown(told.state, f"{told.reason}: {told.detail}")


def found(before: Known, now: Known) -> Shown | None:
    """A colleague is mirrored, and has a seat at the LMS, of whom nothing was told."""
    if before.colleague is not None or now.colleague is None or _ended(now.seats.get(COLLEAGUE)) or COLLEAGUE in before.seats:
        return None
    # A refresh of the whole office may have come first.
    missing = any(drift.kind == "missing" for drift in now.drifts)
    return Shown("mirrored, and enrolled", "reconcile: it was missing in the mirror" if missing else "it was seen beside a colleague")


def still_deleted(before: Known, now: Known) -> Shown | None:
    """A CREATE was taken, 4HSE was asked again, and what was deleted is deleted still, and nobody enrolled."""
    told = _arrived(before, now, "applied")
    if told is None or now.row is None or before.row is None or _standing(before) != _standing(now):
        return None
    if now.row.state != "deleted" or now.row.fetched_at is None or now.row.fetched_at <= (before.row.fetched_at or now.row.fetched_at):
        return None
    return Shown(now.row.state, f"{told.event} came after the DELETE; asked again, the API does not show it")


def _standing(known: Known) -> tuple[Any, ...]:
    """What a delivery might change: the subscription, its needs, the learner's seat."""
    row = known.row and (known.row.state, known.row.status)
    return row, [(need.id, need.state) for need in known.needs], known.seats.get(acme.LEARNER)
