"""`muster deliveries`."""

import functools
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from schemas.reader import Role
from schemas.states import EXPLANATIONS, DeliveryState, Reason
from workers.cli.carrying import export_deliveries, import_deliveries
from workers.cli.options import config_option, fail, json_option, print_json, settings_for, with_database
from workers.cli.screen import local_time, print_table


@click.group()
def deliveries() -> None:
    """Look into the delivery log: every request that was accepted, verbatim, and what became of it."""


deliveries.add_command(export_deliveries)
deliveries.add_command(import_deliveries)


@deliveries.command("list")
@config_option
@click.option("--state", type=click.Choice([state.value for state in DeliveryState]), help="Only those in this state.")
@click.option("--source", help="Only those of this source.")
@click.option("--event", help="Only those of this event.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many, newest first.")
@json_option
def list_deliveries(config: Path | None, state: str | None, source: str | None, event: str | None, limit: int, as_json: bool) -> None:
    """List the newest deliveries."""
    from workers.operations.deliveries import find

    found = with_database(settings_for(config, Role.WORKER), functools.partial(find, state=state, source=source, event=event, limit=limit))
    if as_json:
        print_json([_summary(one) for one in found])
        return
    rows = [(local_time(one.received_at), one.source, one.event, one.state, one.reason, one.id) for one in found]
    print_table(("received", "source", "event", "state", "reason", "id"), rows)


@deliveries.command()
@config_option
@click.argument("delivery", type=click.UUID)
@json_option
def show(config: Path | None, delivery: UUID, as_json: bool) -> None:
    """Show one delivery with its headers and body."""
    from workers.operations.deliveries import one

    found = with_database(settings_for(config, Role.WORKER), functools.partial(one, delivery))
    if found is None:
        fail(f"the log holds no delivery {delivery}")
    detail = _summary(found) | {
        "account": found.account,
        "vendor": found.vendor,
        "detail": found.detail,
        "subject": found.subject,
        "attempts": found.attempts,
        "state_at": found.state_at.isoformat(),
        "repeat_of": found.repeat_of and str(found.repeat_of),
        "replay_of": found.replay_of and str(found.replay_of),
        "fingerprint": bytes(found.fingerprint).hex(),
        "headers": found.headers,
        "body": None if found.body is None else bytes(found.body).decode("utf-8", "backslashreplace"),
    }
    if as_json:
        print_json(detail)
        return
    for name, value in detail.items():
        click.echo(f"{name:12} {'-' if value is None else value}")
    if found.reason:
        click.echo(f"{'':12} {EXPLANATIONS[Reason(found.reason)]}")
    if found.body is None and found.reason != Reason.ERASED:
        gone = (
            f"its original has headers and body: {found.replay_of}" if found.replay_of else "headers and body are dropped after keep_bodies"
        )
        click.echo(f"{'':12} {gone}")


def _summary(one: Any) -> dict[str, Any]:
    return {
        "id": str(one.id),
        "source": one.source,
        "event": one.event,
        "state": one.state,
        "reason": one.reason,
        "received_at": one.received_at.isoformat(),
    }
