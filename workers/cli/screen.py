"""Times and tables for people: local time, rich where somebody watches."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # rich is slow to import, and most commands print no table
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 10_000


def local_time(at: datetime | None) -> str:
    """A time as this machine's people read it."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "-"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, in one unit."""
    if at is None:
        return "-"
    seconds = max(0, int((now - at).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def console() -> "Console":
    """Where tables go: as wide as the terminal, and as wide as they need to be in a file or a pipe."""
    from rich.console import Console

    watched = Console()
    return watched if watched.is_terminal else Console(width=_PIPE_WIDTH)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> "Table":
    """Rows under column names."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*("-" if cell is None else str(cell) for cell in row))
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under column names."""
    console().print(table(columns, rows))
