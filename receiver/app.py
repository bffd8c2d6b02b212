"""The receiver's two Starlette applications; their routes are the table of contents."""

from starlette.applications import Starlette
from starlette.routing import Route

from receiver.endpoints import Hook, Readiness, Ready, Recently, failed, livez, refused
from receiver.errors import Refusal
from receiver.recent import Recent

_HANDLERS = {Refusal: refused, Exception: failed}


def public(hook: Hook, readiness: Readiness) -> Starlette:
    """What the internet sees."""
    routes = [
        Route("/hooks/{source}", hook),
        Route("/hooks/{source}/{event}", hook),
        Route("/livez", livez),
        Route("/readyz", Ready(readiness, details=False)),
    ]
    return Starlette(routes=routes, exception_handlers=_HANDLERS)


def local(recent: Recent, readiness: Readiness) -> Starlette:
    """What this machine sees."""
    routes = [
        Route("/livez", livez),
        Route("/readyz", Ready(readiness, details=True)),
        Route("/recent", Recently(recent)),
    ]
    return Starlette(routes=routes, exception_handlers=_HANDLERS)
