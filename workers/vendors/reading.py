"""What a vendor answered, read: JSON into typed results, a server's HTML page into its words.

An answer to a read that cannot be read is Unavailable, for a proxy's page or half an answer may pass. Of a write it is an
UnknownOutcome: the vendor said yes, but who said it, and to what, is not certain. No message repeats what was read but for its place.
"""

from html.parser import HTMLParser
from typing import Any, TypeVar

import jiter
from pydantic import TypeAdapter, ValidationError

from workers.vendors.errors import Unavailable, UnknownOutcome, VendorError
from workers.vendors.http import Answer, Call

Typed = TypeVar("Typed")

_SHOWN = 5


def content(call: Call, answer: Answer, *, unique_keys: bool = True) -> Any:
    """The answer's JSON; looking for keys that stand twice takes as long as all the rest."""
    try:
        return jiter.from_json(answer.body, catch_duplicate_keys=unique_keys, allow_inf_nan=False)
    except ValueError:
        raise unreadable(call, f"{answer.status} with something else than JSON") from None


def typed(kind: type[Typed], call: Call, read: Any, context: Any = None) -> Typed:
    """JSON as a typed result."""
    try:
        return TypeAdapter(kind).validate_python(read, context=context)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[:_SHOWN]
        places = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}" for one in wrong)
        raise unreadable(call, f"the answer cannot be read: {places}") from None


def unreadable(call: Call, reason: str) -> VendorError:
    """What an answer that cannot be read means for a call."""
    return (UnknownOutcome if call.write else Unavailable)(f"{call.name}: {reason}")


def is_markup(answer: Answer) -> bool:
    """Whether it is HTML or XML."""
    return "html" in answer.headers.get("content-type", "") or answer.body.lstrip()[:1] == b"<"


def is_page(answer: Answer) -> bool:
    """Whether it is a page for people, which no vendor's API answers to a call that it took."""
    return "html" in answer.headers.get("content-type", "") or answer.body.lstrip()[:14].lower().startswith((b"<html", b"<!doctype html"))


def page_text(page: str) -> str:
    """What a reader of an HTML page sees."""
    text = _Text()
    text.feed(page)
    text.close()
    return " ".join(text.words)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden += tag in ("head", "script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("head", "script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words += data.split()
