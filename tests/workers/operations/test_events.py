"""What of the messages on the exchange is an event."""

import json
from typing import Any

import pytest

from schemas.events import EventType
from tests.schemas.test_events import told
from workers.operations.events import read


@pytest.mark.parametrize("kind", EventType)
def test_an_event_is_read(kind: EventType) -> None:
    assert read(json.dumps(told(kind)).encode()) == told(kind)


def spoilt(**changed: Any) -> bytes:
    """An event with other attributes."""
    return json.dumps(told(EventType.DRIFT_FOUND) | changed).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"hello", id="text"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="an object"),
        pytest.param(b'{"specversion": "1.0", "id": "1", "source": "x", "type": "x"}', id="an event of somebody else"),
        pytest.param(spoilt(time="noon"), id="no time"),
        pytest.param(spoilt(time=None), id="null for a time"),
        pytest.param(spoilt(sequence="first"), id="no number"),
        pytest.param(spoilt(data="x"), id="no data"),
        pytest.param(spoilt(type=1), id="no type"),
    ],
)
def test_what_is_no_event_is_passed_over(body: bytes) -> None:
    assert read(body) is None
