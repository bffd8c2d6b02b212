"""`muster identities`."""

import functools
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.options import config_option, fail, json_option, on_database, print_json, settings_for, with_database
from workers.cli.screen import print_table

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.database import Database


@click.group()
def identities() -> None:
    """Who our people and offices are in the accounts where the training happens: list, missing, import.

    What is imported stands above the account's `learner` template.
    """


@identities.command("list")
@config_option
@click.option("--account", help="Only those in this account.")
@click.option("--kind", type=click.Choice(["person", "office"]), help="Only those of this kind.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many.")
@json_option
def list_identities(config: Path | None, account: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """List what was imported."""
    from workers.operations.identities import find

    found = with_database(settings_for(config, Role.WORKER), functools.partial(find, account=account, kind=kind, limit=limit))
    if as_json:
        print_json([one._asdict() for one in found])
        return
    print_table(("account", "kind", "here", "there"), found)


@identities.command()
@config_option
@json_option
def missing(config: Path | None, as_json: bool) -> None:
    """List who is not known in an account, and how many needs wait for that."""
    from workers.operations.identities import missing

    settings = settings_for(config, Role.WORKER)

    async def read(database: "Database") -> list[dict[str, object]]:
        return [asdict(one) for one in await missing(database, settings.accounts)]

    found = on_database(settings, read)
    if as_json:
        print_json(found)
        return
    columns = ("account", "kind", "here", "code", "needs")
    print_table(columns, [[one[name] for name in columns] for one in found])


@identities.command("import")
@config_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def import_(config: Path | None, file: Path, as_json: bool) -> None:
    """Import a CSV file, all of it or nothing.

    \b
    account,kind,here,there
    ispring,person,<4HSE person_id>,<iSpring user id>
    kare,office,<4HSE office_id>,<Kare site id>

    What is there already under the same account, kind and here is replaced. Needs that waited for an identity go on by themselves.
    """
    count = on_database(settings := settings_for(config, Role.WORKER), functools.partial(_import, settings, file))
    if as_json:
        print_json({"imported": count})
    else:
        click.echo(f"{count:,} identities imported")


async def _import(settings: Settings, file: Path, database: "Database") -> int:
    from schemas.delivery import now_utc
    from workers.operations.identities import BadFile, load

    try:
        return await load(database, file, settings.accounts, now_utc())
    except BadFile as bad:
        for mistake in bad.mistakes:
            click.echo(f"{file}: {mistake}", err=True)
        fail(f"{len(bad.mistakes)} mistake{'s' * (len(bad.mistakes) > 1)} in {file}: nothing was imported")
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")
