"""A status follows from dates, interval and day; the row knows to the moment when it changes next, in any zone."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.accounts import FourhseAccount, KareAccount
from schemas.states import Status
from workers.mirror.status import Calendar, calendars, changes_at, day_of, end_of, status

RELEASE, EXPIRE = date(2024, 3, 15), date(2029, 3, 15)
DAY = timedelta(days=1)
#: With and without DST, off by half and quarter hours, beyond a day's length, and one whose clocks skip midnight.
ZONES = [
    ZoneInfo(name)
    for name in (
        *("Europe/Rome", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Asia/Kathmandu"),
        *("Pacific/Kiritimati", "Pacific/Marquesas", "Africa/Cairo", "America/Havana", "UTC"),
    )
]


@pytest.mark.parametrize(
    ("today", "shown"),
    [
        pytest.param(EXPIRE - 31 * DAY, "VALID", id="before the interval"),
        pytest.param(EXPIRE - 30 * DAY, "EXPIRING", id="from the interval's first day on"),
        pytest.param(EXPIRE, "EXPIRING", id="through the day of its expiry"),
        pytest.param(EXPIRE + DAY, "EXPIRED", id="from the day after on"),
    ],
)
def test_a_certificate_is_valid_then_expiring_then_expired(today: date, shown: str) -> None:
    assert status(RELEASE, EXPIRE, 30, today) == shown


def test_without_a_certificate_it_is_new_and_without_an_expiry_valid_for_ever() -> None:
    assert (status(None, None, 30, EXPIRE), status(RELEASE, None, 30, date.max)) == (Status.NEW, Status.VALID)
    assert (changes_at(None, None, 30, EXPIRE), changes_at(RELEASE, None, 30, EXPIRE)) == (None, None)


@pytest.mark.parametrize(("boundary", "first"), [(-1, EXPIRE - 31 * DAY), (0, EXPIRE - 30 * DAY), (1, EXPIRE - 29 * DAY)])
def test_the_boundary_moves_the_first_day_of_expiring_and_no_other(boundary: int, first: date) -> None:
    shown = [status(RELEASE, EXPIRE, 30, day, boundary) for day in (first - DAY, first, EXPIRE, EXPIRE + DAY)]
    assert shown == ["VALID", "EXPIRING", "EXPIRING", "EXPIRED"]


def test_of_an_unknown_interval_only_the_expiry_is_known() -> None:
    assert status(RELEASE, EXPIRE, None, EXPIRE) is None
    assert status(RELEASE, EXPIRE, None, EXPIRE + DAY) == "EXPIRED"
    assert changes_at(RELEASE, EXPIRE, None, RELEASE, zone=ZoneInfo("Europe/Rome")) == datetime(2029, 3, 15, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "expire", "moment"),
    [
        pytest.param("Europe/Rome", date(2026, 3, 29), datetime(2026, 3, 29, 22, tzinfo=UTC), id="after an hour was lost"),
        pytest.param("Europe/Rome", date(2026, 10, 25), datetime(2026, 10, 25, 23, tzinfo=UTC), id="after an hour came twice"),
        pytest.param("Africa/Cairo", date(2026, 4, 23), datetime(2026, 4, 23, 22, tzinfo=UTC), id="where midnight is skipped"),
        pytest.param("America/Havana", date(2026, 10, 31), datetime(2026, 11, 1, 4, tzinfo=UTC), id="the first of two midnights"),
        pytest.param("Asia/Kolkata", date(2026, 1, 1), datetime(2026, 1, 1, 18, 30, tzinfo=UTC), id="half an hour off"),
    ],
)
def test_it_expires_at_the_zones_midnight(zone: str, expire: date, moment: datetime) -> None:
    assert changes_at(RELEASE, expire, 0, expire, zone=ZoneInfo(zone)) == moment


@pytest.mark.parametrize("expire", [date.max, date.max - DAY, date.min, EXPIRE])
@pytest.mark.parametrize("interval", [-(2**31), -1, 0, 2**31 - 1])
def test_no_date_and_no_interval_is_too_far(expire: date, interval: int) -> None:
    turns = changes_at(RELEASE, expire, interval, date(2026, 1, 1), zone=ZoneInfo("America/New_York"))
    assert turns is None or status(RELEASE, expire, interval, turns.date()) != status(RELEASE, expire, interval, date(2026, 1, 1))


_days = st.dates(date(2020, 1, 1), date(2029, 12, 31))
_terms = st.fixed_dictionaries(
    {
        "last_certificate_id": st.just("c1"),
        "certificate_date_release": st.just(RELEASE),
        "certificate_date_expire": st.none() | _days,
        "flags": st.just([]),
    }
)
_calendars = st.builds(Calendar, st.sampled_from(ZONES), st.sampled_from([-1, 0, 1]))
_moments = st.datetimes(datetime(2020, 1, 1), datetime(2029, 12, 31), timezones=st.just(UTC))
_intervals = st.none() | st.integers(-3, 90)


@given(row=_terms, interval=_intervals, calendar=_calendars, at=_moments)
def test_it_changes_at_that_moment_and_at_none_before(
    row: Mapping[str, Any], interval: int | None, calendar: Calendar, at: datetime
) -> None:
    turns, now = calendar.changes_at(row, interval, at), calendar.status(row, interval, at)
    if turns is None:
        assert all(calendar.status(row, interval, at + days * DAY) == now for days in range(0, 4000, 50))
        return

    assert at < turns
    assert calendar.status(row, interval, turns - timedelta(microseconds=1)) == now
    assert calendar.status(row, interval, turns) != now


@given(row=_terms, interval=_intervals, calendar=_calendars, at=_moments, days=st.integers(1, 150))
def test_going_from_change_to_change_is_going_from_day_to_day(
    row: Mapping[str, Any], interval: int | None, calendar: Calendar, at: datetime, days: int
) -> None:
    changes, turns = {at: calendar.status(row, interval, at)}, calendar.changes_at(row, interval, at)
    while turns is not None:
        changes[turns] = calendar.status(row, interval, turns)
        turns = calendar.changes_at(row, interval, turns)

    for moment in (at + n * DAY for n in range(days)):
        assert calendar.status(row, interval, moment) == changes[max(one for one in changes if one <= moment)]
    assert len(changes) <= 3


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"certificate_date_release": None, "certificate_date_expire": None}, id="a certificate without dates"),
        pytest.param({"certificate_date_expire": None, "flags": ["unreadable_date:certificate_date_expire"]}, id="an unreadable expiry"),
    ],
)
def test_where_the_dates_do_not_tell_nothing_is_made_of_them(odd: dict[str, Any]) -> None:
    row = {"last_certificate_id": "c1", "certificate_date_release": RELEASE, "certificate_date_expire": EXPIRE, "flags": []} | odd
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert (Calendar().status(row, 30, at), Calendar().changes_at(row, 30, at)) == (None, None)


def test_an_accounts_calendar_is_its_zone_and_its_boundary() -> None:
    hse = FourhseAccount.model_validate({"vendor": "4hse", "time_zone": "Asia/Kolkata", "boundary": -1, "access_token_file": Path("t")})
    kare = KareAccount.model_validate(
        {"vendor": "kare", "base_url": "https://kare.test", "token_file": Path("t"), "session_token_file": Path("s")}
    )

    assert calendars({"hse": hse, "kare": kare}) == {"hse": Calendar(ZoneInfo("Asia/Kolkata"), -1)}


def test_the_end_of_the_last_day_is_the_last_midnight_there_is() -> None:
    for zone in (ZoneInfo("Europe/Rome"), ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Pacific/Pago_Pago")):
        assert end_of(date.max, zone) == datetime(9999, 12, 31, tzinfo=zone)
        assert end_of(date(2026, 3, 28), zone) == datetime(2026, 3, 29, tzinfo=zone)
        assert day_of(datetime.max.replace(tzinfo=UTC), zone).year == 9999


def test_a_boundary_is_a_day_at_most() -> None:
    with pytest.raises(ValidationError, match="boundary"):
        FourhseAccount.model_validate({"vendor": "4hse", "boundary": 2, "access_token_file": Path("t")})
