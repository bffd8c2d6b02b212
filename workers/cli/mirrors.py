"""The mirror as the settings want it, in one place, so that no command changes it without what follows from a change."""

from collections.abc import Callable
from datetime import datetime, timedelta

from schemas.delivery import now_utc
from schemas.settings import Settings
from workers.erasures import Marks
from workers.followups.plan import Followups
from workers.mirror.apply import Mirror
from workers.mirror.status import calendars


def mirror(settings: Settings, now: Callable[[], datetime] = now_utc) -> Mirror:
    """Which accounts can be asked, how much clocks may differ, the accounts' calendars, the rules, and the marks."""
    return Mirror(
        frozenset(settings.accounts),
        timedelta(seconds=settings.worker.clock_skew),
        calendars(settings.accounts),
        Followups(settings.rules, settings.accounts),
        now,
        Marks(),
    )
