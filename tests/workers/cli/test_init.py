"""`muster init` where folders are missing or shut, and what it says comes next."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.services import commands
from workers.cli.init import following


def bare(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run muster in a directory of its own, with nothing but what is given."""
    return commands.run(*arguments, cwd=directory, environment=environment)


@pytest.mark.parametrize("command", ["init", "serve"])
def test_a_settings_file_that_cannot_be_written_is_told_with_what_names_it(command: str, tmp_path: Path) -> None:
    done = bare(tmp_path, command, MUSTER_CONFIG="nowhere/muster.toml")

    assert done.returncode == 2
    assert "nowhere/muster.toml: it cannot be written: No such file or directory. " in done.stderr
    assert "--config or MUSTER_CONFIG" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["init", "serve", "receive", "work"])
def test_a_data_dir_that_cannot_be_is_told_with_the_setting(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    broker = {"MUSTER_BROKER": "amqp://127.0.0.1:1/"} if command in ("receive", "work") else {}
    done = bare(tmp_path, command, MUSTER_DATA_DIR="file/below", **broker)

    assert done.returncode == 1
    assert "the folder file/below cannot be used (Not a directory): " in done.stderr
    assert "name another with `data_dir`" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_alone_are_written_where_nothing_is_to_be_prepared_yet(tmp_path: Path) -> None:
    done = bare(tmp_path, "init", "--settings-only")

    assert done.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["muster.toml"]
    assert tomllib.loads((tmp_path / "muster.toml").read_text())["sources"]
    assert done.stdout.splitlines() == ["wrote muster.toml", "", "Next: make muster.toml yours, then this again without --settings-only"]


def test_a_database_that_is_named_needs_no_data_dir(tmp_path: Path) -> None:
    done = bare(tmp_path, "init", "--role", "worker", MUSTER_DATABASE=f"sqlite://{tmp_path / 'own.sqlite3'}")

    assert done.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"muster.toml", "own.sqlite3"}


@pytest.mark.parametrize(
    ("role", "broker", "said"),
    [
        ("all", None, "`muster serve`, then `muster trigger hse ACTION_SUBSCRIPTION::CREATE`"),
        ("all", "amqp://b/", "`muster receive` and `muster work`, then `muster trigger hse ACTION_SUBSCRIPTION::CREATE`"),
        ("receiver", "amqp://b/", "`muster receive`, then `muster trigger hse ACTION_SUBSCRIPTION::CREATE`"),
        ("receiver", None, "set `broker` in muster.toml, then `muster receive`"),
        ("worker", "amqp://b/", "`muster work`"),
        ("worker", None, "set `broker` in muster.toml, then `muster init --role worker` again"),
    ],
)
def test_what_comes_next_is_said_for_the_role_and_its_broker(role: str, broker: str | None, said: str) -> None:
    assert following(role, broker, Path("muster.toml")) == said
