"""A delivery, and the envelope that carries one or more of them over RabbitMQ.

The envelope is JSON: `{"version": 1, "kind": "deliveries", "deliveries": [Delivery, …]}`; bodies are base64url (RFC 4648 §5).
A delivery is encoded once, by the receiver, and its bytes go unchanged into an envelope or into the spool.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.traces import well_formed

VERSION = 1
KIND = "deliveries"

_FRAME = (b'{"version":1,"kind":"deliveries","deliveries":[', b",", b"]}")

#: Bytes that an envelope adds to the deliveries in it, at most (256 commas and the frame).
ENVELOPE_OVERHEAD = 512


#: A traceparent (https://www.w3.org/TR/trace-context/). One that cannot be read is none: what helps must never harm.
Trace = Annotated[
    str | None,
    BeforeValidator(well_formed),
    Field(description="How its trace goes on from the receiver; left out where it has none.", exclude_if=lambda trace: trace is None),
]


class Delivery(BaseModel):
    """One HTTP request from a vendor, verified and not yet understood."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64", extra="ignore")

    id: Annotated[UUID, Field(description="UUIDv7, made by the receiver; the same over every redelivery.")]
    source: Annotated[str, Field(description="Name of the configured sender.")]
    account: Annotated[str, Field(description="The tenancy at the vendor; mirror rows are keyed (account, id).")]
    vendor: str
    event: Annotated[str | None, Field(description="As the address, header or query named it; null where only the body does.")]
    received_at: Annotated[AwareDatetime, Field(description="When the last byte arrived, UTC. Evidence: a replay keeps it.")]
    headers: Annotated[dict[str, str], Field(description="The few request headers that are kept; never a credential.")]
    body: Annotated[bytes, Field(description="The request's body, verbatim.")]
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of event and body, hexadecimal.")]
    attempt: Annotated[int, Field(ge=0, description="How often a replay handed it out before; 0 for a vendor's own.")] = 0
    replay_of: Annotated[UUID | None, Field(description="The delivery that this one replays.")] = None
    trace: Trace = None
    effects: Annotated[
        bool, Field(description="False: for log and mirror alone; nothing is fetched, planned or told, and no source was heard of.")
    ] = True


class _Traced(BaseModel):
    """What of an encoded delivery tells its trace."""

    trace: Trace = None


class Envelope(BaseModel):
    """What one AMQP message holds: deliveries of one source."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")

    version: Literal[1]
    kind: Literal["deliveries"]
    deliveries: Annotated[list[Delivery], Field(min_length=1)]


class _Identified(BaseModel):
    """A delivery's id alone."""

    id: UUID


class _Head(BaseModel):
    """The two fields that every version of the envelope has."""

    version: int
    kind: str


class UnknownEnvelope(Exception):
    """The envelope is of a version or kind that this program does not know: upgrade the workers first."""

    def __init__(self, version: int, kind: str) -> None:
        super().__init__(f"envelope version {version}, kind {kind!r}")
        self.version, self.kind = version, kind


class UnreadableEnvelope(Exception):
    """The message is no envelope of muster's."""


#: Where a UUID says how it was made.
_VERSION_AND_VARIANT = 0xF << 76 | 0b11 << 62

_envelope = TypeAdapter(Envelope)
_head = TypeAdapter(_Head)
_traced = TypeAdapter(_Traced)
_identified = TypeAdapter(_Identified)


def fingerprint(event: str | None, body: bytes) -> str:
    """Identify what was said, whoever said it and when: SHA-256 over the event's name, a zero byte and the body."""
    return hashlib.sha256((event or "").encode() + b"\0" + body).hexdigest()


def replayed_id(run: UUID, original: UUID) -> UUID:
    """The id of a delivery's replay in a run, the same whenever the run is taken up again: a UUIDv8 (RFC 9562 §5.8).

    It begins with the original's 48 bits of time, so that the replays of a day lie as close together in the log's index as its deliveries.
    """
    digest = hashlib.sha256(run.bytes + original.bytes).digest()
    bits = int.from_bytes(original.bytes[:6] + digest[:10])
    return UUID(int=bits & ~_VERSION_AND_VARIANT | 8 << 76 | 2 << 62)


def now_utc() -> datetime:
    """The present, to the microsecond, as evidence wants it."""
    return datetime.now(UTC)


def encode(delivery: Delivery) -> bytes:
    """Encode one delivery as it stands in an envelope and in the spool."""
    return delivery.model_dump_json().encode()


def decode(encoded: bytes) -> Delivery:
    """Decode one delivery; raises pydantic's ValidationError."""
    return Delivery.model_validate_json(encoded)


def traces(encoded: Iterable[bytes]) -> list[str]:
    """The traces of encoded deliveries, of those that have one."""
    return [found for one in encoded if (found := _traced.validate_json(one).trace)]


def named(encoded: Iterable[bytes]) -> list[str]:
    """What a line of the log says of encoded deliveries: their ids, of those that can be read."""
    found = list[str]()
    for one in encoded:
        with suppress(ValidationError):
            found.append(str(_identified.validate_json(one).id))
    return found


def seal(encoded: Iterable[bytes]) -> bytes:
    """Put encoded deliveries into an envelope."""
    head, comma, tail = _FRAME
    return head + comma.join(encoded) + tail


def unseal(message: bytes) -> list[Delivery]:
    """Take the deliveries out of an envelope.

    Raises UnknownEnvelope for a version or kind from the future, UnreadableEnvelope for anything else that cannot be read.
    """
    try:
        return _envelope.validate_json(message).deliveries
    except ValidationError as error:
        try:
            head = _head.validate_json(message)
        except ValidationError:
            raise UnreadableEnvelope("not JSON with a version and a kind") from None
        if (head.version, head.kind) != (VERSION, KIND):
            raise UnknownEnvelope(head.version, head.kind) from None
        first = error.errors(include_input=False, include_url=False)[0]
        raise UnreadableEnvelope(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def json_schema() -> dict[str, Any]:
    """The envelope's JSON Schema (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Envelope.model_json_schema(mode="serialization")}
