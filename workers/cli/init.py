"""`muster init`."""

from pathlib import Path

import click

from schemas.reader import Role, config_path
from schemas.settings import Settings, redacted
from workers.cli.addresses import print_addresses
from workers.cli.options import config_option, fail, make_data_dir, mistakes_told, run, settings_for
from workers.cli.starter import write_starter


@click.command()
@config_option
@click.option("--role", type=click.Choice([role.value for role in Role]), default=Role.ALL.value, help="Write and prepare only this part.")
@click.option("--settings-only", is_flag=True, help="Write the starter settings file, and prepare nothing yet.")
def init(config: Path | None, role: str, settings_only: bool) -> None:
    """Write a starter settings file if there is none, prepare database and broker, print the addresses to paste.

    Safe to run again: it applies what is missing and changes nothing that is there. Run it after every upgrade.
    """
    part, path = Role(role), config_path(config)
    with mistakes_told():
        click.echo(f"{'wrote' if write_starter(path, part) else 'read'} {path}")
    if settings_only:
        click.echo(f"\nNext: make {path} yours, then this again without --settings-only")
        return
    settings = settings_for(config or path, part)
    if part is not Role.RECEIVER:
        run(_prepare, settings)
    if part is not Role.WORKER:
        click.echo("\nPaste at the vendors:")
        print_addresses(settings, show_secrets=True)
    click.echo(f"\nNext: {following(part, settings.broker_url, path)}")


def following(role: str, broker: str | None, path: Path) -> str:
    """What comes after it, for a role with or without a broker."""
    if broker is None and role != Role.ALL:
        return f"set `broker` in {path}, then " + ("`muster receive`" if role == Role.RECEIVER else "`muster init --role worker` again")
    if role == Role.WORKER:
        return "`muster work`"
    started = "`muster serve`" if broker is None else "`muster receive`" + " and `muster work`" * (role == Role.ALL)
    return f"{started}, then `muster trigger hse ACTION_SUBSCRIPTION::CREATE`"


async def _prepare(settings: Settings) -> None:
    await _migrate(settings)
    if settings.broker_url is not None:
        await _declare(settings.broker_url)


async def _migrate(settings: Settings) -> None:
    from workers.database import DatabaseAway, DatabaseRefused, close_database, open_database
    from workers.migrations import migrate

    if settings.database is None:
        make_data_dir(settings.data_dir)
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
