"""`muster spool`."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from schemas.delivery import now_utc
from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.options import MISUSED, config_option, fail, json_option, print_json, run, settings_for
from workers.cli.screen import ago, print_table


@contextlib.contextmanager
def on_disk(settings: Settings) -> Iterator[None]:
    """Say what is wrong where the receiver's files cannot be used."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        fail(f"the files in {settings.data_dir} cannot be used ({type(error).__name__}): are they whole, and this user's?")


@click.group()
def spool() -> None:
    """Look at this host's spool: the deliveries that were acknowledged and are not with the broker yet; or empty it by hand.

    With a broker it fills while that is away; embedded it is the queue itself, and holds the replays that wait, too.
    """


@spool.command()
@config_option
@json_option
def status(config: Path | None, as_json: bool) -> None:
    """Say what waits here: how many deliveries, bytes, since when; lane by lane and source by source."""
    from receiver.stock import stock

    settings, now = settings_for(config, Role.RECEIVER), now_utc()
    with on_disk(settings):
        found = stock(settings.data_dir)
    if as_json:
        lanes = [asdict(one) for one in found]
        print_json({"data_dir": str(settings.data_dir), "deliveries": sum(one.deliveries for one in found), "waiting": lanes})
    elif not found:
        click.echo(f"nothing waits in {settings.data_dir}")
    else:
        rows = [(one.lane, one.source, one.deliveries, one.bytes, ago(one.oldest, now)) for one in found]
        print_table(("lane", "source", "deliveries", "bytes", "oldest"), rows)


@spool.command()
@config_option
@click.option(
    "--patience", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Give up when nothing moved for so many seconds."
)
def drain(config: Path | None, patience: float) -> None:
    """Hand what waits here to the broker, for a host whose receiver is not started again.

    A receiver that runs drains its spool by itself: then this says so and leaves it. It may be cut short at any moment, and run again.
    """
    from receiver.spool import SpoolInUse

    settings = settings_for(config, Role.RECEIVER)
    if settings.broker_url is None:
        fail("there is no broker to drain to: embedded, `muster serve` works the spool off", MISUSED)
    try:
        with on_disk(settings):
            left, reason = run(_drain, settings, settings.broker_url, patience)
    except SpoolInUse:
        fail(f"a receiver runs on {settings.data_dir} and drains its spool by itself: left as it is")
    if left:
        fail(f"{left} deliveries are left: the broker: {reason or 'it is slow'}")
    click.echo("the spool is empty")


async def _drain(settings: Settings, broker_url: str, patience: float) -> tuple[int, str | None]:
    """Publish until nothing is left, or nothing moves; how many are left then, and what ails the broker."""
    from receiver.publisher import Publisher
    from receiver.spool import Spool

    opened = Spool.open(settings.data_dir, settings.receiver.spool_max, owner=True)
    publisher = Publisher(broker_url, opened, settings.receiver.publish_deadline)
    publishing = asyncio.create_task(publisher.run())
    try:
        left, moved = opened.depth, asyncio.get_running_loop().time()
        click.echo(f"{left} deliveries wait", err=True)
        while opened.depth > 0 and asyncio.get_running_loop().time() - moved < patience and not publishing.done():
            await asyncio.sleep(0.1)
            if opened.depth < left:
                left, moved = opened.depth, asyncio.get_running_loop().time()
        return max(0, opened.depth), publisher.away
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await opened.close()
