"""A request on its way to an ASGI app, and what may become of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way to the app."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send

    async def through(self) -> None:
        """Let the app answer."""
        await self.app(self.scope, self.receive, self.send)

    async def unanswered(self) -> None:
        """Let the app work, and keep its answer."""
        await self.app(self.scope, self.receive, _swallow)

    async def kept(self) -> "Exchange":
        """The same request with its body in hand, for an app that is asked when the client has gone."""
        return Exchange(self.app, self.scope, _replay(await _body(self.receive)), _swallow)

    async def silence(self) -> None:
        """Say nothing until the client has gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes, length: int | None = None) -> None:
        """Answer in the app's place; with a `length` of more than the body has, the client sees a broken read."""
        given = {**headers, "content-length": str(len(body) if length is None else length)}
        encoded = [(name.lower().encode(), value.encode()) for name, value in given.items()]
        whole = length is None or length == len(body)
        await self.send({"type": "http.response.start", "status": status, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body, "more_body": not whole})


async def _swallow(_: Message) -> None:
    """Send nothing."""


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def _replay(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
