"""`muster followups`."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from schemas.reader import Role
from schemas.settings import Settings
from schemas.states import NeedState
from workers.cli.options import MISUSED, by_option, config_option, fail, json_option, on_database, print_json, settings_for, with_database
from workers.cli.screen import local_time, print_table

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.database import Database
    from workers.followups.tables import Need
    from workers.operations.followups import Told, Wanted

Command = Callable[..., Any]

#: How many are shown before somebody says yes to them.
_SHOWN = 50

#: What --json and the tables show of each.
_NEED = (
    *("id", "account", "action_subscription_id", "rule", "cycle", "state", "reason", "alarm"),
    *("state_at", "due_at", "attempt", "wait_until"),
)
_TARGET = ("step", "state", "enrollment", "due_at", "result")
_ENROLLMENT = (
    *("id", "account", "kind", "learner", "target", "round", "state", "reason", "state_at", "found"),
    *("wish", "due_at", "attempts", "error", "start_on", "expire_on", "remote", "enrolled_at"),
)
_MOVE = ("at", "need", "enrollment", "state", "reason")


@click.group()
def followups() -> None:
    """What is needed and how far it is; say yes to what is held, or no."""


def _filters(command: Command) -> Command:
    """Options that say which needs are meant."""
    options = (
        click.option("--state", type=click.Choice([state.value for state in NeedState]), help="Only those in this state."),
        click.option("--rule", help="Only those of this rule."),
        click.option("--account", help="Only those of this 4HSE account."),
        click.option("--subscription", help="Only those of this subscription."),
        click.option(
            "--overdue", is_flag=True, help="Only those whose due time has passed, whatever keeps them, or whose seat has expired."
        ),
        click.option(
            "--alarms", is_flag=True, help="Only those at which a person should look: corrected, not valid in time, waiting too long."
        ),
    )
    return functools.reduce(lambda made, option: option(made), reversed(options), command)


@followups.command("list")
@config_option
@_filters
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many, the last moved first.")
@json_option
def list_followups(config: Path | None, limit: int, as_json: bool, **asked: Any) -> None:
    """List needs: whose, by which rule, in what state and why."""
    from workers.operations.followups import find

    found = with_database(settings_for(config, Role.WORKER), functools.partial(find, _wanted(asked, ()), limit))
    if as_json:
        print_json([_fields(one, _NEED) for one in found])
        return
    _table(found)


@followups.command()
@config_option
@click.argument("need", type=click.UUID, metavar="ID")
@json_option
def show(config: Path | None, need: UUID, as_json: bool) -> None:
    """Show one need with its targets, its enrollments, and every move with time and reason."""
    from workers.operations.followups import show

    told = with_database(settings_for(config, Role.WORKER), functools.partial(show, need))
    if told is None:
        fail(f"there is no follow-up {need}")
    if as_json:
        parts = {"targets": (told.targets, _TARGET), "enrollments": (told.enrollments, _ENROLLMENT), "moves": (told.moves, _MOVE)}
        print_json(_fields(told.need, _NEED) | {name: [_fields(one, names) for one in rows] for name, (rows, names) in parts.items()})
        return
    _print(told)


@followups.command()
@config_option
@click.argument("ids", nargs=-1, type=click.UUID, metavar="[ID]…")
@_filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@json_option
def release(config: Path | None, ids: tuple[UUID, ...], yes: bool, who: str, as_json: bool, **asked: Any) -> None:
    """Say yes to needs that are held: by the guard, or until their next step is approved."""
    _decide("release", config, _meant(ids, asked, (NeedState.HELD,)), yes=yes, as_json=as_json, who=who)


@followups.command()
@config_option
@click.argument("ids", nargs=-1, type=click.UUID, metavar="[ID]…")
@_filters
@click.option("--reason", help="Why, for whoever reads the moves later.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@json_option
def cancel(config: Path | None, ids: tuple[UUID, ...], yes: bool, who: str, as_json: bool, reason: str | None, **asked: Any) -> None:
    """Say no to needs: they are undone for good, and what was done for them as their rules say.

    What the guard keeps from being undone stays as it is.
    """
    open_states = tuple(state for state in NeedState if state not in (NeedState.RECORDED, NeedState.VALID, NeedState.UNDONE))
    _decide("cancel", config, _meant(ids, asked, open_states), yes=yes, as_json=as_json, who=who, reason=reason)


def _meant(ids: tuple[UUID, ...], asked: dict[str, Any], states: tuple[NeedState, ...]) -> "Wanted":
    if not ids and not any(asked.values()):
        fail("say which: give ids, or --state, --rule, --account, --subscription, --overdue, --alarms", MISUSED)
    return _wanted(asked, states, ids)


def _wanted(asked: dict[str, Any], states: tuple[NeedState, ...], ids: tuple[UUID, ...] = ()) -> "Wanted":
    from schemas.delivery import now_utc
    from workers.operations.followups import Wanted

    chosen = asked["state"]
    if chosen and states and chosen not in states:
        fail(f"what is {chosen} is none of these: {', '.join(states)}", MISUSED)
    named = {name: asked[name] for name in ("rule", "account", "subscription", "alarms")}
    return Wanted(ids, (NeedState(chosen),) if chosen else states, late=now_utc() if asked["overdue"] else None, **named)


def _decide(verb: str, config: Path | None, wanted: "Wanted", *, yes: bool, as_json: bool, **more: Any) -> None:
    from workers.operations.followups import find

    settings = settings_for(config, Role.WORKER)
    found = with_database(settings, functools.partial(find, wanted, None))
    if not as_json:
        _table(found[:_SHOWN])
        if len(found) > _SHOWN:
            click.echo(f"… and {len(found) - _SHOWN:,} more")
    if found and not yes:
        click.confirm(f"{verb.capitalize()} {len(found):,}?", abort=True, err=True)
    done = on_database(settings, functools.partial(_decided, verb, settings, found, more))
    if as_json:
        print_json([_fields(one, _NEED) for one in done])
    else:
        late = len(found) - len(done)
        click.echo(f"{verb}: {len(done):,}" + (f", {late:,} had moved on meanwhile" if late else ""))


async def _decided(verb: str, settings: Settings, found: Sequence["Need"], more: dict[str, Any], database: "Database") -> Sequence["Need"]:
    from schemas.delivery import now_utc
    from workers.followups.plan import Followups
    from workers.operations.followups import Wanted as Those
    from workers.operations.followups import cancel, find, release

    act = {"release": release, "cancel": cancel}[verb]
    done = await act(database, Followups(settings.rules, settings.accounts), found, now_utc(), **more)
    return await find(Those(ids=tuple(one.id for one in done)), None) if done else []


def _table(found: Sequence["Need"]) -> None:
    rows = [
        (
            *(one.id, one.rule, one.state, "; ".join(filter(None, (one.reason, one.alarm)))),
            *(local_time(one.state_at), one.account, one.action_subscription_id),
        )
        for one in found
    ]
    print_table(("follow-up", "rule", "state", "why", "since", "account", "subscription"), rows)


def _print(told: "Told") -> None:
    for name, value in _fields(told.need, _NEED).items():
        click.echo(f"{name:24} {'-' if value is None else value}")
    seats = {one.id: one for one in told.enrollments}
    rows = []
    for target in told.targets:
        seat = seats.get(target.enrollment) if target.enrollment else None
        told_by = (seat.kind, seat.account, seat.learner, seat.target, seat.state, seat.error or seat.reason) if seat else (None,) * 6
        rows.append((target.step, target.state, *told_by))
    click.echo()
    print_table(("step", "state", "kind", "account", "learner", "target", "enrollment", "why"), rows)
    click.echo()
    moves = [(local_time(one.at), "need" if one.need else "enrollment", one.state, one.reason) for one in told.moves]
    print_table(("at", "what", "moved to", "why"), moves)


def _fields(row: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
