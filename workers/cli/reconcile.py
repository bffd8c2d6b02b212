"""`muster reconcile`."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.reader import Role
from schemas.settings import Settings
from schemas.states import RunState
from workers.cli.logging import configure
from workers.cli.options import FAILED, MISUSED, config_option, fail, json_option, on_database, print_json, settings_for
from workers.cli.screen import print_table

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.database import Database
    from workers.mirror.tables import ReconcileRun
    from workers.operations.reconcile import Report

_SHOWN = 50
_STATUSES = ("NEW", "VALID", "EXPIRING", "EXPIRED")
#: What is printed of a drift.
_KEYS = ("kind", "subject", "differing")


@click.command()
@config_option
@click.option("--account", help="Only this account; default every 4HSE account.")
@click.option("--office", help="Only the rows of the office with this id.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only the rows that 4HSE shows with this status.")
@click.option("--dry-run", is_flag=True, help="Report, and change nothing in the mirror.")
@click.option("--accept-missing", is_flag=True, help="What the vendor does not show is deleted, however much it is.")
@json_option
def reconcile(config: Path | None, account: str | None, as_json: bool, **asked: Any) -> None:
    """Compare the mirror with 4HSE, row by row, heal what differs, and report the drift.

    \b
    missing    4HSE shows it, the mirror did not      its webhook was lost
    extra      the mirror showed it, 4HSE does not    each is asked for again before it is believed
    different  both show it, these fields differ      4HSE has no webhook for an update

    The workers do it by themselves (`polls.reconcile`); the first run fills the mirror. A run that was cut short is taken up where
    it ended, within a day. One that misses more rows than `max_missing` (default the larger of 50 and 1 %) leaves those as they are,
    for the login may have lost its rights: look, then repeat it with --accept-missing.

    \b
    muster reconcile --dry-run
    muster reconcile --account hse --office a1b2c3d4-e5f6-7890-abcd-ef1234567890
    muster reconcile --accept-missing --json

    Exit code 1 if a page could not be read, if a run is held, or if another process is at it.
    """
    settings = settings_for(config, Role.WORKER)
    configure(settings.log.model_copy(update={"level": "critical"}))  # the report says all of it
    names = [name for name, one in settings.accounts.items() if one.vendor == "4hse" and account in (None, name)]
    if not names:
        fail(f"no 4HSE account {account!r} is configured" if account else "no 4HSE account is configured: add [accounts.NAME]", MISUSED)
    reports = on_database(settings, functools.partial(_reconciled, settings, names, asked, None if as_json else _SHOWN))
    if as_json:
        print_json([asdict(report) | {"drift": found} for report, found in reports])
    else:
        for report, found in reports:
            _print(report, found)
    if len(reports) < len(names) or any(report.state != RunState.DONE for report, _ in reports):
        sys.exit(FAILED)


async def _reconciled(
    settings: Settings, names: list[str], asked: dict[str, Any], shown: int | None, database: "Database"
) -> list[tuple["Report", list[dict[str, Any]]]]:
    """Account after account, each with at most so many drifts; one that another process is at is said, and left out."""
    from schemas.delivery import now_utc
    from workers.cli.mirrors import mirror
    from workers.cli.process import collect_rarely
    from workers.mirror.runs import Asked, Busy, Lost
    from workers.operations.reconcile import drifts, run
    from workers.vendors.accounts import OpenAccounts

    collect_rarely()
    accounts = OpenAccounts({name: settings.accounts[name] for name in names}, now_utc)
    options = {name: asked[name] for name in ("dry_run", "accept_missing")}
    reports = []
    try:
        for one in accounts:
            try:
                with _progress(one.name) as told:
                    report = await run(
                        database, mirror(settings), one, Asked(asked["office"], asked["status"]), now_utc, told=told, **options
                    )
            except (Busy, Lost) as error:
                click.echo(f"{one.name}: {error}", err=True)
            else:
                found = await drifts(report.run, shown)
                reports.append((report, [{key: getattr(drift, key) for key in _KEYS} for drift in found]))
    finally:
        await accounts.close()
    return reports


@contextmanager
def _progress(account: str) -> Iterator[Callable[["ReconcileRun"], None]]:
    """A bar on standard error where somebody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[found]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(account, total=None, found="")

        def told(run: "ReconcileRun") -> None:
            found = f"missing {run.missing}  extra {run.extra}  different {run.different}"
            bar.update(task, total=run.total, completed=min(run.seen, run.total or run.seen), found=found)

        yield told


def _print(report: "Report", found: list[dict[str, Any]]) -> None:
    if found:
        rows = [(one["kind"], one["subject"], ", ".join(one["differing"]) or None) for one in found]
        print_table(("drift", "subscription", "fields"), rows)
    if report.drift > len(found):
        click.echo(f"… and {report.drift - len(found):,} more: all of them with --json")
    how = "filled" if report.backfill else "compared" if report.dry_run else "reconciled"
    counts = "  ".join(f"{name} {getattr(report, name):,}" for name in ("missing", "extra", "different", "unreadable"))
    click.echo(f"{report.account}: {report.state}, {report.seen:,} of {report.total or 0:,} rows {how}: {counts}")
    click.echo(f"{report.calls:,} calls, {report.seconds:,.1f} s")
    if report.error:
        click.echo(f"{report.account}: {report.error}", err=True)
