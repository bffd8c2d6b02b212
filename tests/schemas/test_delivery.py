"""The wire: what is sealed opens as it was, and what cannot be opened is told apart."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import RFC_4122, UUID

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.delivery import (
    ENVELOPE_OVERHEAD,
    Delivery,
    UnknownEnvelope,
    UnreadableEnvelope,
    decode,
    encode,
    fingerprint,
    json_schema,
    now_utc,
    replayed_id,
    seal,
    traces,
    unseal,
)

_text = st.text(max_size=20)

deliveries = st.builds(
    Delivery,
    id=st.uuids(),
    source=_text,
    account=_text,
    vendor=_text,
    event=st.none() | _text,
    received_at=st.datetimes(timezones=st.just(UTC)),
    headers=st.dictionaries(_text, st.text(st.characters(codec="latin-1"), max_size=20), max_size=3),
    body=st.binary(max_size=200),
    fingerprint=st.just("0" * 64),
    attempt=st.integers(0, 2**31),
    replay_of=st.none() | st.uuids(),
    effects=st.booleans(),
)


@settings(max_examples=50)
@given(st.lists(deliveries, min_size=1, max_size=4))
def test_what_is_sealed_opens_as_it_was_byte_for_byte(given_: list[Delivery]) -> None:
    assert unseal(seal(map(encode, given_))) == given_


@settings(max_examples=50)
@given(deliveries)
def test_one_delivery_decodes_as_it_was_encoded(one: Delivery) -> None:
    assert decode(encode(one)) == one


@settings(max_examples=50)
@given(st.lists(deliveries, min_size=1, max_size=4))
def test_every_envelope_fits_the_published_schema(given_: list[Delivery]) -> None:
    jsonschema.validate(json.loads(seal(map(encode, given_))), json_schema(), cls=jsonschema.Draft202012Validator)


def test_the_published_schema_is_a_schema_and_refuses_what_is_no_envelope() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    for wrong in ({}, {"version": 1, "kind": "deliveries", "deliveries": []}, {"version": 2, "kind": "deliveries", "deliveries": [{}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, json_schema())


def test_the_wire_is_as_documented() -> None:
    one = Delivery(
        id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
        source="hse",
        account="acme",
        vendor="4hse",
        event="ACTION_SUBSCRIPTION::CREATE",
        received_at=datetime(2026, 11, 21, 9, 30, 0, 123456, UTC),
        headers={"content-type": "application/json"},
        body=b"\xfb\xff{}",
        fingerprint=fingerprint("ACTION_SUBSCRIPTION::CREATE", b"\xfb\xff{}"),
    )
    wire = json.loads(seal([encode(one)]))

    assert (wire["version"], wire["kind"], len(wire["deliveries"])) == (1, "deliveries", 1)
    assert wire["deliveries"][0] == {
        "id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "source": "hse",
        "account": "acme",
        "vendor": "4hse",
        "event": "ACTION_SUBSCRIPTION::CREATE",
        "received_at": "2026-11-21T09:30:00.123456Z",
        "headers": {"content-type": "application/json"},
        "body": base64.urlsafe_b64encode(b"\xfb\xff{}").decode(),
        "fingerprint": hashlib.sha256(b"ACTION_SUBSCRIPTION::CREATE\0\xfb\xff{}").hexdigest(),
        "attempt": 0,
        "replay_of": None,
        "effects": True,
    }


def test_a_trace_goes_along_and_where_there_is_none_no_byte_says_so() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced, untraced = encode(_delivery().model_copy(update={"trace": trace})), encode(_delivery())

    assert (decode(traced).trace, decode(untraced).trace, b"trace" in untraced) == (trace, None, False)
    assert traces([untraced, traced, untraced]) == [trace]


@pytest.mark.parametrize("wrong", ["nonsense", "", 7, None, {"a": 1}])
def test_a_trace_that_cannot_be_read_is_none_and_harms_no_delivery(wrong: object) -> None:
    wire = json.loads(encode(_delivery())) | {"trace": wrong}

    assert decode(json.dumps(wire).encode()) == _delivery()


def test_a_newer_writers_extra_fields_are_passed_over() -> None:
    wire = json.loads(seal([encode(_delivery())]))
    wire["deliveries"][0]["colour"] = wire["weather"] = "new"

    assert unseal(json.dumps(wire).encode()) == [_delivery()]


@pytest.mark.parametrize(
    ("changes", "version", "kind"),
    [
        ({"version": 2}, 2, "deliveries"),
        ({"kind": "replays"}, 1, "replays"),
        ({"version": 2, "kind": "other", "deliveries": "shaped otherwise"}, 2, "other"),
    ],
    ids=["version", "kind", "both, and another shape"],
)
def test_an_envelope_from_the_future_is_unknown_not_unreadable(changes: dict[str, Any], version: int, kind: str) -> None:
    wire = json.loads(seal([encode(_delivery())])) | changes
    with pytest.raises(UnknownEnvelope) as caught:
        unseal(json.dumps(wire).encode())

    assert (caught.value.version, caught.value.kind) == (version, kind)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"null",
        b'{"version":1}',
        b'{"version":1,"kind":"deliveries"}',
        b'{"version":1,"kind":"deliveries","deliveries":[]}',
        b'{"version":1,"kind":"deliveries","deliveries":[{}]}',
        b'{"version":1,"kind":"deliveries","deliveries":[',
        b"[" * 100_000,
    ],
    ids=lambda message: repr(message[:60]),
)
def test_what_is_no_envelope_is_unreadable_with_a_reason(message: bytes) -> None:
    with pytest.raises(UnreadableEnvelope, match=r"\w"):
        unseal(message)


@settings(max_examples=50)
@given(st.binary(max_size=100))
def test_no_bytes_make_unsealing_fail_otherwise(message: bytes) -> None:
    with pytest.raises((UnreadableEnvelope, UnknownEnvelope)):
        unseal(message)


def test_an_unreadable_envelopes_reason_repeats_no_content() -> None:
    wire = json.loads(seal([encode(_delivery())]))
    wire["deliveries"][0]["received_at"] = "planted-content"
    with pytest.raises(UnreadableEnvelope) as caught:
        unseal(json.dumps(wire).encode())

    assert "received_at" in str(caught.value)
    assert "planted-content" not in str(caught.value)


def test_a_full_envelope_stays_within_the_overhead_that_is_reckoned_with() -> None:
    encoded = [b"x"] * 256

    assert len(seal(encoded)) - len(encoded) <= ENVELOPE_OVERHEAD


@settings(max_examples=50)
@given(st.none() | _text, st.binary(max_size=50), st.none() | _text, st.binary(max_size=50))
def test_a_fingerprint_tells_event_and_body_apart(event: str | None, body: bytes, other_event: str | None, other: bytes) -> None:
    same = ((event or "").encode() + b"\0" + body) == ((other_event or "").encode() + b"\0" + other)

    assert (fingerprint(event, body) == fingerprint(other_event, other)) == same


@settings(max_examples=100)
@given(st.uuids(), st.uuids())
def test_a_replays_id_is_the_same_whenever_it_is_asked_for_and_lies_beside_its_originals(run: UUID, original: UUID) -> None:
    id_ = replayed_id(run, original)

    assert id_ == replayed_id(run, original) != original
    assert id_.bytes[:6] == original.bytes[:6]
    assert (id_.version, id_.variant) == (8, RFC_4122)


@settings(max_examples=50)
@given(st.uuids(), st.lists(st.uuids(), max_size=20, unique=True))
def test_replays_of_other_deliveries_and_of_other_runs_have_other_ids(run: UUID, originals: list[UUID]) -> None:
    other = UUID(int=run.int ^ 1)

    assert len({replayed_id(which, one) for which in (run, other) for one in originals}) == 2 * len(originals)


def test_a_replays_id_is_as_documented_for_it_has_to_outlive_every_release() -> None:
    run, original = UUID("0190163d-8694-739b-aea5-966c26f8ad91"), UUID("01890a5d-ac96-774b-bcce-b302099a8057")

    assert str(replayed_id(run, original)) == "01890a5d-ac96-8125-acd5-a6ec5393f206"


def test_a_delivery_is_frozen_and_wants_a_time_with_its_zone() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _delivery().attempt = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="timezone"):
        Delivery.model_validate(_delivery().model_dump() | {"received_at": datetime(2026, 1, 1)})
    with pytest.raises(ValidationError, match="fingerprint"):
        Delivery.model_validate(_delivery().model_dump() | {"fingerprint": "short"})


def test_the_present_is_told_in_utc_to_the_microsecond() -> None:
    before = datetime.now(timezone(timedelta(hours=5)))

    assert before <= now_utc() <= datetime.now(UTC)
    assert now_utc().utcoffset() == timedelta(0)


def _delivery() -> Delivery:
    return Delivery(
        id=UUID(int=7),
        source="hse",
        account="hse",
        vendor="4hse",
        event=None,
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
        headers={},
        body=b"{}",
        fingerprint=fingerprint(None, b"{}"),
    )
