"""PromQL held against the metrics that exist: names, labels, the labels' values, and which labels a result has."""

import re
from collections.abc import Iterator

import promql_parser as promql

from receiver.metrics import OUTCOMES
from schemas import metrics, topology
from schemas.metrics import ACCEPTED, LIVE, METRICS, OTHER, REPLAY, SUPPRESSED, Metric
from schemas.states import DeliveryState, DriftKind, EnrollmentState, NeedState
from workers.followups.recording import DEAD, DONE, DROPPED, PLANNED
from workers.operations.figures import QUESTIONS
from workers.vendors.breaker import State
from workers.vendors.calls import CallOutcome

#: What Prometheus adds to every series, and what it and the library tell of every process.
TARGET = frozenset({"job", "instance"})
OTHERS = ("up", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds")
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}

#: The labels whose values are a closed set.
VALUES: dict[tuple[Metric, str], frozenset[str]] = {
    (metrics.REQUESTS, "outcome"): frozenset({ACCEPTED, *OUTCOMES.values()}),
    (metrics.DELIVERIES, "outcome"): frozenset({SUPPRESSED, *map(str, DeliveryState)}),
    (metrics.DELIVERIES, "lane"): frozenset({LIVE, REPLAY}),
    (metrics.CALLS, "outcome"): frozenset(map(str, CallOutcome)),
    (metrics.BREAKER, "state"): frozenset(map(str, State)),
    (metrics.FOLLOWUPS, "state"): frozenset(map(str, NeedState)),
    (metrics.ENROLLMENTS, "state"): frozenset(map(str, EnrollmentState)),
    (metrics.RECORDINGS, "state"): frozenset({PLANNED, DONE, DEAD, DROPPED}),
    (metrics.QUEUE, "queue"): frozenset(queue.name for queue in topology.QUEUES),
    (metrics.CONSUMERS, "queue"): frozenset(queue.name for queue in topology.QUEUES),
    (metrics.DRIFT, "kind"): frozenset(map(str, DriftKind)),
    (metrics.UNANSWERED, "question"): frozenset({*QUESTIONS, "broker"}),
    (metrics.QUIET, "kind"): frozenset({"source", "poll", "subscriber", "receiver"}),
}


def _series() -> Iterator[tuple[str, Metric]]:
    for metric in METRICS:
        for suffix in _SUFFIXES[metric.kind]:
            yield metric.name + suffix, metric
    yield from ((name, Metric(name, "gauge", "")) for name in OTHERS)


SERIES = dict(_series())


def read(text: str) -> promql.Expr:
    """An expression; Grafana's own variable stands for a range."""
    return promql.parse(text.replace("$__rate_interval", "5m"))


def selectors(expression: promql.Expr) -> list[promql.VectorSelector]:
    """Every series that it names."""
    found = list[promql.VectorSelector]()

    def visit(one: promql.Expr) -> None:
        if isinstance(one, promql.VectorSelector):
            found.append(one)

    promql.walk(expression, visit)
    return found


def mistakes(text: str) -> list[str]:
    """What an expression says of metrics that is not so."""
    expression = read(text)
    return [wrong for one in selectors(expression) for wrong in _selector(one)] + list(_grouping(expression))


def _selector(one: promql.VectorSelector) -> Iterator[str]:
    if one.name not in SERIES:
        yield f"there is no {one.name}"
        return
    metric = SERIES[one.name]
    for matcher in one.matchers.matchers:
        known = VALUES.get((metric, matcher.name))
        if matcher.name not in _labels_of(one):
            yield f"{one.name} has no label {matcher.name}"
        elif known is not None and not all(any(re.fullmatch(part, value) for value in known) for part in matcher.value.split("|")):
            yield f"{one.name} has no {matcher.name} {matcher.value}"


def _grouping(expression: promql.Expr) -> Iterator[str]:
    found = list[str]()

    def visit(one: promql.Expr) -> None:
        if isinstance(one, promql.AggregateExpr) and one.modifier is not None:
            found.extend(f"nothing to group by: {label}" for label in set(one.modifier.labels) - _labels_of(one.expr))

    promql.walk(expression, visit)
    return iter(found)


def labels(text: str) -> frozenset[str]:
    """The labels that a result has."""
    return _labels_of(read(text))


def _labels_of(one: promql.Expr) -> frozenset[str]:
    match one:
        case promql.VectorSelector():
            metric = SERIES[one.name or ""]
            return TARGET | set(metric.labels) | ({"le"} if (one.name or "").endswith("_bucket") else set())
        case promql.MatrixSelector():
            return _labels_of(one.vector_selector)
        case promql.ParenExpr() | promql.UnaryExpr():
            return _labels_of(one.expr)
        case promql.AggregateExpr():
            if one.modifier is None:
                return frozenset()
            named = frozenset(one.modifier.labels)
            return named if one.modifier.type == promql.AggModifierType.By else _labels_of(one.expr) - named
        case promql.Call():
            return _labels_of_call(one)
        case promql.BinaryExpr():
            left, right = _labels_of(one.lhs), _labels_of(one.rhs)
            return left & right if left and right and str(one.op) not in {"unless", "and"} else left or right
        case _:
            return frozenset()


def _labels_of_call(one: promql.Call) -> frozenset[str]:
    if one.func.name == "absent":
        # What is not there has the labels alone that it was asked for by.
        (absent,) = one.args
        return frozenset(matcher.name for matcher in absent.matchers.matchers if matcher.op == promql.MatchOp.Equal)
    found = frozenset[str]().union(*map(_labels_of, one.args))
    return found - {"le"} if one.func.name == "histogram_quantile" else found


#: A label in a template of Prometheus' or Grafana's.
SHOWN = re.compile(r"\{\{ ?(?:\$labels\.)?([a-z_]+) ?\}\}")


def shown(template: str) -> set[str]:
    """The labels that a text shows."""
    return set(SHOWN.findall(template)) - {OTHER}
