"""A run of replays at the command line: asked for, watched, cut short, taken up. For `muster replay` and whatever else replays."""

import asyncio
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from schemas.settings import Settings
from schemas.states import ReplayOutcome, ReplayState
from workers.cli.options import FAILED, fail, on_database, print_json
from workers.cli.outlets import counted, outlet, tell_of_waiting, watched

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.database import Database
    from workers.operations.selection import Selection
    from workers.operations.sitting import Left
    from workers.replays import ReplayRun


def replayed(settings: Settings, selection: "Selection", who: str, *, yes: bool, rate: float | None, effects: bool, as_json: bool) -> None:
    """Ask, select, hand out, wait, tell; where nothing is selected, say so. Exits 1 if anything was given up again."""
    from workers.operations.replays import count

    with counted("found") as told:
        found, bodiless, at = on_database(settings, functools.partial(count, selection=selection, told=told))
    left_out = f"; {bodiless:,} more cannot be: their bodies were dropped" if bodiless else ""
    if found and not (yes or _confirmed(f"Replay {_deliveries(found)}{left_out}?")):
        click.echo("nothing was replayed", err=True)
        sys.exit(FAILED)
    asked = {"selection": selection, "who": who, "rate": rate, "effects": effects, "at": at}
    if found:
        run = on_database(settings, functools.partial(_begun, asked))
        click.echo(f"run {run.id}: {_deliveries(run.selected)}{left_out}", err=True)
        worked_off(settings, run.id, rate=None, as_json=as_json)
        return
    click.echo(f"nothing to replay: no delivery in the log matches{left_out}", err=True)
    if as_json:
        print_json({"selected": 0, "bodiless": bodiless})


def worked_off(settings: Settings, run_id: UUID, *, rate: float | None, as_json: bool, beside: Mapping[str, Any] | None = None) -> None:
    """Hand out what is left of a run, wait for what becomes of it, and tell; the same once more if it was cut short.

    As JSON with what was done beside it, if anything was.
    """
    run, left = on_database(settings, functools.partial(_carried, settings, run_id, rate))
    if as_json:
        shown = summary(run) | {"waiting": left.waiting if left else 0, "not_queued": left.remaining if left else 0}
        print_json(shown if beside is None else {**beside, "run": shown})
    elif left is None:
        click.echo(told(run))
    if left is not None:
        tell_of_waiting(left, _resume(run_id))
    elif run.dead:
        sys.exit(FAILED)


def discarded(settings: Settings, run_id: UUID, who: str, *, as_json: bool) -> None:
    """End a run, and tell what became of it until then."""
    run = on_database(settings, functools.partial(_discarded, run_id, who))
    if as_json:
        print_json(summary(run))
    else:
        click.echo(f"{told(run)}\nnothing more of it is handed out; what was handed out already is worked off")


def summary(run: "ReplayRun") -> dict[str, Any]:
    """A run as JSON shows it."""
    names = ("id", "who", "asked", "state", "began_at", "ended_at", "selected", "bodiless", *ReplayOutcome, "rate", "effects")
    return {name: getattr(run, name) for name in names}


def told(run: "ReplayRun") -> str:
    """What became of a run, in a line."""
    counts = "  ".join(f"{outcome} {getattr(run, outcome):,}" for outcome in ReplayOutcome if outcome != ReplayOutcome.GONE or run.gone)
    began = "discarded" if run.state == ReplayState.DISCARDED else "replayed"
    return f"run {run.id}: {run.selected:,} {began}: {counts}"


async def _begun(asked: Mapping[str, Any], database: "Database") -> "ReplayRun":
    from workers.operations.replays import begin

    seen = list["ReplayRun"]()
    with counted("selected") as told:

        def selected(run: "ReplayRun") -> None:
            seen[:] = [run]
            told(run.selected)

        try:
            return await begin(database, told=selected, **asked)
        except asyncio.CancelledError:
            _tell_of_leaving(seen)
            raise


async def _carried(settings: Settings, run_id: UUID, rate: float | None, database: "Database") -> "tuple[ReplayRun, Left | None]":
    from workers.operations.replays import carry_on, one

    run = await _found(run_id)
    try:
        async with outlet(settings) as lane:
            with watched(run.selected, _resume(run_id)) as told:
                left = await carry_on(database, run, lane, rate=rate, stay=settings.broker_url is not None, told=told)
    except asyncio.CancelledError:
        _tell_of_leaving([run])
        raise
    return await one(run_id) or run, left


async def _discarded(run_id: UUID, who: str, database: "Database") -> "ReplayRun":
    from workers.operations.replays import discard

    run = await _found(run_id)
    if not await discard(database, run, who):
        fail(f"run {run_id} is over already: {run.state}")
    return run


async def _found(run_id: UUID) -> "ReplayRun":
    from workers.operations.replays import one

    return await one(run_id) or fail(f"there is no run {run_id}: `muster replay --list` shows them")


def _tell_of_leaving(runs: Sequence["ReplayRun"]) -> None:
    for run in runs:
        click.echo(f"\nleft where it was. {_resume(run.id)}", err=True)


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
