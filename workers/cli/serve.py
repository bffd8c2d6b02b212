"""`muster serve`."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import click

from receiver.spool import SpoolInUse
from schemas.delivery import now_utc
from schemas.reader import Role, config_path
from schemas.settings import Settings
from schemas.traces import OFF, Tracer
from workers.cli.addresses import print_addresses
from workers.cli.embedded import spool_inlet
from workers.cli.logging import configure
from workers.cli.options import MISUSED, config_option, fail, make_data_dir, mistakes_told, run, settings_for
from workers.cli.process import AddressTaken, Process, stop_on_signals
from workers.cli.receiver_side import receiver_side
from workers.cli.starter import write_starter
from workers.cli.tracing import tracing
from workers.cli.worker_side import Worker, WorkerRunning
from workers.database import DatabaseRefused
from workers.migrations import SchemaMismatch


@click.command()
@config_option
def serve(config: Path | None) -> None:
    """Run receiver and workers in one process, without a broker: the spool on disk is the queue.

    Sets itself up: without a settings file it writes a starter one, and it creates or upgrades the database.
    """
    with mistakes_told():
        if write_starter(config_path(config), Role.ALL):
            click.echo(f"wrote {config_path(config)}", err=True)
    settings = settings_for(config, Role.ALL)
    if settings.broker_url is not None:
        fail("`serve` is for no broker: unset `broker`, or use `muster receive` and `muster work`", MISUSED)
    make_data_dir(settings.data_dir)
    configure(settings.log)
    print_addresses(settings, show_secrets=False, err=True)
    try:
        with tracing(settings.tracing, "muster") as tracer:
            run(_serve, settings, tracer)
    except (AddressTaken, DatabaseRefused, SchemaMismatch, WorkerRunning) as error:
        fail(str(error))
    except SpoolInUse as error:
        fail(f"{error.__doc__} (data_dir = {settings.data_dir})")


async def _serve(settings: Settings, tracer: Tracer) -> None:
    stop = stop_on_signals()
    async with embedded(settings, tracer=tracer) as (process, _):
        await process.run(stop)


@contextlib.asynccontextmanager
async def embedded(
    settings: Settings, now: Callable[[], datetime] = now_utc, tracer: Tracer = OFF
) -> AsyncIterator[tuple[Process, Worker]]:
    """Receiver and workers over one spool and one database, ready to run; the demonstration lets time pass by its own `now`."""
    async with receiver_side(settings, now, tracer) as side, spool_inlet(side.spool, settings) as inlet:
        worker = Worker(settings, inlet, set_up=True, now=now, exposition=side.exposition, tracer=tracer)
        side.workers = worker.readiness
        yield Process(side.sites, [side.run(worker.heard, worker.run())], settings.receiver.grace), worker
