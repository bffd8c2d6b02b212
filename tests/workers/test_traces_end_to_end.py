"""Traces through the real commands, between simulated vendors, to a collector: embedded, and on RabbitMQ with PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from schemas.traces import SpanName
from tests.faults.company import COURSE
from tests.services.collector import Collector, Span, collector
from tests.workers.following import Following, Learner, following
from workers.simulators.acme import ACTION

_TRACING = """
[tracing]
enabled = true
endpoint = "{endpoint}"
"""


class Traced(NamedTuple):
    """A muster that is traced, and the spans of one person's way through it, who got a seat and a certificate."""

    scene: Following
    spans: Sequence[Span]
    learner: Learner
    apart: bool

    def with_a(self, name: SpanName) -> list[Span]:
        """The traces in which there is such a span, the root of each first."""
        traces = {one.trace for one in self.spans if one.name == name}
        return sorted((one for one in self.spans if one.trace in traces), key=lambda one: (one.trace, one.began))


@pytest_asyncio.fixture(scope="module", params=["embedded", "rabbitmq+postgres"])
async def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    """One way for all tests."""
    home: Path = tmp_path_factory.mktemp("traced")
    apart = request.param != "embedded"
    broker = request.getfixturevalue("rabbitmq").vhost() if apart else None
    database = request.getfixturevalue("postgres").create("traced") if apart else None
    with pytest.MonkeyPatch.context() as environment, collector() as taken:
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        async with following(home, broker, database, _TRACING.format(endpoint=taken.endpoint)) as scene:
            learner = scene.person()
            duty = scene.duty(learner)
            await scene.becomes("enrolled", scene.need, duty)
            await scene.completes(learner, 90)
            await scene.becomes("valid", scene.need, duty)
            yield Traced(scene, await asyncio.to_thread(_come, taken), learner, apart)


def _come(taken: Collector) -> Sequence[Span]:
    """All there is, once the last step of the recording and each span above one have come."""

    def whole(spans: list[Span]) -> bool:
        ids = {one.id for one in spans}
        recorded = sum(one.name == SpanName.RECORD for one in spans)
        return recorded == 2 and all(not one.parent or one.parent in ids for one in spans)

    return taken.until(whole, "the whole of each trace")


#: What a webhook of 4HSE's leads to, and one of aNewSpring's.
_ENROLLED = {SpanName.RECEIVE, SpanName.APPLY, SpanName.FETCH, SpanName.ENROLL, SpanName.CALL}
_RECORDED = {SpanName.RECEIVE, SpanName.APPLY, SpanName.FETCH, SpanName.RECORD, SpanName.CALL}


@pytest.mark.parametrize(("step", "names"), [(SpanName.ENROLL, _ENROLLED), (SpanName.RECORD, _RECORDED)])
async def test_one_trace_leads_from_the_post_to_the_vendors_call(traced: Traced, step: SpanName, names: set[SpanName]) -> None:
    spans = traced.with_a(step)

    assert len({one.trace for one in spans}) == 1
    assert {one.name for one in spans} == names | ({SpanName.PUBLISH} if traced.apart else set())
    assert [one.name for one in spans if not one.parent] == [SpanName.RECEIVE]
    tried = {one.id for one in spans if one.name == step}
    calls = [one.attributes.get("muster.call") for one in spans if one.parent in tried]
    assert ("POST /api/subscribe" if step is SpanName.ENROLL else "POST /v2/certificate/create") in calls


async def test_each_span_is_told_by_the_process_that_did_it(traced: Traced) -> None:
    told = {one.name: one.service for one in traced.spans}
    receivers = {SpanName.RECEIVE, SpanName.PUBLISH}

    if traced.apart:
        assert {service for name, service in told.items() if name in receivers} == {"muster-receiver"}
        assert {service for name, service in told.items() if name not in receivers} == {"muster-worker"}
    else:
        assert set(told.values()) == {"muster"}


async def test_only_a_webhook_begins_a_trace(traced: Traced) -> None:
    """The polls and the reconcile that ran meanwhile left none."""
    assert {one.name for one in traced.spans if not one.parent} == {SpanName.RECEIVE}


async def test_nothing_that_is_told_says_who_it_is_about(traced: Traced) -> None:
    person = traced.scene.company.tenancy.tables["person"][traced.learner.person]
    personal = {traced.learner.person, traced.learner.code, COURSE, ACTION, *(str(person[name]) for name in ("last_name", "birth_date"))}

    assert [one for one in personal if one in str(traced.spans)] == []


async def test_the_log_names_the_trace_of_what_it_tells(traced: Traced) -> None:
    (trace,) = {one.trace for one in traced.with_a(SpanName.RECORD)}

    assert f'"trace": "{trace}"' in traced.scene.muster.log("work" if traced.apart else "serve")


async def test_each_call_that_is_traced_names_the_delivery_that_it_is_made_for(traced: Traced) -> None:
    told = [json.loads(line) for line in traced.scene.muster.log("work" if traced.apart else "serve").splitlines() if line.startswith("{")]
    calls = [line for line in told if line["event"] == "vendor.called" and "trace" in line]

    assert calls
    assert [line for line in calls if not line["deliveries"]] == []
