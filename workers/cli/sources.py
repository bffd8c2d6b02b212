"""`muster sources`."""

import time
from pathlib import Path
from typing import Any

import click

from schemas.reader import Role
from workers.cli.addresses import lines, print_addresses
from workers.cli.options import config_option, fail, json_option, print_json, settings_for
from workers.cli.screen import print_table


@click.group()
def sources() -> None:
    """Look at the configured senders, and get them going."""


@sources.command("list")
@config_option
@json_option
def list_sources(config: Path | None, as_json: bool) -> None:
    """List the sources: vendor, account, how each proves itself."""
    configured = settings_for(config, Role.RECEIVER).sources
    found = [
        {"source": name, "vendor": one.vendor, "account": one.account, "verify": [scheme.scheme for scheme in one.verify]}
        for name, one in configured.items()
    ]
    if as_json:
        print_json(found)
        return
    print_table(("source", "vendor", "account", "verify"), [(*list(one.values())[:3], ", ".join(one["verify"])) for one in found])


@sources.command()
@config_option
@click.option("--show-secrets", is_flag=True, help="Print tokens and secrets in full.")
@json_option
def urls(config: Path | None, show_secrets: bool, as_json: bool) -> None:
    """Print the addresses to paste at the vendors."""
    settings = settings_for(config, Role.RECEIVER)
    if as_json:
        print_json([{"source": one[0], "event": one[1], "url": one[2]} for one in lines(settings, show_secrets=show_secrets)])
    else:
        print_addresses(settings, show_secrets=show_secrets)


@sources.command()
@config_option
@click.argument("source", required=False)
@click.option("--timeout", type=click.FloatRange(min=0.1), default=300.0, show_default=True, help="Give up after so many seconds.")
@click.option("--all", "keep_on", is_flag=True, help="Go on until the time is up, instead of ending with the first accepted request.")
@json_option
def wait(config: Path | None, source: str | None, timeout: float, keep_on: bool, as_json: bool) -> None:
    """Watch requests arrive, or be refused, while you click in the vendor's page.

    Asks the receiver on this machine. Exits 0 with the first request that was accepted, 1 when the time is up.
    """
    from workers.operations.recent import Unreachable, recent

    settings = settings_for(config, Role.RECEIVER)
    url = f"http://{settings.local.host}:{settings.local.receiver_port}"
    deadline = time.monotonic() + timeout
    try:
        seen = max((one["number"] for one in recent(url, 0)), default=0)
        click.echo(f"waiting for {source or 'any source'} …", err=True)
        accepted = False
        while time.monotonic() < deadline and (keep_on or not accepted):
            for one in recent(url, seen):
                seen = one["number"]
                if source is None or one["source"] == source:
                    _print_outcome(one, as_json)
                    accepted = accepted or one["status"] == 200
            time.sleep(0.3)
    except Unreachable as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if not accepted:
        fail("nothing was accepted in time")


def _print_outcome(one: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(one)
    else:
        click.echo(f"{one['at']}  {one['source']}  {one['event'] or '-'}  {one['status']}  {one['delivery'] or ''}")
