"""`muster vendor`."""

from pathlib import Path

import click

from schemas.reader import Role
from workers.cli.options import MISUSED, config_option, fail, json_option, print_json, run, settings_for


@click.command(context_settings={"ignore_unknown_options": False})
@config_option
@click.argument("account")
@click.argument("verb", required=False)
@click.argument("arguments", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask before something is changed at the vendor.")
@json_option
def vendor(config: Path | None, account: str, verb: str | None, arguments: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Try a vendor's API by hand, with an account's own credentials. Without a verb: list what there is.

    \b
    muster vendor hse view d5e6f7a8-b9c0-1d2e-3f4a-5b6c7d8e9f0a
    muster vendor hse index action-subscription status=EXPIRED history=true --json
    muster vendor lms results JS001 FIRE-BASIC
    muster vendor lms subscribe JS001 FIRE-BASIC expire=2026-12-31
    muster vendor ispring observations
    muster vendor kare view 7
    """
    from workers.operations.vendor import VERBS, Misuse, perform
    from workers.vendors.errors import VendorError

    accounts = settings_for(config, Role.WORKER).accounts
    if account not in accounts:
        fail(f"no account {account!r} is configured; there are: {', '.join(accounts) or 'none, add [accounts.NAME]'}", MISUSED)
    verbs = VERBS[accounts[account].vendor]
    if verb is None:
        for name, one in verbs.items():
            click.echo(f"{name} {one.usage}\n    {one.help}{' Changes data.' if one.changes else ''}")
        return
    if verb in verbs and verbs[verb].changes and not yes:
        click.confirm(f"This changes data at {accounts[account].vendor}. Go on?", abort=True, err=True)
    try:
        answer = run(perform, accounts[account], verb, list(arguments))
    except Misuse as error:
        fail(str(error), MISUSED)
    except VendorError as error:
        fail(f"{type(error).__name__}: {error}")
    _print(answer, as_json=as_json)


def _print(answer: object, *, as_json: bool) -> None:
    from workers.cli.screen import print_table

    if as_json or not isinstance(answer, list | dict):
        print_json(answer if answer is not None else "done")
    elif isinstance(answer, dict):
        for name, value in answer.items():
            click.echo(f"{name:30} {'-' if value is None else value}")
    elif answer and isinstance(answer[0], dict):
        columns = list(dict.fromkeys(name for row in answer for name in row))
        print_table(columns, ([row.get(name) for name in columns] for row in answer))
    else:
        print_json(answer)
