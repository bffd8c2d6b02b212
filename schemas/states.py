"""The closed sets that the delivery log and the mirror speak in."""

from enum import StrEnum


class DeliveryState(StrEnum):
    """Where a delivery stands in the log."""

    #: Taken from the queue; an attempt is under way or was cut short.
    RECEIVED = "received"
    #: The mirror holds what it said (or something newer).
    APPLIED = "applied"
    #: Understood, and nothing to do; the reason says why. Can be replayed.
    IGNORED = "ignored"
    #: Given up, with a reason. Kept verbatim, can be replayed.
    DEAD = "dead"
    #: Was dead once; its replay was applied, or a person dropped it.
    SETTLED = "settled"


class Reason(StrEnum):
    """Why a delivery is ignored or dead; `EXPLANATIONS` says it to a person."""

    NOT_HANDLED = "not_handled"
    EVENT_MISSING = "event_missing"
    UNKNOWN_EVENT = "unknown_event"
    UNKNOWN_VENDOR = "unknown_vendor"
    UNPARSABLE = "unparsable"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    HANDLER_FAILED = "handler_failed"
    WORKER_KILLED = "worker_killed"
    DEAD_LETTERED = "dead_lettered"
    UNREADABLE_ENVELOPE = "unreadable_envelope"
    UNKNOWN_SUBJECT = "unknown_subject"
    PAYLOAD_DEAD = "payload_dead"


EXPLANATIONS: dict[Reason, str] = {
    Reason.NOT_HANDLED: "muster knows this event and does nothing with it yet; it is kept and can be replayed",
    Reason.EVENT_MISSING: "the address and the configured header or query parameter name no event, and neither does the body",
    Reason.UNKNOWN_EVENT: "the vendor documents no such event",
    Reason.UNKNOWN_VENDOR: "this version of the workers knows no such vendor",
    Reason.UNPARSABLE: "the body is not what this vendor sends",
    Reason.MISSING_FIELD: "the body lacks a field without which nothing can be done",
    Reason.INVALID_FIELD: "a field holds what the mirror cannot keep",
    Reason.HANDLER_FAILED: "muster failed on it every time it was tried: an error of ours, please report it",
    Reason.WORKER_KILLED: "a worker died each time it was tried",
    Reason.DEAD_LETTERED: "the broker gave up on it: it was handed out too often without being acknowledged",
    Reason.UNREADABLE_ENVELOPE: "a message that is no envelope of muster's arrived on the queue",
    Reason.UNKNOWN_SUBJECT: "the vendor's API knows no such learner or course, or not for this account",
    Reason.PAYLOAD_DEAD: "some of the payloads in it cannot be used; the others were applied",
}


class SubscriptionState(StrEnum):
    """Whether a mirrored action subscription stands at the vendor."""

    LIVE = "live"
    #: The account's API does not show it; that may be for want of rights, so it is a suspicion and no deletion.
    MISSING = "missing"
    DELETED = "deleted"


class RefreshKind(StrEnum):
    """What is fetched from a vendor because something touched it."""

    #: 4HSE; subject: its id.
    ACTION_SUBSCRIPTION = "action-subscription"
    #: 4HSE, all subscriptions of a subscriber; subject: the subscriber's id; scope: an action's id, or nothing.
    SUBSCRIBER = "subscriber"
    #: 4HSE, what a certificate touches; subject: the certificate's id; scope: an action's id, or nothing.
    CERTIFICATE = "certificate"
    #: aNewSpring; subject: the learner's external id; scope: the course's.
    COURSE_RESULT = "course-result"
    #: iSpring, a subscriber's address to be confirmed; subject: the code that was delivered.
    CONFIRMATION = "confirmation"
