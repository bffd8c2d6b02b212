"""A request's credentials as keyed digests, so that it can be kept although nobody vouched for it. Pure.

Only what is known to be no credential stays readable: a signature proves one body and opens nothing else, a token opens
everything. Of the rest there is a digest, under a key of this host, by which a secret of today's settings is recognised.
"""

import hmac
from dataclasses import replace

from receiver.intake import Request
from receiver.signatures import credentials
from receiver.sources import KEPT_HEADERS, Source
from schemas.verification import Hmac, Sha256Concat, Token

_READABLE = frozenset({*KEPT_HEADERS, "content-encoding", "content-length", "x-forwarded-for"})
#: Headers that are called so hold what is made for one body, whoever configured which of them.
_SPEAKING = ("signature", "timestamp")


def masked(key: bytes, source: Source, request: Request) -> Request:
    """The request with a digest in the place of everything that might be a credential."""
    headers = {name: value if _readable(source, name) else _header_digest(key, name, value) for name, value in request.headers.items()}
    query = {name: value if name == source.event_query else _digest(key, value) for name, value in request.query.items()}
    return replace(request, headers=headers, query=query)


def unmasked(key: bytes, source: Source, request: Request) -> Request:
    """The request with each digest that is of one of the source's secrets replaced by that; the others say nothing."""
    headers, query = dict(request.headers), dict(request.query)
    for proof in credentials(source.verify):
        secrets = {name.lower(): value for name, value in proof.headers.items()}
        headers |= {name: value for name, value in secrets.items() if headers.get(name) == _header_digest(key, name, value)}
        query |= {name: value for name, value in proof.query.items() if query.get(name) == _digest(key, value)}
    return replace(request, headers=headers, query=query)


def _readable(source: Source, name: str) -> bool:
    tokens = {scheme.header.lower() for scheme in source.verify if isinstance(scheme, Token) and scheme.header}
    signed = {scheme.header.lower() for scheme in source.verify if isinstance(scheme, Hmac | Sha256Concat)}
    stamped = {scheme.timestamp_header.lower() for scheme in source.verify if isinstance(scheme, Hmac) and scheme.timestamp_header}
    named = _READABLE | signed | stamped | {*source.kept_headers, source.event_header}
    return name not in tokens and (name in named or any(word in name for word in _SPEAKING))


def _header_digest(key: bytes, name: str, value: str) -> str:
    """Basic credentials without what may be written in several ways."""
    scheme, _, rest = value.partition(" ")
    if name == "authorization" and scheme.lower() == "basic":
        value = f"Basic {rest.strip()}"
    return _digest(key, value)


def _digest(key: bytes, value: str) -> str:
    return "digest:" + hmac.digest(key, value.encode("utf-8", "surrogatepass"), "sha256").hex()
