"""Verification and signing of raw bytes, scheme by scheme: pure functions of a request, a secret and `now`.

A scheme is a row of `SCHEMES`: how a sender proves itself (`sign`, used by `muster trigger` and the tests) and how that is
checked (`verify`). Comparisons take constant time; anything malformed is simply not verified.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jiter

from schemas.verification import Basic, Encoding, Hmac, Sha256Concat, StandardWebhooks, Token, Unverified, Verification

#: For proofs that do not depend on the time.
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a sender proves itself with: lower-case headers, the last value of each query parameter, the raw body.

    `event_field` is the field of a JSON body that names its event, where the vendor has one.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    event_field: str | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What a sender adds to a request."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to prove oneself."""

    verify: Callable[[Any, str, Evidence, datetime], bool]
    sign: Callable[[Any, str, bytes, str, datetime], Proof]


def verified(schemes: Iterable[Verification], evidence: Evidence, now: datetime) -> bool:
    """Tell whether any secret of any scheme vouches for the request, and the scheme is for what the body says it is."""
    return any(
        SCHEMES[settings.scheme].verify(settings, secret, evidence, now) and _covers(settings, evidence)
        for settings in schemes
        for secret in _secrets(settings)
    )


def sign(settings: Verification, body: bytes, message_id: str, now: datetime) -> Proof:
    """Make what a sender adds under the first secret of a scheme; `message_id` names the message where the scheme has one."""
    return SCHEMES[settings.scheme].sign(settings, _secrets(settings)[0], body, message_id, now)


def credentials(schemes: Iterable[Verification]) -> Iterator[Proof]:
    """What is the same in every request, for it is the secret itself: of each scheme that works so, under each of its secrets."""
    for settings in schemes:
        if isinstance(settings, Token | Basic):
            yield from (SCHEMES[settings.scheme].sign(settings, secret, b"", "", _EVER) for secret in _secrets(settings))


def _covers(settings: Verification, evidence: Evidence) -> bool:
    """Whether the scheme is for every event, or for the one that the body names: read as strictly as the workers read it."""
    if isinstance(settings, Unverified) or not settings.events:
        return True
    try:
        body = jiter.from_json(evidence.body, catch_duplicate_keys=True, allow_inf_nan=False)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get(evidence.event_field) in settings.events


def _secrets(settings: Verification) -> tuple[str, ...]:
    return ("",) if isinstance(settings, Unverified) else tuple(secret.get_secret_value() for secret in settings.secrets)


def _same(expected: str, given: str | None) -> bool:
    return given is not None and hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


def _encoded(digest: bytes, encoding: Encoding) -> str:
    return digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()


def _normalised(given: str | None, prefix: str, encoding: Encoding) -> str | None:
    """Strip an optional prefix and the case that hexadecimal does not have."""
    if given is None:
        return None
    bare = given.strip().removeprefix(prefix)
    return bare.lower() if encoding == "hex" else bare


def _fresh(timestamp: str | None, tolerance: float, now: datetime) -> bool:
    if timestamp is None or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return False
    return abs(now.timestamp() - int(timestamp)) <= tolerance


def _verify_token(settings: Token, secret: str, evidence: Evidence, _: datetime) -> bool:
    given = evidence.headers.get(settings.header.lower()) if settings.header else evidence.query.get(settings.query or "")
    return _same(secret, given)


def _sign_token(settings: Token, secret: str, _body: bytes, _id: str, _now: datetime) -> Proof:
    return Proof(headers={settings.header: secret}) if settings.header else Proof(query={settings.query or "": secret})


def _basic_credentials(secret: str) -> str:
    return base64.b64encode(secret.encode()).decode()


def _verify_basic(_: Basic, secret: str, evidence: Evidence, _now: datetime) -> bool:
    scheme, _space, credentials = evidence.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "basic" and _same(_basic_credentials(secret), credentials.strip())


def _sign_basic(_: Basic, secret: str, _body: bytes, _id: str, _now: datetime) -> Proof:
    return Proof(headers={"Authorization": f"Basic {_basic_credentials(secret)}"})


def _hmac(settings: Hmac, secret: str, body: bytes, timestamp: str | None) -> str:
    signed = body if timestamp is None else timestamp.encode() + b"." + body
    return _encoded(hmac.digest(secret.encode(), signed, settings.algorithm), settings.encoding)


def _verify_hmac(settings: Hmac, secret: str, evidence: Evidence, now: datetime) -> bool:
    timestamp = None
    if settings.timestamp_header:
        timestamp = evidence.headers.get(settings.timestamp_header.lower())
        if not _fresh(timestamp, settings.tolerance, now):
            return False
    given = _normalised(evidence.headers.get(settings.header.lower()), settings.prefix, settings.encoding)
    return _same(_hmac(settings, secret, evidence.body, timestamp), given)


def _sign_hmac(settings: Hmac, secret: str, body: bytes, _id: str, now: datetime) -> Proof:
    timestamp = str(int(now.timestamp())) if settings.timestamp_header else None
    headers = {settings.header: settings.prefix + _hmac(settings, secret, body, timestamp)}
    return Proof(headers=headers | ({settings.timestamp_header: timestamp} if settings.timestamp_header and timestamp else {}))


def _sha256_concat(settings: Sha256Concat, secret: str, body: bytes) -> str:
    return _encoded(hashlib.sha256(body + secret.encode()).digest(), settings.encoding)


def _verify_sha256_concat(settings: Sha256Concat, secret: str, evidence: Evidence, _: datetime) -> bool:
    given = _normalised(evidence.headers.get(settings.header.lower()), settings.prefix, settings.encoding)
    return _same(_sha256_concat(settings, secret, evidence.body), given)


def _sign_sha256_concat(settings: Sha256Concat, secret: str, body: bytes, _id: str, _now: datetime) -> Proof:
    return Proof(headers={settings.header: _sha256_concat(settings, secret, body)})


def _standard_signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")).decode()


def _verify_standard(settings: StandardWebhooks, secret: str, evidence: Evidence, now: datetime) -> bool:
    message_id, timestamp = evidence.headers.get("webhook-id"), evidence.headers.get("webhook-timestamp")
    if not message_id or not timestamp or not _fresh(timestamp, settings.tolerance, now):
        return False
    try:
        expected = f"v1,{_standard_signature(secret, message_id, timestamp, evidence.body)}"
    except (binascii.Error, UnicodeEncodeError):
        return False
    return any(_same(expected, given) for given in evidence.headers.get("webhook-signature", "").split(" "))


def _sign_standard(_: StandardWebhooks, secret: str, body: bytes, message_id: str, now: datetime) -> Proof:
    timestamp = str(int(now.timestamp()))
    signature = f"v1,{_standard_signature(secret, message_id, timestamp, body)}"
    return Proof(headers={"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature})


def _verify_nothing(_: Unverified, _secret: str, _evidence: Evidence, _now: datetime) -> bool:
    return True


def _sign_nothing(_: Unverified, _secret: str, _body: bytes, _id: str, _now: datetime) -> Proof:
    return Proof()


SCHEMES: Mapping[str, Scheme] = {
    "token": Scheme(_verify_token, _sign_token),
    "basic": Scheme(_verify_basic, _sign_basic),
    "hmac": Scheme(_verify_hmac, _sign_hmac),
    "sha256-concat": Scheme(_verify_sha256_concat, _sign_sha256_concat),
    "standard-webhooks": Scheme(_verify_standard, _sign_standard),
    "none": Scheme(_verify_nothing, _sign_nothing),
}
