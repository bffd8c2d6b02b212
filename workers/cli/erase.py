"""`muster erase`."""

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.accounts import Account
from schemas.delivery import now_utc
from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.files import erase_files
from workers.cli.options import MISUSED, by_option, config_option, fail, json_option, on_database, print_json, settings_for, with_database
from workers.cli.outlets import counted
from workers.cli.screen import local_time, print_table
from workers.cli.spool import on_disk

if TYPE_CHECKING:  # slow to import, and `--help` needs none of it
    from workers.database import Database
    from workers.operations.erase import Report
    from workers.operations.whose import Person


@click.command()
@config_option
@click.option("--account", help="Their 4HSE account.")
@click.option("--subscriber", metavar="ID", help="Their id there: subscriber_id, a person's person_id.")
@click.option("--block", is_flag=True, help="Keep them out from now on, too, whatever the vendors send or show.")
@click.option("--unblock", is_flag=True, help="Let them in again: what arrives from now on counts.")
@click.option("--because", metavar="TEXT", help="Why, for the audit log, which names nobody: leave names out.")
@click.option("--dry-run", is_flag=True, help="Count what would be erased, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@click.option("--list", "listing", is_flag=True, help="Show when something was erased, and how much; of whom, nobody can tell any more.")
@json_option
def erase(config: Path | None, account: str | None, subscriber: str | None, listing: bool, as_json: bool, **how: Any) -> None:
    """Erase what is kept of one person: log, dead letters, mirror, results, follow-ups, events not told yet, identities.

    \b
    deliveries   stay as having come: without headers, body and whom they are about; what was dead cannot be replayed
    mirror       a bare tombstone of each subscription, which other teams are told is deleted
    others'      rows, events and messages stay, without naming them: as manager, observer, …
    files        in data_dir: rejected requests are deleted, lines of events.jsonl made blank
    the rest     is deleted; seats and certificates at the vendors stay as they are

    A mark of keyed digests stays. It strips what arrived before and still waits in a spool, a queue or a replay. What arrives later, or is
    shown by a vendor that still has them, brings them back, unless --block keeps it out.

    Not within reach: the vendors themselves, what other teams were told, requests that were rejected on another receiver's host, and
    backups. Cut short, the same command again goes on.

    \b
    muster erase --account hse --subscriber e3a1f5d2-8c4b-4e7a-9f6d-2b1c3d4e5f6a --dry-run
    muster erase --account hse --subscriber e3a1f5d2-8c4b-4e7a-9f6d-2b1c3d4e5f6a --block --because 'ticket 4711'
    muster erase --list
    """
    settings = settings_for(config, Role.WORKER)
    if listing:
        _list(settings, as_json=as_json)
        return
    if not account or not subscriber:
        fail("say whose: --account and --subscriber", MISUSED)
    if how["block"] and how["unblock"]:
        fail("either --block or --unblock", MISUSED)
    _check(settings, account)
    if how["unblock"]:
        _unblock(settings, account, subscriber, how["who"], how["because"])
        return
    _erase(settings, account, subscriber, how, as_json=as_json)


def _list(settings: Settings, *, as_json: bool) -> None:
    from workers.operations.erase import erasures

    found = with_database(settings, erasures)
    names = ("id", "account", "at", "block", "state", "erased", "ended_at")
    if as_json:
        print_json([{name: getattr(one, name) for name in names} for one in found])
        return
    rows = [(one.id, one.account, local_time(one.at), "yes" if one.block else None, one.state, sum(one.erased.values())) for one in found]
    print_table(("erasure", "account", "at", "blocks", "state", "rows"), rows)


def _check(settings: Settings, account: str) -> None:
    """People are 4HSE's; an account without an API is one that the mirror knows."""
    from workers.operations.erase import is_known

    configured = settings.accounts.get(account)
    if configured is not None and configured.vendor != "4hse":
        fail(f"{account} is no 4HSE account: who is erased there is erased where they are known elsewhere, too", MISUSED)
    if configured is None and not with_database(settings, lambda: is_known(account)):
        fail(f"no account {account!r} is configured, and the mirror knows none", MISUSED)


def _unblock(settings: Settings, account: str, subscriber: str, who: str, because: str | None) -> None:
    from workers.operations.erase import unblock

    done = on_database(settings, lambda database: unblock(database, (account, subscriber), by=who, reason=because))
    click.echo("let in: what arrives from now on counts" if done else "nobody of this id is kept out")


def _erase(settings: Settings, account: str, subscriber: str, how: Mapping[str, Any], *, as_json: bool) -> None:
    shown, person, still, rejects = on_database(settings, functools.partial(_previewed, settings, account, subscriber))
    if not as_json:
        _print(shown)
    _warn(shown, still, block=how["block"])
    files = Counter[str]()
    if how["dry_run"]:
        report = shown
    else:
        if not how["yes"]:
            click.confirm(f"Erase {sum(shown.erased.values()):,} rows, for good?", abort=True, err=True)
        files.update(_from_files(settings, person, now_utc()))
        report = on_database(settings, functools.partial(_erased, settings, account, subscriber, how))
        # Once more, for what was told of them until then.
        files.update(_from_files(settings, person, report.at or now_utc()))
    _tell_of_rejects(settings, rejects)
    if as_json:
        print_json(asdict(report) | {"files": files, "dry_run": how["dry_run"], "at_vendor": None if isinstance(still, str) else still})
    elif not how["dry_run"]:
        click.echo(f"erased: {sum(report.erased.values()):,} rows" + (", and kept out from now on" if report.block else ""))
        for name, count in files.items():
            click.echo(f"erased in {name}: {count:,}")


def _from_files(settings: Settings, person: "Person", until: datetime) -> Mapping[str, int]:
    with on_disk(settings):
        return erase_files(settings.data_dir, person, until)


async def _previewed(
    settings: Settings, account: str, subscriber: str, database: "Database"
) -> tuple["Report", "Person", bool | str, Mapping[str, int]]:
    """What there is, and of whom; whether 4HSE still has them, or why nobody knows; who keeps rejected requests."""
    from workers.operations.erase import Whom, preview, with_rejects

    still = await _still_there(account, settings.accounts.get(account), subscriber)
    with counted("deliveries looked at") as looked:
        found, person = await preview(Whom(database, settings.accounts, account, subscriber), now_utc, looked)
    return found, person, still, await with_rejects()


async def _still_there(account: str, settings: Account | None, subscriber: str) -> bool | str:
    from workers.operations.erase import at_vendor
    from workers.vendors.accounts import OpenAccounts
    from workers.vendors.errors import VendorError

    if settings is None:
        return f"there is no [accounts.{account}] with its API"
    accounts = OpenAccounts({account: settings}, now_utc)
    try:
        return await at_vendor(accounts[account], subscriber)
    except VendorError as error:
        return str(error)
    finally:
        await accounts.close()


async def _erased(settings: Settings, account: str, subscriber: str, how: Mapping[str, Any], database: "Database") -> "Report":
    from workers.operations.erase import Unsettled, Whom, erase

    whom = Whom(database, settings.accounts, account, subscriber)
    try:
        with counted("deliveries looked at") as looked:
            return await erase(whom, by=how["who"], reason=how["because"], block=how["block"], now=now_utc, looked=looked)
    except Unsettled as error:
        fail(str(error))


def _print(report: "Report") -> None:
    if report.erased:
        print_table(("table", "rows"), sorted(report.erased.items()))
    else:
        click.echo("nothing is kept of them here; a mark keeps out what may still arrive")


def _warn(report: "Report", still: bool | str, *, block: bool) -> None:
    for name in report.shared:
        click.echo(f"{name}: somebody else goes by the same id there, so what is kept under it stays", err=True)
    if block:
        return
    if still is True:
        click.echo(
            f"{report.account}: 4HSE still has them, so reconcile brings them back: delete them there first, or take --block", err=True
        )
    elif isinstance(still, str):
        click.echo(f"{report.account}: nobody knows whether 4HSE still has them and reconcile will bring them back: {still}", err=True)
    for name in report.elsewhere:
        click.echo(
            f"{name}: it knows them by an id and was not asked; what it sends or shows from now on is kept, unless --block", err=True
        )


def _tell_of_rejects(settings: Settings, rejects: Mapping[str, int]) -> None:
    from workers.cli.receiver_side import receiver_name

    for name, count in rejects.items():
        if name != receiver_name(settings.receiver):
            click.echo(f"{name}: {count:,} rejected requests on its host were not searched; `muster rejected` there shows them", err=True)
