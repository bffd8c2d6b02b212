"""What is written to 4HSE of an outcome, step by step. Pure.

Certificate, then its link to the action, which is what makes the subscription VALID, then the outcome of the session that the
subscription sits in. Ids are derived from the need, so that whoever writes a step writes the same.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from schemas.rules import Record
from schemas.states import TargetKind
from schemas.templates import filled
from workers.followups.case import INITIAL, Need, Recorded, Subscription, derived
from workers.followups.results import Result, completed_on
from workers.followups.validity import Period, chosen, expires, readable
from workers.mirror.status import day_of, end_of

_UTC = ZoneInfo("UTC")
_LONGEST = 255
PLANNED, DONE, DEAD, DROPPED = "planned", "done", "dead", "dropped"
#: The states of a step that holds up no other, and no need.
OVER = (DONE, DROPPED)
#: In a body that says nothing of its end yet: the rule's validity, for where the action, which stands above it, has none.
OTHERWISE = "validity_otherwise"
#: Beside it the session whose validity, which stands above both, was nothing that can be counted.
OF_SESSION = "validity_of_session"
_PLACE = ("subtenant_id", "tenant_id")
_IDS = ("action_session_id", "action_subscription_id", *_PLACE)


class Step(StrEnum):
    """What is written, each once those before it are done."""

    CERTIFICATE = "certificate"
    CERTIFICATE_ACTION = "certificate_action"
    #: An attempt that was failed, and which.
    FAILED = "failed"
    SESSION = "session"


def steps(
    need: Need,
    subscription: Subscription,
    session_enrollments: Sequence[Mapping[str, Any]],
    result: Result,
    now: datetime,
    *,
    action: Mapping[str, Any] | None = None,
    zone: ZoneInfo = _UTC,
) -> list[Recorded]:
    """The steps that certify a passed need. How long the action makes it valid, if that is not known, `ended` says later."""
    record, row = need.rule.record or Record(), subscription.row
    seat = _seat(need, session_enrollments, result, zone)
    begin = (completed_on(result, zone) or day_of(now, zone)).isoformat()
    name = filled(record.certificate, {**row, "date": begin}) or row.get("action_name") or need.rule.name
    certificate = {
        "date_release": begin,
        "name": name[:_LONGEST],
        "action_type": row["action_type"],
        "resource_id": row["subscriber_id"],
        "tenant_id": row["tenant_id"],
    }
    certificate_id = derived(Step.CERTIFICATE.value, str(need.id))
    link = {"certificate_id": str(certificate_id), "action_id": row["action_id"], "tenant_id": row["tenant_id"]}
    end = _asked(seat, action, record.validity)
    validity = None if end else chosen(seat, action, record.validity)
    found = [_step(need, Step.CERTIFICATE, _valid(certificate, validity) | end), _step(need, Step.CERTIFICATE_ACTION, link)]
    if seat is not None:
        outcome = {"done": 1, "certificate_id": str(certificate_id), "date_begin": begin}
        found.append(_outcome(need, Step.SESSION.value, seat, _valid(outcome, validity) | end))
    return found


def ended(body: Mapping[str, Any], action: Mapping[str, Any]) -> dict[str, Any]:
    """A body that says nothing of its end yet, with its end by an action, or a session, that is `readable`."""
    said = {name: value for name, value in body.items() if name not in (OTHERWISE, OF_SESSION)}
    return _valid(said, chosen(None, action, body[OTHERWISE]))


def _asked(seat: Mapping[str, Any] | None, action: Mapping[str, Any] | None, rule: str | None) -> dict[str, Any]:
    """What a body has in the place of its end, where that is to be asked for."""
    if seat is not None and not readable(seat):
        return {OTHERWISE: rule, OF_SESSION: seat["action_session_id"]}
    return {} if chosen(seat, None, None) or (action is not None and readable(action)) else {OTHERWISE: rule}


def certifies(row: Recorded) -> bool:
    """Whether it is written of a pass, and not of a failed attempt."""
    return not row.step.startswith(Step.FAILED)


def _valid(body: Mapping[str, Any], validity: Period | None) -> dict[str, Any]:
    """A certificate, or the outcome of a session, with its end."""
    release = body.get("date_release")
    end = expires(date.fromisoformat(release or body["date_begin"]), validity)
    terms = {"validity": validity.number, "validity_unit": validity.unit} if validity and release else {}
    return {**body, **({"date_expire": end.isoformat()} if end else {}), **terms}


def failure(need: Need, session_enrollments: Sequence[Mapping[str, Any]], result: Result, zone: ZoneInfo = _UTC) -> list[Recorded]:
    """The step that tells 4HSE of an attempt that was failed elsewhere, where the subscription sits in a session."""
    seat, seated = _seat(need, session_enrollments, result, zone), any(target.kind is TargetKind.SESSION for target in need.rule.targets())
    # A session that the rule itself leads to has its outcome from its trainer.
    if seat is None or seated or seat["done"] == 0:
        return []
    return [_outcome(need, f"{Step.FAILED} {need.attempt}", seat, {"done": 0})]


def not_valid(recorded_at: datetime, within: timedelta, now: datetime) -> str | None:
    """The alarm of a need that was recorded and that no refresh has shown as VALID within the time that its rule allows."""
    late = now >= recorded_at + within
    return f"recorded on {recorded_at:%Y-%m-%d}, and not VALID since: 4HSE may wait for a person's approval" if late else None


def _seat(need: Need, held: Sequence[Mapping[str, Any]], result: Result, zone: ZoneInfo) -> Mapping[str, Any] | None:
    """The session enrollment that is told the outcome: the result's own, else the latest of those that are this cycle's to be told."""
    own = (one for one in held if _its_own(one, result, need))
    return next(own, None) or next((one for one in reversed(held) if _fits(need, one, zone)), None)


def _fits(need: Need, seat: Mapping[str, Any], zone: ZoneInfo) -> bool:
    """Whether it is this cycle's to be told: its outcome is open, and it was not held before the cycle."""
    held = seat.get("session_date_begin")
    before = need.cycle != INITIAL and held is not None and end_of(held, zone) <= need.opened_at
    return seat["done"] != 1 and not before


def _its_own(seat: Mapping[str, Any], result: Result, need: Need) -> bool:
    return result.key == f"session_enrollment/{need.account}/{seat['action_session_subscription_id']}"


def _step(need: Need, step: Step, body: Mapping[str, Any]) -> Recorded:
    remote = str(derived(step.value, str(need.id)))
    return Recorded(derived("recording", str(need.id), step.value), need.id, step.value, PLANNED, body, remote)


def _outcome(need: Need, step: str, seat: Mapping[str, Any], told: Mapping[str, Any]) -> Recorded:
    """A PUT, with the four ids that its schema requires beside what its example has."""
    body = {name: seat[name] for name in _IDS} | dict(told)
    return Recorded(derived("recording", str(need.id), step), need.id, step, PLANNED, body, seat["action_session_subscription_id"])
