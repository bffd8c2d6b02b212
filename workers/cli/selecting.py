"""The options with which commands select deliveries from the log."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from schemas.delivery import now_utc
from schemas.states import DeliveryState, Reason
from schemas.vendors import VENDORS
from workers.cli.screen import local_time

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.operations.selection import Selection

Command = TypeVar("Command", bound=Callable[..., Any])


class Moment(click.ParamType[datetime]):
    """A time, in this machine's zone where it names none, or how long ago it is."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read `2h`, `2026-03-01`, `2026-03-01 14:00` or `2026-03-01T14:00+01:00`."""
        from pydantic import TypeAdapter, ValidationError

        from schemas.accounts import Duration

        try:
            return now_utc() - TypeAdapter(Duration).validate_python(value)
        except (ValidationError, OverflowError):
            pass
        try:
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time such as 2026-03-01 14:00 nor how long ago it is, such as 2h or 7d", param, ctx)


_OPTIONS = (
    click.option("--source", multiple=True, help="Only of this source."),
    click.option("--account", multiple=True, help="Only of this account."),
    click.option("--vendor", multiple=True, type=click.Choice([*VENDORS]), help="Only of this vendor."),
    click.option("--event", multiple=True, help="Only of this event."),
    click.option("--state", multiple=True, type=click.Choice([state.value for state in DeliveryState]), help="Only in this state."),
    click.option(
        "--reason", multiple=True, type=click.Choice([one.value for one in Reason]), metavar="REASON", help="Only with this reason."
    ),
    click.option("--subscription", multiple=True, metavar="ID", help="Only about this action subscription."),
    click.option("--id", multiple=True, type=click.UUID, metavar="ID", help="Only this delivery."),
    click.option("--since", type=Moment(), help="Only what arrived since: 2h, 7d, 2026-03-01, '2026-03-01 14:00' (local time)."),
    click.option("--until", type=Moment(), help="Only what arrived before that."),
    click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest first."),
)


def selection_options(command: Command) -> Command:
    """What `chosen` makes a selection of; all but the last three may be given several times."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen(asked: dict[str, Any]) -> "Selection":
    """The selection that the options mean."""
    from workers.operations.selection import Selection

    return Selection.model_validate(asked)


def described(selection: "Selection") -> str:
    """A selection in the words of its options, times as this machine's people read them."""
    told = []
    for name in type(selection).model_fields:
        value = getattr(selection, name)
        if value:
            values = value if isinstance(value, tuple) else (value,)
            told.append(f"{name} {' or '.join(local_time(one) if isinstance(one, datetime) else str(one) for one in values)}")
    return ", ".join(told) or "everything"
