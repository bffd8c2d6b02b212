"""Private servers for tests: own port, own data, gone afterwards. Nothing that runs on this machine already is touched."""

import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import pytest


class Missing(Exception):
    """The programs of a server are not installed; the message says how to get them."""


def required() -> bool:
    """Whether a missing server is a failure (set in CI) or a reason to skip."""
    return os.environ.get("REQUIRE_SERVICES") == "1"


def lacking(what: str) -> NoReturn:
    """Skip the test that asks with the reason, or in CI fail it."""
    if required():
        pytest.fail(what)
    pytest.skip(what)


def installed(program: str, package: str) -> str:
    """Where a program is that a test needs."""
    return shutil.which(program) or lacking(f"{program} is not installed; on Debian: apt-get install {package}")


def free_port() -> int:
    """A TCP port that nobody listens on now, below those that the system gives to clients.

    One of theirs could be taken by a client, or be a client's way to itself, while the server that owns it is being restarted.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def until(condition: Callable[[], object], timeout: float, what: str) -> None:
    """Wait until a condition holds; raises TimeoutError naming what did not happen."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout} s")
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
