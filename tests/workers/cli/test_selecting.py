"""The options that select deliveries: times, and a selection in words."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import click
import pytest

from schemas.delivery import now_utc
from schemas.states import DeliveryState
from workers.cli.screen import local_time
from workers.cli.selecting import Moment, described
from workers.operations.selection import Selection


def read(text: str) -> datetime:
    """What the option makes of a text."""
    return Moment().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-03-01", datetime(2026, 3, 1).astimezone()),
        ("2026-03-01 14:00", datetime(2026, 3, 1, 14).astimezone()),
        ("2026-03-01T14:00:00.5+02:00", datetime(2026, 3, 1, 14, 0, 0, 500_000, timezone(timedelta(hours=2)))),
        ("2026-03-01T12:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_time_is_this_machines_where_it_names_no_zone(text: str, meant: datetime) -> None:
    assert read(text) == meant


@pytest.mark.parametrize(("text", "ago"), [("45s", timedelta(seconds=45)), ("2h", timedelta(hours=2)), ("7d", timedelta(days=7))])
def test_a_duration_is_how_long_ago(text: str, ago: timedelta) -> None:
    before = now_utc() - ago
    assert before <= read(text) <= now_utc() - ago


@pytest.mark.parametrize("text", ["", "yesterday", "2h30m", "999999y", "2026-13-01"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="neither a time such as 2026-03-01 14:00 nor how long ago it is"):
        read(text)


def test_a_selection_is_told_in_the_words_of_its_options() -> None:
    since = datetime(2026, 3, 1, 12, tzinfo=UTC)
    wanted = Selection(id=(UUID(int=1), UUID(int=2)), state=(DeliveryState.DEAD,), since=since, limit=3)

    assert described(wanted) == f"id {UUID(int=1)} or {UUID(int=2)}, state dead, since {local_time(since)}, limit 3"
    assert described(Selection()) == "everything"
