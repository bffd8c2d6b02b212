"""`muster dead`."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

from schemas.reader import Role
from schemas.settings import Settings
from schemas.states import DeadKind
from workers.cli.letters import MEANS, group_json, group_table, letter_table, print_shown, shown_json, told
from workers.cli.options import MISUSED, by_option, config_option, fail, json_option, on_database, print_json, settings_for
from workers.cli.replaying import worked_off

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.database import Database
    from workers.operations.dead import Hand
    from workers.operations.letters import Letter, Wanted

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def dead() -> None:
    """What was given up, and waits for a person: list, show, replay, drop.

    \b
    delivery    a webhook that could not be understood or applied
    enrollment  a seat that a vendor refused to give, or to take back
    recording   what 4HSE refused to be told of an outcome
    event       what other teams could not be told, after five tries

    Nothing of it goes away by itself. `muster audit` tells who replayed or dropped what, when and why.
    """


_FILTERS = (
    click.option("--kind", multiple=True, type=click.Choice([kind.value for kind in DeadKind]), help="Only of this kind."),
    click.option("--reason", multiple=True, help="Only what was given up for this: as the list shows it, or a glob such as '404*'."),
    click.option("--source", multiple=True, help="Only deliveries of this source."),
    click.option("--account", multiple=True, help="Only of this account."),
)


def _filters(command: Command) -> Command:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


_ids = click.argument("ids", nargs=-1, type=click.UUID, metavar="[ID]…")


@dead.command("list")
@config_option
@_filters
@click.option("--each", is_flag=True, help="One by one, with ids, instead of by reason.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="With --each: at most so many.")
@json_option
def list_dead(config: Path | None, each: bool, limit: int, as_json: bool, **asked: Any) -> None:
    """List what was given up: how much of each kind for which reason, and when for the first and the last time.

    All filters together select; each may be given several times, for any of them.
    """
    from workers.operations.letters import find, groups

    settings, wanted = settings_for(config, Role.WORKER), _wanted(asked)
    if not each:
        found = on_database(settings, functools.partial(groups, wanted=wanted))
        if as_json:
            print_json([*map(group_json, found)])
        elif found:
            group_table(found)
        else:
            click.echo("nothing is dead" + (" that matches" if any(asked.values()) else ""), err=True)
        return
    letters = on_database(settings, functools.partial(find, wanted=wanted, limit=limit))
    if as_json:
        print_json([*map(asdict, letters)])
        return
    letter_table(letters)
    if len(letters) == limit:
        click.echo(f"the first {limit:,}: --limit shows more", err=True)


@dead.command()
@config_option
@click.argument("id", type=click.UUID, metavar="ID")
@json_option
def show(config: Path | None, id: UUID, as_json: bool) -> None:  # noqa: A002
    """Show one with all that its row holds, the needs that wait for it, and what can be done. A need's id shows what keeps it dead."""
    from workers.operations.letters import show

    found = on_database(settings_for(config, Role.WORKER), functools.partial(show, id=id))
    if found is None:
        fail(f"nothing that is called {id} is dead")
    if as_json:
        print_json(shown_json(found))
    else:
        print_shown(found)


@dead.command()
@config_option
@_ids
@_filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Deliveries: at most so many a second.")
@by_option
@json_option
def replay(config: Path | None, ids: tuple[UUID, ...], yes: bool, rate: float | None, who: str, as_json: bool, **asked: Any) -> None:
    """Try again what was given up; shows it first, and asks.

    Deliveries become a run of `muster replay`, to be taken up as any if it is cut short. Enrollments and recordings are due at once,
    with all their tries before them: whoever works on one looks at the vendor first, so nothing is done twice there. An enrollment that
    nobody needs any more is given back instead. Events are tried again.

    \b
    muster dead replay --kind delivery --reason handler_failed
    muster dead replay --kind enrollment --account lms --reason '403*'
    muster dead replay 019538d9-c400-7000-8000-000000000001 --yes

    Exit code 1 if a replayed delivery was given up again, or if nobody said yes.
    """
    settings, wanted = settings_for(config, Role.WORKER), _meant(ids, asked)
    letters = _confirmed(settings, wanted, "replay", yes=yes, as_json=as_json)
    others = [one for one in letters if one.kind is not DeadKind.DELIVERY]
    done = on_database(settings, functools.partial(_again, settings, others, who)) if others else []
    if not as_json and others:
        click.echo(told("tried again", others, done))
    run_id = _begun(settings, letters, wanted, who, rate) if len(others) < len(letters) else None
    outcome = {"again": [asdict(one) for one in done], "late": len(others) - len(done)}
    if run_id is not None:
        worked_off(settings, run_id, rate=None, as_json=as_json, beside=outcome)
    elif as_json:
        print_json(outcome | {"run": None})


