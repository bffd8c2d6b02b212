"""What a message of the broker's holds: deliveries, a heartbeat, what only a newer version can open, or nothing that anybody can."""

from uuid import UUID

import structlog
from pydantic import ValidationError

from schemas import heartbeat
from schemas.delivery import Delivery, UnknownEnvelope, UnreadableEnvelope, fingerprint, now_utc, unseal
from schemas.logs import Log
from schemas.states import Reason
from workers.lane import Batch, Held
from workers.log import HeldEnvelope

log = structlog.get_logger()

#: The source and account under which a message is logged that is no envelope of muster's.
UNREADABLE = "(unreadable)"


def opened(message: bytes, *, suspect: bool, trace: str | None = None) -> Batch:
    """Open a message; `suspect`: it was handed out before, to a worker that never settled it. `trace` is the message's own."""
    try:
        deliveries = unseal(message)
        if trace is not None and len(deliveries) == 1:  # of several, each goes on with its own
            deliveries = [deliveries[0].model_copy(update={"trace": trace})]
    except UnknownEnvelope as error:
        if error.kind == heartbeat.KIND:
            return _beat(message)
        log.error(Log.ENVELOPE_HELD, version=error.version, kind=error.kind)
        return Batch(held=[Held(error.version, error.kind, message)])
    except UnreadableEnvelope as error:
        unreadable = wrapped(message)
        log.error(Log.ENVELOPE_UNREADABLE, delivery=str(unreadable.id))
        return Batch(dead=[(unreadable, Reason.UNREADABLE_ENVELOPE, str(error))])
    return Batch(suspects=deliveries) if suspect else Batch(fresh=deliveries)


def _beat(message: bytes) -> Batch:
    """A receiver's heartbeat; of one that nobody here can read, the next may be kept, or tell the same."""
    try:
        return Batch(heartbeats=[heartbeat.decode(message)])
    except ValidationError:
        log.warning(Log.HEARTBEAT_UNREADABLE)
        return Batch()


def wrapped(message: bytes) -> Delivery:
    """What cannot be read as a delivery, so that the log keeps it verbatim; the same bytes have the same id, older than any other."""
    return Delivery(
        id=UUID(f"{fingerprint(None, message)[:24]:0>32}"),
        source=UNREADABLE,
        account=UNREADABLE,
        vendor=UNREADABLE,
        event=None,
        received_at=now_utc(),
        headers={},
        body=message,
        fingerprint=fingerprint(None, message),
    )


async def readmitted() -> list[tuple[int, Batch]]:
    """Envelopes that an older version held and this one can open, each with its row's id."""
    tried = [(held.id, opened(bytes(held.message), suspect=False)) for held in await HeldEnvelope.all().order_by("id")]
    return [(row, batch) for row, batch in tried if not batch.held]
