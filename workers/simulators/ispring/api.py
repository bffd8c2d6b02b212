"""iSpring Learn's API over an account: a token of half an hour, JSON in, errors in JSON or XML as Accept says."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workers.simulators.ispring.account import Account
from workers.simulators.ispring.subscribers import Subscriber
from workers.simulators.markup import element

Body = Mapping[str, Any]


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def simulator(account: Account) -> Starlette:
    """The API as an ASGI app."""
    posts = [Route(path, _spoken(account, act, _json), methods=["POST"]) for path, act in POSTS.items()]
    gets = [Route(path, _spoken(account, act, _query), methods=["GET"]) for path, act in GETS.items()]
    token = Route("/api/v3/token", _spoken(account, _token, _form, open_to_all=True), methods=["POST"])
    return Starlette(routes=[token, *posts, *gets])


Read = Callable[[Request, bytes], Body]


def _spoken(account: Account, act: Callable[[Account, Body], Any], read: Read, *, open_to_all: bool = False) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        body = await request.body()
        try:
            if not open_to_all:
                _let_in(account, request)
            done = act(account, read(request, body))
        except Refusal as refusal:
            return _refused(request, refusal)
        return Response() if done is None else JSONResponse(done)

    return answer


def _let_in(account: Account, request: Request) -> None:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token not in account.tokens or account.tokens[token] <= account.now():
        raise Refusal(401, "Access token is invalid or expired")
    if not request.headers.get("x-auth-account-url", "").startswith("http"):
        raise Refusal(403, "X-Auth-Account-Url is required")


def _refused(request: Request, refusal: Refusal) -> Response:
    content = {"code": refusal.status, "message": refusal.message}
    if "xml" in request.headers.get("accept", ""):
        return Response(element("response", content), refusal.status, media_type="application/xml")
    return JSONResponse(content, refusal.status)


def _json(request: Request, body: bytes) -> Body:
    try:
        read = json.loads(body)
    except ValueError:
        raise Refusal(400, "The body is not JSON") from None
    if request.headers.get("content-type") != "application/json" or not isinstance(read, dict):
        raise Refusal(400, "The body must be a JSON object")
    return read


def _form(_: Request, body: bytes) -> Body:
    return {name: values[-1] for name, values in parse_qs(body.decode()).items()}


def _query(request: Request, _: bytes) -> Body:
    return dict(request.query_params)


def _token(account: Account, form: Body) -> Any:
    if form.get("grant_type") != "client_credentials":
        raise Refusal(400, "unsupported grant_type")
    if (form.get("client_id"), form.get("client_secret")) != (account.client_id, account.client_secret):
        raise Refusal(401, "Client authentication failed")
    return {"access_token": account.token(), "expires_in": int(account.token_life), "token_type": "bearer"}


def _sessions(account: Account, asked: Body) -> Any:
    wanted = {"checklist": asked.get("checklistId"), "status": asked.get("sessionStatus")}
    ids = asked.get("sessionIds")
    return [
        account.shown(session)
        for session in account.sessions.values()
        if all(value in (None, getattr(session, name)) for name, value in wanted.items()) and (not ids or session.id in ids)
    ]


def _subscriber(account: Account, asked: Body) -> Subscriber:
    found = account.subscribers.get(asked.get("subscriberName", ""))
    if found is None:
        raise Refusal(404, "Subscriber not found")
    return found


def _register(account: Account, asked: Body) -> None:
    name, url, secret = (asked.get(field) for field in ("subscriberName", "callbackUrl", "secret"))
    if not name or not url or any(len(one) > 255 for one in (name, url, secret or "")):
        raise Refusal(400, "subscriberName and callbackUrl are required and can have up to 255 characters")
    if name in account.subscribers:
        raise Refusal(400, "A subscriber with this name already exists")
    account.register(name, url, secret)


def _change_settings(account: Account, asked: Body) -> None:
    subscriber = _subscriber(account, asked)
    subscriber.confirmed = subscriber.confirmed and asked.get("callbackUrl") == subscriber.url
    subscriber.url, subscriber.secret = asked["callbackUrl"], asked.get("secret", subscriber.secret)


def _confirm(account: Account, asked: Body) -> None:
    if not _subscriber(account, asked).confirm(asked.get("code", "")):
        raise Refusal(400, "The code is not valid")


def _subscribe(account: Account, asked: Body) -> None:
    subscriber, subscription = _subscriber(account, asked), asked.get("subscription") or {}
    kind = subscription.get("subscriptionType")
    if not kind:
        raise Refusal(400, "subscription.subscriptionType is required")
    if subscriber.type not in (None, kind):
        raise Refusal(400, "A subscriber can only be subscribed to one type of event")
    subscriber.type, subscriber.params = kind, subscription.get("params", [])


def _unsubscribe(account: Account, asked: Body) -> None:
    subscriber = _subscriber(account, asked)
    if subscriber.type is None or subscriber.type != asked.get("subscriptionType"):
        raise Refusal(404, "Subscription not found")
    subscriber.type, subscriber.params = None, []


def _remove(account: Account, asked: Body) -> None:
    _subscriber(account, asked).forget()
    del account.subscribers[asked["subscriberName"]]


def _switch(*, active: bool) -> Callable[[Account, Body], None]:
    def act(account: Account, asked: Body) -> None:
        _subscriber(account, asked).active = active

    return act


POSTS: Mapping[str, Callable[[Account, Body], Any]] = {
    "/job-training/sessions/result/list": _sessions,
    "/webhook/register": _register,
    "/webhook/code/send": lambda account, asked: _subscriber(account, asked).send_code(),
    "/webhook/confirm": _confirm,
    "/webhook/enable": _switch(active=True),
    "/webhook/disable": _switch(active=False),
    "/webhook/settings/change": _change_settings,
    "/webhook/subscribe": _subscribe,
    "/webhook/unsubscribe": _unsubscribe,
    "/webhook/remove": _remove,
}
GETS: Mapping[str, Callable[[Account, Body], Any]] = {
    "/webhook/subscription/list": lambda account, asked: _subscriber(account, asked).subscriptions(),
    "/webhook/subscriber/info": lambda account, asked: _subscriber(account, asked).info(),
}
