"""The tracer that records, towards a collector that is there, that is not, and that refuses."""

import pytest
from structlog.testing import capture_logs

from schemas.delivery import now_utc
from schemas.logs import Log
from schemas.traces import NOTHING, SpanName, current
from tests.services import free_port
from tests.services.collector import recording
from workers.tracing import OpenTelemetry

FIRST = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECOND = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_is_gone_on_with_beneath_it_and_linked_to_the_others() -> None:
    with recording() as (tracer, collector):
        with tracer.follow(SpanName.PUBLISH, [FIRST, SECOND], {"n": 2}) as span:
            inside = current()
            with current().beneath(SpanName.CALL, {}) as call:
                call.tell({"http.response.status_code": 204})
        tracer.close()
    above, below = collector.one(SpanName.PUBLISH), collector.one(SpanName.CALL)

    assert (inside, current()) == (span, NOTHING)
    assert [above.trace, above.parent] == FIRST.split("-")[1:3]
    assert (above.kind, above.links, above.attributes) == ("PRODUCER", (SECOND.split("-")[1],), {"n": 2})
    assert (below.trace, below.parent, below.kind) == (above.trace, above.id, "CLIENT")
    assert below.attributes == {"http.response.status_code": 204}
    assert above.goes_on_as(span.trace)
    assert below.goes_on_as(call.trace)


@pytest.mark.parametrize("traces", [[], ["nonsense"], [FIRST[:-2] + "00"]], ids=["none", "unreadable", "left out by whoever began it"])
def test_what_has_no_trace_leaves_none(traces: list[str]) -> None:
    with recording() as (tracer, collector):
        with tracer.follow(SpanName.FETCH, traces, {}) as span, current().beneath(SpanName.CALL, {}) as call:
            pass
        for trace in traces:
            tracer.followed(SpanName.APPLY, trace, now_utc(), {})
        tracer.close()

    assert (collector.spans, span.trace, call.trace) == ([], None, None)


def test_what_has_been_done_is_told_with_its_time() -> None:
    with recording() as (tracer, collector):
        began = now_utc()
        tracer.followed(SpanName.APPLY, FIRST, began, {"muster.state": "applied"})
        tracer.close()
    span = collector.one(SpanName.APPLY)

    assert [span.trace, span.parent] == FIRST.split("-")[1:3]
    assert (span.kind, span.began // 1000) == ("CONSUMER", round(began.timestamp() * 1e6))
    assert span.ended >= span.began


def test_an_error_is_told_by_its_name_and_goes_on_its_way() -> None:
    with recording() as (tracer, collector):
        with pytest.raises(ValueError, match="Ada"), tracer.follow(SpanName.ENROLL, [FIRST], {}):
            raise ValueError("Ada Lovelace is nobody's business")
        tracer.close()
    span = collector.one(SpanName.ENROLL)

    assert (span.failed, span.attributes) == (True, {"error.type": "ValueError"})
    assert "Ada" not in str(span)


def test_the_standards_variables_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "safety")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with recording() as (tracer, collector):
        with tracer.arrival(now_utc(), {}, parent=None, link=None) as span:
            left_out = span.trace
        with tracer.follow(SpanName.FETCH, [FIRST], {}):
            pass
        tracer.close()

    assert (left_out, [(one.service, one.name) for one in collector.spans]) == (None, [("safety", SpanName.FETCH)])


def test_its_address_may_come_from_the_standards_variable_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with recording() as (_, collector):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        tracer = OpenTelemetry("muster", None)
        tracer.followed(SpanName.APPLY, FIRST, now_utc(), {})
        tracer.close()

        assert collector.one(SpanName.APPLY).service == "muster"


def test_switched_off_by_the_standards_variable_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with recording() as (tracer, collector):
        with tracer.arrival(now_utc(), {}, parent=None, link=None) as span:
            assert span.trace is None
        tracer.close()

    assert collector.spans == []


def test_a_collector_that_is_not_there_is_told_of_and_not_waited_for() -> None:
    tracer = OpenTelemetry("muster", f"http://127.0.0.1:{free_port()}")
    with capture_logs() as logs:
        tracer.followed(SpanName.APPLY, FIRST, now_utc(), {})
        tracer.close(patience=0.2)

    assert [(one["event"], one["log_level"], one["lost"]) for one in logs] == [(Log.TRACES_AWAY, "warning", 1)]


def test_a_collector_that_refuses_is_told_of_once_and_so_is_its_change_of_mind() -> None:
    with capture_logs() as logs, recording() as (tracer, collector):
        for status in (400, 400, 200, 200):
            collector.status = status
            tracer.followed(SpanName.APPLY, FIRST, now_utc(), {})
            tracer.flush()

    assert [one["event"] for one in logs] == [Log.TRACES_AWAY, Log.TRACES_TAKEN]
    assert len(collector.spans) == 2
