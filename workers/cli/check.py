"""`muster check`."""

import sys
from pathlib import Path

import click

from schemas.reader import Role, config_path, rule_places
from schemas.settings import Settings, redacted
from workers.cli.options import FAILED, MISUSED, config_option, run, settings_for


@click.command()
@config_option
@click.option("--role", type=click.Choice([role.value for role in Role]), default=Role.ALL.value, help="Check what this role reads.")
def check(config: Path | None, role: str) -> None:
    """Tell every mistake in the settings at once, then try the database and the broker.

    Exits 2 on mistakes in the settings and on rules that cannot work, 1 when database, broker or an account is not as it should be.
    """
    part = Role(role)
    settings = settings_for(config, part)
    path = config_path(config)
    click.echo(f"settings: {path if path.exists() else 'defaults, no file'}: fine, {len(settings.sources)} sources")
    problems = run(_try_out, settings, part, config)
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(MISUSED if any(isinstance(one, Impossible) for one in problems) else FAILED if problems else 0)


class Impossible(str):
    """A mistake in the settings that only a vendor can tell."""


async def _try_out(settings: Settings, role: Role, config: Path | None) -> list[str]:
    problems = []
    if role is not Role.RECEIVER:
        problems += await _try_database(settings, config)
        problems += await _try_accounts(settings)
    if settings.broker_url is not None:
        problems += await _try_broker(settings.broker_url)
    else:
        click.echo("broker: none, embedded")
    return problems


async def _try_database(settings: Settings, config: Path | None) -> list[str]:
    from workers.database import DatabaseAway, DatabaseRefused, close_database, open_database
    from workers.migrations import SchemaMismatch, check_schema

    shown = redacted(settings.database_url)
    if settings.database is None and not (settings.data_dir / "muster.sqlite3").exists():
        return [f"database: there is none at {shown} yet: run `muster init`"]
    try:
        await check_schema(await open_database(settings.database_url))
        click.echo(f"database: {shown}: fine")
        return await _try_rules(settings, rule_places(config))
    except (DatabaseRefused, SchemaMismatch) as error:
        return [str(error)]
    except DatabaseAway as away:
        return [f"database: {shown} cannot be reached ({away}): start it, or correct `database`"]
    finally:
        await close_database()


async def _try_rules(settings: Settings, places: dict[str, str]) -> list[str]:
    """Warn of what needs go on with and no rule says any more; refuse marks where there are none to be had."""
    from schemas.delivery import now_utc
    from workers.operations.rules import changed_targets, listed, unmarked
    from workers.vendors.anewspring import Anewspring

    for rule in await listed(settings.rules, settings.accounts):
        if rule.state == "vanished" and rule.needs:
            click.echo(f"warning: rule {rule.name} has vanished, and {rule.needs:,} needs go on as it planned them", err=True)
        elif rule.state == "pending":
            click.echo(f"{places.get(rule.name, rule.name)}: pending, {rule.reason}: see `muster rules preview {rule.name}`")
    for name in await changed_targets(settings.rules):
        click.echo(f"warning: {places.get(name, name)}: its targets have changed; needs of before go on with the old ones", err=True)
    problems = list[str]()
    for name, account in settings.accounts.items():
        if account.vendor != "anewspring":
            continue
        vendor = Anewspring(account, now_utc)
        try:
            doubts = await unmarked(settings.rules, name, vendor)
        finally:
            await vendor.close()
        said = [(one, f"{places.get(one.rule, one.rule)}: {one.why}") for one in doubts]
        problems += [Impossible(text) for one, text in said if one.impossible]
        for text in (text for one, text in said if not one.impossible):
            click.echo(f"warning: {text}", err=True)
    return problems


async def _try_accounts(settings: Settings) -> list[str]:
    from schemas.delivery import now_utc
    from workers.vendors.accounts import client
    from workers.vendors.errors import VendorError

    problems = []
    for name, account in settings.accounts.items():
        vendor = client(account, now_utc)
        try:
            await vendor.login()
            click.echo(f"account {name}: {account.vendor} lets it in")
        except VendorError as error:
            problems.append(f"account {name}: {account.vendor}: {type(error).__name__}: {error}")
        finally:
            await vendor.close()
    return problems


async def _try_broker(broker_url: str) -> list[str]:
    import aio_pika

    from receiver.publisher import topology_is_there
    from schemas.broker_faults import BROKER_FAULTS, told

    shown = redacted(broker_url)
    try:
        connection = await aio_pika.connect(broker_url, timeout=5)
        try:
            there = await topology_is_there(connection)
        finally:
            await connection.close()
    except BROKER_FAULTS as error:
        return [f"broker: {shown} cannot be used ({told(error)}): start it, or correct `broker`"]
    if not there:
        return [f"broker: {shown} has no exchange of muster's: run `muster init`"]
    click.echo(f"broker: {shown}: fine")
    return []
