"""aNewSpring's API over an environment: GET and POST only, forms in, plain text out when it refuses."""

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from workers.simulators.anewspring.environment import Environment, Seat
from workers.simulators.anewspring.results import part, result, subscription
from workers.simulators.markup import element

Ids = Mapping[str, str]
Fields = Mapping[str, list[str]]


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@dataclass(slots=True)
class Manners:
    """How the API answers, where that can be switched."""

    #: Errors are a server's HTML pages.
    html_errors: bool = False
    #: The result of one activity comes inside its course.
    activity_in_course: bool = False


def simulator(environment: Environment, manners: Manners | None = None) -> Starlette:
    """The API as an ASGI app; what is done to `manners` later counts."""
    chosen = manners or Manners()

    async def answer(request: Request) -> Response:
        try:
            done = await _called(environment, chosen, request)
        except Refusal as refusal:
            return _refused(request, refusal, chosen)
        query = request.query_params
        if done is None:
            return PlainTextResponse("OK" if query.get("_returnSuccessMessage") == "true" else "")
        return Response(json.dumps(done, indent=2 if query.get("_pretty") == "true" else None), media_type="application/json")

    paths = ("/api/{function}", "/api/{function}/{a}", "/api/{function}/{a}/{b}", "/api/{function}/{a}/{b}/{c}")
    return Starlette(routes=[Route(path, answer, methods=["GET", "POST"]) for path in paths])


class Asked(NamedTuple):
    """A call that is let in: whom it is about, by external ids, and its fields."""

    environment: Environment
    manners: Manners
    ids: Ids
    fields: Fields

    def flag(self, name: str) -> bool | None:
        """A boolean is true or false."""
        given = self.fields.get(name, [""])[-1]
        if given not in ("", "true", "false"):
            raise Refusal(400, f"{name} does not contain a boolean value: {given}")
        return given == "true" if given else None

    def day(self, name: str, otherwise: date | None) -> date | None:
        """A date; an empty one clears, an absent one leaves."""
        given = self.fields.get(name, [None])[-1]
        if not given:
            return otherwise if given is None else None
        try:
            return date.fromisoformat(given)
        except ValueError:
            raise Refusal(400, f"{name} does not contain an ISO8601 date value: {given}") from None

    def seat(self) -> Seat:
        """The seat of the learner in the course."""
        seat = self.environment.seats.get((self.ids["user"], self.ids["course"]))
        if seat is None:
            raise Refusal(404, "the user is not subscribed to the course")
        return seat


async def _called(environment: Environment, manners: Manners, request: Request) -> Any:
    if request.query_params.get("_key", request.headers.get("x-api-key")) != environment.key:
        raise Refusal(401, "the API key is missing or not valid")
    function = FUNCTIONS.get((request.method, request.path_params["function"]))
    if function is None:
        raise Refusal(404, "there is no such function")
    ids = _ids(environment, request, function.names)
    missing = [name for name in function.needs if name not in ids]
    if missing:
        raise Refusal(400, f"{missing[0]} is missing")
    fields = {**parse_qs(request.url.query, keep_blank_values=True), **await _form(request)}
    return function.act(Asked(environment, manners, ids, fields))


def _ids(environment: Environment, request: Request, names: tuple[str, ...]) -> Ids:
    """External ids, from the path's steps or from the query's UIDs."""
    steps, query = [request.path_params[step] for step in "abc" if step in request.path_params], request.query_params
    by_path = dict(zip(names, steps, strict=False))
    ids = by_path or {name: query[f"{name}UID"] for name in names if f"{name}UID" in query}
    known = {"user": environment.users, "course": {course.id: course.uid for course in environment.courses.values()}}
    for name in ids.keys() & known.keys():
        ids[name] = _external(name, ids[name], known[name], by_uid=not by_path)
    return ids | ({"activity": query["activityID"]} if "activityID" in query else {})


def _external(name: str, given: str, known: Ids, *, by_uid: bool) -> str:
    found = [external for external, uid in known.items() if (uid if by_uid else external) == given]
    if len(found) != 1:
        raise Refusal(409 if found else 404, f"{len(found) or 'no'} {name}s exist with the specified ID: {given}")
    return found[0]


async def _form(request: Request) -> Fields:
    body, kind = await request.body(), request.headers.get("content-type", "")
    if body and not kind.startswith("application/x-www-form-urlencoded"):
        raise Refusal(400, "the body must be application/x-www-form-urlencoded or multipart/form-data")
    return parse_qs(body.decode(), keep_blank_values=True)


def _refused(request: Request, refusal: Refusal, manners: Manners) -> Response:
    status, text = refusal.status, refusal.text
    if manners.html_errors:
        head, said = f"<head><title>HTTP Status {status}</title></head>", html.escape(text)
        return HTMLResponse(f"<html>{head}<body><h1>HTTP Status {status}</h1><p>{said}</p></body></html>", status)
    if request.query_params.get("_formatErrors") != "true":
        return PlainTextResponse(text, status)
    content = {"status": status, "message": text}
    if "xml" in request.headers.get("accept", ""):
        return Response(element("error", content), status, media_type="application/xml")
    return Response(json.dumps(content), status, media_type="application/json")


