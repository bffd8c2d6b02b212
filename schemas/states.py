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
    #: Was dead once, or in doubt; its replay was applied, or a person dropped it.
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
    ERASED = "erased"


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
    Reason.ERASED: "it is about somebody of whom nothing is kept (`muster erase`), so its headers and body are not",
}


class SubscriptionState(StrEnum):
    """Whether a mirrored action subscription stands at the vendor."""

    LIVE = "live"
    #: The account's API does not show it; that may be for want of rights, so it is a suspicion and no deletion.
    MISSING = "missing"
    DELETED = "deleted"


class Status(StrEnum):
    """How a compliance schedule entry stands, in 4HSE's words."""

    #: There is no certificate.
    NEW = "NEW"
    VALID = "VALID"
    EXPIRING = "EXPIRING"
    EXPIRED = "EXPIRED"


class DriftKind(StrEnum):
    """How mirror and vendor disagreed about a subscription."""

    #: The vendor shows it, the mirror did not.
    MISSING = "missing"
    #: The mirror showed it, the vendor does not.
    EXTRA = "extra"
    #: Both show it, and not alike.
    DIFFERENT = "different"
    #: The vendor shows another status than follows from the dates it shows.
    STATUS = "status"


class RunState(StrEnum):
    """How a run of reconcile stands."""

    RUNNING = "running"
    #: The vendor failed it; the next run takes it up where it ended.
    FAILED = "failed"
    #: So much was not found at the vendor that a person has to accept it.
    HELD = "held"
    DONE = "done"


class RefreshKind(StrEnum):
    """What is fetched from a vendor because something touched it."""

    #: 4HSE; subject: its id.
    ACTION_SUBSCRIPTION = "action-subscription"
    #: 4HSE, all subscriptions of an office, for many of them are touched; subject: the office's id.
    OFFICE = "office"
    #: 4HSE, all subscriptions of a subscriber; subject: the subscriber's id; scope: an action's id, or nothing.
    SUBSCRIBER = "subscriber"
    #: 4HSE, what a certificate touches; subject: the certificate's id; scope: an action's id, or nothing.
    CERTIFICATE = "certificate"
    #: aNewSpring; subject: the learner's external id; scope: the course's.
    COURSE_RESULT = "course-result"
    #: iSpring, a subscriber's address to be confirmed; subject: the code that was delivered.
    CONFIRMATION = "confirmation"


class SubscriberState(StrEnum):
    """Where a webhook subscriber of iSpring's stands that muster made."""

    #: It is being registered, or is, and no code was asked for yet.
    REGISTERED = "registered"
    #: A code was asked for and has not come yet, or only one that iSpring refused.
    CODE_REQUESTED = "code_requested"
    #: A code has come, and a worker gives it back.
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    #: Was confirmed once: after a day of failures iSpring sends nothing more, and what it had queued is lost.
    UNCONFIRMED = "unconfirmed"
    #: iSpring knows no such subscriber any more.
    GONE = "gone"


class TargetKind(StrEnum):
    """What a rule leads to."""

    COURSE = "course"
    SESSION = "session"
    OBSERVATION = "observation"
    EXERCISE = "exercise"


class NeedState(StrEnum):
    """Where one rule's demand for one subscription in one cycle stands."""

    #: It will lead to an enrollment.
    PLANNED = "planned"
    #: A person has to say yes: the guard, an approval.
    HELD = "held"
    #: Nobody knows who this is in the target's account.
    UNMATCHED = "unmatched"
    #: The learner has a seat.
    ENROLLED = "enrolled"
    #: There is nothing to enroll in; an observation is awaited.
    AWAITING = "awaiting"
    #: Its due time has passed.
    OVERDUE = "overdue"
    #: The seat has expired at the vendor.
    LAPSED = "lapsed"
    #: All its targets are passed.
    PASSED = "passed"
    #: A target was failed; tried again after the rule's wait, as often as the rule says.
    FAILED = "failed"
    #: The outcome stands in 4HSE.
    RECORDED = "recorded"
    #: 4HSE shows the subscription as valid.
    VALID = "valid"
    #: It is not needed any more, and what was done for it is undone as the rule says.
    UNDONE = "undone"
    #: Given up, in the vendor's words.
    DEAD = "dead"


class EnrollmentState(StrEnum):
    """Where a learner's seat in a target stands."""

    PLANNED = "planned"
    #: The vendor was asked, and what it did is not known yet.
    REQUESTED = "requested"
    ENROLLED = "enrolled"
    #: Completed, failed or lapsed: over, and the next is another round.
    CLOSED = "closed"
    UNDONE = "undone"
    DEAD = "dead"


class EnrollmentWish(StrEnum):
    """What is to be done at the vendor for an enrollment."""

    ENROLL = "enroll"
    UNDO = "undo"


class DeadKind(StrEnum):
    """What can be given up."""

    DELIVERY = "delivery"
    ENROLLMENT = "enrollment"
    #: What would have been written to 4HSE of an outcome.
    RECORDING = "recording"
    #: An event that other teams could not be told.
    EVENT = "event"


class ReplayState(StrEnum):
    """Where a run of replays stands."""

    #: Its selection is being fixed; nothing was handed out.
    SELECTING = "selecting"
    #: Its items are being handed out and worked off, or it was cut short and can be resumed.
    RUNNING = "running"
    #: Every item has an outcome.
    DONE = "done"
    #: A person ended it: nothing more of it is handed out.
    DISCARDED = "discarded"


class ReplayOutcome(StrEnum):
    """What became of one replay."""

    #: It changed the mirror, or had something fetched.
    APPLIED = "applied"
    #: It said nothing that the mirror did not hold, or there was nothing to do.
    UNCHANGED = "unchanged"
    #: Given up again, with a reason, in the log under the replay's own id.
    DEAD = "dead"
    #: The log had its body no more when its turn came.
    GONE = "gone"


class ErasureState(StrEnum):
    """How far it is erased what was kept of somebody."""

    #: Under way, or cut short: the mark holds, and the same command again goes on.
    RUNNING = "running"
    DONE = "done"
