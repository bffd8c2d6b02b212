"""`muster …` as a process of its own, run to its end: the real command line, forked from a process that knows its modules by then.

Importing them costs most commands ten times what they do, and there are some thousand commands in the tests.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

_TIMEOUT = 60.0
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["tests.services.preloaded"])
#: What a command is given of this process's environment.
_KEPT = ("PATH", "HOME", "TZ", "LANG")


def run(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None, answer: str = "", program: str = "workers.cli"
) -> subprocess.CompletedProcess[str]:
    """Run `muster` with these arguments in a folder, with nothing in its environment but what is given; `answer` is typed at it."""
    with TemporaryDirectory() as kept:
        streams = [Path(kept) / name for name in ("in", "out", "err")]
        streams[0].write_text(answer)
        given = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(environment or {})
        process = _FORKED.Process(target=_muster, args=(program, arguments, str(cwd), given, [str(path) for path in streams]))
        process.start()
        process.join(_TIMEOUT)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["muster", *arguments], _TIMEOUT, streams[1].read_bytes(), streams[2].read_bytes())
        process.close()
        return subprocess.CompletedProcess(["muster", *arguments], code, *(path.read_text() for path in streams[1:]))


def _muster(program: str, arguments: tuple[str, ...], cwd: str, environment: Mapping[str, str], streams: list[str]) -> None:
    """What happens in the forked process: everything as if it had been started by a shell."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = ["muster", *arguments]
    runpy.run_module(program, run_name="__main__")
