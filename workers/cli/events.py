"""`muster events`."""

import json
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.options import config_option, fail, run, settings_for
from workers.cli.screen import local_time


@click.group()
def events() -> None:
    """Listen to what muster tells other teams."""


@events.command()
@config_option
@click.option("--type", "wanted", default="*", metavar="GLOB", help="Only types that match, e.g. '*.subscription.*' or '*status_changed*'.")
@click.option("--json", "as_json", is_flag=True, help="Print each event whole, one a line, for scripts.")
def tail(config: Path | None, wanted: str, as_json: bool) -> None:
    """Show events as they happen, until Ctrl-C.

    With a broker, over a queue of its own on the exchange muster.events, gone when this ends; without one, from the file
    events.jsonl in data_dir. What was told before is not shown: a team that must miss nothing has a durable queue.

    `muster schemas export` writes down what events hold.
    """
    run(_tail, settings_for(config, Role.WORKER), wanted, as_json)


async def _tail(settings: Settings, wanted: str, as_json: bool) -> None:
    from schemas.broker_faults import BROKER_FAULTS
    from schemas.settings import redacted
    from workers.operations.events import listen

    where = redacted(settings.broker_url) if settings.broker_url else f"{settings.data_dir}"
    try:
        async for event in listen(settings.broker_url, settings.data_dir, lambda: click.echo(f"listening at {where} …", err=True)):
            if fnmatchcase(event["type"], wanted):
                click.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
    except BROKER_FAULTS as error:
        fail(f"the broker at {where} cannot be listened to ({type(error).__name__}); is it running, was `muster init` run?")


def _line(event: dict[str, Any]) -> str:
    said = {name: value for name, value in event["data"].items() if value is not None and name not in _SAID_ALREADY}
    told = " ".join(f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}" for name, value in said.items())
    at = local_time(datetime.fromisoformat(event["time"]))
    return f"{at}  {click.style(event['type'], bold=True)}  {event['subject']} #{int(event['sequence'])}  {told}"


#: The subject says it.
_SAID_ALREADY = frozenset({"action_subscription_id"})
