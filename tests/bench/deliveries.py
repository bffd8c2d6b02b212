"""Deliveries as a receiver would hand them on: 4HSE webhooks about given subjects, each with its id, time and fingerprint."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from uuid import UUID

from uuid_utils.compat import uuid4, uuid7

from schemas.delivery import Delivery, encode, fingerprint, now_utc, seal
from schemas.samples import SUBSCRIPTION

ACCOUNT = "hse"
CREATE, DELETE = "ACTION_SUBSCRIPTION::CREATE", "ACTION_SUBSCRIPTION::DELETE"

#: Of so many deliveries, one is a DELETE.
ONE_DELETE_IN = 10


def subject(number: int) -> str:
    """The id of a subject that `population.sql` made: known by its number, random in order."""
    return str(UUID(hashlib.md5(b"subject-%d" % number, usedforsecurity=False).hexdigest()))


def about(subjects: Sequence[str]) -> list[bytes]:
    """One encoded delivery for each subject, most of them CREATEs, no two with the same body."""
    return [_encoded(one, DELETE if number % ONE_DELETE_IN == 0 else CREATE) for number, one in enumerate(subjects)]


def sealed(encoded: Sequence[bytes], size: int) -> Iterator[bytes]:
    """Envelopes of so many deliveries each."""
    for start in range(0, len(encoded), size):
        yield seal(encoded[start : start + size])


def _encoded(subject: str, event: str) -> bytes:
    ids = {"action_subscription_id": subject, "action_id": str(uuid4()), "subscriber_id": str(uuid4())}
    body = json.dumps(SUBSCRIPTION | ids, separators=(",", ":")).encode().ljust(330)
    return encode(
        Delivery(
            id=uuid7(),
            source=ACCOUNT,
            account=ACCOUNT,
            vendor="4hse",
            event=event,
            received_at=now_utc(),
            headers={"content-type": "application/json", "user-agent": "4HSE-Webhook/2.0"},
            body=body,
            fingerprint=fingerprint(event, body),
        )
    )
