"""The scenarios in the gate's size, and that what counts as durable is on the disk."""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.spool import Spool, Spooled
from tests.faults.__main__ import table
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import Ground
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ

#: The long run, `python -m tests.faults`, has ten times as many.
_KILLS = 5
_EMBEDDED = ("embedded", "replay-embedded", "followups-embedded")
_FULL = 2
_MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def seed() -> int:
    """The run's choices; FAULTS_SEED repeats them."""
    return int(os.environ.get("FAULTS_SEED", secrets.randbelow(1_000_000)))


@pytest.mark.parametrize("name", _EMBEDDED)
async def test_killed_embedded_muster_loses_nothing(name: str, seed: int, tmp_path: Path) -> None:
    await _holds(name, Ground(tmp_path, _KILLS, seed))


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in _EMBEDDED])
async def test_no_fault_loses_or_refuses_a_delivery(
    name: str, seed: int, tmp_path: Path, mortal_rabbitmq: RabbitMQ, mortal_postgres: Postgres
) -> None:
    await _holds(name, Ground(tmp_path, _KILLS, seed, (mortal_rabbitmq, mortal_postgres)))


async def _holds(name: str, ground: Ground) -> None:
    figures = await SCENARIOS[name](ground)
    print(f"\nFAULTS_SEED={ground.seed}\n{table([figures])}", *figures.notes, sep="\n")  # noqa: T201 - shown if it fails, or with -s

    assert figures.problems == []
    assert figures.acknowledged > 0
    assert (figures.lost, figures.refused) == (0, 0)
    assert figures.hit >= {"broker": 4, "alarm": 1, "database": 3}.get(name, _KILLS)


async def test_the_spools_live_connection_says_that_it_flushes_every_commit(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, _MEBIBYTE, owner=True)
    try:
        assert await spool.synchronous() == _FULL
    finally:
        await spool.close()


def test_every_group_of_appends_is_flushed_to_the_disk(tmp_path: Path) -> None:
    """As the kernel sees it: alone each append costs a flush, many at once share one."""
    if not _can_trace():
        pytest.skip("strace is not installed, or may not trace here; on Debian: apt-get install strace")
    idle, alone, together = (_flushes(tmp_path / name, groups, size) for name, groups, size in (("i", 0, 0), ("a", 5, 1), ("t", 5, 100)))

    assert alone - idle >= 5
    assert 5 <= together - idle <= 10


def _can_trace() -> bool:
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


def _flushes(data_dir: Path, groups: int, size: int) -> int:
    """How often a process that appends `groups` times `size` deliveries at once asks the kernel to flush a file."""
    data_dir.mkdir()
    trace = data_dir / "trace"
    command = [
        "strace",
        "-f",
        "-e",
        "trace=fsync,fdatasync",
        "-o",
        str(trace),
        sys.executable,
        __file__,
        str(data_dir),
        str(groups),
        str(size),
    ]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, check=True, timeout=60)
    return sum("sync(" in line for line in trace.read_text().splitlines())


async def _append(data_dir: Path, groups: int, size: int) -> None:
    spool = Spool.open(data_dir, _MEBIBYTE, owner=True)
    for _ in range(groups):
        await asyncio.gather(*(spool.append(Spooled("4hse", "hse", b"{}")) for _ in range(size)))
    await spool.close()


if __name__ == "__main__":
    asyncio.run(_append(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
