"""The scenarios in the gate's size, one after another: side by side they would starve each other."""

import os
import secrets
from pathlib import Path

import pytest

from tests.faults.__main__ import table
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import Ground
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ

#: The long run, `python -m tests.faults`, has fifty.
_KILLS = 3
_EMBEDDED = ("embedded", "replay-embedded", "followups-embedded")


@pytest.fixture(scope="module")
def seed() -> int:
    """The run's choices; FAULTS_SEED repeats them."""
    return int(os.environ.get("FAULTS_SEED", secrets.randbelow(1_000_000)))


@pytest.mark.parametrize("name", _EMBEDDED)
async def test_killed_embedded_muster_loses_nothing(name: str, seed: int, tmp_path: Path) -> None:
    await _holds(name, Ground(tmp_path, _KILLS, seed))


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in _EMBEDDED])
async def test_no_fault_loses_doubles_or_refuses_anything(
    name: str, seed: int, tmp_path: Path, mortal_rabbitmq: RabbitMQ, mortal_postgres: Postgres
) -> None:
    await _holds(name, Ground(tmp_path, _KILLS, seed, (mortal_rabbitmq, mortal_postgres)))


async def _holds(name: str, ground: Ground) -> None:
    figures = await SCENARIOS[name](ground)
    print(f"\nFAULTS_SEED={ground.seed}\n{table([figures])}", *figures.notes, sep="\n")  # noqa: T201 - shown if it fails, or with -s

    assert figures.problems == []
    assert figures.acknowledged > 0
    assert (figures.lost, figures.refused) == (0, 0)
    assert figures.hit >= {"broker": 4, "alarm": 1}.get(name, _KILLS)
