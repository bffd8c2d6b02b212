"""Bodies into values: strict where ambiguity would corrupt, and without what a database cannot store."""

import math
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import jiter
from defusedxml import ElementTree as HardenedTree
from defusedxml.common import DefusedXmlException

#: As deep as jiter reads JSON.
_DEEPEST = 200
#: Characters of what can be an id.
_LONGEST_ID = 255


class Unparsable(Exception):
    """The body cannot be read; the message says where, without quoting it."""


def parsed(body: bytes) -> Any:
    """Parse JSON: no duplicate keys, no NaN or infinity, integers exact, no NUL in any text; raises Unparsable."""
    try:
        value = jiter.from_json(body, catch_duplicate_keys=True, allow_inf_nan=False)
    except ValueError as error:
        raise Unparsable(f"not JSON: {_without_values(str(error))}") from None
    _refuse_unstorable(value)
    return value


def event_named_in(body: bytes, field: str | None, element: str | None) -> str | None:
    """The event that the body names, in a field of its JSON object or an element of its XML; raises Unparsable."""
    if element is not None and _is_xml(body):
        root = tree(body)
        name = root.findtext(element) or root.findtext(f".//{element}")
        return name.strip() if name else None
    value = parsed(body)
    if not isinstance(value, dict):
        raise Unparsable("not a JSON object")
    name = value.get(field or "")
    return name if isinstance(name, str) and name else None


def subscription_named_in(body: bytes) -> str | None:
    """The action subscription that a JSON object of 4HSE's names, where it can be read."""
    try:
        value = parsed(body)
    except Unparsable:
        return None
    name = value.get("action_subscription_id") if isinstance(value, dict) else None
    return str(name) if isinstance(name, str | int) and 0 < len(str(name)) <= _LONGEST_ID else None


def content(body: bytes, *, xml: bool) -> Any:
    """What the body says, where `xml` allows for it in XML as in JSON: the same paths lead to the same values; raises Unparsable."""
    return _value(tree(body)) if xml and _is_xml(body) else parsed(body)


def _is_xml(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _value(element: Element, depth: int = 0) -> Any:
    """An element as an object of its attributes and children, repeated ones as a list; as its text where it has neither."""
    if depth > _DEEPEST:
        raise Unparsable("XML of endless nesting")
    fields: dict[str, list[Any]] = {name: [value] for name, value in element.attrib.items()}
    for child in element:
        fields.setdefault(child.tag.rpartition("}")[2], []).append(_value(child, depth + 1))
    if fields:
        return {name: found[0] if len(found) == 1 else found for name, found in fields.items()}
    return (element.text or "").strip() or None


def tree(body: bytes) -> Element:
    """Parse XML that asks for nothing from outside; raises Unparsable."""
    try:
        root = HardenedTree.fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise Unparsable(f"not XML that is safe to read: {type(error).__name__}") from None
    assert isinstance(root, Element)
    return root


def _without_values(message: str) -> str:
    """jiter quotes a duplicate key; everything else it says is a position."""
    return "a key stands twice in one object" if "duplicate key" in message.lower() else message


def _refuse_unstorable(value: Any) -> None:
    if isinstance(value, str) and "\0" in value:
        raise Unparsable("a text holds the character U+0000, which no text has")
    if isinstance(value, float) and not math.isfinite(value):
        raise Unparsable("a number is too large")
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_unstorable(key)
            _refuse_unstorable(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_unstorable(inner)
