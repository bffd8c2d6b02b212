"""A private RabbitMQ node: started, stopped, alarmed and killed at will."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.services import Missing, free_port, listens, until

#: In Erlang, what `rabbitmqctl set_permissions` does for `guest`.
_RIGHTS = 'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)'
_INSTALL = "RabbitMQ's programs are not installed; on Debian: apt-get install rabbitmq-server"


def _programs() -> Path:
    """Where the node's own scripts are: those in /usr/sbin change the user, and need root."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))
    other = shutil.which("rabbitmq-server")
    if not found and other:
        found = [Path(other).resolve().parent]
    if not found:
        raise Missing(_INSTALL)
    return found[-1]


class RabbitMQ:
    """One node, with a fresh data directory; `settings` are what its rabbitmq.conf says.

    Virtual hosts are made a `lot` at a time: each call of rabbitmqctl starts Erlang's machine.
    """

    def __init__(self, settings: str = "", lot: int = 1) -> None:
        self._lot, self._vhosts, self._numbers = lot, list[str](), itertools.count(1)
        self._programs = _programs()
        self._home = Path(tempfile.mkdtemp(prefix="muster-rabbitmq-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = os.environ | {
            "HOME": str(self._home),
            "RABBITMQ_NODENAME": f"muster-{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._home / "data"),
            "RABBITMQ_LOG_BASE": str(self._home / "log"),
            "RABBITMQ_PID_FILE": str(self._home / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._home / "rabbitmq"),
        }
        (self._home / "plugins").write_text("[].\n")
        (self._home / "rabbitmq.conf").write_text(settings)

    def url(self, vhost: str = "", user: str = "guest:guest") -> str:
        """An address of this node."""
        return f"amqp://{user}@127.0.0.1:{self.port}/{vhost}"

    def start(self) -> None:
        """Start the node and wait until it takes connections."""
        with (self._home / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self._programs / "rabbitmq-server"], env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        until(lambda: listens(self.port), 60, "RabbitMQ's start")
        self.ctl("await_startup")

    def stop(self) -> None:
        """Stop the node in good order."""
        if self._process is not None:
            self.ctl("stop", check=False)
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """kill -9 the node."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None
        until(lambda: not listens(self.port), 10, "RabbitMQ's end")

    def freeze(self, *, frozen: bool) -> None:
        """Stop the node in its tracks, its connections open, or let it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def ctl(self, *arguments: str, check: bool = True) -> str:
        """Run rabbitmqctl against this node."""
        command = [str(self._programs / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def alarm(self, *, raised: bool) -> None:
        """Raise or clear the memory alarm, which blocks every publisher."""
        self.ctl("set_vm_memory_high_watermark", "0.00001" if raised else "0.4")

    def vhost(self) -> str:
        """The address of a virtual host that nobody used before."""
        if not self._vhosts:
            self._vhosts = [f"v{next(self._numbers)}" for _ in range(self._lot)]
            made = (f'rabbit_vhost:add(<<"{name}">>, <<"tests">>), {_RIGHTS.format(name)}' for name in self._vhosts)
            self.ctl("eval", f"{', '.join(made)}.")
        return self.url(self._vhosts.pop())

    def tls(self, certificate: Path) -> int:
        """Listen with TLS too, and return the port; key and certificate are one file."""
        port, options = free_port(), f'[{{certfile, "{certificate}"}}, {{keyfile, "{certificate}"}}]'
        self.ctl("eval", f"rabbit_networking:ensure_ssl(), rabbit_networking:start_ssl_listener({port}, {options}, 1).")
        return port

    def remove(self) -> None:
        """End the node, its port mapper too, and delete its data."""
        if self._process is not None:
            self.kill()
        subprocess.run(["epmd", "-kill"], env=self._environment, capture_output=True, check=False)
        shutil.rmtree(self._home, ignore_errors=True)
