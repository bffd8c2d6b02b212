"""The workers' local port: is it alive, is it working."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Readiness = Callable[[], Awaitable[tuple[bool, dict[str, object]]]]
#: The metrics in the format that an Accept header asks for, and their content type.
Exposition = Callable[[str], Awaitable[tuple[bytes, str]]]


def local(readiness: Readiness, exposition: Exposition) -> Starlette:
    """`GET /livez`, `GET /readyz` with details, and `GET /metrics`."""

    async def livez(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def readyz(_: Request) -> Response:
        ready, details = await readiness()
        return JSONResponse({"ready": ready} | details, 200 if ready else 503)

    async def metrics(request: Request) -> Response:
        content, kind = await exposition(request.headers.get("accept", ""))
        return Response(content, media_type=kind)

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])
