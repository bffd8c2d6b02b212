"""4HSE's API 2.0.0 over a tenancy, with Yii2's statuses, bodies and headers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workers.simulators.fourhse.compliance import shown
from workers.simulators.fourhse.kinds import KINDS, Row
from workers.simulators.fourhse.listing import unknown
from workers.simulators.fourhse.login import PATH, Keycloak
from workers.simulators.fourhse.tenancy import Absent, Invalid, Tenancy

#: The most rows on a page, however many are asked for: 4HSE's own tools ask for no more.
LARGEST_PAGE = 100

Endpoint = Callable[[Tenancy, str, Request], Awaitable[Response]]


def simulator(tenancy: Tenancy, keycloak: Keycloak) -> Starlette:
    """The service and its token endpoint on one address."""

    def guarded(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if not keycloak.admits(request):
                raise HTTPException(401, "Your request was made with invalid credentials.")
            if request.path_params["kind"] not in KINDS:
                raise HTTPException(404, "Page not found.")
            return await endpoint(tenancy, request.path_params["kind"], request)

        return answer

    return Starlette(
        routes=[
            Route(PATH, keycloak.token, methods=["POST"]),
            Route("/v2/{kind}/index", guarded(_index), methods=["POST"]),
            Route("/v2/{kind}/create", guarded(_create), methods=["POST"]),
            Route("/v2/{kind}/view/{id}", guarded(_view), methods=["GET"]),
            Route("/v2/{kind}/view", guarded(_view), methods=["GET"]),
            Route("/v2/{kind}/update/{id}", guarded(_update), methods=["PUT", "PATCH"]),
            Route("/v2/{kind}/update", guarded(_update), methods=["PUT", "PATCH"]),
            Route("/v2/{kind}/delete/{id}", guarded(_delete), methods=["DELETE"]),
            Route("/v2/{kind}/delete", guarded(_delete), methods=["DELETE"]),
        ],
        exception_handlers={HTTPException: _exception, Absent: _absent, Invalid: _invalid},
    )


async def _index(tenancy: Tenancy, path: str, request: Request) -> Response:
    query = await _body(request)
    if strange := unknown(path, query.get("filter") or {}):
        raise Invalid({"filter": f'Unknown filter attribute "{strange[0]}"'})
    ids = tenancy.ids(path, query)
    size = min(max(_whole(query.get("per-page"), 100), 1), LARGEST_PAGE)
    count = -(-len(ids) // size)
    # Yii2 moves a page that does not exist to the nearest that does.
    number = min(max(_whole(query.get("page"), 1), 1), max(count, 1))
    rows = [shown(path, tenancy.tables[path][id], tenancy) for id in ids[(number - 1) * size : number * size]]  # noqa: A001
    told = {"Current-Page": number, "Page-Count": count, "Per-Page": size, "Total-Count": len(ids)}
    return JSONResponse(rows, headers={f"X-Pagination-{name}": str(value) for name, value in told.items()})


async def _create(tenancy: Tenancy, path: str, request: Request) -> Response:
    body = await _body(request)
    if path == "person" and body.get("unique_code") and (known := _by_code(tenancy, body)):
        return JSONResponse(tenancy.update(path, known, body))
    row = tenancy.create(path, body)
    return JSONResponse(row, 201, {"Location": f"/v2/{path}/view/{row[KINDS[path].id]}"})


async def _view(tenancy: Tenancy, path: str, request: Request) -> Response:
    return JSONResponse(tenancy.view(path, _id(tenancy, path, request)))


async def _update(tenancy: Tenancy, path: str, request: Request) -> Response:
    return JSONResponse(tenancy.update(path, _id(tenancy, path, request), await _body(request)))


async def _delete(tenancy: Tenancy, path: str, request: Request) -> Response:
    id = _id(tenancy, path, request)  # noqa: A001
    if path == "person" and request.query_params.get("historicize") in ("true", "1"):
        tenancy.row(path, id)
        tenancy.historicize(id)
    elif request.query_params.get("force", "false") in ("true", "1"):
        tenancy.delete(path, id)
    else:
        return JSONResponse([{"entity": kind, KINDS[kind].id: child} for kind, child in tenancy.affected(path, id)])
    return Response(status_code=204)


def _id(tenancy: Tenancy, path: str, request: Request) -> str:
    """The id in the path, or of a person whose code and project are in the query."""
    given: str | None = request.path_params.get("id")
    found = given or (_by_code(tenancy, request.query_params) if path == "person" else None)
    if found is None:
        raise Absent
    return found


def _by_code(tenancy: Tenancy, given: Mapping[str, Any]) -> str | None:
    wanted = {name: given.get(name) for name in ("code", "project_id")}
    return next((id for id, row in tenancy.tables["person"].items() if wanted.items() <= row.items()), None)  # noqa: A001


async def _body(request: Request) -> Row:
    try:
        content = jiter.from_json(await request.body() or b"{}")
    except ValueError:
        raise HTTPException(400, "Invalid JSON data in request body: Syntax error.") from None
    return content if isinstance(content, dict) else {}


def _whole(value: Any, otherwise: int) -> int:
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else otherwise


_NAMES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}


async def _exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _yii(error.status_code, error.detail, dict(error.headers or {}))


async def _absent(request: Request, error: Exception) -> Response:
    assert isinstance(error, Absent)
    return _yii(error.status, "Object not found." if error.status == 404 else "You are not allowed to perform this action.")


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, Invalid)
    return JSONResponse([{"field": field, "message": message} for field, message in error.messages.items()], 422)


def _yii(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"name": _NAMES.get(status, "Error"), "message": message, "code": 0, "status": status}, status, headers)
