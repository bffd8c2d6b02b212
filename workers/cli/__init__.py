"""The command line: one file per noun, printing only. A command's module is imported when it is called, so that all start fast."""

import errno
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

#: Command to its module, attribute and one line of help.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("demo", "Show the whole thing on this machine in a minute, with nothing to set up."),
    "init": ("init", "Write a starter muster.toml, prepare database and broker, print the addresses to paste."),
    "serve": ("serve", "Run receiver and workers in one process, without a broker (embedded)."),
    "receive": ("receive", "Run a receiver: webhooks in, RabbitMQ out."),
    "work": ("work", "Run a worker: RabbitMQ in, delivery log and mirror out."),
    "check": ("check", "Find every mistake in the settings, then try database and broker."),
    "status": ("status", "Counts, the oldest that waits, queue depth."),
    "sources": ("sources", "The configured senders: list, addresses to paste, wait for the first request."),
    "rejected": ("rejected", "What failed verification on this host: list, show; let in what verifies now."),
    "spool": ("spool", "What waits on this host's disk: status, drain."),
    "trigger": ("trigger", "Send a sample webhook, signed as the vendor would sign it."),
    "deliveries": ("deliveries", "The delivery log: list, show; export and import."),
    "replay": ("replay", "Process logged deliveries again: select, try dry, resume; list the runs."),
    "dead": ("dead", "What was given up: list, show, try again (replay), drop."),
    "audit": ("audit", "Who did what by hand, when and why."),
    "vendor": ("vendor", "Try a vendor's API by hand, with an account's own credentials."),
    "ispring": ("ispring", "Connect iSpring Learn's webhooks: register, confirm, subscribe; list."),
    "subscriptions": ("subscriptions", "The mirrored compliance schedule: list, show."),
    "events": ("events", "What other teams are told, live: tail."),
    "schemas": ("schemas", "What events hold, as JSON Schemas and an AsyncAPI document: export."),
    "reconcile": ("reconcile", "Compare the mirror with 4HSE, heal what differs, report the drift."),
    "rules": ("rules", "What leads to enrollments: list, preview, apply; explain a subscription."),
    "followups": ("followups", "What is needed and how far it is: list, show; release what is held, cancel."),
    "identities": ("identities", "Who people and offices are in the training's accounts: list, missing, import."),
    "erase": ("erase", "Erase what is kept of one person, and keep out what may still arrive."),
    "deploy": ("deploy", "Example files to run it with: systemd, containers, proxy, broker, Prometheus: list, export."),
}

EPILOG = """\b
Exit codes: 0 done · 1 it failed, or something is wrong · 2 wrong usage or settings.
Settings: ./muster.toml, --config FILE or MUSTER_CONFIG; every key also from the environment,
e.g. MUSTER_BROKER, MUSTER_RECEIVER__PORT. None are needed to begin: try `muster demo`."""


class LazyGroup(click.Group):
    """A group that knows its commands from a table and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The table's order: the order in which one needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"workers.cli.{COMMANDS[cmd_name][0]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where there is no room for what it prints, say so."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # What is left in the buffer would be written at the end, and fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo(f"muster: what this prints cannot be written ({error.strerror}): make room, or send it somewhere else", err=True)
            sys.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="Settings file; default ./muster.toml or MUSTER_CONFIG.")
@click.version_option(package_name="muster")
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """Link 4HSE's safety compliance schedule with the systems where the training happens."""
    ctx.obj = config
