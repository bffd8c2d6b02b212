"""CONFIRMATION: the code with which iSpring asks whether a subscriber's address is ours; it is given back by API."""

from typing import Any

from schemas.accounts import Account
from schemas.delivery import Delivery
from schemas.states import Reason, RefreshKind
from workers.causes import Cause
from workers.handlers.bodies import parsed
from workers.handlers.outcomes import Applied, Dead, Ignored, Outcome
from workers.mirror.evidence import Touch

EVENT = "CONFIRMATION"
_LONGEST = 255


def asked(delivery: Delivery, body: Any, account: Account | None) -> Outcome:
    """A code has come: `payloads[0]`, an object or the same as a JSON string, holds it."""
    payloads = body.get("payloads")
    first = payloads[0] if isinstance(payloads, list) and payloads else None
    payload = parsed(first.encode()) if isinstance(first, str) else first
    code = payload.get("code") if isinstance(payload, dict) else None
    if code is None:
        return Dead(EVENT, Reason.MISSING_FIELD, "payloads[0].code")
    if not isinstance(code, str) or not 0 < len(code) <= _LONGEST:
        return Dead(EVENT, Reason.INVALID_FIELD, f"payloads[0].code: must be a text of 1 to {_LONGEST} characters")
    if account is None:
        return Ignored(EVENT, Reason.NOT_HANDLED, f"to confirm it, the workers need [accounts.{delivery.account}] with iSpring's API")
    touch = Touch(delivery.account, RefreshKind.CONFIRMATION, code, delivery.received_at, cause=Cause.of(delivery))
    return Applied(EVENT, (touch,))
