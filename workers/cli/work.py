"""`muster work`."""

from pathlib import Path

import click

from schemas.reader import Role
from schemas.settings import Settings
from schemas.traces import Tracer
from workers.cli.logging import configure
from workers.cli.options import MISUSED, config_option, fail, make_data_dir, run, settings_for
from workers.cli.process import AddressTaken, Process, Site, stop_on_signals
from workers.cli.tracing import tracing
from workers.cli.worker_side import Worker, WorkerRunning
from workers.consumer import Consumer, TopologyDiffers
from workers.database import DatabaseRefused
from workers.local import local
from workers.migrations import SchemaMismatch


@click.command()
@config_option
def work(config: Path | None) -> None:
    """Run a worker: take deliveries from RabbitMQ, keep the delivery log and the mirror.

    Reads broker and database, never a webhook secret. Any number of workers may run on PostgreSQL, one on SQLite.
    """
    settings = settings_for(config, Role.WORKER)
    if settings.broker_url is None:
        fail("`work` needs a broker: set `broker`, or use `muster serve`, which needs none", MISUSED)
    if settings.database is None:
        make_data_dir(settings.data_dir)
    configure(settings.log)
    try:
        with tracing(settings.tracing, "muster-worker") as tracer:
            run(_work, settings, tracer)
    except (AddressTaken, DatabaseRefused, SchemaMismatch, TopologyDiffers, WorkerRunning) as error:
        fail(str(error))


async def _work(settings: Settings, tracer: Tracer) -> None:
    stop = stop_on_signals()
    assert settings.broker_url is not None
    worker = Worker(settings, Consumer(settings.broker_url, settings.worker), tracer=tracer)
    site = Site(local(worker.readiness, worker.exposition), settings.local.host, settings.local.worker_port, "local.worker_port")
    await Process([site], [worker.run()], settings.worker.grace).run(stop)
