"""XML as simulated vendors write it."""

import html
from typing import Any


def element(name: str, value: Any) -> str:
    """A value as an element: fields become children, a list repeats its element, None is empty."""
    if isinstance(value, list):
        return "".join(element(name, one) for one in value)
    if isinstance(value, dict):
        inner = "".join(element(*item) for item in value.items())
    elif isinstance(value, bool):
        inner = str(value).lower()
    else:
        inner = "" if value is None else html.escape(str(value))
    return f"<{name}>{inner}</{name}>"
