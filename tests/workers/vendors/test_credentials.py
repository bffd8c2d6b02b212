"""Credentials are read from their files when they are needed, and nothing else ever tells them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from workers.vendors.credentials import Credential
from workers.vendors.errors import Refused


def test_it_is_the_files_text_without_the_space_around_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("  pässword \n", encoding="utf-8")

    assert Credential("password_file", tmp_path / "secret").read() == "pässword"


def test_it_is_read_once_until_it_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    credential = Credential("password_file", file)
    credential.read()
    file.write_text("new")
    before = credential.read()
    credential.forget()

    assert (before, credential.read()) == ("old", "new")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: None, "No such file"),
        (lambda file: file.mkdir(), "Is a directory"),
        (lambda file: file.write_bytes(b"planted\xff"), "not UTF-8"),
        (lambda file: file.write_bytes(b" \n"), "empty"),
    ],
    ids=["missing", "a directory", "not text", "empty"],
)
def test_a_file_without_a_credential_is_refused_by_the_name_of_its_setting(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(tmp_path / "secret")
    with pytest.raises(Refused, match=f"password_file: .*{said}") as caught:
        Credential("password_file", tmp_path / "secret").read()

    assert caught.value.complaints[0].field == "password_file"
    assert "planted" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_printing_it_tells_the_setting_alone(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("planted")
    credential = Credential("password_file", tmp_path / "secret")
    credential.read()

    assert f"{credential} {credential!r}" == "Credential(password_file) Credential(password_file)"
