"""The load generator: wrk, over keep-alive connections that each wait for their answer before they send again."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 64

_INSTALL = "wrk is not installed; on Debian: apt-get install wrk"
_SCRIPT = Path(__file__).with_name("load.lua")


class NoLoadGenerator(Exception):
    """The load generator is not installed."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the load generator saw."""

    answers: int
    seconds: float
    #: Answers with a status of 400 or more.
    refused: int
    #: Connections and requests that failed without an answer.
    failed: int
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Accepted requests a second."""
        return (self.answers - self.refused) / self.seconds


def version() -> str:
    """The load generator's version; raises NoLoadGenerator."""
    if shutil.which("wrk") is None:
        raise NoLoadGenerator(_INSTALL)
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])


def send(port: int, requests: Sequence[Path], seconds: float) -> Load:
    """Send for so many seconds; every request must have been accepted."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(_SCRIPT), f"http://127.0.0.1:{port}/"]
    done = subprocess.run([*command, "--", *map(str, requests)], capture_output=True, text=True, check=True, timeout=seconds + 60)
    result = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    load = Load(**json.loads(result.removeprefix("RESULT ")))
    if load.refused or load.failed:
        raise RuntimeError(f"the load was not accepted: {load}")
    return load
