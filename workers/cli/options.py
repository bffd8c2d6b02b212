"""Options and endings that commands share: which settings, JSON or a table, and how an error is told."""

import asyncio
import functools
import getpass
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from schemas.mistakes import SettingsError
from schemas.reader import Role, load
from schemas.settings import LogSettings, Settings

if TYPE_CHECKING:  # slow to import, and many commands need none
    from workers.database import Database

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")

FAILED, MISUSED = 1, 2


def config_option(command: Command) -> Command:
    """`--config`, here or before the command's name."""

    def chosen(ctx: click.Context, _: click.Parameter, value: Path | None) -> Path | None:
        given = value or ctx.find_root().obj
        assert given is None or isinstance(given, Path)
        return given

    return click.option(
        "--config", type=click.Path(path_type=Path), callback=chosen, help="Settings file; default ./muster.toml or MUSTER_CONFIG."
    )(command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"


def _named(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("somebody has to be named")
    return value.strip()


#: Who does what is kept with a name: in the audit log, in a run.
by_option = click.option("--by", "who", default=_os_user, show_default="the OS user", callback=_named, help="Who does it, as it is kept.")


def settings_for(config: Path | None, role: Role) -> Settings:
    """Load a role's settings, or tell every mistake and exit 2. Until a long-running command says otherwise, nothing is logged:
    a command prints what it has to say.
    """
    from workers.cli.logging import configure

    configure(LogSettings(level="critical"))
    with mistakes_told():
        return load(config, role)


@contextmanager
def mistakes_told() -> Iterator[None]:
    """Tell mistakes in the settings, and exit 2."""
    try:
        yield
    except SettingsError as error:
        tell(error)
        sys.exit(MISUSED)


def make_data_dir(folder: Path) -> None:
    """Make `data_dir`, for this user alone, unless it is there; or tell why not, and exit 1: a disk may come back."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        problem = None if os.access(folder, os.W_OK | os.X_OK) else "it cannot be written"
    except OSError as error:
        problem = error.strerror
    if problem:
        fail(f"the folder {folder} cannot be used ({problem}): let this user write there, or name another with `data_dir`")


def tell(error: SettingsError) -> None:
    """Print the mistakes, one a line."""
    for mistake in error.mistakes:
        click.echo(f"{click.style(mistake.path, bold=True)}: {mistake.problem}. {mistake.remedy}.", err=True)
    click.echo(f"{len(error.mistakes)} mistake{'s' * (len(error.mistakes) > 1)} in the settings.", err=True)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Say what is wrong and what to do, and exit."""
    click.echo(f"muster: {message}", err=True)
    sys.exit(code)


def run(main: Callable[..., Coroutine[Any, Any, Result]], *arguments: Any) -> Result:
    """Run a command's coroutine on uvloop; Ctrl-C ends it quietly with the shell's code for it."""
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main(*arguments))
    except KeyboardInterrupt:
        sys.exit(130)


def with_database(settings: Settings, read: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine with the database open and its schema checked, or say what to do."""
    return on_database(settings, lambda _: read())


def on_database(settings: Settings, act: Callable[["Database"], Coroutine[Any, Any, Result]]) -> Result:
    """The same for one that is given the database, to write."""
    return run(functools.partial(_with_database, settings, act))


async def _with_database(settings: Settings, act: Callable[["Database"], Coroutine[Any, Any, Result]]) -> Result:
    from workers.database import DatabaseAway, DatabaseRefused, close_database, open_database
    from workers.migrations import SchemaMismatch, check_schema

    path = settings.data_dir / "muster.sqlite3"
    if settings.database is None and not path.exists():
        fail(f"there is no database at {path} yet: run `muster init`, or name another with `database`")
    try:
        database = await open_database(settings.database_url)
        await check_schema(database)
        return await act(database)
    except (DatabaseRefused, SchemaMismatch) as error:
        fail(str(error))
    except DatabaseAway as away:
        fail(f"the database cannot be reached ({away}); is it running, and is `database` right?")
    finally:
        await close_database()


def print_json(value: Any) -> None:
    """Print a value as JSON; times in UTC."""
    click.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))
