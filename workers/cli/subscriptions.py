"""`muster subscriptions`."""

import functools
from pathlib import Path
from typing import Any

import click

from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.reader import Role
from schemas.states import SubscriptionState
from workers.cli.options import config_option, fail, json_option, print_json, settings_for, with_database
from workers.cli.screen import print_table


@click.group()
def subscriptions() -> None:
    """Look into the mirror: who owes which preventive action."""


@subscriptions.command("list")
@config_option
@click.option("--account", help="Only those of this account.")
@click.option("--state", type=click.Choice([state.value for state in SubscriptionState]), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many, newest evidence first.")
@json_option
def list_subscriptions(config: Path | None, account: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List mirrored subscriptions."""
    from workers.operations.subscriptions import find

    found = with_database(settings_for(config, Role.WORKER), functools.partial(find, account=account, state=state, limit=limit))
    if as_json:
        print_json([_full(one) for one in found])
        return
    rows = [(one.account, one.state, one.subscriber_type, one.subscriber_id, one.action_id, one.action_subscription_id) for one in found]
    print_table(("account", "state", "type", "subscriber", "action", "subscription"), rows)


@subscriptions.command()
@config_option
@click.argument("subscription")
@click.option("--account", help="The account, where several have a subscription of this id.")
@json_option
def show(config: Path | None, subscription: str, account: str | None, as_json: bool) -> None:
    """Show one subscription with the vendor's own field names."""
    from workers.operations.subscriptions import by_id

    found = with_database(settings_for(config, Role.WORKER), functools.partial(by_id, subscription, account))
    if not found:
        fail(f"the mirror holds no subscription {subscription}")
    if len(found) > 1:
        fail(f"several accounts have it: name one with --account ({', '.join(one.account for one in found)})")
    if as_json:
        print_json(_full(found[0]))
        return
    for name, value in _full(found[0]).items():
        click.echo(f"{name:26} {'-' if value is None else value}")


def _full(one: Any) -> dict[str, Any]:
    evidence = {"account": one.account, "state": one.state, "flags": one.flags, "hint_received_at": one.hint_received_at.isoformat()}
    return {name: getattr(one, name) for name in SUBSCRIPTION_FIELDS} | evidence
