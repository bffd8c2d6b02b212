"""ACTION_SUBSCRIPTION::CREATE and ::DELETE: hints about one entry of the compliance schedule."""

from datetime import tzinfo
from typing import Any

from pydantic import ValidationError

from schemas.accounts import Account, zone_of
from schemas.delivery import Delivery
from schemas.fourhse import SUBSCRIPTION_FIELDS, CreatedSubscription, DeletedSubscription, oddities
from schemas.states import Reason, RefreshKind
from workers.handlers.outcomes import Applied, Dead, Outcome, unfit
from workers.mirror.evidence import Touch
from workers.mirror.hints import Hint


def created(delivery: Delivery, body: Any, account: Account | None) -> Outcome:
    """A new entry: needs every id that 4HSE's create requires."""
    return _hint(delivery, body, CreatedSubscription, zone_of(account), deleted=False)


def deleted(delivery: Delivery, body: Any, account: Account | None) -> Outcome:
    """An entry is gone: needs its id alone, for a lost deletion is worse than a bare tombstone."""
    return _hint(delivery, body, DeletedSubscription, zone_of(account), deleted=True)


def _hint(delivery: Delivery, body: Any, shape: type[DeletedSubscription], zone: tzinfo, *, deleted: bool) -> Outcome:
    event = delivery.event or ""
    if not isinstance(body, dict):
        return Dead(event, Reason.UNPARSABLE, "not a JSON object")
    try:
        subscription = shape.model_validate(body, context=zone)
    except ValidationError as error:
        return unfit(event, error)
    fields = {name: getattr(subscription, name) for name in SUBSCRIPTION_FIELDS}
    hint = Hint(
        account=delivery.account,
        subject=subscription.action_subscription_id,
        deleted=deleted,
        received_at=delivery.received_at,
        fingerprint=bytes.fromhex(delivery.fingerprint),
        fields=fields,
        flags=oddities(subscription, body),
        trace=delivery.trace,
    )
    kind, at = RefreshKind.ACTION_SUBSCRIPTION, delivery.received_at
    touch = Touch(delivery.account, kind, hint.subject, at, delivery=delivery.id, trace=delivery.trace)
    return Applied(event, (hint, touch), hint.subject)
