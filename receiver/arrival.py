"""The arrival of a delivery as the first span of its trace."""

from contextlib import AbstractContextManager

from receiver.intake import Request, handed_in
from schemas.delivery import Delivery
from schemas.settings import Network
from schemas.traces import HEADER, Attributes, Span, Tracer, well_formed


def arrival(tracer: Tracer, proxies: tuple[Network, ...], request: Request, delivery: Delivery) -> AbstractContextManager[Span]:
    """From the last byte of an authentic request until it is durable.

    A trace that was begun outside goes on only where a trusted proxy began it: a stranger decides neither what belongs together here
    nor what is recorded. Theirs is linked to ours.
    """
    given = well_formed(request.headers.get(HEADER))
    ours = handed_in(request, proxies)
    return tracer.arrival(delivery.received_at, _about(delivery), parent=given if ours else None, link=None if ours else given)


def _about(delivery: Delivery) -> Attributes:
    named = {"muster.event": delivery.event} if delivery.event else {}
    about = {"muster.delivery": str(delivery.id), "muster.source": delivery.source, "muster.account": delivery.account}
    return {**about, **named, "muster.vendor": delivery.vendor, "http.request.method": "POST", "http.route": "/hooks/{source}"}
