"""`muster ispring`."""

import functools
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

import click

from schemas.accounts import IspringAccount
from schemas.delivery import now_utc
from schemas.ispring import SubscriptionType
from schemas.reader import Role
from schemas.settings import Settings
from workers.cli.options import MISUSED, config_option, fail, json_option, on_database, print_json, settings_for, with_database
from workers.cli.screen import local_time, print_table

if TYPE_CHECKING:
    from workers.database import Database
    from workers.operations.ispring import Wanted

_LONGEST = 255
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_TYPES: tuple[SubscriptionType, ...] = get_args(SubscriptionType)
_STEPS = {
    "FOUND": "iSpring has it already",
    "REGISTERING": "registering",
    "ASKING_FOR_A_CODE": "asking for a code",
    "WAITING": "waiting for a worker to give the code back …",
    "CONFIRMED": "confirmed",
    "SUBSCRIBING": "subscribing",
    "SUBSCRIBED": "subscribed",
}


@click.group()
def ispring() -> None:
    """Connect iSpring Learn's webhooks, and see whether they stand."""


@ispring.command()
@config_option
@click.argument("account")
@click.option("--secret-file", type=_FILE, required=True, help="A file with the secret that iSpring is to sign with.")
@click.option(
    "--url-file", type=_FILE, required=True, help="A file with the address that iSpring is to call; {event} in it becomes the type."
)
@click.option(
    "--event", "events", type=click.Choice(_TYPES), multiple=True, help="A type of event, or several. Default: those muster uses."
)
@click.option("--name", "prefix", default="muster", show_default=True, help="What the subscribers' names begin with.")
@click.option("--timeout", type=click.FloatRange(min=1), default=120.0, show_default=True, help="Seconds to wait for each confirmation.")
@json_option
def connect(
    config: Path | None,
    account: str,
    secret_file: Path,
    url_file: Path,
    events: tuple[SubscriptionType, ...],
    prefix: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Register a webhook subscriber for each type of event, have it confirmed, and subscribe it.

    iSpring delivers a code to the address, unsigned; a worker gives it back while this waits: run it where the workers' settings are,
    while receiver and worker run. Secret and address are sent to iSpring and kept nowhere. What stands already is left as it is, so
    run it again after a failure, or when a subscriber has become unconfirmed.

    \b
    The source, in the receiver's settings, lets the code in by a token that is good for nothing else:
    [sources.lms]
    vendor = "ispring"
    verify = [{ secrets_file = "hook-secret" },
              { scheme = "token", query = "token", secrets_file = "hook-token", events = ["CONFIRMATION"] }]

    \b
    muster sources urls --show-secrets        # the address, with that token
    muster ispring connect lms --secret-file hook-secret --url-file hook-url
    muster ispring connect lms --secret-file hook-secret --url-file hook-url --event COURSE_STATUS_CHANGED
    """
    settings = settings_for(config, Role.WORKER)
    configured = _account(settings, account)
    secret, url = _read(secret_file, "--secret-file"), _address(url_file, configured)
    wanted = _wanted(events or _used(), prefix, url, secret)
    done = on_database(settings, functools.partial(_connect, account, configured, wanted, timedelta(seconds=timeout)))
    if as_json:
        print_json(done)


@ispring.command("list")
@config_option
@click.argument("account")
@json_option
def list_subscribers(config: Path | None, account: str, as_json: bool) -> None:
    """List the subscribers that muster made in an account, and whether they are confirmed."""
    from workers.operations.ispring import subscribers

    settings = settings_for(config, Role.WORKER)
    _account(settings, account)
    found = with_database(settings, functools.partial(subscribers, account))
    if as_json:
        print_json([{"name": one.name, "event": one.event, "state": one.state, "since": one.state_at, "error": one.error} for one in found])
        return
    rows = [(one.name, one.event, one.state, local_time(one.state_at), one.error) for one in found]
    print_table(("name", "event", "state", "since", "error"), rows)


async def _connect(
    name: str, account: IspringAccount, wanted: "list[Wanted]", patience: timedelta, database: "Database"
) -> list[dict[str, Any]]:
    from workers.operations.ispring import NotConnected
    from workers.operations.ispring import connect as steps
    from workers.vendors.accounts import OpenAccount, client
    from workers.vendors.errors import VendorError

    opened = OpenAccount(name, account, client(account, now_utc))
    try:
        for one in wanted:
            async for step in steps(database, opened, one, patience, now_utc):
                click.echo(f"{one.name}: {_STEPS[step.name]}", err=True)
    except NotConnected as error:
        fail(str(error))
    except VendorError as error:
        fail(f"{type(error).__name__}: {error}. Running this again is harmless: it goes on where it stands")
    finally:
        await opened.client.close()
    return [{"name": one.name, "event": one.event, "state": "subscribed"} for one in wanted]


def _account(settings: Settings, name: str) -> IspringAccount:
    found = settings.accounts.get(name)
    if not isinstance(found, IspringAccount):
        ours = [one for one, account in settings.accounts.items() if isinstance(account, IspringAccount)]
        fail(f"no account {name!r} of iSpring's is configured; there are: {', '.join(ours) or 'none, add [accounts.NAME]'}", MISUSED)
    return found


def _used() -> tuple[SubscriptionType, ...]:
    """The types whose deliveries muster uses."""
    from workers.handlers import HANDLERS

    return tuple(one for one in _TYPES if ("ispring", one) in HANDLERS)


def _read(path: Path, option: str) -> str:
    """A file's text; what is wrong with it is told without it."""
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{option}: the file cannot be read ({type(error).__name__})", MISUSED)
    if not 0 < len(text) <= _LONGEST:
        fail(f"{option}: iSpring takes 1 to {_LONGEST} characters, and the file holds {len(text)}", MISUSED)
    if len(text.splitlines()) > 1:
        fail(f"{option}: the file must hold one line", MISUSED)
    return text


def _address(path: Path, account: IspringAccount) -> str:
    url = _read(path, "--url-file")
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("https", "http") or not parts.netloc or url.split() != [url]:
        fail("--url-file: the file must hold one address such as https://hooks.example.com/hooks/lms?token=…", MISUSED)
    if parts.scheme != "https" and not account.insecure:
        fail("--url-file: the address must be https, or set insecure = true on the account for a test machine", MISUSED)
    return url


def _wanted(events: tuple[SubscriptionType, ...], prefix: str, url: str, secret: str) -> "list[Wanted]":
    from workers.operations.ispring import Wanted

    wanted = [Wanted(f"{prefix}-{one}", one, url.replace("{event}", one), secret) for one in dict.fromkeys(events)]
    if any(len(one.name) > _LONGEST or len(one.url) > _LONGEST for one in wanted):
        fail(f"iSpring takes names and addresses of up to {_LONGEST} characters", MISUSED)
    return wanted
