"""The simulated 4HSE tells its changes by itself, as bare as the vendor's documents say."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.workers.vendors.acme import (
    ACTION,
    PERSON,
    PLACE,
    SESSION,
    SUBSCRIPTION,
    acme,
)
from workers.simulators.fourhse import Webhooks
from workers.simulators.fourhse.kinds import KINDS
from workers.simulators.server import served

EVENTS = {f"{kind.event}::{verb}" for kind in KINDS.values() for verb in kind.verbs}


def test_it_has_the_eleven_events_and_no_other() -> None:
    assert len(EVENTS) == 11
    assert "ACTION_SUBSCRIPTION::UPDATE" not in EVENTS


async def test_it_tells_its_changes_in_their_order_by_bare_resources() -> None:
    told: list[tuple[str, dict[str, Any]]] = []

    async def send(event: str, body: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)
        told.append((event, dict(body)))

    tenancy = acme(send)
    tenancy.subscribe(ACTION, PERSON, action_subscription_id=SUBSCRIPTION)
    tenancy.update("action-subscription", SUBSCRIPTION, tenancy.row("action-subscription", SUBSCRIPTION) | {"data": {"a": 1}})
    tenancy.certify(SUBSCRIPTION, "2026-01-01")
    tenancy.historicize(SUBSCRIPTION)
    tenancy.record(tenancy.enroll(SESSION, SUBSCRIPTION), 1)
    tenancy.delete("action-subscription", SUBSCRIPTION)
    await tenancy.webhooks.quiet()

    assert [event for event, _ in told] == [
        "PERSON::CREATE",
        "ACTION_SUBSCRIPTION::CREATE",
        "CERTIFICATE::CREATE",
        "CERTIFICATE_ACTION::CREATE",
        "ACTION_SUBSCRIPTION::DELETE",
    ]
    bare = {"action_subscription_id": SUBSCRIPTION, "action_id": ACTION, "subscriber_id": PERSON, "subscriber_type": "PERSON", **PLACE}
    assert (told[1][1], told[-1][1]) == (bare, bare | {"data": {"a": 1}})


async def test_webhooks_go_to_the_endpoint_of_their_event_as_json_and_are_sent_once() -> None:
    got: list[tuple[str, Any, str | None]] = []

    async def hook(request: Request) -> Response:
        got.append((request.path_params["event"], await request.json(), request.headers.get("x-static")))
        return Response(status_code=500 if request.path_params["event"] == "broken" else 200)

    async with served(Starlette(routes=[Route("/{event}", hook, methods=["POST"])])) as url:
        urls = {"PERSON::CREATE": f"{url}/person", "CERTIFICATE::CREATE": f"{url}/broken", "PERSON::DELETE": "http://127.0.0.1:1/"}
        async with Webhooks(urls, headers={"X-Static": "token"}) as webhooks:
            for event in (*urls, "ACTION_SUBSCRIPTION::CREATE"):
                await webhooks(event, {"id": 1})

    assert got == [("person", {"id": 1}, "token"), ("broken", {"id": 1}, "token")]
    assert webhooks.sent == [("PERSON::CREATE", 200), ("CERTIFICATE::CREATE", 500), ("PERSON::DELETE", None)]
