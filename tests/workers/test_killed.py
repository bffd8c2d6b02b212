"""A delivery that kills the process that handles it is found, logged dead after five attempts, and its neighbours are applied."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import aio_pika

from receiver.spool import Spool, Spooled
from schemas import topology
from schemas.delivery import Delivery, encode, seal
from tests.services.postgres import Postgres
from tests.workers import killed
from tests.workers.made import created, delivery, logged, states
from workers.consumer import declare_at
from workers.database import Database, close_database, open_database
from workers.migrations import migrate
from workers.operations.health import queue_depths
from workers.pipeline import ATTEMPTS


async def deaths(database: str, inlet: str, count: int) -> int:
    """Run workers one after the other until one lives; how many did not."""
    root = str(Path(__file__).parents[2])
    for died in range(3 * ATTEMPTS):
        command = [sys.executable, killed.__file__, database, inlet, str(count)]
        environment = os.environ | {"PYTHONPATH": root}
        done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return died
        assert done.returncode == killed.KILLED, done.stderr
    raise AssertionError("no worker lived")


async def assert_found(database: Database, poison: Delivery, neighbours: list[Delivery]) -> None:
    """The poison is in the log as what it is, and has harmed nobody."""
    assert await states(poison) == [("dead", "worker_killed")]
    row = await logged(poison)
    assert (row.attempts, bytes(row.body or b"")) == (ATTEMPTS, poison.body)
    assert await states(*neighbours) == [("applied", None)] * len(neighbours)


async def test_over_rabbitmq(broker_url: str, postgres: Postgres) -> None:
    database_url = postgres.create("killed")
    first, poison, last, later = created("s1"), delivery(b"poison"), created("s3"), created("s4")
    database = await open_database(database_url)
    try:
        await migrate(database)
        await declare_at(broker_url)
        connection = await aio_pika.connect(broker_url)
        exchange = await (await connection.channel()).get_exchange(topology.DELIVERIES)
        for message in (seal(map(encode, (first, poison, last))), seal([encode(later)])):
            await exchange.publish(aio_pika.Message(message, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), "4hse.hse")
        await connection.close()

        assert await deaths(database_url, broker_url, 4) == 1 + ATTEMPTS  # the first time it was fresh, and nobody's suspect
        await assert_found(database, poison, [first, last, later])
        assert {depth.messages for depth in await queue_depths(broker_url)} == {0}
    finally:
        await close_database()


async def test_over_the_spool(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'muster.sqlite3'}"
    first, poison, last = created("s1"), delivery(b"poison"), created("s3")
    spool = Spool.open(tmp_path, 2**24, owner=True)
    for one in (first, poison, last):
        await spool.append(Spooled("4hse", "hse", encode(one)))
    await spool.close()
    database = await open_database(url)
    try:
        await migrate(database)

        assert await deaths(url, str(tmp_path), 3) == 1 + ATTEMPTS
        await assert_found(database, poison, [first, last])
    finally:
        await close_database()
    spool = Spool.open(tmp_path, 2**24, owner=True)
    assert spool.depth == 0
    await spool.close()
