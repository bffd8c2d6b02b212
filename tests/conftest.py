"""Fixtures over the private servers."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from hypothesis import HealthCheck, settings

from tests.services import started
from tests.services.muster import Muster
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ

# An example takes as long as the machine lets it: how long, the benchmarks measure.
settings.register_profile("muster", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muster")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster for the whole run; take a database of your own from it, and never stop it."""
    yield from started.running(Postgres)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """A RabbitMQ node for the whole run; take a virtual host of your own from it, and never stop it."""
    yield from started.running(lambda: RabbitMQ(lot=10))


@pytest.fixture(scope="module")
def mortal_postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster for one module, to stop and crash."""
    yield from started.running(Postgres)


@pytest.fixture(scope="module")
def mortal_rabbitmq() -> Iterator[RabbitMQ]:
    """A RabbitMQ node for one module, to stop, kill, freeze and block."""
    yield from started.running(RabbitMQ)


_numbers = iter(range(1, 1_000_000))


@pytest.fixture
def broker_url(rabbitmq: RabbitMQ) -> str:
    """A virtual host that nobody used before, without topology."""
    return rabbitmq.vhost()


@pytest.fixture
def connects_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """From now on `aio_pika.connect` loses the cancellation that comes in its last moment; is set when that has begun.

    As Python 3.11's `asyncio.wait_for` does, within it, where both happen at once.
    """
    connected, connect = asyncio.Event(), aio_pika.connect

    async def connects(*given: Any, **named: Any) -> Any:
        connection = await connect(*given, **named)
        connected.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return connection

    monkeypatch.setattr(aio_pika, "connect", connects)
    return connected


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path / 'muster.sqlite3'}"
    cluster: Postgres = request.getfixturevalue("postgres")
    return cluster.create(f"d{next(_numbers)}")


@pytest.fixture(params=["embedded", "rabbitmq+sqlite", "rabbitmq+postgres"])
def muster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Muster]:
    """muster set up and running, on each transport and each database."""
    transport, _, kind = request.param.partition("+")
    broker = request.getfixturevalue("broker_url") if transport == "rabbitmq" else None
    database = request.getfixturevalue("postgres").create(f"d{next(_numbers)}") if kind == "postgres" else None
    running = Muster(tmp_path, broker=broker, database=database)
    running.run("init")
    for command in ("receive", "work") if broker else ("serve",):
        running.start(command)
    yield running
    running.close()
