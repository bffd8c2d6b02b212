"""`muster receive`."""

from pathlib import Path

import click

from receiver.spool import SpoolInUse
from schemas.reader import Role
from schemas.settings import Settings
from schemas.traces import Tracer
from workers.cli.logging import configure
from workers.cli.options import MISUSED, config_option, fail, make_data_dir, run, settings_for
from workers.cli.process import AddressTaken, Process, stop_on_signals
from workers.cli.receiver_side import receiver_side
from workers.cli.tracing import tracing


@click.command()
@config_option
def receive(config: Path | None) -> None:
    """Run a receiver: verify webhooks and hand them to RabbitMQ, or to the spool while it is away.

    Reads the sources and the broker, never the database. Any number of receivers may run, each with its own data_dir.
    """
    settings = settings_for(config, Role.RECEIVER)
    if settings.broker_url is None:
        fail("`receive` needs a broker: set `broker`, or use `muster serve`, which needs none", MISUSED)
    make_data_dir(settings.data_dir)
    configure(settings.log)
    try:
        with tracing(settings.tracing, "muster-receiver") as tracer:
            run(_receive, settings, tracer)
    except AddressTaken as error:
        fail(str(error))
    except SpoolInUse as error:
        fail(f"{error.__doc__} (data_dir = {settings.data_dir})")


async def _receive(settings: Settings, tracer: Tracer) -> None:
    stop = stop_on_signals()
    async with receiver_side(settings, tracer=tracer) as side:
        assert side.publisher is not None
        await Process(side.sites, [side.run(side.publisher.beat, side.publisher.run())], settings.receiver.grace).run(stop)
