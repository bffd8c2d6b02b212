"""`muster deploy` as an operator meets it."""

import json
import subprocess
from pathlib import Path

from tests.services import commands
from workers.operations.deployment import FILES


def deploy(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run it in a folder, with nothing but what is given."""
    return commands.run("deploy", *arguments, cwd=folder)


def test_it_lists_every_file_with_its_purpose(tmp_path: Path) -> None:
    shown, listed = deploy("list", folder=tmp_path), json.loads(deploy("list", "--json", folder=tmp_path).stdout)

    assert [line.split()[0] for line in shown.stdout.splitlines()] == list(FILES)
    assert listed == [{"name": name, "purpose": purpose} for name, purpose in FILES.items()]


def test_it_writes_them_says_where_and_leaves_what_is_somebodys_own(tmp_path: Path) -> None:
    first = deploy("export", "here", folder=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert {str(path.relative_to(tmp_path)) for path in (tmp_path / "here").rglob("*") if path.is_file()} == set(first.stdout.split())

    (tmp_path / "here/nginx.conf").write_text("mine")
    refused = deploy("export", "here", folder=tmp_path)
    forced = deploy("export", "here", "--overwrite", folder=tmp_path)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "nginx.conf. Nothing was written: take another DIR, or --overwrite" in refused.stderr
    assert forced.returncode == 0
    assert (tmp_path / "here/nginx.conf").read_text() != "mine"


def test_a_folder_that_cannot_be_written_and_an_address_of_somebody_else_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert deploy("export", "file", folder=tmp_path).returncode == 2
    assert deploy("export", "file/below", folder=tmp_path).returncode == 1

    (tmp_path / "here/secrets").mkdir(parents=True)
    (tmp_path / "here/secrets/broker-worker").write_text("amqp://guest:guest@rabbitmq/")
    told = deploy("export", "here", folder=tmp_path)
    assert told.returncode == 1
    assert "names another user" in told.stderr
