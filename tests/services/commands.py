"""`muster …` as a process of its own: the real command line, forked from a process that knows its modules by then.

Importing them costs most commands ten times what they do, and there are some thousand commands in the tests.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

_TIMEOUT = 60.0
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["tests.services.preloaded"])
#: What a command is given of this process's environment.
_KEPT = ("PATH", "HOME", "TZ", "LANG")


class Running:
    """A command that was started, with what `subprocess.Popen` offers of one. It leads a session of its own."""

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        streams: tuple[str, str, str],
        program: str = "workers.cli",
    ) -> None:
        given = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(environment)
        self.args = ["muster", *arguments]
        self._process = _FORKED.Process(target=_muster, args=(program, self.args, str(cwd), given, streams), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, a signal as its negative number; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to it while it runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def run(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None, answer: str = "", program: str = "workers.cli"
) -> subprocess.CompletedProcess[str]:
    """Run `muster` with these arguments in a folder, with nothing in its environment but what is given; `answer` is typed at it."""
    with TemporaryDirectory() as kept:
        typed, out, err = (Path(kept) / name for name in ("in", "out", "err"))
        typed.write_text(answer)
        running = Running(arguments, cwd, environment or {}, (str(typed), str(out), str(err)), program)
        try:
            code = running.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            running.kill()
            raise subprocess.TimeoutExpired(running.args, _TIMEOUT, out.read_bytes(), err.read_bytes()) from None
        return subprocess.CompletedProcess(running.args, code, out.read_text(), err.read_text())


def _muster(program: str, arguments: list[str], cwd: str, environment: Mapping[str, str], streams: tuple[str, str, str]) -> None:
    """What happens in the forked process: everything as if it had been started by a shell."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = arguments
    runpy.run_module(program, run_name="__main__")
