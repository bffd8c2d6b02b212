"""What counts as durable is on the disk."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from receiver.spool import Spool, Spooled
from tests.services import installed, lacking

_FULL = 2
_MEBIBYTE = 1024 * 1024


async def test_the_spools_live_connection_says_that_it_flushes_every_commit(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, _MEBIBYTE, owner=True)
    try:
        assert await spool.synchronous() == _FULL
    finally:
        await spool.close()


def test_every_group_of_appends_is_flushed_to_the_disk(tmp_path: Path) -> None:
    """As the kernel sees it: alone each append costs a flush, many at once share one."""
    if subprocess.run([installed("strace", "strace"), "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        lacking("strace may not trace here")
    idle, alone, together = (_flushes(tmp_path / name, groups, size) for name, groups, size in (("i", 0, 0), ("a", 5, 1), ("t", 5, 100)))

    assert alone - idle >= 5
    assert 5 <= together - idle <= 10


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
