"""The process: `muster receive` as an operator runs it."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from receiver.spool import depth
from tests.services import free_port, listens, until
from tests.services.muster import SECRET, Muster
from tests.services.rabbitmq import RabbitMQ

GRACE = 1


def away() -> str:
    """The address of a broker that is not there."""
    return f"amqp://guest:guest@127.0.0.1:{free_port()}/"


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Muster]:
    """A receiver whose broker is away."""
    running = Muster(tmp_path, broker=away(), receiver=f'grace = {GRACE}\nmax_body = "1 KiB"\nbody_deadline = 30')
    running.start("receive")
    yield running
    running.close()


def upload(muster: Muster, *, length: int, sent: bytes) -> socket.socket:
    """A connection with an upload that has begun."""
    connection = socket.create_connection(("127.0.0.1", muster.port), timeout=10)
    target = muster.hook("ACTION_SUBSCRIPTION::CREATE").removeprefix(muster.url)
    connection.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + sent)
    time.sleep(0.3)  # until the server has seen it; it says nothing before the end
    return connection


def test_while_the_broker_is_away_deliveries_are_answered_200_spooled_and_readiness_says_so(alone: Muster) -> None:
    answer = httpx2.post(alone.hook("ACTION_SUBSCRIPTION::CREATE"), content=b"{}")
    local = httpx2.get(f"http://127.0.0.1:{alone.receiver_port}/readyz")

    assert (answer.status_code, list(answer.json())) == (200, ["id"])
    assert depth(alone.data_dir) == 1
    assert httpx2.get(f"{alone.url}/readyz").json() == {"ready": True}
    assert local.json()["spooled"] == 1
    assert local.json()["broker"] != "up"


def test_neither_token_nor_body_nor_broker_password_reaches_the_log(tmp_path: Path) -> None:
    running = Muster(tmp_path, broker=f"amqp://guest:planted-password@127.0.0.1:{free_port()}/")
    with closing(running):
        running.start("receive", {"MUSTER_LOG__LEVEL": "debug"})
        until(lambda: listens(running.port), 20, "the start")
        httpx2.post(running.hook("A::B"), content=b"planted-body")
        httpx2.post(running.hook("A::B").replace("hse", "nobody"), content=b"planted-body")
        httpx2.get(running.hook("A::B"))
        until(lambda: "broker.away" in running.log("receive") and "request.refused" in running.log("receive"), 10, "the logging")
        logged = running.log("receive")

    assert SECRET not in logged
    assert "planted" not in logged
    assert all(json.loads(line) for line in logged.splitlines())


def test_a_chunked_body_over_the_limit_is_refused_whole(alone: Muster) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(1025):
            yield b"x"

    assert httpx2.post(alone.hook("A::B"), content=body()).status_code == 413
    assert httpx2.post(alone.hook("A::B"), content=b"x" * 1024).status_code == 200
    assert depth(alone.data_dir) == 1


def test_sigterm_lets_an_upload_that_goes_on_finish_and_exits_0(tmp_path: Path) -> None:
    running = Muster(tmp_path, broker=away(), receiver="grace = 20")
    with closing(running):
        process = running.start("receive")
        with upload(running, length=4, sent=b"{ ") as connection:
            process.send_signal(signal.SIGTERM)
            until(lambda: not listens(running.port), 10, "the end of accepting")
            connection.sendall(b" }")
            answer = connection.recv(4096)
        code = process.wait(15)

    assert answer.startswith(b"HTTP/1.1 200")
    assert code == 0
    assert depth(running.data_dir) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stalled_upload_does_not_keep_the_process_beyond_its_grace(tmp_path: Path, number: signal.Signals) -> None:
    running = Muster(tmp_path, broker=away(), receiver=f"grace = {GRACE}\nbody_deadline = 60")
    with closing(running):
        process = running.start("receive")
        with upload(running, length=100, sent=b"{"):
            began = time.monotonic()
            process.send_signal(number)
            code = process.wait(30)
            took = time.monotonic() - began

    assert code == 0
    assert took < GRACE + 4
    assert SECRET not in running.log("receive")


def test_a_second_receiver_on_the_same_data_dir_is_refused_and_told_which_setting(alone: Muster) -> None:
    ports = {"MUSTER_RECEIVER__PORT": str(free_port()), "MUSTER_LOCAL__RECEIVER_PORT": str(free_port())}
    second = alone.run("receive", check=False, environment=ports)

    assert second.returncode == 1
    assert f"data_dir = {alone.data_dir}" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("variable", "setting"), [("MUSTER_RECEIVER__PORT", "receiver.port"), ("MUSTER_LOCAL__RECEIVER_PORT", "local.receiver_port")]
)
def test_a_port_that_is_taken_is_told_with_its_setting(tmp_path: Path, variable: str, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = Muster(tmp_path, broker=away()).run("receive", check=False, environment={variable: str(taken.getsockname()[1])})

    assert done.returncode == 1
    assert setting in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_broker_it_is_misused_and_says_what_to_run_instead(tmp_path: Path) -> None:
    done = Muster(tmp_path).run("receive", check=False)

    assert done.returncode == 2
    assert "muster serve" in done.stderr


def test_mistakes_in_the_settings_stop_it_before_it_listens(tmp_path: Path) -> None:
    environment = {"MUSTER_RECEIVER__PROT": "1", "MUSTER_SOURCES__HSE__NETWORKS": '["x"]', "MUSTER_WROKER": "1"}
    done = Muster(tmp_path, broker=away()).run("receive", check=False, environment=environment)

    assert done.returncode == 2
    assert all(path in done.stderr for path in ("receiver.prot", "sources.hse.networks.0", "MUSTER_WROKER", "3 mistakes"))
    assert SECRET not in done.stderr


def test_it_opens_no_database_file(tmp_path: Path) -> None:
    running = Muster(tmp_path, broker=away())
    with closing(running):
        running.start("receive", {"MUSTER_DATABASE_FILE": str(tmp_path / "absent")})
        until(lambda: listens(running.port), 20, "the start")


def test_its_process_loads_neither_the_orm_nor_a_database_driver_nor_the_http_client() -> None:
    program = (
        "import pkgutil, importlib, sys, receiver, workers.cli.receive\n"
        "for module in pkgutil.iter_modules(receiver.__path__): importlib.import_module(f'receiver.{module.name}')\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'tortoise', 'asyncpg', 'aiosqlite', 'httpx2', 'httpx'}))\n"
        "print('uvicorn' in sys.modules, 'aio_pika' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["", "True True"]


def test_with_a_user_that_may_only_publish_deliveries_and_heartbeats_reach_the_queue(
    tmp_path: Path, broker_url: str, rabbitmq: RabbitMQ
) -> None:
    vhost = broker_url.rpartition("/")[2]
    rabbitmq.ctl("add_user", f"sender-{vhost}", "publish")
    rabbitmq.ctl("set_permissions", "-p", vhost, f"sender-{vhost}", "^$", r"^muster\.deliveries$", "^$")
    running = Muster(tmp_path, broker=broker_url)
    with closing(running):
        running.run("init")
        process = running.start("receive", {"MUSTER_BROKER": rabbitmq.url(vhost, f"sender-{vhost}:publish")})
        until(lambda: listens(running.port) and "broker.connected" in running.log("receive"), 20, "the connection")
        assert httpx2.post(running.hook("A::B"), content=b"{}").status_code == 200
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)

    assert (code, depth(running.data_dir)) == (0, 0)

    def arrived() -> bool:
        """The delivery, the last heartbeat, which says that it stops, and perhaps one before."""
        listed = rabbitmq.ctl("list_queues", "-p", vhost, "name", "messages")
        return any(f"muster.deliveries\t{number}" in listed for number in (2, 3))

    until(arrived, 20, "the arrival")
