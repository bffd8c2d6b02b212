"""Times and tables for people: local time, rich where somebody watches."""

from collections.abc import Iterable, Sequence
from datetime import datetime


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


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under column names, each as wide as it needs to be."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    console = Console()
    console.print(table, soft_wrap=not console.is_terminal)
