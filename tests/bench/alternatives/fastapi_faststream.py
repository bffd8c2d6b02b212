"""The same with a framework on either side: FastAPI takes the request, FastStream publishes with confirm."""

import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Request
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange
from uuid_utils.compat import uuid7

from schemas import topology
from tests.bench.alternatives.serving import broker_url, serve
from tests.bench.senders import SENDERS

SECRETS = {sender.name: sender.secret.encode() for sender in SENDERS}
EXCHANGE = RabbitExchange(topology.DELIVERIES, type=ExchangeType.TOPIC, durable=True)

broker = RabbitBroker(broker_url(), default_channel=Channel(publisher_confirms=True, on_return_raises=True), logger=None)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Hold the broker's connection, and see the exchange declared once."""
    async with broker:
        await broker.declare_exchange(EXCHANGE)
        yield


async def hook(source: str, event: str, request: Request, x_signature: Annotated[str, Header()]) -> dict[str, str]:
    """Verify, publish, wait for the confirm, answer."""
    body = await request.body()
    expected = hmac.digest(SECRETS[source], body, hashlib.sha256).hex()
    if not hmac.compare_digest(expected.encode(), x_signature.encode()):
        raise HTTPException(401)
    message_id = str(uuid7())
    await broker.publish(
        body,
        exchange=EXCHANGE,
        routing_key=topology.routing_key("4hse", source),
        mandatory=True,
        persist=True,
        timeout=2,
        headers={"event": event},
        content_type="application/json",
        message_id=message_id,
    )
    return {"id": message_id}


if __name__ == "__main__":
    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/hooks/{source}/{event}", hook, methods=["POST"])
    serve(app)
