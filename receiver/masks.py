"""A request's credentials as keyed digests, so that it can be kept although nobody vouched for it. Pure.

A source may be configured wrongly, or a vendor: a token may stand wherever a signature is expected, or the other way round. So only
what is known to be no credential stays readable, and a time, which looks like nothing else. Of the rest there is a digest, under a key of
this host, by which a secret of today's settings is recognised, and a signature under it: both can be made from the settings again.
"""

import hmac
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from receiver.intake import Request
from receiver.signatures import credentials, sign
from receiver.sources import KEPT_HEADERS, Source
from schemas.verification import Hmac, Sha256Concat, StandardWebhooks, Token

_READABLE = frozenset({*KEPT_HEADERS, "content-encoding", "content-length", "x-forwarded-for"})
#: Where several signatures may stand, a blank between them, while a secret is rotated; and how many of them are kept.
_ROTATED, _SIGNATURES = "webhook-signature", 10
#: Seconds since 1970, as schemes sign them.
_TIME = re.compile(r"[0-9]{9,11}")


def masked(key: bytes, source: Source, request: Request) -> Request:
    """The request with a digest in the place of everything that might be a credential."""
    headers = {
        name: value if _readable(source, name, value) else _header_digest(key, name, value) for name, value in request.headers.items()
    }
    event = source.event_query
    # What has a name and no value may be a token that was put where its name belongs.
    query = {
        name if value else _digest(key, name): value if name == event else _digest(key, value) for name, value in request.query.items()
    }
    return replace(request, headers=headers, query=query)


def unmasked(key: bytes, source: Source, request: Request) -> Request:
    """The request with each digest replaced that is of one of the source's secrets, or of what one signs; the others say nothing."""
    headers, query = dict(request.headers), dict(request.query)
    for proof in credentials(source.verify):
        secrets = {name.lower(): value for name, value in proof.headers.items()}
        headers |= {name: value for name, value in secrets.items() if headers.get(name) == _header_digest(key, name, value)}
        query |= {name: value for name, value in proof.query.items() if query.get(name) == _digest(key, value)}
    for name, signature in _signatures(source, request):
        if name in headers:
            headers[name] = headers[name].replace(_digest(key, signature), signature)
    return replace(request, headers=headers, query=query)


def _signatures(source: Source, request: Request) -> Iterator[tuple[str, str]]:
    """What the sender may have written into which header, had it signed under a secret of today."""
    for scheme in source.verify:
        if isinstance(scheme, Hmac | Sha256Concat | StandardWebhooks):
            for secret in scheme.secrets:
                name, signature = _signed(scheme.model_copy(update={"secrets": (secret,)}), request)
                prefix = getattr(scheme, "prefix", "")
                bare = signature.removeprefix(prefix)
                yield from ((name, written) for digits in (bare, bare.upper()) for written in (digits, prefix + digits))


def _signed(scheme: Hmac | Sha256Concat | StandardWebhooks, request: Request) -> tuple[str, str]:
    """The header and what stands in it."""
    timed = getattr(scheme, "timestamp_header", None) or "webhook-timestamp"
    time = request.headers.get(timed.lower(), "")
    at = datetime.fromtimestamp(int(time) if _TIME.fullmatch(time) else 0, UTC)
    proof = sign(scheme, request.body, request.headers.get("webhook-id", ""), at)
    name = _ROTATED if isinstance(scheme, StandardWebhooks) else scheme.header
    return name.lower(), proof.headers[name]


def _readable(source: Source, name: str, value: str) -> bool:
    proofs = {scheme.header.lower() for scheme in source.verify if isinstance(scheme, Token | Hmac | Sha256Concat) and scheme.header}
    times = {scheme.timestamp_header.lower() for scheme in source.verify if isinstance(scheme, Hmac) and scheme.timestamp_header}
    if name in proofs:
        return False
    if name in times or "timestamp" in name:
        return _TIME.fullmatch(value) is not None
    return name in _READABLE | {*source.kept_headers, source.event_header}


def _header_digest(key: bytes, name: str, value: str) -> str:
    """Basic credentials without what may be written in several ways; of several signatures each."""
    if name == _ROTATED:
        return " ".join(_digest(key, one) for one in value.split(" ")[:_SIGNATURES])
    scheme, _, rest = value.partition(" ")
    if name == "authorization" and scheme.lower() == "basic":
        value = f"Basic {rest.strip()}"
    return _digest(key, value)


def _digest(key: bytes, value: str) -> str:
    return "digest:" + hmac.digest(key, value.encode("utf-8", "surrogatepass"), "sha256").hex()
