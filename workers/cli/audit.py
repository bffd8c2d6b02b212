"""`muster audit`."""

import functools
from datetime import datetime
from pathlib import Path

import click

from schemas.reader import Role
from workers.cli.options import config_option, json_option, print_json, settings_for, with_database
from workers.cli.screen import local_time, print_table
from workers.cli.selecting import Moment

_SHOWN = ("id", "at", "who", "verb", "subject", "reason", "details")


@click.command()
@config_option
@click.option("--who", help="Only what this person did.")
@click.option("--verb", help="Only this command, as in 'dead drop', or all of its verbs, as in 'dead'.")
@click.option("--about", metavar="ID", help="Only what was done to this: a delivery's id, a rule's name, or as in 'rule fire'.")
@click.option("--since", type=Moment(), help="Only since: 2h, 7d, 2026-03-01, '2026-03-01 14:00' (local time).")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, newest first.")
@json_option
def audit(
    config: Path | None, who: str | None, verb: str | None, about: str | None, since: datetime | None, limit: int, as_json: bool
) -> None:
    """Tell who did what by hand, when and why.

    Kept are: what was dropped or tried again that was dead, what was released or cancelled of follow-ups, rules that were applied, people
    of whom everything was erased. Each entry was written in the transaction that did it.
    """
    from workers.operations.auditing import find

    asked = functools.partial(find, who=who, verb=verb, subject=about, since=since, limit=limit)
    found = with_database(settings_for(config, Role.WORKER), asked)
    if as_json:
        print_json([{name: getattr(one, name) for name in _SHOWN} for one in found])
        return
    print_table(("at", "who", "did", "to", "because"), [(local_time(one.at), one.who, one.verb, one.subject, one.reason) for one in found])
