"""`muster deliveries export` and `import`."""

import asyncio
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.options import config_option, fail, json_option, on_database, print_json, settings_for
from workers.cli.outlets import outlet, tell_of_waiting, watched
from workers.cli.selecting import chosen, selection_options

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from collections import Counter

    from workers.database import Database
    from workers.operations.exports import Written
    from workers.operations.imports import Export
    from workers.operations.selection import Selection
    from workers.operations.sitting import Left

_AGAIN = "To take it up: type the same again"


@click.command("export")
@config_option
@selection_options
@click.option("--redact", is_flag=True, help="Without what is personal, as far as field names and e-mail addresses tell.")
def export_deliveries(config: Path | None, redact: bool, **asked: Any) -> None:
    """Write logged deliveries to standard output, one a line, to be imported by another muster.

    They keep their ids and times. Without --redact the file holds all that the vendors sent: keep it as you keep the database.
    With it, names, addresses, birth dates, tax codes and the like become null, and so do e-mail addresses, but in ids; ids and codes
    stay, so that it still means the same to muster; of the headers next to nothing stays. Look at it before you give it away: what a
    vendor put under a name that nobody thought of is still there.

    \b
    muster deliveries export --state dead --since 2h > incident.jsonl
    muster deliveries export --account hse --redact > everything.jsonl
    """
    settings = settings_for(config, Role.WORKER)
    written = on_database(settings, functools.partial(_export, chosen(asked), redact))
    left_out = [
        (written.bodiless, "their bodies were dropped"),
        (written.unreadable, "their bodies cannot be read, so nothing was redacted"),
    ]
    click.echo(f"exported {written.exported:,}" + "".join(f"; left out {count:,}: {why}" for count, why in left_out if count), err=True)


async def _export(selection: "Selection", redact: bool, database: "Database") -> "Written":
    from workers.operations.exports import Written, exported

    written = Written()
    async for line in exported(database, selection, redact=redact, written=written):
        click.echo(line)
    return written


@click.command("import")
@config_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--with-effects", is_flag=True, help="Fetch, plan and tell other teams as if they had just arrived.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def import_deliveries(config: Path | None, file: Path, with_effects: bool, yes: bool, as_json: bool) -> None:
    """Read deliveries that another muster exported into the log, under their own ids and times; `-` is standard input.

    The workers apply them to the log and the mirror, and nothing follows from it: nothing is fetched, nobody is enrolled, no team is
    told, and so it is when they are replayed. What the log holds already stays as it is, so the same import again changes nothing.
    Without `muster serve`, all is queued that there is room for. Exit code 1 if some could not be.
    """
    from workers.operations.imports import NotAnExport, opened

    settings = settings_for(config, Role.WORKER)
    with opened(file) as export:
        try:
            count = sum(1 for _ in export.lines())
        except NotAnExport as error:
            fail(str(error))
        if with_effects and not yes:
            click.confirm(f"Import {count:,} with effects: people may be enrolled, and other teams told?", abort=True, err=True)
        left, became = on_database(settings, functools.partial(_import, settings, export, count, with_effects))
    if as_json:
        waiting = {"waiting": left.waiting if left else 0, "not_queued": left.remaining if left else 0}
        print_json({"read": count, "ended": left is None, "became": became} | waiting)
    else:
        known = became.pop("known", 0)
        states = "  ".join(f"{state} {number:,}" for state, number in sorted(became.items()))
        click.echo(f"{count:,} read, {known:,} in the log already: {states or ('waiting' if left else 'nothing to do')}")
    if left is not None:
        tell_of_waiting(left, _AGAIN)


async def _import(
    settings: Settings, export: "Export", count: int, effects: bool, database: "Database"
) -> "tuple[Left | None, Counter[str]]":
    from workers.operations.imports import take_in

    try:
        async with outlet(settings) as lane:
            with watched(count, _AGAIN) as told:
                return await take_in(database, export, lane, effects=effects, stay=settings.broker_url is not None, told=told)
    except asyncio.CancelledError:
        click.echo(f"\nleft where it was. {_AGAIN}", err=True)
        raise
