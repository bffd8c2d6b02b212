"""A subscription's status as 4HSE defines it, and when it changes next. Pure.

A certificate is valid through the day of its `date_expire` in the account's time zone, and EXPIRING from so many days before it on as
its action's `expire_interval` says. One without `date_expire` is valid for ever; without a certificate the status is NEW.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schemas.accounts import Account, FourhseAccount
from schemas.states import Status

_ROME = ZoneInfo("Europe/Rome")
#: The last day that has a day after it.
_LAST = date.max - timedelta(days=1)


def status(release: date | None, expire: date | None, interval: int | None, today: date, boundary: int = 0) -> Status | None:
    """The status on that day; EXPIRING begins `boundary` days later than documented.

    None is VALID or EXPIRING: where the interval is not known, nobody but the vendor knows which.
    """
    if expire is None:
        return Status.NEW if release is None else Status.VALID
    if expire < today:
        return Status.EXPIRED
    if interval is None:
        return None
    return Status.EXPIRING if (expire - today).days + boundary <= interval else Status.VALID


def changes_at(
    release: date | None, expire: date | None, interval: int | None, today: date, boundary: int = 0, zone: ZoneInfo = _ROME
) -> datetime | None:
    """The midnight after that day at which the status changes next; None where it never does."""
    if expire is None:
        return None
    edges = (_days_after(expire, 1), None if interval is None else _days_after(expire, boundary - interval))
    now = status(release, expire, interval, today, boundary)
    coming = sorted(day for day in edges if day is not None and day > today)
    return next((_midnight(day, zone) for day in coming if status(release, expire, interval, day, boundary) != now), None)


@dataclass(frozen=True, slots=True)
class Calendar:
    """An account's days, and what they make of the rows of its mirror; a row has `flags` beside its fields."""

    zone: ZoneInfo = _ROME
    boundary: int = 0

    def day(self, at: datetime) -> date:
        """The day there at that moment."""
        return day_of(at, self.zone)

    def status(self, row: Mapping[str, Any], interval: int | None, at: datetime) -> Status | None:
        """What the row's status is then; None where the row does not tell."""
        return status(*_dates(row), interval, self.day(at), self.boundary) if _told(row) else None

    def changes_at(self, row: Mapping[str, Any], interval: int | None, at: datetime) -> datetime | None:
        """When that changes next."""
        return changes_at(*_dates(row), interval, self.day(at), self.boundary, self.zone) if _told(row) else None


def calendars(accounts: Mapping[str, Account]) -> dict[str, Calendar]:
    """The calendar of each account that has a compliance schedule."""
    hse = {name: one for name, one in accounts.items() if isinstance(one, FourhseAccount)}
    return {name: Calendar(ZoneInfo(one.time_zone), one.boundary) for name, one in hse.items()}


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """The first moment after a day there; what some write for never ends where the calendar does."""
    return datetime.combine(min(day, _LAST) + timedelta(days=1), time(), zone)


def day_of(at: datetime, zone: ZoneInfo) -> date:
    """The day there at that moment."""
    try:
        return at.astimezone(zone).date()
    except OverflowError:
        return at.date()


def _dates(row: Mapping[str, Any]) -> tuple[date | None, date | None]:
    return row["certificate_date_release"], row["certificate_date_expire"]


def _told(row: Mapping[str, Any]) -> bool:
    """Whether the dates say what the certificate's dates are: one may be there that could not be read."""
    undated = row["last_certificate_id"] is not None and row["certificate_date_release"] is None
    return not undated and "unreadable_date:certificate_date_expire" not in row["flags"]


def _days_after(day: date, days: int) -> date | None:
    try:
        return day + timedelta(days=days)
    except OverflowError:  # 9999-12-31 is how some write never
        return None


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins there; where clocks skip midnight, the moment at which they do."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
