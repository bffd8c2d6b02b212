"""The last outcomes: a bounded ring, counted by status, refusals logged without a flood."""

import json
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from receiver.recent import LENGTH, Recent

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def test_an_outcome_is_told_with_time_source_event_status_and_id_as_json_has_them() -> None:
    recent = Recent()
    recent.add(AT, "hse", "PERSON::CREATE", 200, "an-id")

    assert json.loads(json.dumps(recent.after(0))) == [
        {"number": 1, "at": "2026-11-21T09:30:00+00:00", "source": "hse", "event": "PERSON::CREATE", "status": 200, "delivery": "an-id"}
    ]


@pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3]), (2, [3]), (3, []), (99, [])])
def test_only_what_came_after_a_number_is_told_oldest_first(after: int, expected: list[int]) -> None:
    recent = Recent()
    for _ in range(3):
        recent.add(AT, "hse", None, 200)

    assert [one["number"] for one in recent.after(after)] == expected


def test_the_ring_keeps_the_last_100_and_the_counts_keep_all() -> None:
    recent = Recent()
    for number in range(LENGTH + 50):
        recent.add(AT, "hse", None, 200 if number % 2 else 401)

    assert [one["number"] for one in recent.after(0)] == list(range(51, 151))
    assert recent.statuses == {200: 75, 401: 75}


def test_a_flood_of_refusals_of_one_kind_is_one_line_and_another_kind_another() -> None:
    recent = Recent()
    with capture_logs() as logged:
        for _ in range(500):
            recent.add(AT, "hse", None, 401)
        recent.add(AT, "hse", None, 413)
        recent.add(AT, "lms", None, 401)
        recent.add(AT, "lms", None, 200)

    assert [(one["source"], one["status"], one["times"]) for one in logged] == [("hse", 401, 1), ("hse", 413, 1), ("lms", 401, 1)]
