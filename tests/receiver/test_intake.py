"""The decision on one request: what is refused, in which order, and what is kept of the rest."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import BodyTooLarge, EncodedBody, NotVerified, Refusal, SenderNotAllowed
from receiver.intake import EVENT_LENGTH, Request, accept, sender
from receiver.sources import Source
from schemas.delivery import decode, encode
from schemas.verification import Sha256Concat, Token
from workers.handlers.bodies import event_named_in

NOW = datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC)
PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
SOURCE = Source(
    name="hse",
    vendor="4hse",
    account="acme",
    verify=(Token(scheme="token", query="token", secrets=("s3cret",)),),
    max_body=100,
    networks=(),
    event_field=None,
    event_header=None,
    event_query=None,
    kept_headers=("content-type", "user-agent"),
)
#: A token of its own lets in the hand-shake, which comes unsigned, and nothing else.
HANDSHAKE = Token(scheme="token", query="token", secrets=("s3cret",), events=("CONFIRMATION",))
SIGNED = Sha256Concat(scheme="sha256-concat", header="X-Hub-Signature", secrets=("signing",))
ISPRING = replace(SOURCE, name="lms", vendor="ispring", verify=(SIGNED, HANDSHAKE), event_field="type", max_body=10_000)
REQUEST = Request(event=None, headers={}, query={"token": "s3cret"}, peer="192.0.2.7", body=b'{"a": 1}')


def test_an_authentic_request_becomes_a_delivery_with_its_body_untouched() -> None:
    body = b'\xff\x00 not even JSON {"'
    one = accept(SOURCE, (), replace(REQUEST, event="PERSON::CREATE", headers={"content-type": "x/y"}, body=body), NOW)

    assert (one.source, one.account, one.vendor, one.event) == ("hse", "acme", "4hse", "PERSON::CREATE")
    assert (one.body, one.received_at, one.headers) == (body, NOW, {"content-type": "x/y"})
    assert one.fingerprint == hashlib.sha256(b"PERSON::CREATE\0" + body).hexdigest()
    assert (one.id.version, one.attempt, one.replay_of) == (7, 0, None)


def test_each_request_gets_an_id_of_its_own() -> None:
    assert len({accept(SOURCE, (), REQUEST, NOW).id for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("right", "expected"),
    [(0, BodyTooLarge), (1, EncodedBody), (2, SenderNotAllowed), (3, NotVerified)],
)
def test_a_request_that_is_wrong_in_several_ways_is_refused_for_the_first(right: int, expected: type[Refusal]) -> None:
    source = replace(SOURCE, networks=(ip_network("198.51.100.0/24"),))
    mended = [
        {"body": b"x"},
        {"headers": {}},
        {"peer": "198.51.100.1"},
    ][:right]
    request = Request(event=None, headers={"content-encoding": "gzip"}, query={}, peer="192.0.2.7", body=b"x" * 101)
    for change in mended:
        request = replace(request, **change)  # type: ignore[arg-type]

    with pytest.raises(expected):
        accept(source, (), request, NOW)


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_body_up_to_the_limit_is_kept_whole(size: int) -> None:
    assert accept(SOURCE, (), replace(REQUEST, body=b"x" * size), NOW).body == b"x" * size


@pytest.mark.parametrize("encoding", ["identity", "", " Identity "])
def test_a_body_as_it_is_is_accepted(encoding: str) -> None:
    assert accept(SOURCE, (), replace(REQUEST, headers={"content-encoding": encoding}), NOW)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "deflate", "x"])
def test_an_encoded_body_is_refused(encoding: str) -> None:
    with pytest.raises(EncodedBody):
        accept(SOURCE, (), replace(REQUEST, headers={"content-encoding": encoding}), NOW)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),  # whoever connects directly forges nothing
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),  # what stands left of it is forged
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1,10.0.0.3 ,  10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.9.9.9, 10.0.0.2", "10.9.9.9"),
        ("10.0.0.1", "198.51.100.1, unknown", None),
        ("10.0.0.1", "198.51.100.1, 10.0.0.256", None),
        ("10.0.0.1", " , ,", "10.0.0.1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("fd00::1", "[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.7", None, "192.0.2.7"),
        (None, None, None),
        (None, "198.51.100.1", None),
        ("a unix socket", "198.51.100.1", None),
    ],
)
def test_the_sender_is_the_last_hop_that_is_no_trusted_proxy(peer: str | None, forwarded: str | None, expected: str | None) -> None:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    found = sender(replace(REQUEST, peer=peer, headers=headers), PROXIES)

    assert found == (ip_address(expected) if expected else None)


@given(st.lists(st.ip_addresses().map(str) | st.text(max_size=5), max_size=4))
def test_nothing_that_a_sender_puts_before_its_own_address_changes_it(forged: list[str]) -> None:
    headers = {"x-forwarded-for": ", ".join([*forged, "198.51.100.1", "10.0.0.2"])}

    assert sender(replace(REQUEST, peer="10.0.0.1", headers=headers), PROXIES) == IPv4Address("198.51.100.1")


@given(st.none() | st.text(max_size=40), st.text(max_size=60))
def test_no_address_makes_the_decision_fail(peer: str | None, forwarded: str) -> None:
    sender(replace(REQUEST, peer=peer, headers={"x-forwarded-for": forwarded}), PROXIES)


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        ("192.0.2.7", True),
        ("192.0.2.255", True),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::5", True),
        ("192.0.3.0", False),
        ("2001:db9::5", False),
        (None, False),
        ("nonsense", False),
    ],
)
def test_only_listed_networks_may_send_where_a_list_is_given(peer: str | None, allowed: bool) -> None:
    source = replace(SOURCE, networks=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))
    if allowed:
        assert accept(source, (), replace(REQUEST, peer=peer), NOW)
    else:
        with pytest.raises(SenderNotAllowed):
            accept(source, (), replace(REQUEST, peer=peer), NOW)


@pytest.mark.parametrize(
    ("address", "headers", "query", "expected"),
    [
        (None, {}, {}, None),
        ("A::B", {"x-event": "H"}, {"event": "Q"}, "A::B"),
        (None, {"x-event": "H"}, {"event": "Q"}, "H"),
        (None, {}, {"event": "Q"}, "Q"),
        (None, {"x-event": ""}, {"event": "Q"}, "Q"),
        ("", {}, {}, None),
        (None, {"other": "H"}, {"other": "Q"}, None),
    ],
)
def test_the_event_is_named_by_the_address_then_the_header_then_the_query(
    address: str | None, headers: dict[str, str], query: dict[str, str], expected: str | None
) -> None:
    source = replace(SOURCE, event_header="x-event", event_query="event")

    assert accept(source, (), replace(REQUEST, event=address, headers=headers, query={**REQUEST.query, **query}), NOW).event == expected


def test_a_header_or_query_names_no_event_unless_configured() -> None:
    request = replace(REQUEST, headers={"x-event": "H"}, query={"token": "s3cret", "event": "Q"})

    assert accept(SOURCE, (), request, NOW).event is None


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ("A\nB", r"A\nB"),
        ("A\x00B", r"A\x00B"),
        ("\x1b[2J", r"\x1b[2J"),
        ("A\u202eB", r"A\u202eB"),
        ("A B é 山", "A B é 山"),
        ("x" * 300, "x" * EVENT_LENGTH),
    ],
    ids=repr,
)
def test_control_characters_in_an_event_are_written_out(named: str, kept: str) -> None:
    assert accept(SOURCE, (), replace(REQUEST, event=named), NOW).event == kept


@given(st.text(min_size=1, max_size=400))
def test_any_event_can_be_stored_and_sent(named: str) -> None:
    one = accept(SOURCE, (), replace(REQUEST, event=named), NOW)

    assert one.event is not None
    assert one.event.isprintable()
    assert decode(encode(one)) == one


def test_only_the_configured_headers_are_kept() -> None:
    headers = {"content-type": "a/b", "authorization": "Basic x", "cookie": "c", "x-other": "o"}

    assert accept(SOURCE, (), replace(REQUEST, headers=headers), NOW).headers == {"content-type": "a/b"}


def is_let_in(source: Source, body: bytes, **changed: Any) -> bool:
    """Whether a request with the token in its address passes."""
    try:
        return bool(accept(source, (), replace(REQUEST, body=body, **changed), NOW))
    except NotVerified:
        return False


CONFIRMATION = b'{"type": "CONFIRMATION", "payloads": ["{\\"code\\": \\"1759b14e\\"}"]}'


@pytest.mark.parametrize("order", [(SIGNED, HANDSHAKE), (HANDSHAKE, SIGNED)], ids=["token last", "token first"])
@pytest.mark.parametrize("event", [None, "COURSE_COMPLETED_SUCCESSFULLY"])
def test_an_unsigned_confirmation_is_let_in_by_its_token_on_any_events_address(order: Any, event: str | None) -> None:
    source = replace(ISPRING, verify=order)

    assert is_let_in(source, CONFIRMATION, event=event)
    assert not is_let_in(source, CONFIRMATION, event=event, query={"token": "another"})
    assert not is_let_in(source, CONFIRMATION, event=event, query={})


@pytest.mark.parametrize(
    "body",
    [
        b'{"type": "COURSE_COMPLETED_SUCCESSFULLY", "payloads": [{}]}',
        b'{"type": "CONFIRMATION", "type": "COURSE_COMPLETED_SUCCESSFULLY"}',
        b'{"type": "COURSE_COMPLETED_SUCCESSFULLY", "type": "CONFIRMATION"}',
        b'{"type": "confirmation"}',
        b'{"type": ["CONFIRMATION"]}',
        b'{"Type": "CONFIRMATION"}',
        b'{"payloads": [{"type": "CONFIRMATION"}]}',
        b'[{"type": "CONFIRMATION"}]',
        b'"CONFIRMATION"',
        b'{"type": "CONFIRMATION"} {"type": "USER_REGISTERED"}',
        b"<event><type>CONFIRMATION</type></event>",
        b'{"type": "CONFIRMATION"',
        b"[" * 5000,
        b"",
    ],
    ids=repr,
)
@pytest.mark.parametrize("event", [None, "CONFIRMATION"])
def test_the_token_of_one_event_lets_nothing_else_in_whatever_the_address_says(body: bytes, event: str | None) -> None:
    assert not is_let_in(ISPRING, body, event=event)


@given(
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(["type", "payloads", "Type"]), st.sampled_from(["CONFIRMATION", "X", None, 1, ["CONFIRMATION"]])).map(
        lambda body: json.dumps(body).encode()
    )
)
def test_what_the_token_of_one_event_lets_in_is_that_event_to_the_workers(body: bytes) -> None:
    if is_let_in(ISPRING, body):
        assert event_named_in(body, "type", None) == "CONFIRMATION"


def test_a_signature_lets_every_event_in_beside_the_token_of_one() -> None:
    body = b'{"type": "COURSE_COMPLETED_SUCCESSFULLY", "payloads": []}'
    signature = hashlib.sha256(body + b"signing").hexdigest()

    assert is_let_in(ISPRING, body, headers={"x-hub-signature": signature}, query={})
    assert is_let_in(ISPRING, body, headers={"x-hub-signature": signature})


def test_where_no_body_names_its_event_a_scheme_for_some_lets_nothing_in() -> None:
    assert not is_let_in(replace(ISPRING, event_field=None), CONFIRMATION)
