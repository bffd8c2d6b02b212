"""ACTION_SUBSCRIPTION::CREATE and ::DELETE: hints about one entry of the compliance schedule."""

from typing import Any

from pydantic import ValidationError

from schemas.delivery import Delivery
from schemas.fourhse import SUBSCRIPTION_FIELDS, CreatedSubscription, DeletedSubscription, fits
from schemas.states import Reason
from workers.handlers.outcomes import Applied, Dead, Outcome
from workers.mirror.hints import Hint

_DATES = ("certificate_date_release", "certificate_date_expire")


def created(delivery: Delivery, body: Any) -> Outcome:
    """A new entry: needs every id that 4HSE's create requires."""
    return _hint(delivery, body, CreatedSubscription, deleted=False)


def deleted(delivery: Delivery, body: Any) -> Outcome:
    """An entry is gone: needs its id alone, for a lost deletion is worse than a bare tombstone."""
    return _hint(delivery, body, DeletedSubscription, deleted=True)


def _hint(delivery: Delivery, body: Any, shape: type[DeletedSubscription], *, deleted: bool) -> Outcome:
    event = delivery.event or ""
    if not isinstance(body, dict):
        return Dead(event, Reason.UNPARSABLE, "not a JSON object")
    try:
        subscription = shape.model_validate(body)
    except ValidationError as error:
        return _dead(event, error)
    fields = {name: getattr(subscription, name) for name in SUBSCRIPTION_FIELDS}
    return Applied(
        event,
        Hint(
            account=delivery.account,
            subject=subscription.action_subscription_id,
            deleted=deleted,
            received_at=delivery.received_at,
            fingerprint=bytes.fromhex(delivery.fingerprint),
            fields=fields,
            flags=_flags(subscription, body),
        ),
    )


def _dead(event: str, error: ValidationError) -> Dead:
    wrong = error.errors(include_input=False, include_url=False)
    missing = [str(one["loc"][0]) for one in wrong if one["type"] == "missing"]
    if missing:
        return Dead(event, Reason.MISSING_FIELD, ", ".join(missing))
    return Dead(event, Reason.INVALID_FIELD, "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in wrong))


def _flags(subscription: DeletedSubscription, body: dict[str, Any]) -> list[str]:
    """What is odd about the entry and does not keep it from being mirrored."""
    flags = [f"unreadable_date:{name}" for name in _DATES if body.get(name) and getattr(subscription, name) is None]
    if not fits(subscription.action_type, subscription.subscriber_type):
        flags.append("subscriber_type_does_not_fit_action_type")
    return flags
