"""The decision on one request: a Delivery, or a Refusal. Pure: values in, a value out, `now` given."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

from uuid_utils.compat import uuid7

from receiver.errors import BodyTooLarge, EncodedBody, NotVerified, SenderNotAllowed
from receiver.signatures import Evidence, verified
from receiver.sources import Source
from schemas.delivery import Delivery, fingerprint
from schemas.settings import Network

#: An event's name longer than this names nothing; it is cut, and the worker will not know it.
EVENT_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Request:
    """What an HTTP request says, before anything is believed."""

    #: As the address names it, decoded; None where it does not.
    event: str | None
    #: Lower-case names; the last value of each.
    headers: Mapping[str, str]
    query: Mapping[str, str]
    #: The address of the other end of the connection.
    peer: str | None
    body: bytes


def accept(source: Source, proxies: tuple[Network, ...], request: Request, now: datetime) -> Delivery:
    """Turn an authentic request into a Delivery; raises the first Refusal that holds.

    The body is not parsed, but where a scheme is for some events only: what is authentic is kept, and sorted out behind the queue.
    """
    if len(request.body) > source.max_body:
        raise BodyTooLarge
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
        raise EncodedBody
    if source.networks and not _inside(sender(request, proxies), source.networks):
        raise SenderNotAllowed
    if not verified(source.verify, Evidence(request.headers, request.query, request.body, source.event_field), now):
        raise NotVerified
    event = _event(source, request)
    return Delivery(
        id=uuid7(),
        source=source.name,
        account=source.account,
        vendor=source.vendor,
        event=event,
        received_at=now,
        headers={name: request.headers[name] for name in source.kept_headers if name in request.headers},
        body=request.body,
        fingerprint=fingerprint(event, request.body),
    )


def sender(request: Request, proxies: tuple[Network, ...]) -> IPv4Address | IPv6Address | None:
    """The address that sent the request: the last one in X-Forwarded-For that is no trusted proxy, if a trusted proxy handed
    it in; otherwise the other end of the connection. None where it cannot be told.
    """
    address = _address(request.peer)
    hops = [hop.strip() for hop in request.headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    while hops and _inside(address, proxies):
        address = _address(hops.pop())
    return address


def handed_in(request: Request, proxies: tuple[Network, ...]) -> bool:
    """Whether a trusted proxy handed it in, whose word counts like our own."""
    return _inside(_address(request.peer), proxies)


def printable(event: str) -> str:
    """An event's name without control characters: escaped, it stays what it was, and can be stored and shown everywhere."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in event)[:EVENT_LENGTH]


def _event(source: Source, request: Request) -> str | None:
    named = (
        request.event
        or (source.event_header and request.headers.get(source.event_header))
        or (source.event_query and request.query.get(source.event_query))
    )
    return printable(named) if named else None


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address((text or "").strip("[]"))
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _inside(address: IPv4Address | IPv6Address | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)
