"""The exported broker's users, over TLS to broker and database: muster does its work, and a receiver can do nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import httpx2
import pytest
import trustme
from aiormq.exceptions import ChannelAccessRefused

from schemas.samples import SUBSCRIPTION
from tests.services import until
from tests.services.muster import Muster
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ
from workers.consumer import declare_at
from workers.operations.deployment import export


class Secured:
    """A broker and a database that speak TLS, the broker with the exported users, and their addresses."""

    def __init__(self, home: Path, rabbitmq: RabbitMQ, vhost: str, database: str) -> None:
        self._authority = trustme.CA()
        self._home, self._rabbitmq, self._vhost = home, rabbitmq, vhost
        self.trusted, self.certificate = home / "ca.pem", home / "server.pem"
        self._authority.cert_pem.write_to_path(self.trusted)
        self._authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.certificate)
        self._port = rabbitmq.tls(self.certificate)
        assert list(export(home / "deploy"))
        self._import()
        self.database = f"{database}?sslmode=verify-full&sslrootcert={self.trusted}"

    def _import(self) -> None:
        definitions = json.loads((self._home / "deploy/rabbitmq-definitions.json").read_text())
        definitions["vhosts"] = [{"name": self._vhost}]
        for permission in definitions["permissions"]:
            permission["vhost"] = self._vhost
        (self._home / "definitions.json").write_text(json.dumps(definitions))
        self._rabbitmq.ctl("import_definitions", str(self._home / "definitions.json"))

    def broker(self, user: str, trusted: Path | None = None) -> str:
        """The exported address of a user, at this broker."""
        address = (self._home / "deploy/secrets" / f"broker-{user}").read_text().strip()
        place = f"amqps://\\g<1>127.0.0.1:{self._port}/{self._vhost}?cafile={trusted or self.trusted}"
        return re.sub(r"^amqp://(.*@)rabbitmq/$", place, address)


@pytest.fixture
def secured(tmp_path: Path, rabbitmq: RabbitMQ, broker_url: str, mortal_postgres: Postgres) -> Secured:
    """A broker and a database that speak TLS."""
    vhost = broker_url.rpartition("/")[2]
    made = Secured(tmp_path, rabbitmq, vhost, mortal_postgres.create(f"secured_{vhost}"))
    mortal_postgres.tls(made.certificate)
    return made


@pytest.fixture
def muster(secured: Secured, tmp_path: Path) -> Iterator[Muster]:
    """Settings for it, nothing running."""
    running = Muster(tmp_path, broker=secured.broker("worker"), database=secured.database)
    yield running
    running.close()


async def test_muster_works_as_its_users_over_tls_and_a_receiver_may_only_publish(muster: Muster, secured: Secured) -> None:
    as_receiver = {"MUSTER_BROKER": secured.broker("receiver")}
    assert "exchanges and queues are there" in muster.run("init", "--role", "worker").stdout
    assert muster.run("check", "--role", "receiver", environment=as_receiver).returncode == 0
    muster.start("work")
    muster.start("receive", as_receiver)
    until(lambda: "broker.connected" in muster.log("receive"), 20, "the receiver's connection")
    until(lambda: "broker.connected" in muster.log("work"), 20, "the worker's connection")

    assert httpx2.post(muster.hook("ACTION_SUBSCRIPTION::CREATE"), json=SUBSCRIPTION).status_code == 200
    until(lambda: json.loads(muster.run("deliveries", "list", "--state", "applied", "--json").stdout), 20, "the delivery's application")

    with pytest.raises(ChannelAccessRefused):
        await declare_at(secured.broker("receiver"))
    async with await aio_pika.connect(secured.broker("receiver")) as connection:
        for forbidden in ("muster.replays", "muster.events"):
            exchange = await (await connection.channel()).get_exchange(forbidden, ensure=False)
            with pytest.raises(ChannelAccessRefused):
                await exchange.publish(aio_pika.Message(b"{}"), "")
        queue = await (await connection.channel()).get_queue("muster.deliveries", ensure=False)
        with pytest.raises(ChannelAccessRefused):
            await queue.get()


def test_a_brokers_certificate_that_is_not_trusted_is_told_with_the_setting(muster: Muster, secured: Secured, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    distrusting = {"MUSTER_BROKER": secured.broker("worker", tmp_path / "other.pem")}
    nowhere = {"MUSTER_BROKER": secured.broker("worker", tmp_path / "nowhere.pem")}
    initialized = muster.run("init", check=False, environment=distrusting)
    checked = muster.run("check", check=False, environment=nowhere)

    assert (initialized.returncode, checked.returncode) == (1, 1)
    assert "its certificate is not trusted, " in initialized.stderr
    assert "name its authority's with ?cafile=FILE in `broker`" in initialized.stderr
    assert "a file that `broker` names for TLS is not there" in checked.stderr
    assert "cafile" not in checked.stdout
