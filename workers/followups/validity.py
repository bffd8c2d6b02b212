"""From when to when a certificate is valid. Pure."""

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, NamedTuple

_TEXT = re.compile(r"([1-9][0-9]{0,3}) (YEAR|MONTH|DAY)")
_MONTHS = {"YEAR": 12, "MONTH": 1}


class Period(NamedTuple):
    """How long, in 4HSE's units: YEAR, MONTH or DAY."""

    number: int
    unit: str


def period(text: str | None) -> Period | None:
    """`5 YEAR`; None where it says no such thing."""
    found = _TEXT.fullmatch(text or "")
    return Period(int(found[1]), found[2]) if found else None


def chosen(session: Mapping[str, Any] | None, action: Mapping[str, Any] | None, rule: str | None) -> Period | None:
    """The session's validity, else the action's, else the rule's."""
    return _of(session) or _of(action) or period(rule)


def readable(row: Mapping[str, Any]) -> bool:
    """Whether a session or an action says how long, or that it is for ever; what it says may be nothing that can be counted."""
    return not row.get("validity") or _of(row) is not None


def expires(begin: date, validity: Period | None) -> date | None:
    """On the same day of the month where there is one, else on the month's last. Without a validity never; so it is beyond the calendar."""
    if validity is None:
        return None
    try:
        if validity.unit == "DAY":
            return begin + timedelta(days=validity.number)
        years, month = divmod(begin.month - 1 + validity.number * _MONTHS[validity.unit], 12)
        year = begin.year + years
        return date(year, month + 1, min(begin.day, monthrange(year, month + 1)[1]))
    except (ValueError, OverflowError):
        return None


def _of(row: Mapping[str, Any] | None) -> Period | None:
    number, unit = (row.get("validity"), row.get("validity_unit")) if row else (None, None)
    return Period(number, unit) if isinstance(number, int) and number > 0 and unit in (*_MONTHS, "DAY") else None
