"""To the next version while this one works, and from embedded to a broker: nothing is lost on the way."""

import asyncio
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Self

import asyncpg
import httpx2
import pytest

from schemas.samples import SUBSCRIPTION
from tests.services import free_port, until
from tests.services.muster import Muster
from tests.services.postgres import Postgres
from workers.migrations import CURRENT

EACH = 20


@pytest.fixture
def database(postgres: Postgres) -> str:
    """A database's address."""
    return postgres.create(f"upgrade{free_port()}")


@pytest.fixture
def both(tmp_path: Path, broker_url: str, database: str) -> Iterator[tuple[Muster, Muster]]:
    """This version and the next one, on one broker and one database; a receiver of this one runs."""
    versions = (
        Muster(tmp_path / "this", broker=broker_url, database=database),
        Muster(tmp_path / "next", broker=broker_url, database=database, program="tests.workers.newer"),
    )
    versions[0].run("init")
    versions[0].start("receive")
    yield versions
    for version in versions:
        version.close()


def send(muster: Muster, first: int) -> None:
    """Post webhooks about subscriptions of their own."""
    with httpx2.Client() as client:
        for number in range(first, first + EACH):
            assert (
                client.post(
                    muster.hook("ACTION_SUBSCRIPTION::CREATE"), json=SUBSCRIPTION | {"action_subscription_id": str(number)}
                ).status_code
                == 200
            )


class Load(threading.Thread):
    """Webhooks, one after the other, for as long as it is entered."""

    def __init__(self, muster: Muster, first: int) -> None:
        super().__init__()
        self._muster, self._first, self._enough = muster, first, threading.Event()
        #: When each was sent and when answered, and with what.
        self.answers: list[tuple[float, float, int]] = []

    def __enter__(self) -> Self:
        self.start()
        until(lambda: self.answers, 10, "the load's first answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self.join()

    def run(self) -> None:
        with httpx2.Client(timeout=20) as client:
            while not self._enough.wait(0.01):
                sent = time.monotonic()
                body = SUBSCRIPTION | {"action_subscription_id": str(self._first + len(self.answers))}
                answer = client.post(self._muster.hook("ACTION_SUBSCRIPTION::CREATE"), json=body)
                self.answers.append((sent, time.monotonic(), answer.status_code))


async def altering(url: str) -> bool:
    """Whether a migration holds the delivery log's table."""
    connection = await asyncpg.connect(url)
    try:
        held = "SELECT count(*) FROM pg_locks WHERE relation = 'deliveries'::regclass AND mode = 'AccessExclusiveLock' AND granted"
        return bool(await connection.fetchval(held))
    finally:
        await connection.close()


def applied(muster: Muster, count: int) -> bool:
    """Whether so many are, and nothing else became of any."""
    states = json.loads(muster.run("status", "--json", check=False).stdout)["deliveries"]
    assert not states["dead"]
    return bool(states["applied"] == count == sum(states.values()))


def test_a_worker_of_this_version_drains_on_the_next_schema_and_one_of_the_next_version_takes_over(
    both: tuple[Muster, Muster], database: str
) -> None:
    """What is posted while the migration holds the log's table is acknowledged meanwhile, and applied after it."""
    this, following = both
    worker = this.start("work")
    send(this, 0)
    with Load(this, 10 * EACH) as load, ThreadPoolExecutor(1) as pool:
        init = pool.submit(following.run, "init", "--role", "worker")
        until(lambda: asyncio.run(altering(database)), 30, "the migration's lock")
        locked = time.monotonic()
        until(lambda: not asyncio.run(altering(database)), 30, "the migration's end")
        unlocked = time.monotonic()
        told = init.result(30).stdout
    send(this, EACH)
    count = 2 * EACH + len(load.answers)
    until(lambda: applied(this, count), 30, "the work of this version on the next schema")
    assert f"applied {CURRENT + 1}, a column more" in told
    assert {status for _, _, status in load.answers} == {200}
    assert any(locked < sent and answered < unlocked for sent, answered, _ in load.answers)

    following.start("work")
    worker.terminate()
    assert worker.wait(20) == 0
    send(this, 2 * EACH)
    until(lambda: applied(following, count + EACH), 30, "the work of the next version")
    assert "database.away" not in this.log("work") + following.log("work")


@pytest.mark.parametrize("state", ["data", "receiver"], ids=["on the same data_dir", "the spool moved to a receiver's own"])
def test_what_an_embedded_muster_had_not_worked_off_goes_to_the_broker_it_is_given(tmp_path: Path, broker_url: str, state: str) -> None:
    embedded = Muster(tmp_path)
    grown = {"MUSTER_BROKER": broker_url}
    with closing(embedded):
        embedded.run("init")
        serving = embedded.start("serve")
        with closing(sqlite3.connect(embedded.data_dir / "muster.sqlite3", isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")  # nothing can be applied
            send(embedded, 0)
            serving.kill()
            serving.wait(20)
        assert json.loads(embedded.run("spool", "status", "--json").stdout)["deliveries"] == EACH

        embedded.run("init", environment=grown)
        if (own := tmp_path / state) != embedded.data_dir:
            own.mkdir(mode=0o700)
            for file in embedded.data_dir.glob("spool.sqlite3*"):
                shutil.move(file, own)
        embedded.start("receive", grown | {"MUSTER_DATA_DIR": str(own)})
        embedded.start("work", grown)
        until(lambda: applied(embedded, EACH), 30, "the work of what was spooled")
