"""Every import contract is able to fail: a planted import breaks it, and without one it holds."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def judged(tree: Path) -> str:
    """What the linter says of a tree."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=tree, env={"PYTHONPATH": str(tree), "COLUMNS": "200"}, capture_output=True, text=True, check=False)
    return done.stdout


def plant(tree: Path, module: str, imported: str) -> None:
    """Let a module import another."""
    path = tree.joinpath(*module.split("."))
    with (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).open("a") as source:
        source.write(f"\nimport {imported}\n")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The linter's words on a copy of the packages, before and after a violation of each contract was planted."""
    tree = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", tree)
    for package in ("receiver", "schemas", "workers"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    before = judged(tree)
    for contract in CONTRACTS:
        plant(tree, contract["source_modules"][-1], contract["forbidden_modules"][-1])
    return before, judged(tree)


@pytest.mark.parametrize("name", [contract["name"] for contract in CONTRACTS])
def test_a_contract_holds_until_a_violation_is_planted(verdicts: tuple[str, str], name: str) -> None:
    before, after = verdicts

    assert f"{name} KEPT" in before
    assert f"{name} BROKEN" in after
