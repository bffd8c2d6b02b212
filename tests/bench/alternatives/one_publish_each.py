"""A hand-written endpoint: Starlette verifies and publishes one message with confirm for each request, through aio-pika."""

import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator

import aio_pika
from aio_pika.abc import AbstractExchange
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from uuid_utils.compat import uuid7

from schemas import topology
from tests.bench.alternatives.serving import broker_url, serve
from tests.bench.senders import HEADER, SENDERS

SECRETS = {sender.name: sender.secret.encode() for sender in SENDERS}


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, AbstractExchange]]:
    """Hold one connection and one confirming channel."""
    async with await aio_pika.connect_robust(broker_url()) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        yield {"exchange": await channel.get_exchange(topology.DELIVERIES)}


async def hook(request: Request) -> JSONResponse:
    """Verify, publish, wait for the confirm, answer."""
    source, event = request.path_params["source"], request.path_params["event"]
    body = await request.body()
    expected = hmac.digest(SECRETS[source], body, hashlib.sha256).hex()
    if not hmac.compare_digest(expected.encode(), request.headers.get(HEADER, "").encode()):
        return JSONResponse({"title": "Unauthorized"}, 401)
    message_id = str(uuid7())
    message = aio_pika.Message(
        body,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        content_type=request.headers.get("content-type"),
        message_id=message_id,
        headers={"event": event},
    )
    exchange: AbstractExchange = request.state.exchange
    await exchange.publish(message, topology.routing_key("4hse", source), mandatory=True, timeout=2)
    return JSONResponse({"id": message_id})


if __name__ == "__main__":
    serve(Starlette(routes=[Route("/hooks/{source}/{event}", hook, methods=["POST"])], lifespan=lifespan))