def _is_subscribed(asked: Asked) -> Any:
    seat = asked.environment.seats.get((asked.ids["user"], asked.ids["course"]))
    return {"result": seat is not None and not seat.ended}


def _get_subscriptions(asked: Asked) -> Any:
    statistics, today = not asked.flag("skipStats"), asked.environment.now().date()
    return {"courses": [subscription(course, seat, today, statistics=statistics) for course, seat in _taken(asked)]}


def _get_results(asked: Asked) -> Any:
    today = asked.environment.now().date()
    if "course" not in asked.ids:
        return {"courses": [result(course, seat, today) for course, seat in _taken(asked)]}
    course, seat = asked.environment.courses[asked.ids["course"]], asked.seat()
    if "activity" not in asked.ids:
        return result(course, seat, today)
    found = part(_activity(asked), seat)
    return {**result(course, seat, today), "parts": [found]} if asked.manners.activity_in_course else found


def _taken(asked: Asked) -> list[tuple[Any, Seat]]:
    environment = asked.environment
    return [(environment.courses[course], seat) for (user, course), seat in environment.seats.items() if user == asked.ids["user"]]


def _activity(asked: Asked) -> Any:
    found = [one for one in asked.environment.courses[asked.ids["course"]].activities if one.id == asked.ids["activity"]]
    if not found:
        raise Refusal(404, f"no activity exists with the specified ID: {asked.ids['activity']}")
    return found[0]


def _subscribe(asked: Asked) -> None:
    user, course = asked.ids["user"], asked.ids["course"]
    start, expire = asked.day("startDate", None), asked.day("expireDate", None)
    if _is_subscribed(asked)["result"]:
        raise Refusal(409, "the user is already subscribed to the course")
    asked.environment.subscribe(user, course, start, expire)


def _subscribe_groups(asked: Asked) -> None:
    environment, groups = asked.environment, asked.fields.get("groupID", [])
    unknown = [group for group in groups if group not in environment.groups]
    if unknown or not groups:
        raise Refusal(404, f"no group exists with the specified ID: {', '.join(unknown)}")
    for user in dict.fromkeys(user for group in groups for user in environment.groups[group]):
        one = asked._replace(ids={**asked.ids, "user": user})
        if not _is_subscribed(one)["result"]:
            _subscribe(one)


def _update_subscription(asked: Asked) -> None:
    seat, expired = _open_seat(asked), asked.flag("expired")
    seat.start, seat.expire = asked.day("startDate", seat.start), asked.day("expireDate", seat.expire)
    seat.expired = seat.expired if expired is None else expired


def _unsubscribe(asked: Asked) -> None:
    _open_seat(asked).ended = True


def _open_seat(asked: Asked) -> Seat:
    if not _is_subscribed(asked)["result"]:
        raise Refusal(404, "the user is not subscribed to the course")
    return asked.seat()


def _score_external_activity(asked: Asked) -> None:
    _open_seat(asked)
    activity, given = _activity(asked), asked.fields.get("score", [""])[-1]
    if activity.type != "External":
        raise Refusal(409, "the activity is not an external activity")
    try:
        score = float(given) if given else None
    except ValueError:
        raise Refusal(400, f"score does not contain a number value: {given}") from None
    if asked.flag("completed") is not False:
        asked.environment.complete_activity(asked.ids["user"], asked.ids["course"], activity.id, score)


class Function(NamedTuple):
    """One call: what the steps of its path are, which of them it cannot do without, and what it does."""

    act: Callable[[Asked], Any]
    names: tuple[str, ...]
    needs: tuple[str, ...]


_SEAT = ("user", "course")
_EXTERNAL = (*_SEAT, "activity")

FUNCTIONS: Mapping[tuple[str, str], Function] = {
    ("GET", "isSubscribed"): Function(_is_subscribed, _SEAT, _SEAT),
    ("GET", "getSubscriptions"): Function(_get_subscriptions, ("user",), ("user",)),
    ("GET", "getResults"): Function(_get_results, _EXTERNAL, ("user",)),
    ("POST", "subscribe"): Function(_subscribe, _SEAT, _SEAT),
    ("POST", "subscribeGroups"): Function(_subscribe_groups, ("course",), ("course",)),
    ("POST", "updateSubscription"): Function(_update_subscription, _SEAT, _SEAT),
    ("POST", "unsubscribe"): Function(_unsubscribe, _SEAT, _SEAT),
    ("POST", "scoreExternalActivity"): Function(_score_external_activity, _EXTERNAL, _EXTERNAL),
}
