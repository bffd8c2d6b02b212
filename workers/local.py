"""The workers' local port: is it alive, is it working."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Readiness = Callable[[], Awaitable[tuple[bool, dict[str, object]]]]


def local(readiness: Readiness) -> Starlette:
    """`GET /livez` and `GET /readyz`, with details."""

    async def livez(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def readyz(_: Request) -> Response:
        ready, details = await readiness()
        return JSONResponse({"ready": ready} | details, 200 if ready else 503)

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz)])
