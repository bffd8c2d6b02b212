"""Bodies into values: what is ambiguous, endless or unstorable is refused with a reason, and nothing else happens."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.handlers.bodies import Unparsable, content, event_named_in, parsed


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b"{}", {}, id="empty object"),
        pytest.param(b' [1, "a", null, true] ', [1, "a", None, True], id="values"),
        pytest.param(b"123456789012345678901234567890", 123456789012345678901234567890, id="an integer beyond 64 bits is exact"),
        pytest.param(b"9007199254740993", 2**53 + 1, id="an integer beyond a float's precision is exact"),
        pytest.param(b"1" * 4300, int("1" * 4300), id="as many digits as Python reads"),
        pytest.param(b"0.1", 0.1, id="a fraction"),
        pytest.param(b'"\\ud834\\udd1e"', "\N{MUSICAL SYMBOL G CLEF}", id="a surrogate pair"),
        pytest.param('"è\ufeff\U0001f512"'.encode(), "è\ufeff\U0001f512", id="odd characters"),
        pytest.param(b'{"a": {"x": 1}, "b": {"x": 2}}', {"a": {"x": 1}, "b": {"x": 2}}, id="one key in two objects"),
        pytest.param(b"[" * 100 + b"]" * 100, json.loads(b"[" * 100 + b"]" * 100), id="nested, within reason"),
    ],
)
def test_json_is_read_exactly(body: bytes, value: Any) -> None:
    assert parsed(body) == value
    assert type(parsed(body)) is type(value)


BROKEN = [
    pytest.param(b"", "not JSON: EOF", id="empty"),
    pytest.param(b"hello", "not JSON", id="plain text"),
    pytest.param(b"{", "not JSON: EOF", id="cut short"),
    pytest.param(b'{"a": 1} x', "trailing characters", id="two things"),
    pytest.param(b'{"name": 1, "name": 2}', "a key stands twice in one object", id="duplicate key"),
    pytest.param(b'[{"a": {"name": 1, "name": 1}}]', "a key stands twice in one object", id="duplicate key, deep and equal"),
    pytest.param(b'{"a": 1, "\\u0061": 2}', "a key stands twice in one object", id="duplicate key in disguise"),
    pytest.param(b"NaN", "not JSON", id="NaN"),
    pytest.param(b"[-Infinity]", "not JSON", id="infinity"),
    pytest.param(b"[1e999]", "a number is too large", id="a number that is infinity to a float"),
    pytest.param(b'{"a": [-1e999]}', "a number is too large", id="and its negative, deep"),
    pytest.param(b"1" * 4301, "number out of range", id="more digits than Python reads"),
    pytest.param(b'{"a": ["\\u0000"]}', "U.0000", id="U+0000 in a text"),
    pytest.param(b'{"a\\u0000": 1}', "U.0000", id="U+0000 in a key"),
    pytest.param(b"[" * 100_000, "recursion limit", id="endless nesting"),
    pytest.param(b'{"a":' * 300 + b"1" + b"}" * 300, "recursion limit", id="deep nesting"),
    pytest.param(b'"\\ud800"', "not JSON", id="half of a surrogate pair"),
    pytest.param(b'"\xff"', "not JSON", id="not UTF-8"),
    pytest.param('{"a": 1}'.encode("utf-16"), "not JSON", id="UTF-16"),
    pytest.param(b"a=1&b=2", "not JSON", id="a form"),
]


@pytest.mark.parametrize(("body", "reason"), BROKEN)
def test_json_that_is_broken_or_ambiguous_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(Unparsable, match=reason):
        parsed(body)


def test_a_reason_quotes_nothing_of_the_body() -> None:
    with pytest.raises(Unparsable) as caught:
        parsed(b'{"rossi.mario@example.com": 1, "rossi.mario@example.com": 2}')

    assert "rossi" not in str(caught.value)


@given(body=st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.text('[]{}":,\\u0nul1e9-. ').map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = parsed(body)
    except Unparsable:
        return

    assert value == json.loads(body)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        pytest.param(b'{"event": "course_completed"}', "course_completed", id="a JSON field"),
        pytest.param(b'{"event": null}', None, id="a null"),
        pytest.param(b'{"event": ""}', None, id="an empty text"),
        pytest.param(b'{"event": 5}', None, id="a number"),
        pytest.param(b'{"events": "x"}', None, id="no such field"),
        pytest.param(b"<delivery><type>course_completed</type></delivery>", "course_completed", id="an XML element"),
        pytest.param(b"\n <delivery><a><type> x\n</type></a></delivery>", "x", id="an element with white space, deep"),
        pytest.param(b"<delivery><type/></delivery>", None, id="an empty element"),
        pytest.param(b"<delivery/>", None, id="no such element"),
        pytest.param(b"<w><activity><type>Lesson</type></activity><type>x</type></w>", "x", id="the outermost element of the name"),
        pytest.param(b"<a>" * 100_000 + b"<type>x</type>" + b"</a>" * 100_000, "x", id="XML of endless nesting"),
    ],
)
def test_the_event_is_found_where_the_body_names_it(body: bytes, name: str | None) -> None:
    assert (event_named_in(body, "event", "type") or None) == name


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<a>", id="cut short"),
        pytest.param(b'<!DOCTYPE a [<!ENTITY b "c">]><a><type>&b;</type></a>', id="an entity"),
        pytest.param(b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a><type>&b;</type></a>', id="an external entity"),
        pytest.param(b'<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a><type>x</type></a>', id="an external DTD"),
        pytest.param(b"<!DOCTYPE a><a><type>x</type></a>", id="a DTD that says nothing"),
        pytest.param(b'<?xml version="1.0" encoding="nope"?><a/>', id="an unknown encoding"),
        pytest.param(b'<?xml version="1.0" encoding="idna"?><a/>', id="an encoding that is none"),
        pytest.param(b"<a><type>\x00</type></a>", id="U+0000"),
        pytest.param(b"[1]", id="JSON that is no object"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_body_that_is_unsafe_or_unreadable_names_no_event(body: bytes) -> None:
    with pytest.raises(Unparsable):
        event_named_in(body, "event", "type")


def test_xml_is_not_expected_where_the_vendor_sends_json_alone() -> None:
    with pytest.raises(Unparsable, match="not JSON"):
        event_named_in(b"<a><type>x</type></a>", "type", None)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b"<w><user><id>a</id></user></w>", {"user": {"id": "a"}}, id="children are fields"),
        pytest.param(b"\n<w> <a> x\ty\n</a> </w>", {"a": "x\ty"}, id="white space around a text does not count"),
        pytest.param(b"<w><a/><b> </b></w>", {"a": None, "b": None}, id="an empty element is nothing"),
        pytest.param(b"<w><a>1</a><b/><a>2</a></w>", {"a": ["1", "2"], "b": None}, id="repeated ones are a list"),
        pytest.param(b'<w><a id="1"><b>2</b></a></w>', {"a": {"id": "1", "b": "2"}}, id="attributes are fields"),
        pytest.param(b'<w xmlns:n="urn:n"><n:a>1</n:a></w>', {"a": "1"}, id="a namespace is not part of a name"),
        pytest.param(b"<w><!-- a --><?b c?><a>&lt;&#233;</a></w>", {"a": "<é"}, id="comments and instructions are none"),
        pytest.param(b"<w>a</w>", "a", id="a text alone"),
        pytest.param(b'{"a": 1}', {"a": 1}, id="JSON"),
    ],
)
def test_xml_and_json_become_the_same_values(body: bytes, value: Any) -> None:
    assert content(body, xml=True) == value


@pytest.mark.parametrize("depth", [201, 100_000])
def test_xml_of_endless_nesting_is_refused(depth: int) -> None:
    with pytest.raises(Unparsable, match="endless nesting"):
        content(b"<a>" * (depth + 1) + b"</a>" * (depth + 1), xml=True)


def test_a_great_many_elements_are_read_at_once() -> None:
    value = content(b"<w>" + b"<a/>" * 250_000 + b"</w>", xml=True)

    assert len(value["a"]) == 250_000


def test_xml_is_read_only_where_the_vendor_sends_it() -> None:
    with pytest.raises(Unparsable, match="not JSON"):
        content(b"<a/>", xml=False)


@given(body=st.text("<>/?!ab &;x[]\"'=\n", max_size=60).map(str.encode) | st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_as_xml_too(body: bytes) -> None:
    with suppress(Unparsable):
        content(body, xml=True)
