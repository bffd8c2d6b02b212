"""The receiver's two Starlette applications; their routes are the table of contents."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from receiver.endpoints import Hook, Readiness, Ready, Recently, failed, livez, misdirected, refused
from receiver.errors import Refusal
from receiver.recent import Recent

_HANDLERS = {Refusal: refused, HTTPException: misdirected, Exception: failed}


def public(hook: Hook, readiness: Readiness) -> Starlette:
    """What the internet sees."""
    routes = [
        Route("/hooks/{source}", hook),
        Route("/hooks/{source}/{event}", hook),
        Route("/livez", livez),
        Route("/readyz", Ready(readiness, details=False)),
    ]
    return _application(routes)


def local(recent: Recent, readiness: Readiness) -> Starlette:
    """What this machine sees."""
    routes = [
        Route("/livez", livez),
        Route("/readyz", Ready(readiness, details=True)),
        Route("/recent", Recently(recent)),
    ]
    return _application(routes)


def _application(routes: Sequence[Route]) -> Starlette:
    application = Starlette(routes=routes, exception_handlers=_HANDLERS)
    # No vendor follows a redirection, and its Location would repeat the query with the token.
    application.router.redirect_slashes = False
    return application
