"""`muster init`."""

from pathlib import Path

import click

from schemas.reader import Role, config_path
from schemas.settings import Settings, redacted
from workers.cli.addresses import print_addresses
from workers.cli.options import config_option, fail, run, settings_for
from workers.cli.starter import write_starter


@click.command()
@config_option
@click.option("--role", type=click.Choice([role.value for role in Role]), default=Role.ALL.value, help="Write and prepare only this part.")
def init(config: Path | None, role: str) -> None:
    """Write a starter settings file if there is none, prepare database and broker, print the addresses to paste.

    Safe to run again: it applies what is missing and changes nothing that is there. Run it after every upgrade.
    """
    part, path = Role(role), config_path(config)
    click.echo(f"{'wrote' if write_starter(path, part) else 'read'} {path}")
    settings = settings_for(config or path, part)
    if part is not Role.RECEIVER:
        run(_prepare, settings)
    if part is not Role.WORKER:
        click.echo("\nPaste at the vendors:")
        print_addresses(settings, show_secrets=True)
    started = "muster serve" if settings.broker_url is None else "muster receive` and `muster work"
    click.echo(f"\nNext: `{started}`, then `muster trigger hse ACTION_SUBSCRIPTION::CREATE`")


async def _prepare(settings: Settings) -> None:
    await _migrate(settings)
    if settings.broker_url is not None:
        await _declare(settings.broker_url)


async def _migrate(settings: Settings) -> None:
    from workers.database import DatabaseAway, DatabaseRefused, close_database, open_database
    from workers.migrations import migrate

    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    shown = redacted(settings.database_url)
    try:
        database = await open_database(settings.database_url)
        applied = await migrate(database)
    except DatabaseRefused as error:
        fail(str(error))
    except DatabaseAway as away:
        fail(f"the database at {shown} cannot be reached ({away}); is it running, and is `database` right?")
    finally:
        await close_database()
    click.echo(f"database {shown}: " + ("; ".join(f"applied {one.version}, {one.title}" for one in applied) or "up to date"))


async def _declare(broker_url: str) -> None:
    from schemas.broker_faults import BROKER_FAULTS, told
    from workers.consumer import TopologyDiffers, declare_at

    try:
        await declare_at(broker_url)
    except TopologyDiffers as error:
        fail(str(error))
    except BROKER_FAULTS as error:
        fail(f"the broker at {redacted(broker_url)} cannot be used ({told(error)}); is it running, and is `broker` right?")
    click.echo(f"broker {redacted(broker_url)}: exchanges and queues are there")
