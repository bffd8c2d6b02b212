"""What a delivery means: one module per noun, and the table of who handles what. Pure: a Delivery in, an Outcome out."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from schemas.accounts import Account
from schemas.delivery import Delivery
from schemas.states import Reason
from schemas.vendors import VENDORS, Vendor
from workers.handlers import action_subscription, anewspring, certificate, certificate_action, confirmation, ispring, person
from workers.handlers.bodies import Unparsable, content, event_named_in
from workers.handlers.outcomes import Applied, Dead, Ignored, Outcome

#: A delivery, its parsed body, and its account's settings, where the account is configured.
Handler = Callable[[Delivery, Any, Account | None], Outcome]

#: (vendor, event) to its handler: the index of what muster does; a vendor that publishes no list of events has one for all of them.
#: A known event without a row is ignored, and can be replayed.
HANDLERS: Mapping[tuple[str, str | None], Handler] = {
    ("4hse", "ACTION_SUBSCRIPTION::CREATE"): action_subscription.created,
    ("4hse", "ACTION_SUBSCRIPTION::DELETE"): action_subscription.deleted,
    ("4hse", "CERTIFICATE::CREATE"): certificate.changed,
    ("4hse", "CERTIFICATE::UPDATE"): certificate.changed,
    ("4hse", "CERTIFICATE::DELETE"): certificate.changed,
    ("4hse", "CERTIFICATE_ACTION::CREATE"): certificate_action.changed,
    ("4hse", "CERTIFICATE_ACTION::UPDATE"): certificate_action.changed,
    ("4hse", "CERTIFICATE_ACTION::DELETE"): certificate_action.changed,
    ("4hse", "PERSON::CREATE"): person.changed,
    ("4hse", "PERSON::UPDATE"): person.changed,
    ("4hse", "PERSON::DELETE"): person.changed,
    ("anewspring", None): anewspring.told,
    ("ispring", "CONFIRMATION"): confirmation.asked,
    ("ispring", "COURSE_COMPLETED_SUCCESSFULLY"): ispring.completed,
}

__all__ = ["HANDLERS", "Applied", "Dead", "Ignored", "Outcome", "handle"]


def handle(delivery: Delivery, accounts: Mapping[str, Account] = MappingProxyType({})) -> Outcome:
    """Decide what to do with a delivery; whatever it holds, the answer is an Outcome and never an exception."""
    vendor = VENDORS.get(delivery.vendor)
    if vendor is None:
        return Dead(delivery.event, Reason.UNKNOWN_VENDOR, delivery.vendor)
    try:
        event = _event(vendor, delivery)
    except Unparsable as error:
        return Dead(delivery.event, Reason.UNPARSABLE, str(error))
    if event is None:
        return Dead(None, Reason.EVENT_MISSING)
    if vendor.events is not None and event not in vendor.events:
        return Dead(event, Reason.UNKNOWN_EVENT, event)
    handler = HANDLERS.get((vendor.name, event if vendor.events else None))
    if handler is None:
        return Ignored(event, Reason.NOT_HANDLED)
    try:
        body = content(delivery.body, xml=vendor.event_element is not None)
        return handler(delivery.model_copy(update={"event": event}), body, accounts.get(delivery.account))
    except Unparsable as error:
        return Dead(event, Reason.UNPARSABLE, str(error))


def _event(vendor: Vendor, delivery: Delivery) -> str | None:
    """The event's name: where the vendor names it, and for a vendor whose bodies name it, the body's word counts."""
    if vendor.event_place == "address":
        return delivery.event
    return event_named_in(delivery.body, vendor.event_field, vendor.event_element) or delivery.event
