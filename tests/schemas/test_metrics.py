"""The metrics' names, units and labels follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/)."""

import re

import pytest

from schemas.metrics import METRICS, Metric

#: What Prometheus keeps for itself, or puts behind a histogram's name.
RESERVED = {"le", "quantile", "job", "instance"}
SUFFIXES = ("_bucket", "_count", "_sum", "_created", "_info")
#: Units that are no base units, and words that a type says.
UNFIT = r"_(ms|milliseconds|minutes|hours|days|kb|kib|mb|mib|percent|gauge|counter|histogram)(_|$)"


def test_no_two_have_one_name() -> None:
    assert len({one.name for one in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda one: one.name)
def test_a_name_says_whose_it_is_what_it_counts_and_in_which_base_unit(metric: Metric) -> None:
    assert re.fullmatch(r"muster(_[a-z]+)+", metric.name)
    assert not metric.name.endswith(SUFFIXES)
    assert not re.search(UNFIT, metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert ("_age_" in metric.name or "_timestamp_" in metric.name) <= metric.name.endswith("_seconds")


@pytest.mark.parametrize("metric", METRICS, ids=lambda one: one.name)
def test_it_is_explained_in_a_sentence(metric: Metric) -> None:
    assert metric.help.endswith(".")
    assert "\n" not in metric.help


@pytest.mark.parametrize("metric", METRICS, ids=lambda one: one.name)
def test_labels_are_few_and_none_is_prometheus_own(metric: Metric) -> None:
    assert len(metric.labels) <= 3
    assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)
    assert not RESERVED & set(metric.labels)


@pytest.mark.parametrize("metric", METRICS, ids=lambda one: one.name)
def test_a_histogram_and_nothing_else_has_bounds_which_ascend(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
