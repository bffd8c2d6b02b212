"""`muster rules`."""

import functools
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.reader import Role
from schemas.rules import Rule
from schemas.settings import Settings
from workers.cli.options import MISUSED, by_option, config_option, fail, json_option, on_database, print_json, settings_for, with_database
from workers.cli.screen import local_time, print_table

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.database import Database
    from workers.operations.previews import Preview
    from workers.operations.rules import Explained


@click.group()
def rules() -> None:
    """What leads to enrollments: list, preview, apply, explain.

    A new or changed rule is pending: it plans nothing, for anybody, until it is applied.
    """


@rules.command("list")
@config_option
@json_option
def list_rules(config: Path | None, as_json: bool) -> None:
    """List the rules: applied, pending, or vanished from the settings."""
    from workers.operations.rules import listed

    settings = settings_for(config, Role.WORKER)
    found = with_database(settings, functools.partial(listed, settings.rules, settings.accounts))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    rows = [(one.name, one.state, one.reason, local_time(one.applied_at), one.needs) for one in found]
    print_table(("rule", "state", "why", "applied", "needs"), rows)


@rules.command()
@config_option
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(0, 1_000_000), default=20, show_default=True, help="At most so many rows of each rule.")
@json_option
def preview(config: Path | None, name: str | None, limit: int, as_json: bool) -> None:
    """Show what a rule, or every one, speaks of now and what it would do; changes nothing."""
    settings = settings_for(config, Role.WORKER)
    chosen = _chosen(settings, [name] if name else [rule.name for rule in settings.rules])
    found = on_database(settings, functools.partial(_previews, settings, chosen, limit))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        _print(one)


@rules.command()
@config_option
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@json_option
def apply(config: Path | None, names: tuple[str, ...], yes: bool, who: str, as_json: bool) -> None:
    """Say yes to rules as they are now: from now on they plan. Shows the numbers first, and asks. `muster audit` tells who did."""
    settings = settings_for(config, Role.WORKER)
    chosen = _chosen(settings, names)
    found = on_database(settings, functools.partial(_previews, settings, chosen, 0))
    if not as_json:
        for one in found:
            _print(one)
    if not yes:
        click.confirm(f"Apply {', '.join(rule.name for rule in chosen)}?", abort=True, err=True)
    on_database(settings, functools.partial(_apply, chosen, who))
    if as_json:
        print_json([asdict(one) | {"state": "applied"} for one in found])
    else:
        click.echo(f"applied: {', '.join(rule.name for rule in chosen)}")


@rules.command()
@config_option
@click.argument("subscription")
@click.option("--account", help="The account, where several have a subscription of this id.")
@json_option
def explain(config: Path | None, subscription: str, account: str | None, as_json: bool) -> None:
    """Say of one subscription which rule holds, which does not and why, and what came of it."""
    settings = settings_for(config, Role.WORKER)
    found = with_database(settings, functools.partial(_explained, settings, subscription, account))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        click.echo(f"{click.style(one.name, bold=True)}: {'holds' if one.holds else 'does not hold'} ({one.state})")
        for reason in one.reasons:
            click.echo(f"  {reason}")
        for need in one.needs:
            why = f": {need['reason']}" if need["reason"] else ""
            click.echo(f"  need of cycle {need['cycle']}: {need['state']} since {local_time(need['state_at'])}{why}")


def _chosen(settings: Settings, names: list[str] | tuple[str, ...]) -> list[Rule]:
    known = {rule.name: rule for rule in settings.rules}
    if unknown := [name for name in names if name not in known]:
        fail(f"no rule {', '.join(unknown)} in the settings; there {'are ' + ', '.join(known) if known else 'is none'}", MISUSED)
    return [known[name] for name in dict.fromkeys(names)]


async def _previews(settings: Settings, chosen: list[Rule], limit: int, database: "Database") -> list["Preview"]:
    from schemas.delivery import now_utc
    from workers.operations.previews import preview

    return [await preview(database, rule, settings.rules, settings.accounts, limit, now_utc()) for rule in chosen]


async def _apply(chosen: list[Rule], who: str, database: "Database") -> None:
    from schemas.delivery import now_utc
    from workers.operations.rules import apply

    await apply(database, chosen, now_utc(), who)


async def _explained(settings: Settings, subscription: str, account: str | None) -> list["Explained"]:
    from workers.operations.rules import explain
    from workers.operations.subscriptions import by_id

    found = await by_id(subscription, account)
    if not found:
        fail(f"the mirror holds no subscription {subscription}")
    if len(found) > 1:
        fail(f"several accounts have it: name one with --account ({', '.join(one.account for one in found)})")
    return await explain(found[0], settings.rules)


def _print(one: "Preview") -> None:
    statuses = ", ".join(f"{status} {count:,}" for status, count in sorted(one.by_status.items()))
    click.echo(f"{click.style(one.name, bold=True)} ({one.state}): holds for {one.holds:,} now" + (f": {statuses}" if statuses else ""))
    click.echo(f"  would enroll {one.enroll:,}  held {one.held:,}  unmatched {one.unmatched:,}  planned already {one.planned:,}")
    if one.held:
        click.echo(f"  held until `muster followups release`: over max_per_hour = {one.max_per_hour:,}, or to be approved")
    for account in one.unfilled:
        click.echo(f"  the first back-fill of {account} is not over: nothing is planned there before it is")
    if one.rows:
        rows = [
            (row.outcome, row.account, row.subscription, row.action_code, row.subscriber_code, row.office, row.status) for row in one.rows
        ]
        print_table(("would", "account", "subscription", "action", "subscriber", "office", "status"), rows)
