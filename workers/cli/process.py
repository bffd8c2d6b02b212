"""A long-running process: sites to serve, tasks to keep running, signals to end on. Used by serve, receive, work and demo."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp

from schemas.logs import Log

log = structlog.get_logger()

#: Seconds of the grace period that are kept for closing.
_CLOSING = 2.0
_BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Site:
    """An application and the address to serve it at; `setting` names what to change if the address is taken."""

    app: ASGIApp
    host: str
    port: int
    setting: str


class AddressTaken(Exception):
    """An address cannot be listened on; the message names the setting."""


class EndedByItself(Exception):
    """A part of the process stopped working without an error: an error of ours."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: several run in one process, and one place ends them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(site: Site) -> socket.socket:
    """Bind a site's address; raises AddressTaken."""
    family = socket.AF_INET6 if ":" in site.host else socket.AF_INET
    # The protocol by its name: asyncio switches Nagle's delay off only on connections that say so.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((site.host, site.port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise AddressTaken(f"cannot listen on {site.host}:{site.port} ({error.strerror}): change {site.setting}") from None
    return bound


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


class Process:
    """Sites and tasks that live and end together."""

    def __init__(self, sites: Sequence[Site], tasks: Sequence[Coroutine[Any, Any, Any]], grace: float) -> None:
        self._sockets: list[socket.socket] = []
        try:
            self._sockets += map(listen, sites)
        except AddressTaken:
            self.close()
            raise
        self._servers = [_server(site, grace) for site in sites]
        self._coroutines = tasks
        #: The addresses that are listened on, in the order of the sites.
        self.addresses = [f"http://{_printed(bound.getsockname())}" for bound in self._sockets]

    def close(self) -> None:
        """Give the addresses back; `run` does so by itself."""
        for bound in self._sockets:
            bound.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, or until a task fails, whose error is raised; in-flight requests are finished first.

        On return nothing is accepted any more and the tasks are cancelled: what they own can be closed.
        """
        serving = [asyncio.create_task(server.serve([bound])) for server, bound in zip(self._servers, self._sockets, strict=True)]
        tasks = [asyncio.create_task(coroutine) for coroutine in self._coroutines]
        stopping = asyncio.create_task(stop.wait())
        log.info(Log.LISTENING, addresses=self.addresses)
        collect_rarely()
        try:
            ended, _ = await asyncio.wait([stopping, *serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
            log.info(Log.STOPPING)
        finally:
            for server in self._servers:
                server.should_exit = True
            outcomes = await asyncio.gather(*serving, return_exceptions=True)
            for task in (stopping, *tasks):
                task.cancel()
            outcomes += await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        if stopping not in ended:
            raise EndedByItself("a task that runs for ever has ended, and nobody told it to")
        log.info(Log.STOPPED)


def collect_rarely() -> None:
    """Look for garbage cycles every 50,000 allocations instead of 700: a request, or a page, makes many objects and no cycle."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _server(site: Site, grace: float) -> _Server:
    config = uvicorn.Config(
        site.app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        # The access log prints query strings, and a query string may be a secret.
        access_log=False,
        server_header=False,
        # X-Forwarded-For is read by the receiver's intake, from receiver.trusted_proxies alone.
        proxy_headers=False,
        # What is left of the grace is for cutting off what did not finish, and for closing.
        timeout_graceful_shutdown=max(1, int(grace - _CLOSING)),
        timeout_keep_alive=75,
        backlog=_BACKLOG,
    )
    return _Server(config)


def _printed(address: Any) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
