"""Kare's interventions, as its documents "Update training session intervention scheduled", "List interventions" and "List
intervention users" print them. There are no webhooks: what happens here has to be asked for.

    register = Register(token, session, now); register.schedule(siteIds=[1]); register.attend(user, exercise)
    simulator(register)  # its API, an ASGI app

Chosen here, for nobody publishes it: the body of an error, and the names page and limit of the lists.
"""

import re
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Row = dict[str, Any]

_SAFE = 2**53 - 1
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z", re.ASCII)


class Register:
    """What Kare knows of one organisation."""

    def __init__(self, token: str, session: str, now: Callable[[], datetime]) -> None:
        self.token, self.session, self._now = token, session, now
        self.interventions: dict[int, Row] = {}
        self.attendance: list[Row] = []
        self.users: dict[int, Row] = {}
        #: The newer documents' names: assignedProfileId and their like.
        self.profiles = False
        #: The lists answer everything at once, whatever page is asked for.
        self.pageless = False
        self._ids = count(1)

    def schedule(self, **fields: Any) -> int:
        """A training exercise that is planned; returns its id."""
        number, now = next(self._ids), _time(self._now())
        row: Row = {"id": number, "status": 1, "type": 1, "autoCreated": False, "creationStatus": 1, "attendeeCount": 0}
        row |= {"imgSignature": "data:image/png;base64,c2lnbmF0dXJl", "codePin": 123456, "organizationId": 1, "ruleId": 1}
        self.interventions[number] = row | {"createdAt": now, "updatedAt": now} | fields
        return number

    def attend(self, user: int, exercise: int, status: str = "present") -> None:
        """Somebody attends an exercise, or is marked otherwise."""
        now, number = _time(self._now()), len(self.attendance) + 1
        proof = {"id": number, "name": "document.pdf", "presignedUrl": "https://kare.example/presigned"}
        row = {"id": number, "userId": user, "interventionId": exercise, "attendanceStatus": status, "attendanceProof": proof}
        self.attendance.append(row | {"createdAt": now, "updatedAt": now})
        present = [one for one in self.attendance if one["interventionId"] == exercise and one["attendanceStatus"] == "present"]
        self.interventions[exercise] |= {"attendeeCount": len(present), "actualStart": now, "actualEnd": now, "creationStatus": 2}

    def update(self, number: int, changes: Row) -> None:
        """Change an exercise."""
        self.interventions[number] |= changes | {"updatedAt": _time(self._now())}

    def shown(self, row: Row) -> Row:
        """A row in the words of the documents' version."""
        renamed = {"assignedUserId": "assignedProfileId", "verifiedByUserId": "verifiedById", "createdByUserId": "createdById"}
        return {renamed.get(name, name) if self.profiles else name: value for name, value in row.items()}

    def attended(self, row: Row) -> Row:
        """A row of the attendance, with its user and its exercise inside."""
        user = self.users.get(row["userId"], {"id": row["userId"], "key": None})
        return row | {"user": user, "intervention": self.interventions[row["interventionId"]]}


def simulator(register: Register) -> Starlette:
    """The API as an ASGI app."""
    routes = {
        ("GET", "/interventions/v2/rs"): _list,
        ("GET", "/interventions/v2/rs/{id:int}"): _view,
        ("PATCH", "/interventions/v2/rs/training-exercise/{id:int}"): _update,
        ("GET", "/interventions-users/v1/rs"): _attendance,
    }
    return Starlette(routes=[Route(path, _guarded(register, act), methods=[method]) for (method, path), act in routes.items()])


def _guarded(register: Register, act: Callable[[Register, Request, Any], Response]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        given = request.headers.get("authorization"), request.headers.get("x-session-token")
        if given != (f"Bearer {register.token}", register.session):
            return JSONResponse({"message": "Unauthorized"}, 401)
        if request.headers.get("content-type") != "application/json":
            return _invalid([(["content-type"], 'must be "application/json"')])
        return act(register, request, await request.json() if request.method == "PATCH" else None)

    return answer


def _list(register: Register, request: Request, _: Any) -> Response:
    return _page(register, request, [register.shown(row) for row in register.interventions.values()])


def _attendance(register: Register, request: Request, _: Any) -> Response:
    asked = request.query_params.get("interventionId")
    rows = [row for row in register.attendance if asked is None or str(row["interventionId"]) == asked]
    return _page(register, request, [register.attended(row) for row in rows])


def _page(register: Register, request: Request, rows: list[Row]) -> Response:
    page, limit = (int(request.query_params.get(name, default)) for name, default in (("page", "1"), ("limit", "20")))
    return JSONResponse({"data": rows if register.pageless else rows[(page - 1) * limit : page * limit]})


def _view(register: Register, request: Request, _: Any) -> Response:
    row = register.interventions.get(request.path_params["id"])
    return JSONResponse({"data": register.shown(row)}) if row else JSONResponse({"message": "Intervention not found"}, 404)


def _update(register: Register, request: Request, changes: Any) -> Response:
    wrong = [([name], _CHECKS[name][1]) for name, value in changes.items() if name in _CHECKS and not _CHECKS[name][0](value)]
    if wrong:
        return _invalid(wrong)
    if request.path_params["id"] in register.interventions:
        register.update(request.path_params["id"], changes)
    return _view(register, request, None)


def _invalid(wrong: list[tuple[list[str], str]]) -> Response:
    return JSONResponse({"message": "Validation error", "errors": [{"path": path, "message": text} for path, text in wrong]}, 400)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _SAFE


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


_INTEGER = (_is_integer, "must be a safe integer")
_Z = (_is_time, "Invalid datetime")
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "description": (lambda value: isinstance(value, str) and len(value.encode("utf-16-le")) <= 5000, "must have at most 2500 characters"),
    "scheduledStart": _Z,
    "scheduledEnd": _Z,
    "ruleId": _INTEGER,
    "siteIds": (lambda value: isinstance(value, list) and bool(value) and all(map(_is_integer, value)), "must have at least 1 element"),
    "creationStatus": (lambda value: _is_integer(value) and value in (0, 1, 2), "must be 0, 1 or 2"),
    "assignedCompanyContactId": _INTEGER,
    "assignedUserId": _INTEGER,
    "validateIntervention": (lambda value: isinstance(value, bool), "must be a boolean"),
}


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z"
