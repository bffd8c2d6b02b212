"""To the next version while this one works, and from embedded to a broker: nothing is lost on the way."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from schemas.samples import SUBSCRIPTION
from tests.services import free_port, until
from tests.services.muster import Muster
from tests.services.postgres import Postgres
from workers.migrations import CURRENT

EACH = 20


@pytest.fixture
def both(tmp_path: Path, broker_url: str, postgres: Postgres) -> Iterator[tuple[Muster, Muster]]:
    """This version and the next one, on one broker and one database; a receiver of this one runs."""
    database = postgres.create(f"upgrade{free_port()}")
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


def applied(muster: Muster, count: int) -> bool:
    """Whether so many are, and nothing else became of any."""
    states = json.loads(muster.run("status", "--json", check=False).stdout)["deliveries"]
    assert not states["dead"]
    return bool(states["applied"] == count == sum(states.values()))


def test_a_worker_of_this_version_drains_on_the_next_schema_and_one_of_the_next_version_takes_over(both: tuple[Muster, Muster]) -> None:
    this, following = both
    worker = this.start("work")
    send(this, 0)
    told = following.run("init", "--role", "worker").stdout
    send(this, EACH)
    until(lambda: applied(this, 2 * EACH), 30, "the work of this version on the next schema")
    assert f"applied {CURRENT + 1}, a column more" in told

    following.start("work")
    worker.terminate()
    assert worker.wait(20) == 0
    send(this, 2 * EACH)
    until(lambda: applied(following, 3 * EACH), 30, "the work of the next version")
    assert "database.away" not in this.log("work") + following.log("work")


def test_what_an_embedded_muster_had_not_worked_off_goes_to_the_broker_it_is_given(tmp_path: Path, broker_url: str) -> None:
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
        for command in ("receive", "work"):
            embedded.start(command, grown)
        until(lambda: applied(embedded, EACH), 30, "the work of what was spooled")
