"""The README holds what it says."""

import re
import subprocess
import tomllib
from enum import StrEnum
from pathlib import Path

import pytest

from schemas.reader import load
from schemas.states import DeliveryState, EnrollmentState, NeedState
from tests import drawn
from workers.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_settings_that_it_shows_load_without_a_mistake(tmp_path: Path) -> None:
    shown = next(block for block in blocks("toml") if "[receiver]" in block)
    (tmp_path / "muster.toml").write_text(shown)
    settings = load(tmp_path / "muster.toml", environ={})

    assert set(tomllib.loads(shown)) == set(type(settings).model_fields)
    assert set(tomllib.loads(shown)["receiver"]) == set(type(settings.receiver).model_fields)
    assert set(tomllib.loads(shown)["worker"]) == set(type(settings.worker).model_fields)


def test_every_command_that_it_names_exists_and_every_command_is_named() -> None:
    named = set(re.findall(r"\bmuster ([a-z]+)", " ".join([*blocks("sh"), *re.findall(r"`([^`\n]+)`", PROSE)])))

    assert named == set(COMMANDS)


def test_its_two_commands_are_one_line_each_and_begin_with_nothing_but_python() -> None:
    first, second = (block.strip() for block in blocks("sh")[:2])

    assert first.startswith("python3 -m venv")
    assert first.endswith("muster demo")
    assert second.startswith("python3 -m venv")
    assert second.endswith("pytest")
    assert "\n" not in first + second


def test_the_gate_runs_its_test_command() -> None:
    pattern = re.search(r"grep -m 1 '([^']+)' README.md", (ROOT / ".ci" / "run").read_text())

    assert pattern is not None
    assert re.findall(pattern[1], README, re.MULTILINE)


@pytest.mark.parametrize("state", DeliveryState)
def test_it_explains_every_state(state: DeliveryState) -> None:
    assert f"`{state}`" in README


@pytest.mark.parametrize(("what", "states"), [("need", NeedState), ("enrollment", EnrollmentState)])
def test_it_draws_the_states_that_there_are(what: str, states: type[StrEnum]) -> None:
    """`tests/workers/followups/test_planner.py` holds the moves against it."""
    assert {state for move in drawn.moves(what) for state in move} == {state.value for state in states}


def test_nothing_but_the_known_stands_at_the_top() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    top = {name.split("/")[0] for name in tracked if not name.startswith(".")}

    assert top == {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "receiver", "requirements.lock", "schemas", "tests", "workers"}
