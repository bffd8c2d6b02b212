"""The receiver's two applications; their routes are the table of contents."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from receiver.endpoints import Exposition, Hook, Metrics, Readiness, Ready, Recently, failed, livez, misdirected
from receiver.recent import Recent

_HANDLERS = {HTTPException: misdirected, Exception: failed}


def public(hook: Hook, readiness: Readiness) -> ASGIApp:
    """What the internet sees.

    The hooks stand in front of Starlette's middleware: they answer every error themselves, and it costs as much as verifying.
    """
    rest = _application([Route("/livez", livez), Route("/readyz", Ready(readiness, details=False))])
    hooks = [Route("/hooks/{source}/{event}", hook), Route("/hooks/{source}", hook)]
    return Router(hooks, redirect_slashes=False, default=rest)


def local(recent: Recent, readiness: Readiness, exposition: Exposition) -> Starlette:
    """What this machine sees."""
    routes = [
        Route("/livez", livez),
        Route("/readyz", Ready(readiness, details=True)),
        Route("/metrics", Metrics(exposition)),
        Route("/recent", Recently(recent)),
    ]
    return _application(routes)


def _application(routes: Sequence[Route]) -> Starlette:
    application = Starlette(routes=routes, exception_handlers=_HANDLERS)
    # No vendor follows a redirection, and its Location would repeat the query with the token.
    application.router.redirect_slashes = False
    return application
