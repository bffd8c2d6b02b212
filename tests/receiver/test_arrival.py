"""The first span of a trace: whose trace it is, what it says, and that it is nothing to who is not let in."""

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from receiver import app
from receiver.endpoints import Hook
from receiver.publisher import Keeper
from receiver.recent import Recent
from receiver.spool import SpoolFull
from schemas.settings import ReceiverSettings
from schemas.traces import OFF, SpanName, Tracer
from tests.receiver.test_endpoints import GOOD, SOURCES, Failing, Kept, ready
from tests.services.collector import recording

THEIRS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PERSON = {"first_name": "Ada", "tax_code": "LVLDAA15T50Z114M"}


async def posted(
    tracer: Tracer, keeper: Keeper, trace: str | None = None, peer: str = "192.0.2.7", query: Mapping[str, str] = GOOD, **settings: Any
) -> httpx2.Response:
    """The answer to a webhook that comes from `peer`, with a traceparent or without."""
    hook = Hook(ReceiverSettings(**settings), SOURCES, keeper, Recent(), tracer=tracer)
    transport = httpx2.ASGITransport(app.public(hook, ready), client=(peer, 40000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://hooks.example") as client:
        headers = {"traceparent": trace} if trace else {}
        return await client.post("/hooks/hse/PERSON::UPDATE", params=query, json=PERSON, headers=headers)


async def test_a_trace_begins_where_a_delivery_arrives_and_goes_on_with_it() -> None:
    kept = Kept()
    with recording("muster-receiver") as (tracer, collector):
        response = await posted(tracer, kept)
        tracer.close()
    (one,), span = kept.deliveries, collector.one(SpanName.RECEIVE)

    assert (response.status_code, span.service, span.kind, span.parent, span.failed) == (200, "muster-receiver", "SERVER", "", False)
    assert span.goes_on_as(one.trace)
    assert abs(span.began / 1e9 - one.received_at.timestamp()) < 1e-5
    assert span.attributes == {
        "muster.delivery": str(one.id),
        "muster.source": "hse",
        "muster.account": "acme",
        "muster.event": "PERSON::UPDATE",
        "muster.vendor": "4hse",
        "http.request.method": "POST",
        "http.route": "/hooks/{source}",
    }


async def test_a_strangers_trace_is_linked_to_and_not_gone_on_with() -> None:
    kept = Kept()
    with recording() as (tracer, collector):
        await posted(tracer, kept, THEIRS)
        tracer.close()
    span = collector.one(SpanName.RECEIVE)

    assert (span.parent, span.links) == ("", (THEIRS.split("-")[1],))
    assert span.trace != THEIRS.split("-")[1]


async def test_a_trusted_proxys_trace_goes_on_here() -> None:
    kept = Kept()
    with recording() as (tracer, collector):
        await posted(tracer, kept, THEIRS, "10.0.0.9", trusted_proxies=["10.0.0.0/8"])
        tracer.close()
    span = collector.one(SpanName.RECEIVE)

    assert [span.trace, span.parent] == THEIRS.split("-")[1:3]
    assert span.links == ()
    assert span.goes_on_as(kept.deliveries[0].trace)


async def test_what_a_trusted_proxy_leaves_out_nobody_records() -> None:
    kept = Kept()
    with recording() as (tracer, collector):
        await posted(tracer, kept, THEIRS[:-2] + "00", "10.0.0.9", trusted_proxies=["10.0.0.0/8"])
        tracer.close()

    assert (collector.spans, kept.deliveries[0].trace) == ([], None)


@pytest.mark.parametrize("trace", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", THEIRS + ", " + THEIRS])
async def test_a_traceparent_that_is_none_is_passed_over(trace: str) -> None:
    kept = Kept()
    with recording() as (tracer, collector):
        response = await posted(tracer, kept, trace, "10.0.0.9", trusted_proxies=["10.0.0.0/8"])
        tracer.close()

    assert (response.status_code, collector.one(SpanName.RECEIVE).links) == (200, ())


async def test_who_is_not_let_in_begins_no_trace() -> None:
    with recording() as (tracer, collector):
        response = await posted(tracer, Kept(), THEIRS, query={"token": "wrong"})
        tracer.close()

    assert (response.status_code, collector.spans) == (401, [])


async def test_what_could_not_be_kept_is_told_by_the_errors_name_alone() -> None:
    with recording() as (tracer, collector):
        response = await posted(tracer, Failing(SpoolFull("/a/path that is nobody's business")))
        tracer.close()
    span = collector.one(SpanName.RECEIVE)

    assert (response.status_code, span.failed, span.attributes["error.type"]) == (503, True, "SpoolFull")
    assert "nobody" not in str(span)


async def test_off_a_delivery_leaves_as_it_always_did() -> None:
    kept = Kept()
    await posted(OFF, kept, THEIRS)

    assert (kept.deliveries[0].trace, b"trace" in kept.rows[0].delivery) == (None, False)
