"""The lines of an export: what was written is read, and what is no such line is told without quoting it."""

import json
from uuid import UUID

import pytest

from schemas.exports import Exported, NotExported, line, read
from tests.workers.made import NOON, delivery

ONE = Exported(redacted=False, state="dead", reason="handler_failed", delivery=delivery(b"\x00\xff{"))


def test_a_line_is_read_as_it_was_written() -> None:
    written = line(ONE)

    assert "\n" not in written
    assert read(written) == ONE


def test_a_line_is_as_documented_and_tells_nothing_of_lanes() -> None:
    found = json.loads(line(ONE))

    assert [*found] == ["muster", "version", "redacted", "state", "reason", "delivery"]
    assert not {"attempt", "replay_of", "effects"} & {*found["delivery"]}
    assert (UUID(found["delivery"]["id"]), found["delivery"]["received_at"]) == (ONE.delivery.id, NOON.isoformat().replace("+00:00", "Z"))


def test_fields_of_a_later_program_are_passed_over() -> None:
    assert read(json.dumps(json.loads(line(ONE)) | {"later": 1})) == ONE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("{", "the line: Invalid JSON", id="no JSON"),
        pytest.param("[]", "the line: ", id="no object"),
        pytest.param(json.dumps({"muster": "person", "name": "Smith"}), "muster: Input should be 'delivery'", id="another thing"),
        pytest.param(json.dumps(json.loads(line(ONE)) | {"version": 2}), "version: Input should be 1", id="another version"),
        pytest.param(json.dumps(json.loads(line(ONE)) | {"delivery": {"id": "Smith"}}), "delivery.id: ", id="no delivery"),
    ],
)
def test_what_is_no_such_line_is_told_and_not_quoted(text: str, says: str) -> None:
    with pytest.raises(NotExported) as told:
        read(text)

    assert str(told.value).startswith(says)
    assert "Smith" not in str(told.value)
