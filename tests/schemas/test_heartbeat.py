"""The heartbeat on the wire: what is written is read, and what validates can be stored."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.delivery import UnknownEnvelope, unseal
from schemas.heartbeat import Heartbeat, decode
from schemas.topology import heartbeat_key

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEAST: dict[str, Any] = {"name": "web-1.example:8010", "at": NOON, "began_at": NOON, "every": 30, "program": "0.1.0", "spooled": 3}


def test_what_is_written_is_read() -> None:
    one = Heartbeat(**LEAST, spooled_since=NOON, rejected=2, rejected_last=NOON, rejected_lost=1, stopping=True)

    assert decode(one.model_dump_json().encode()) == one


def test_it_says_of_itself_what_it_is() -> None:
    written = json.loads(Heartbeat(**LEAST).model_dump_json())

    assert (written["version"], written["kind"]) == (1, "heartbeat")


def test_a_program_that_knows_no_heartbeats_sees_an_envelope_of_another_kind() -> None:
    with pytest.raises(UnknownEnvelope, match="heartbeat"):
        unseal(Heartbeat(**LEAST).model_dump_json().encode())


def test_a_field_from_the_future_does_no_harm() -> None:
    assert decode(json.dumps(json.loads(Heartbeat(**LEAST).model_dump_json()) | {"new": 1}).encode()) == Heartbeat(**LEAST)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"version": 2}, id="another version"),
        pytest.param({"kind": "deliveries"}, id="another kind"),
        pytest.param({"name": "a\0b"}, id="a name that no database stores"),
        pytest.param({"name": "a" * 101}, id="a name too long for a routing key"),
        pytest.param({"name": ""}, id="no name"),
        pytest.param({"program": "0.1\n"}, id="a version that is none"),
        pytest.param({"spooled": -1}, id="fewer than none"),
        pytest.param({"spooled": 2**63}, id="more than there can be"),
        pytest.param({"every": 0}, id="no pause"),
        pytest.param({"at": "2026-03-01T12:00:00"}, id="a time of no zone"),
    ],
)
def test_what_cannot_be_stored_does_not_validate(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Heartbeat(**(LEAST | changed))


def test_its_routing_key_names_the_receiver() -> None:
    assert heartbeat_key("web-1") == "heartbeat.web-1"
