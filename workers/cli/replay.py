"""`muster replay`."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.options import (
    MISUSED,
    by_option,
    config_option,
    fail,
    json_option,
    on_database,
    print_json,
    settings_for,
    with_database,
)
from workers.cli.outlets import counted
from workers.cli.replaying import discarded, replayed, summary, worked_off
from workers.cli.screen import local_time, print_table
from workers.cli.selecting import chosen, described, selection_options

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.operations.replays import Preview

_LISTED = 50


@click.command()
@config_option
@selection_options
@click.option("--dry-run", is_flag=True, help="Decide on all of them, show what would become of them, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="At most so many a second; default: as fast as the workers are.")
@by_option
@click.option("--resume", type=click.UUID, metavar="ID", help="Take up a run that was cut short.")
@click.option("--discard", type=click.UUID, metavar="ID", help="End a run: nothing more of it is handed out.")
@click.option("--with-effects", is_flag=True, help="With what follows from it, also where it was imported without.")
@click.option("--list", "listing", is_flag=True, help=f"Show the runs, newest first, {_LISTED} of them or --limit.")
@json_option
def replay(
    config: Path | None,
    dry_run: bool,
    yes: bool,
    rate: float | None,
    who: str,
    resume: UUID | None,
    discard: UUID | None,
    with_effects: bool,
    listing: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Process logged deliveries again, by the code and the settings of today.

    All filters together select; each but --since, --until and --limit may be given several times, for any of them. A replay keeps the
    time of its first arrival, so it never overrules what came later; one that is applied, or that there is nothing to do for, settles a
    dead original. Replaying the same twice changes nothing, and enrolls nobody twice.

    The selection is fixed before anything is handed out, and each run has an id. Ctrl-C, or worse, leaves a run as it is: --resume
    takes it up at its rate or another, and nothing is done twice; --discard ends it. The workers take replays when no live delivery
    waits. Embedded, without `muster serve`, all is queued that there is room for, and waits for it; with --rate, nothing is.

    What was imported without effects is replayed without, unless --with-effects is given.

    \b
    applied    the mirror changed, or something is fetched because of it
    unchanged  it said nothing new, or there is nothing to do
    dead       given up again: the log shows it, with the reason, under the replay's id

    \b
    muster replay --state dead --dry-run
    muster replay --state dead --reason handler_failed --since 2h
    muster replay --source hse --since '2026-03-01 08:00' --until '2026-03-01 12:00' --rate 200
    muster replay --id 019538d9-c400-7000-8000-000000000001 --yes
    muster replay --list

    Exit code 1 if any was given up again or could not be queued, or if nobody said yes.
    """
    settings = settings_for(config, Role.WORKER)
    alone = sum(map(bool, (listing, resume, discard)))
    if alone:
        other = {name for name, value in asked.items() if value} - ({"limit"} if listing else set())
        if other or dry_run or with_effects or alone > 1 or (rate and not resume):
            fail("--resume, --discard and --list stand alone: a run keeps what it selected", MISUSED)
    if listing:
        _list(settings, asked["limit"] or _LISTED, as_json=as_json)
    elif resume:
        worked_off(settings, resume, rate=rate, as_json=as_json)
    elif discard:
        discarded(settings, discard, who, as_json=as_json)
    elif dry_run:
        _preview(settings, asked, as_json=as_json)
    else:
        replayed(settings, chosen(asked), who, yes=yes, rate=rate, effects=with_effects, as_json=as_json)


def _list(settings: Settings, limit: int, *, as_json: bool) -> None:
    from workers.operations.replays import newest
    from workers.operations.selection import Selection

    runs = with_database(settings, functools.partial(newest, limit))
    if as_json:
        print_json([summary(run) for run in runs])
        return
    rows = []
    for run in runs:
        counts = (run.selected, run.applied, run.unchanged, run.dead, run.gone + run.bodiless)
        rows.append((run.id, local_time(run.began_at), run.who, described(Selection.model_validate(run.asked)), run.state, *counts))
    print_table(("run", "began", "who", "what", "state", "selected", "applied", "unchanged", "dead", "without body"), rows)


def _preview(settings: Settings, asked: dict[str, Any], *, as_json: bool) -> None:
    from workers.handlers import handle
    from workers.operations.replays import preview

    decide = functools.partial(handle, accounts=settings.accounts)
    with counted("decided on") as told:
        found = on_database(settings, functools.partial(preview, selection=chosen(asked), decide=decide, told=told))
    if as_json:
        print_json(_as_json(found))
        return
    total = found.groups.total()
    if found.groups:
        print_table(
            ("vendor", "event", "is", "would be", "deliveries"), [(*group, f"{count:,}") for group, count in found.groups.most_common()]
        )
        click.echo(f"\nthe first {len(found.sample)}:")
        rows = [(local_time(one.received_at), one.source, one.event, one.state, one.reason, one.id) for one in found.sample]
        print_table(("received", "source", "event", "state", "reason", "id"), rows)
        click.echo()
    left_out = f"; {found.bodiless:,} more cannot be: their bodies were dropped" if found.bodiless else ""
    click.echo(f"{total:,} would be replayed{left_out}. Nothing was done.")


def _as_json(found: "Preview") -> dict[str, Any]:
    names = ("vendor", "event", "is", "would_be", "deliveries")
    groups = [dict(zip(names, (*group, count), strict=True)) for group, count in found.groups.most_common()]
    shown = ("id", "source", "event", "state", "reason", "received_at")
    sample = [{name: getattr(one, name) for name in shown} for one in found.sample]
    return {"selected": found.groups.total(), "bodiless": found.bodiless, "groups": groups, "sample": sample}
