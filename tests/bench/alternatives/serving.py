"""How every alternative is served: as muster serves itself, so that only the programs differ."""

import os

import uvicorn
from starlette.types import ASGIApp

#: Where a program of this package finds its address and its broker.
PORT, BROKER = "BENCH_PORT", "BENCH_BROKER"


def broker_url() -> str:
    """The broker's address."""
    return os.environ[BROKER]


def serve(app: ASGIApp) -> None:
    """Serve until a signal ends it."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ[PORT]),
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        backlog=2048,
    )
