"""The vendors as rows: the events each one documents, where a delivery names its event, how it signs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

EventPlace = Literal["address", "body"]


@dataclass(frozen=True, slots=True)
class Vendor:
    """What muster knows of one vendor's webhooks before any configuration."""

    #: The name used in settings, routing keys and the log.
    name: str
    #: The name that people know.
    title: str
    #: Every event the vendor documents; None where it publishes no list, so that no name can be called unknown.
    events: frozenset[str] | None
    #: `address`: the body names no event, each event has an endpoint of its own. `body`: the body names it.
    event_place: EventPlace
    #: The field of a JSON body, and the element of an XML body, that names the event.
    event_field: str | None = None
    event_element: str | None = None
    #: The verification used when a source says only `verify = { secrets = […] }`; None: it has to be written out.
    verify: Mapping[str, Any] | None = field(default=None)


#: docs.4hse.com, developer guide "Webhooks": eleven names, no ACTION_SUBSCRIPTION::UPDATE.
_FOURHSE_EVENTS = frozenset(
    {
        "ACTION_SUBSCRIPTION::CREATE",
        "ACTION_SUBSCRIPTION::DELETE",
        *(f"{noun}::{verb}" for noun in ("PERSON", "CERTIFICATE", "CERTIFICATE_ACTION") for verb in ("CREATE", "UPDATE", "DELETE")),
    }
)

#: iSpring Learn webhook API: eleven subscription types, and the hand-shake.
_ISPRING_EVENTS = frozenset(
    {
        "CONFIRMATION",
        "COURSE_COMPLETED_SUCCESSFULLY",
        "COURSE_ITEM_COMPLETED_SUCCESSFULLY",
        "COURSE_ITEM_STATUS_CHANGED",
        "COURSE_STATUS_CHANGED",
        "LEARNERS_ENROLLED_IN_COURSE",
        "TRAINING_MEETING_ADDED",
        "TRAINING_MEETING_REMOVED",
        "TRAINING_MEETING_UPDATED",
        "TRAINING_SESSION_PARTICIPANTS_ADDED",
        "TRAINING_SESSION_PARTICIPANT_REMOVED",
        "USER_REGISTERED",
    }
)

VENDORS: Mapping[str, Vendor] = MappingProxyType(
    {
        vendor.name: vendor
        for vendor in (
            Vendor("4hse", "4HSE", _FOURHSE_EVENTS, "address", verify={"scheme": "token", "query": "token"}),
            Vendor(
                "anewspring",
                "aNewSpring",
                None,
                "body",
                event_field="event",
                event_element="type",
                # aNewSpring support, "Webhooks": Base64(HMAC-SHA1(message, secret)).
                verify={"scheme": "hmac", "algorithm": "sha1", "encoding": "base64", "header": "X-WebHook-Signature"},
            ),
            Vendor(
                "ispring",
                "iSpring Learn",
                _ISPRING_EVENTS,
                "body",
                event_field="type",
                # iSpring Learn, "Webhook": SHA-256 of body and secret, a plain hash of the concatenation.
                verify={"scheme": "sha256-concat", "header": "X-Hub-Signature"},
            ),
            # Kare documents no webhook: a source for it is a sender of your own, whose scheme has to be written out.
            Vendor("kare", "Kare", None, "body", event_field="event"),
        )
    }
)
