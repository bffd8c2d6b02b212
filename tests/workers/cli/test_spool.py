"""`muster spool`: what waits on this host, and emptying it by hand where no receiver does."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from receiver.spool import FILE, depth
from tests.services import free_port, until
from tests.services.muster import Muster
from tests.services.rabbitmq import RabbitMQ


def spooled(muster: Muster, *events: str) -> None:
    """Let a receiver whose broker is away take deliveries, and end."""
    process = muster.start("receive")
    for event in events:
        assert httpx2.post(muster.hook(event), content=b"{}").status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Muster]:
    """Settings whose broker is away, and three deliveries that wait."""
    made = Muster(tmp_path, broker=f"amqp://guest:planted@127.0.0.1:{free_port()}/")
    spooled(made, "A", "B", "C")
    yield made
    made.close()


def test_what_waits_is_told(away: Muster) -> None:
    said = json.loads(away.run("spool", "status", "--json").stdout)
    (one,) = said["waiting"]

    assert (said["deliveries"], one["lane"], one["source"], one["deliveries"]) == (3, "live", "hse", 3)
    assert one["bytes"] > 300
    assert "s ago" in away.run("spool", "status").stdout


def test_nothing_that_waits_is_told_too(tmp_path: Path) -> None:
    muster = Muster(tmp_path)

    assert "nothing waits" in muster.run("spool", "status").stdout
    assert json.loads(muster.run("spool", "status", "--json").stdout)["waiting"] == []
    assert not muster.data_dir.exists()


def test_it_is_drained_to_the_broker_and_then_empty(away: Muster, broker_url: str, rabbitmq: RabbitMQ) -> None:
    broker = {"MUSTER_BROKER": broker_url}
    away.run("init", environment=broker)
    done = away.run("spool", "drain", environment=broker)

    assert (done.stdout, depth(away.data_dir)) == ("the spool is empty\n", 0)
    vhost = broker_url.rpartition("/")[2]  # one envelope of three
    until(lambda: "muster.deliveries\t1" in rabbitmq.ctl("list_queues", "-p", vhost, "name", "messages"), 20, "the arrival")
    assert away.run("spool", "drain", environment=broker).returncode == 0


def test_a_broker_that_is_away_is_told_and_everything_stays(away: Muster) -> None:
    done = away.run("spool", "drain", "--patience", "1", check=False)

    assert (done.returncode, depth(away.data_dir)) == (1, 3)
    assert "3 deliveries are left" in done.stderr
    assert "planted" not in done.stdout + done.stderr


def test_a_receiver_that_runs_is_left_to_drain_it_by_itself(away: Muster) -> None:
    away.start("receive")
    done = away.run("spool", "drain", check=False)

    assert (done.returncode, depth(away.data_dir)) == (1, 3)
    assert f"a receiver runs on {away.data_dir} and drains its spool by itself" in done.stderr


def test_embedded_there_is_nothing_to_drain_to(tmp_path: Path) -> None:
    done = Muster(tmp_path).run("spool", "drain", check=False)

    assert done.returncode == 2
    assert "`muster serve` works the spool off" in done.stderr


@pytest.mark.parametrize("command", [["status"], ["drain"]])
def test_a_file_that_is_broken_is_told_without_a_traceback(tmp_path: Path, command: list[str]) -> None:
    muster = Muster(tmp_path, broker="amqp://127.0.0.1:9/")
    muster.data_dir.mkdir()
    (muster.data_dir / FILE).write_bytes(b"no database at all" * 1000)
    done = muster.run("spool", *command, check=False)

    assert done.returncode == 1
    assert "cannot be used (DatabaseError)" in done.stderr
    assert "Traceback" not in done.stderr
