"""Webhooks whose body is a bare resource of 4HSE's that is not mirrored itself: what of the mirror it touches."""

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.accounts import Account
from schemas.delivery import Delivery
from schemas.states import Reason, RefreshKind
from workers.causes import Cause
from workers.handlers.outcomes import Applied, Dead, Ignored, Outcome, unfit
from workers.mirror.evidence import Touch

Body = TypeVar("Body", bound=BaseModel)


def touching(
    delivery: Delivery, body: Any, account: Account | None, shape: type[Body], touched: Callable[[Body], tuple[RefreshKind, str, str]]
) -> Outcome:
    """The outcome of a body of this shape, which touches what `touched` says: a kind, a subject and a scope."""
    event = delivery.event or ""
    if account is None:
        return Ignored(
            event, Reason.NOT_HANDLED, f"to fetch what it touches, the workers need [accounts.{delivery.account}] with 4HSE's API"
        )
    if not isinstance(body, dict):
        return Dead(event, Reason.UNPARSABLE, "not a JSON object")
    try:
        kind, subject, scope = touched(shape.model_validate(body))
    except ValidationError as error:
        return unfit(event, error)
    return Applied(event, (Touch(delivery.account, kind, subject, delivery.received_at, scope, Cause.of(delivery)),), subject)
