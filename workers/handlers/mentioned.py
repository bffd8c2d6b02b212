"""Whom a delivery is about, understood or not."""

import re
from collections.abc import Iterator
from typing import Any

from schemas.delivery import Delivery
from workers.handlers.bodies import Unparsable, content, parsed
from workers.handlers.outcomes import Applied, Ignored, Outcome
from workers.mirror.mentions import of_effect

#: Shorter numbers are counts and scores more often than they are somebody.
_LEAST = 10_000
_WORD = re.compile(r"\w[\w.@+-]+\w")


def mentioned(delivery: Delivery, outcome: Outcome) -> frozenset[str]:
    """The ids, within its account, of what it is about: as its handler read it, and of what no handler understood every text in it."""
    effects = () if isinstance(outcome, Ignored) else outcome.effects
    read = {name for effect in effects for name in of_effect(effect)}
    return frozenset(read if isinstance(outcome, Applied) else {*read, *_in_body(delivery.body)})


def _in_body(body: bytes) -> Iterator[str]:
    try:
        yield from _in(content(body, xml=True))
    except Unparsable:
        yield from (found[0] for found in _WORD.finditer(body.decode("utf-8", "replace")))


def _in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _in_text(value.strip())
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _LEAST:
        yield str(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from (name, *_in(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _in(inner)


def _in_text(text: str) -> Iterator[str]:
    """A text, and what is in it where it is JSON itself, as iSpring's payloads may be."""
    yield text
    if text[:1] in ("{", "["):
        try:
            yield from _in(parsed(text.encode()))
        except Unparsable:
            return
