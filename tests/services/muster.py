"""muster's own processes, as an operator starts them: real commands, a real settings file, ports of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services import commands, free_port, listens, until

Process = subprocess.Popen[bytes] | commands.Running

SECRET = "a-secret-of-the-tests"

_SETTINGS = """\
{head}
data_dir = "{data_dir}"
[receiver]
port = {port}
{receiver}
[local]
receiver_port = {receiver_port}
worker_port = {worker_port}
[log]
format = "json"
{sources}
"""

_SOURCE = """
[sources.{name}]
vendor = "{vendor}"
account = "{account}"
verify = {{ secrets = ["{secret}"] }}
"""


class Muster:
    """A settings file and the processes that run on it; those that it starts are forked, too, unless they are measured or changed."""

    def __init__(
        self,
        home: Path,
        *,
        broker: str | None = None,
        database: str | None = None,
        receiver: str = "",
        sources: Sequence[tuple[str, str]] = (("hse", "4hse"), ("lms", "anewspring"), ("ispring", "ispring")),
        tables: str = "",
        program: str = "workers.cli",
        forks: bool = True,
    ) -> None:
        self.home, self._program, self._forks = home, program, forks and program == "workers.cli"
        home.mkdir(parents=True, exist_ok=True)
        self.port, self.receiver_port, self.worker_port = free_port(), free_port(), free_port()
        self.data_dir = home / "data"
        self.config = home / "muster.toml"
        head = [f'broker = "{broker}"'] * bool(broker) + [f'database = "{database}"'] * bool(database)
        self.config.write_text(
            _SETTINGS.format(
                head="\n".join(head),
                data_dir=self.data_dir,
                port=self.port,
                receiver=receiver,
                receiver_port=self.receiver_port,
                worker_port=self.worker_port,
                sources="".join(_SOURCE.format(name=name, vendor=vendor, account=name, secret=SECRET) for name, vendor in sources) + tables,
            )
        )
        self._running: list[Process] = []

    @property
    def url(self) -> str:
        """Where the receiver listens."""
        return f"http://127.0.0.1:{self.port}"

    def hook(self, event: str, source: str = "hse") -> str:
        """A 4HSE source's endpoint for an event, with its token."""
        return f"{self.url}/hooks/{source}/{event}?token={SECRET}"

    def run(
        self, *arguments: str, check: bool = True, environment: dict[str, str] | None = None, answer: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; `answer` is typed at it."""
        given = {"MUSTER_CONFIG": str(self.config)} | (environment or {})
        done = commands.run(*arguments, cwd=self.home, environment=given, answer=answer, program=self._program)
        if check and done.returncode:
            raise RuntimeError(f"muster {' '.join(arguments)} exited {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def start(self, command: str, environment: dict[str, str] | None = None) -> Process:
        """Start `serve`, `receive` or `work`, and wait until it listens; its log goes to `{command}.log`.

        A second one of a kind needs ports, and a receiver a data_dir, of its own: give them in `environment`.
        """
        port = self.worker_port if command == "work" else self.receiver_port
        process = self._forked(command, environment or {}) if self._forks else self._spawned(command, environment or {})
        self._running.append(process)
        if not environment:
            until(lambda: listens(port) or process.poll() is not None, 60, f"the start of {command}")
        if process.poll() is not None:
            raise RuntimeError(f"{command} exited {process.returncode}: {self.log(command)[-2000:]}")
        return process

    def _forked(self, command: str, environment: Mapping[str, str]) -> commands.Running:
        log = self.home / f"{command}.log"
        log.touch()
        given = {"MUSTER_CONFIG": str(self.config)} | dict(environment)
        return commands.Running([command], self.home, given, (os.devnull, str(log), str(log)), self._program)

    def _spawned(self, command: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self.home / f"{command}.log").open("ab") as log:
            program = [sys.executable, "-m", self._program, command]
            given = self._environment | dict(environment)
            return subprocess.Popen(program, env=given, stdout=log, stderr=log, start_new_session=True)

    def log(self, command: str) -> str:
        """What a command's processes have logged so far."""
        return (self.home / f"{command}.log").read_text(errors="replace")

    def close(self) -> None:
        """Kill whatever still runs."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait(10)

    @property
    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
        return kept | {"MUSTER_CONFIG": str(self.config), "PYTHONPATH": str(Path(__file__).parents[2])}
