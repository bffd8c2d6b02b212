"""The example files as the tests read them, and the linters that judge them."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from workers.cli import main
from workers.operations.deployment import text_of

COMPOSE: dict[str, Any] = yaml.safe_load(text_of("compose.yaml"))
#: The services that are muster's own.
OURS: Mapping[str, dict[str, Any]] = {
    name: service for name, service in COMPOSE["services"].items() if service["image"].startswith("muster:")
}


def linted(program: str, *arguments: str | Path) -> str:
    """What a linter of the tests' own packages has to say; nothing, where nothing is wrong."""
    command = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def understood(words: list[str]) -> None:
    """Let muster's own command line read a command; raises click's error where it does not know a word."""
    command: click.Command = main
    name: str | None = "muster"
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    command.make_context(name, list(words))


def commands_in(text: str) -> list[list[str]]:
    """The commands of muster's that a file's comments show, as words."""
    return [shlex.split(shown) for shown in re.findall(r"(?:`|#   |/bin/|exec [\w-]+ )muster ([^`#\n]+)", text)]


def image_environment() -> dict[str, str]:
    """What the image sets."""
    (block,) = re.findall(r"^ENV (.*?[^\\])$", text_of("Containerfile"), re.MULTILINE | re.DOTALL)
    return dict(pair.split("=", 1) for pair in shlex.split(block.replace("\\\n", " ")))
