"""A private PostgreSQL cluster: started, stopped and killed at will."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.services import Missing, free_port

_INSTALL = "PostgreSQL's programs are not installed; on Debian: apt-get install postgresql"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    other = shutil.which("pg_ctl")
    if not found and other:
        found = [Path(other).resolve().parent]
    if not found:
        raise Missing(_INSTALL)
    return found[-1]


class Postgres:
    """One cluster, with a fresh data directory. `durable` keeps fsync on, as a measurement wants it."""

    def __init__(self, *, durable: bool = False) -> None:
        self._programs = _programs()
        self._home = Path(tempfile.mkdtemp(prefix="muster-postgres-"))
        self._output = self._home.with_suffix(".output")
        self.port = free_port()
        # PostgreSQL refuses to run as root; Debian's package brings the user.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._home, self._user)
        self._fsync = "on" if durable else "off"
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D", str(self._home / "data"))

    def url(self, database: str = "postgres") -> str:
        """An address of this cluster."""
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the cluster and wait until it takes connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync={self._fsync} -c unix_socket_directories={self._home}"
        log = str(self._home / "log")
        self._run("pg_ctl", "start", "-w", "-D", str(self._home / "data"), "-l", log, "-o", f"{options} -c max_connections=200")

    def stop(self, mode: str = "fast") -> None:
        """Stop the cluster; mode `immediate` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self._home / "data"), check=False)

    def create(self, database: str, template: str = "template1") -> str:
        """Create a database and return its address."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-T", template, database)
        return self.url(database)

    def tls(self, certificate: Path) -> None:
        """Speak TLS too, from now on; key and certificate are one file."""
        own = self._kept(certificate)
        for setting, value in (("ssl_cert_file", own), ("ssl_key_file", own), ("ssl", "on")):
            self._say(f"ALTER SYSTEM SET {setting} = '{value}'")
        self._reload()

    def certified(self, user: str, authority: Path) -> None:
        """Make a user who is let in only with a certificate of an authority's that names them, over the TLS that there is."""
        self._say(f'CREATE ROLE "{user}" SUPERUSER LOGIN')
        self._say(f"ALTER SYSTEM SET ssl_ca_file = '{self._kept(authority)}'")
        access = self._home / "data" / "pg_hba.conf"
        access.write_text(f"hostssl all {user} all cert\nhost all {user} all reject\n{access.read_text()}")
        self._reload()

    def _kept(self, file: Path) -> Path:
        """A copy that the cluster's own user reads."""
        own = self._home / file.name
        shutil.copy(file, own)
        if self._user:
            shutil.chown(own, self._user)
        own.chmod(0o600)
        return own

    def _say(self, statement: str) -> None:
        self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", statement)

    def _reload(self) -> None:
        self._run("pg_ctl", "reload", "-D", str(self._home / "data"))

    def remove(self) -> None:
        """Stop the cluster and delete its data."""
        self.stop("immediate")
        shutil.rmtree(self._home, ignore_errors=True)
        self._output.unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [str(self._programs / program), *arguments]
        # To files, not pipes: a server that pg_ctl starts would hold a pipe open for ever.
        with self._output.open("w+b") as output:
            done = subprocess.run(command, user=self._user, cwd=self._home, stdout=output, stderr=output, timeout=60, check=False)
            output.seek(0)
            said = output.read().decode(errors="replace")
        if check and done.returncode:
            raise RuntimeError(f"{program} failed: {said}")
