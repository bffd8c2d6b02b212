"""Validity is counted as calendars count."""

from calendar import monthrange
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.followups.validity import Period, chosen, expires, period

DAYS = st.dates(date(1970, 1, 1), date(2100, 12, 31))
NUMBERS = st.integers(1, 99)


def expire(begin: date, number: int, unit: str) -> date | None:
    return expires(begin, Period(number, unit))


@pytest.mark.parametrize(
    ("begin", "number", "unit", "expected"),
    [
        (date(2024, 3, 15), 5, "YEAR", date(2029, 3, 15)),
        (date(2024, 2, 29), 1, "YEAR", date(2025, 2, 28)),
        (date(2024, 2, 29), 4, "YEAR", date(2028, 2, 29)),
        (date(2024, 1, 31), 1, "MONTH", date(2024, 2, 29)),
        (date(2024, 12, 31), 2, "MONTH", date(2025, 2, 28)),
        (date(2024, 2, 28), 2, "DAY", date(2024, 3, 1)),
        (date(9999, 1, 1), 1, "YEAR", None),
        (date(9999, 12, 31), 1, "DAY", None),
    ],
)
def test_it_ends_on_the_same_day(begin: date, number: int, unit: str, expected: date | None) -> None:
    """And where the month has no such day, on its last; beyond the calendar is for ever."""
    assert expire(begin, number, unit) == expected


@given(DAYS, NUMBERS)
def test_years_and_months_keep_the_day_or_take_the_last(begin: date, number: int) -> None:
    """A year is twelve months."""
    assert expire(begin, number, "YEAR") == expire(begin, 12 * number, "MONTH")
    end = expire(begin, number, "MONTH")
    assert end is not None
    assert (end.year * 12 + end.month) - (begin.year * 12 + begin.month) == number
    assert end.day == min(begin.day, monthrange(end.year, end.month)[1])


@given(DAYS, DAYS, NUMBERS, st.sampled_from(["YEAR", "MONTH", "DAY"]))
def test_what_begins_later_does_not_end_earlier(one: date, other: date, number: int, unit: str) -> None:
    """Whatever the unit."""
    early, late = sorted((one, other))

    assert str(expire(early, number, unit)) <= str(expire(late, number, unit))


@pytest.mark.parametrize(
    ("session", "action", "rule", "expected"),
    [
        ({"validity": 1, "validity_unit": "YEAR"}, {"validity": 2, "validity_unit": "YEAR"}, "3 YEAR", Period(1, "YEAR")),
        ({"validity": None, "validity_unit": None}, {"validity": 2, "validity_unit": "MONTH"}, "3 YEAR", Period(2, "MONTH")),
        (None, {"validity": 0, "validity_unit": "YEAR"}, "3 DAY", Period(3, "DAY")),
        (None, None, None, None),
    ],
)
def test_the_sessions_validity_stands_above_the_actions_and_that_above_the_rules(
    session: dict[str, object] | None, action: dict[str, object] | None, rule: str | None, expected: Period | None
) -> None:
    """One of nothing is none."""
    assert chosen(session, action, rule) == expected


@given(st.integers(1, 9999), st.sampled_from(["YEAR", "MONTH", "DAY"]))
def test_a_written_period_is_read(number: int, unit: str) -> None:
    """As a rule writes it."""
    assert period(f"{number} {unit}") == Period(number, unit)


@pytest.mark.parametrize("text", ["", "5", "0 YEAR", "5 YEARS", "-1 DAY", "5  YEAR", None])
def test_what_is_no_period_is_none(text: str | None) -> None:
    """Nothing is guessed."""
    assert period(text) is None
