"""What is wrong in an expression is found."""

import pytest

from tests.workers.deploy.expressions import labels, mistakes, shown


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("muster_spool_deliveries > 1", []),
        ("muster_spool_delivered", ["there is no muster_spool_delivered"]),
        ("muster_ack_seconds", ["there is no muster_ack_seconds"]),
        ("muster_requests_total{source='hse', outcome='accepted'}", []),
        (
            "rate(muster_requests_total{outcome=~'not_durable|overladen'}[5m])",
            ["muster_requests_total has no outcome not_durable|overladen"],
        ),
        ("muster_spool_deliveries{source='hse'}", ["muster_spool_deliveries has no label source"]),
        ("sum by (account) (rate(muster_ack_seconds_bucket[5m]))", ["nothing to group by: account"]),
        ("sum by (source, le) (rate(muster_ack_seconds_bucket[$__rate_interval]))", []),
    ],
)
def test_a_name_a_label_or_a_value_that_is_not_there_is_found(expression: str, wrong: list[str]) -> None:
    assert mistakes(expression) == wrong


@pytest.mark.parametrize(
    ("expression", "has"),
    [
        ("muster_queue_messages", {"job", "instance", "queue"}),
        ("max(muster_queue_messages)", set()),
        ("max without (instance, job) (muster_queue_messages) > 3", {"queue"}),
        ("histogram_quantile(0.9, sum by (le, source) (rate(muster_ack_seconds_bucket[5m])))", {"source"}),
        ("1 - max by (kind) (muster_quiet)", {"kind"}),
        ("sum by (source, outcome) (muster_requests_total) / sum by (source) (muster_requests_total)", {"source"}),
    ],
)
def test_the_labels_of_a_result_are_known(expression: str, has: set[str]) -> None:
    assert labels(expression) == has


def test_the_labels_that_a_text_shows_are_known() -> None:
    assert shown("{{ $labels.queue }} and {{account}}, {{ $value | humanizeDuration }}") == {"queue", "account"}
