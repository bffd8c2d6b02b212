"""The examples are all there, passwords are written once, and what goes by them goes with them."""

import base64
import json
import os
import stat
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.workers.deploy.examples import commands_in, understood
from workers.operations.deployment import FILES, Differs, export, hashed, text_of

SECRETS = {"broker-receiver", "broker-worker", "database", "hse-token", "postgres-password"}


def contents(folder: Path) -> dict[str, str]:
    """Every file's text, by its path from a folder."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_table_names_every_file_that_there_is() -> None:
    assert set(FILES) == {one.name for one in (files("workers") / "deploy").iterdir() if one.is_file()}


@pytest.mark.parametrize("name", [name for name in FILES if commands_in(text_of(name))])
def test_a_command_that_an_example_shows_is_one(name: str) -> None:
    for words in commands_in(text_of(name)):
        understood(words)


def test_most_examples_say_how_they_are_used() -> None:
    assert {name for name in FILES if commands_in(text_of(name))} >= {name for name in FILES if name.endswith(".service")} | {
        "compose.yaml"
    }


def test_all_is_written_for_containers_users_to_read_with_passwords_in_a_folder_that_is_shut(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        written = [str(path.relative_to(tmp_path)) for path in export(tmp_path)]
    finally:
        os.umask(before)

    assert set(written) == set(FILES) | {f"secrets/{name}" for name in SECRETS} == set(contents(tmp_path))
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()} == {0o644}


def test_two_exports_have_no_password_in_common(tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert list(export(tmp_path / name))
    one, other = contents(tmp_path / "one/secrets"), contents(tmp_path / "other/secrets")

    assert not set(one.values()) & set(other.values())
    assert urlsplit(one["database"].strip()).password == one["postgres-password"].strip()


def test_again_it_writes_no_new_password_and_the_brokers_users_keep_theirs(tmp_path: Path) -> None:
    assert list(export(tmp_path))
    (tmp_path / "secrets/broker-worker").write_text("amqps://muster-worker:mine@broker.example.com/\n")
    before = contents(tmp_path / "secrets")
    assert not [path for path in export(tmp_path) if path.parent.name == "secrets"]

    assert contents(tmp_path / "secrets") == before
    users = json.loads((tmp_path / "rabbitmq-definitions.json").read_text())["users"]
    kept = {user["name"]: user["password_hash"] for user in users}["muster-worker"]
    assert kept == hashed("mine", base64.b64decode(kept)[:4])


def test_what_was_changed_by_hand_is_overwritten_only_when_that_is_said(tmp_path: Path) -> None:
    assert list(export(tmp_path))
    (tmp_path / "nginx.conf").write_text("mine")
    (tmp_path / "compose.yaml").unlink()
    with pytest.raises(Differs, match=r"^nginx\.conf$"):
        list(export(tmp_path))

    assert not (tmp_path / "compose.yaml").exists()
    assert list(export(tmp_path, overwrite=True))
    assert (tmp_path / "nginx.conf").read_text() == text_of("nginx.conf")


def test_a_password_is_kept_as_rabbitmq_documents_it() -> None:
    assert hashed("test12", bytes.fromhex("908dc60a")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
