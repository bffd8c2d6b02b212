"""Where commands hand out deliveries, and how the way they go is shown."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import click

from schemas.delivery import Delivery, encode
from schemas.settings import Settings
from workers.cli.options import FAILED

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from receiver.spool import Spool
    from workers.operations.sitting import Left, Progress
    from workers.replay_lane import Outlet


@contextlib.asynccontextmanager
async def outlet(settings: Settings) -> AsyncIterator["Outlet"]:
    """The broker's lane, or embedded the spool's."""
    if settings.broker_url is not None:
        from workers.replay_lane import BrokerOutlet

        async with BrokerOutlet(settings.broker_url) as broker:
            yield broker
        return
    from receiver.spool import REPLAYS, Spool

    spool = Spool.open(settings.data_dir, settings.worker.replays_max, owner=False, file=REPLAYS)
    try:
        yield SpoolOutlet(spool, settings.data_dir)
    finally:
        await spool.close()


class SpoolOutlet:
    """Embedded: the spool of the replays, which `muster serve` works off."""

    def __init__(self, spool: "Spool", data_dir: Path) -> None:
        self._spool, self._data_dir = spool, data_dir

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        """Return once they are on disk."""
        from receiver.spool import Spooled, SpoolFull
        from workers.replay_lane import LaneAway

        try:
            await asyncio.gather(*(self._spool.append(Spooled(one.vendor, one.source, encode(one))) for one in deliveries))
        except SpoolFull:
            raise LaneAway("the replays' spool is full (worker.replays_max)") from None

    async def held(self) -> Collection[UUID]:
        """What is in it."""
        return await self._spool.ids()

    async def unattended(self) -> str | None:
        """Whether anybody owns the spool."""
        from receiver.spool import REPLAYS, in_use

        return None if in_use(self._data_dir, REPLAYS) else "`muster serve` does not run"


@contextlib.contextmanager
def watched(total: int, remedy: str) -> Iterator[Callable[["Progress"], None]]:
    """A bar on standard error where somebody watches; what it waits for is said, once each time, with what to do then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, soft_wrap=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total, rate="")
        said: str | None = None

        def told(progress: "Progress") -> None:
            nonlocal said
            bar.update(task, completed=progress.done, rate=f"{bar.tasks[0].speed or 0:,.0f}/s")
            if progress.waiting and progress.waiting != said:
                console.print(f"{progress.done:,} of {total:,} done; waiting: {progress.waiting}. {remedy}", markup=False)
            said = progress.waiting

        yield told


def tell_of_waiting(left: "Left", remedy: str) -> None:
    """Embedded, without `serve`; exits 1 if there was not room for all of it."""
    total = left.waiting + left.remaining
    wait = "delivery waits" if total == 1 else "deliveries wait"
    click.echo(f"{left.waiting:,} of {total:,} {wait} in the spool for `muster serve`, which does not run. {remedy}", err=True)
    if left.remaining:
        click.echo(f"{left.remaining:,} could not be queued: {left.why}. Start `muster serve` first.", err=True)
        sys.exit(FAILED)


@contextlib.contextmanager
def counted(what: str) -> Iterator[Callable[[int], None]]:
    """A number that grows, where somebody watches."""
    watched = sys.stderr.isatty()
    yield lambda number: click.echo(f"\r{what} {number:,}", nl=False, err=True) if watched else None
    if watched:
        click.echo("\r\033[K", nl=False, err=True)
