"""Texts with `{field}` in them, filled from a mirrored subscription."""

from collections.abc import Collection, Mapping
from string import Formatter
from typing import Any


def checked(template: str, known: Collection[str]) -> str:
    """The template, if it names known fields only; raises ValueError."""
    for _, name, spec, conversion in Formatter().parse(template):
        if name is not None and (name not in known or spec or conversion):
            raise ValueError(f"{{{name}}} is no field; take one of {', '.join(sorted(known))}")
    return template


def filled(template: str, values: Mapping[str, Any]) -> str | None:
    """The text, or None where a field that it names is empty."""
    named = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    if any(values.get(name) in (None, "") for name in named):
        return None
    return template.format_map(values)