@dead.command()
@config_option
@_ids
@_filters
@click.option("--because", required=True, metavar="TEXT", help="Why, for whoever reads the audit log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@json_option
def drop(config: Path | None, ids: tuple[UUID, ...], because: str, yes: bool, who: str, as_json: bool, **asked: Any) -> None:
    """Give up for good on what was given up; shows it first, and asks. Who did it, and why, stays in the audit log.

    \b
    delivery    settled: it stays in the log, and can still be replayed by its id
    enrollment  asked for no more; needs that wait for it are cancelled, what stands at the vendor stays
    recording   not written; a need that waits for the certificate is cancelled
    event       deleted: a gap in the sequence of its subject tells the readers

    \b
    muster dead drop --kind delivery --reason unknown_event --because 'a test of the vendor, not meant for us'
    """
    if not because.strip():
        fail("say why: --because", MISUSED)
    settings, wanted = settings_for(config, Role.WORKER), _meant(ids, asked)
    letters = _confirmed(settings, wanted, "drop", yes=yes, as_json=as_json)
    done = on_database(settings, functools.partial(_dropped, settings, letters, who, because)) if letters else []
    if as_json:
        print_json({"dropped": [asdict(one) for one in done], "late": len(letters) - len(done)})
    elif letters:
        click.echo(told("dropped", letters, done))


def _wanted(asked: Mapping[str, Any], ids: tuple[UUID, ...] = ()) -> "Wanted":
    from workers.operations.letters import Wanted

    return Wanted(ids, tuple(map(DeadKind, asked["kind"])), asked["reason"], asked["source"], asked["account"])


def _meant(ids: tuple[UUID, ...], asked: Mapping[str, Any]) -> "Wanted":
    if not ids and not any(asked.values()):
        fail("say which: give ids, or --kind, --reason, --source, --account", MISUSED)
    return _wanted(asked, ids)


def _confirmed(settings: Settings, wanted: "Wanted", verb: str, *, yes: bool, as_json: bool) -> list["Letter"]:
    """What is meant, to the letter, once it was shown and somebody said yes to it."""
    from workers.operations.letters import find, grouped

    letters = on_database(settings, functools.partial(find, wanted=wanted))
    if not letters:
        if wanted.ids:
            fail("nothing that is called so is dead")
        click.echo("nothing is dead that matches", err=True)
        return letters
    if not as_json:
        group_table(grouped(letters))
        for kind in dict.fromkeys(one.kind for one in letters):
            click.echo(f"each {kind} {MEANS[kind][verb == 'drop']}")
    if not yes:
        click.confirm(f"{verb.capitalize()} {len(letters):,}?", abort=True, err=True)
    return letters


def _begun(settings: Settings, letters: list["Letter"], wanted: "Wanted", who: str, rate: float | None) -> UUID | None:
    """The run of the deliveries, unless none of them is dead any more with a body."""
    from workers.operations.dead import replay

    run = on_database(settings, functools.partial(replay, letters=letters, wanted=wanted, who=who, rate=rate))
    if run is None:
        click.echo("no delivery is dead any more that could be replayed", err=True)
    elif run.bodiless:
        click.echo(f"{run.bodiless:,} cannot be replayed: their bodies were dropped", err=True)
    return run.id if run else None


async def _again(settings: Settings, letters: list["Letter"], who: str, database: "Database") -> list["Letter"]:
    return await _hand(settings, who, database).again(letters)


async def _dropped(settings: Settings, letters: list["Letter"], who: str, because: str, database: "Database") -> list["Letter"]:
    return await _hand(settings, who, database).drop(letters, because)


def _hand(settings: Settings, who: str, database: "Database") -> "Hand":
    from schemas.delivery import now_utc
    from workers.followups.plan import Followups
    from workers.operations.dead import Hand

    planner = Followups(settings.rules, settings.accounts)
    return Hand(database, planner, who, now_utc, timedelta(seconds=settings.worker.clock_skew))
