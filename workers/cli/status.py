"""`muster status`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.options import config_option, json_option, print_json, settings_for, with_database
from workers.cli.screen import ago, local_time


@click.command()
@config_option
@json_option
def status(config: Path | None, as_json: bool) -> None:
    """Say how things stand: deliveries by state, the mirror, the oldest that waits, queue depth."""
    settings = settings_for(config, Role.WORKER)
    figures = with_database(settings, lambda: _figures(settings))
    if as_json:
        print_json(figures)
        return
    click.echo(f"as of {local_time(figures['as_of'])}")
    click.echo("deliveries     " + "  ".join(f"{state} {count}" for state, count in figures["deliveries"].items()))
    click.echo("subscriptions  " + "  ".join(f"{state} {count}" for state, count in figures["subscriptions"].items()))
    click.echo(f"last received  {ago(figures['last_received'], figures['as_of'])}")
    click.echo(f"oldest waiting {ago(figures['oldest_waiting'], figures['as_of'])}")
    if figures["held_envelopes"]:
        click.echo(f"held           {figures['held_envelopes']} envelopes of a newer version: upgrade the workers")
    for queue in figures["queues"]:
        click.echo(f"queue          {queue['name']}: {queue['messages']} messages, {queue['consumers']} consumers")


async def _figures(settings: Settings) -> dict[str, Any]:
    from schemas.delivery import now_utc
    from workers.operations import health

    figures = asdict(await health.status(now_utc()))
    return figures | {"queues": await _queues(settings)}


async def _queues(settings: Settings) -> list[dict[str, Any]]:
    if settings.broker_url is None:
        from receiver.spool import depth

        return [{"name": "spool", "messages": depth(settings.data_dir), "consumers": 0}]
    from schemas.broker_faults import BROKER_FAULTS
    from workers.operations.health import queue_depths

    try:
        return [asdict(queue) for queue in await queue_depths(settings.broker_url)]
    except BROKER_FAULTS as error:
        click.echo(f"the broker cannot be reached ({type(error).__name__}): no queue depths", err=True)
        return []
