"""A run of replays at the command line: asked for, watched, cut short, taken up. For `muster replay` and whatever else replays."""

import asyncio
import functools
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from schemas.settings import Settings
from schemas.states import ReplayOutcome, ReplayState
from workers.cli.options import FAILED, fail, on_database, print_json
from workers.cli.outlets import counted, outlet, watched

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.database import Database
    from workers.operations.selection import Selection
    from workers.replays import ReplayRun


def replayed(settings: Settings, selection: "Selection", who: str, *, yes: bool, rate: float | None, as_json: bool) -> None:
    """Select, ask, hand out, wait, tell; where nothing is selected, say so. Exits 1 if anything was given up again."""
    from workers.operations.replays import begin, discard

    with counted("selected") as told:
        run = on_database(settings, functools.partial(begin, selection=selection, who=who, told=lambda one: told(one.selected)))
    left_out = f"; {run.bodiless:,} more cannot be: their bodies were dropped" if run.bodiless else ""
    if not run.selected:
        on_database(settings, functools.partial(discard, run=run))
        click.echo(f"nothing to replay: no delivery in the log matches{left_out}", err=True)
    elif yes or _confirmed(f"Replay {_deliveries(run.selected)}{left_out}?"):
        click.echo(f"run {run.id}: {_deliveries(run.selected)}{left_out}", err=True)
        worked_off(settings, run.id, rate=rate, as_json=as_json)
        return
    else:
        on_database(settings, functools.partial(discard, run=run))
        click.echo("nothing was replayed", err=True)
        sys.exit(FAILED)
    if as_json:
        print_json(summary(run))


def worked_off(settings: Settings, run_id: UUID, *, rate: float | None, as_json: bool, beside: Mapping[str, Any] | None = None) -> None:
    """Hand out what is left of a run, wait for what becomes of it, and tell; the same once more if it was cut short.

    As JSON with what was done beside it, if anything was.
    """
    run = on_database(settings, functools.partial(_carried, settings, run_id, rate))
    if as_json:
        print_json(summary(run) if beside is None else {**beside, "run": summary(run)})
    elif run.state == ReplayState.DONE:
        click.echo(told(run))
    if run.state != ReplayState.DONE:
        _tell_of_waiting(settings, run)
    elif run.dead:
        sys.exit(FAILED)


def summary(run: "ReplayRun") -> dict[str, Any]:
    """A run as JSON shows it."""
    names = ("id", "who", "asked", "state", "began_at", "ended_at", "selected", "bodiless", *ReplayOutcome)
    return {name: getattr(run, name) for name in names}


def told(run: "ReplayRun") -> str:
    """What became of a run, in a line."""
    counts = "  ".join(f"{outcome} {getattr(run, outcome):,}" for outcome in ReplayOutcome if outcome != ReplayOutcome.GONE or run.gone)
    return f"run {run.id}: {run.selected:,} replayed: {counts}"


async def _carried(settings: Settings, run_id: UUID, rate: float | None, database: "Database") -> "ReplayRun":
    from workers.operations.replays import carry_on, one

    run = await one(run_id)
    if run is None:
        fail(f"there is no run {run_id}: `muster replay --list` shows them")
    try:
        async with outlet(settings) as lane:
            with watched(run.selected, _resume(run_id)) as told:
                await carry_on(database, run, lane, rate=rate, stay=settings.broker_url is not None, told=told)
    except asyncio.CancelledError:
        click.echo(f"\nleft where it was. {_resume(run_id)}", err=True)
        raise
    return await one(run_id) or run


def _tell_of_waiting(settings: Settings, run: "ReplayRun") -> None:
    """Embedded, without `serve`; exits 1 if there was not room for all of it."""
    from receiver.spool import REPLAYS, depth

    waiting = run.selected - sum(getattr(run, outcome) for outcome in ReplayOutcome)
    spooled = min(waiting, depth(settings.data_dir, REPLAYS))
    click.echo(
        f"{spooled:,} of {_deliveries(waiting)} wait in the spool for `muster serve`, which does not run. {_resume(run.id)}", err=True
    )
    if spooled < waiting:
        sys.exit(FAILED)


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        return False


def _deliveries(count: int) -> str:
    return f"{count:,} {'delivery' if count == 1 else 'deliveries'}"


def _resume(run_id: UUID) -> str:
    return f"To take it up: muster replay --resume {run_id}"
