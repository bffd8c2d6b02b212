"""What is written to 4HSE of an outcome, step by step. Pure.

Certificate, then its link to the action, which is what makes the subscription VALID, then the outcome of the session that the
subscription sits in. Ids are derived from the need, so that whoever writes a step writes the same.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from schemas.rules import Record
from schemas.states import TargetKind
from schemas.templates import filled
from workers.followups.case import INITIAL, Need, Recorded, Subscription, derived, end_of
from workers.followups.results import Result
from workers.followups.validity import Period, chosen, expires, readable, span

_UTC = ZoneInfo("UTC")
_LONGEST = 255
PLANNED, DONE, DEAD, DROPPED = "planned", "done", "dead", "dropped"
#: The states of a step that holds up no other, and no need.
OVER = (DONE, DROPPED)
#: In a body that says nothing of its end yet: the rule's validity, for where the action, which stands above it, has none.
OTHERWISE = "validity_otherwise"
_PLACE = ("subtenant_id", "tenant_id")
_IDS = ("action_session_id", "action_subscription_id", *_PLACE)


class Step(StrEnum):
    """What is written; in the order of their names, each once those before it are done."""

    CERTIFICATE = "certificate"
    CERTIFICATE_ACTION = "certificate_action"
    #: An attempt that was failed, and which.
    FAILED = "failed"
    SESSION = "session"


def steps(
    need: Need,
    subscription: Subscription,
    session_enrollment: Mapping[str, Any] | None,
    result: Result,
    now: datetime,
    *,
    action: Mapping[str, Any] | None = None,
    zone: ZoneInfo = _UTC,
) -> list[Recorded]:
    """The steps that certify a passed need. How long the action makes it valid, if that is not known, `ended` says later."""
    record, row = need.rule.record or Record(), subscription.row
    seat = session_enrollment if session_enrollment and _fits(need, session_enrollment, result, zone) else None
    begin = span(result.completed_at or now, zone, None).begin.isoformat()
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
    known = chosen(seat, None, None) or (action is not None and readable(action))
    end = {OTHERWISE: record.validity} if not known else {}
    validity = chosen(seat, action, record.validity) if known else None
    found = [_step(need, Step.CERTIFICATE, _valid(certificate, validity) | end), _step(need, Step.CERTIFICATE_ACTION, link)]
    if seat is not None:
        outcome = {"done": 1, "certificate_id": str(certificate_id), "date_begin": begin}
        found.append(_outcome(need, Step.SESSION.value, seat, _valid(outcome, validity) | end))
    return found


def ended(body: Mapping[str, Any], action: Mapping[str, Any]) -> dict[str, Any]:
    """A body that says nothing of its end yet, with its end by an action that is `readable`."""
    return _valid({name: value for name, value in body.items() if name != OTHERWISE}, chosen(None, action, body[OTHERWISE]))


def _valid(body: Mapping[str, Any], validity: Period | None) -> dict[str, Any]:
    """A certificate, or the outcome of a session, with its end."""
    release = body.get("date_release")
    end = expires(date.fromisoformat(release or body["date_begin"]), validity)
    terms = {"validity": validity.number, "validity_unit": validity.unit} if validity and release else {}
    return {**body, **({"date_expire": end.isoformat()} if end else {}), **terms}


def failure(need: Need, session_enrollment: Mapping[str, Any] | None, result: Result, zone: ZoneInfo = _UTC) -> list[Recorded]:
    """The step that tells 4HSE of an attempt that was failed elsewhere, where the subscription sits in a session."""
    seat, seated = session_enrollment, any(target.kind is TargetKind.SESSION for target in need.rule.targets())
    # A session that the rule itself leads to has its outcome from its trainer.
    if seat is None or seated or seat["done"] == 0 or not _fits(need, seat, result, zone):
        return []
    return [_outcome(need, f"{Step.FAILED} {need.attempt}", seat, {"done": 0})]


def not_valid(recorded_at: datetime, within: timedelta, now: datetime) -> str | None:
    """The alarm of a need that was recorded and that no refresh has shown as VALID within the time that its rule allows."""
    late = now >= recorded_at + within
    return f"recorded on {recorded_at:%Y-%m-%d}, and not VALID since: 4HSE may wait for a person's approval" if late else None


def _fits(need: Need, seat: Mapping[str, Any], result: Result, zone: ZoneInfo) -> bool:
    """Whether it is this cycle's to be told: the result's own, or one whose outcome is open and that was not held before the cycle."""
    if _its_own(seat, result, need):
        return True
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
