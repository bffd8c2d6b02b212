"""The exported RabbitMQ as its files say it, over TLS to it and to PostgreSQL: muster does its work, and a receiver can do nothing else."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aio_pika
import httpx2
import pytest
import trustme
from aiormq.exceptions import ChannelAccessRefused

from schemas.samples import SUBSCRIPTION
from tests.services import free_port, until
from tests.services.muster import Muster
from tests.services.postgres import Postgres
from tests.services.rabbitmq import RabbitMQ
from tests.services.started import running
from workers.consumer import declare_at
from workers.operations.deployment import export


@dataclass(frozen=True)
class Papers:
    """An authority's certificate, and certificates and keys of its: of a server, and of a client whose name is muster."""

    home: Path

    def __post_init__(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.trusted)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.server)
        client = authority.issue_cert("muster@example.com", common_name="muster")
        client.cert_chain_pems[0].write_to_path(self.client)
        client.private_key_pem.write_to_path(self.key)

    @property
    def trusted(self) -> Path:
        return self.home / "ca.pem"

    @property
    def server(self) -> Path:
        return self.home / "server.pem"

    @property
    def client(self) -> Path:
        return self.home / "client.crt"

    @property
    def key(self) -> Path:
        return self.home / "client.key"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """What everybody is known by."""
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as `export` writes them."""
    folder = tmp_path_factory.mktemp("deploy")
    assert list(export(folder))
    return folder


@pytest.fixture(scope="module")
def strict_port() -> int:
    """Where RabbitMQ asks for a client's certificate."""
    return free_port()


@pytest.fixture(scope="module")
def exported(folder: Path, papers: Papers, strict_port: int) -> Iterator[RabbitMQ]:
    """A node that runs on the exported files: what they leave commented out is said too, but that clients without TLS are refused."""
    text = re.sub(r"^# (?=[\w.]+ = )", "", (folder / "rabbitmq.conf").read_text(), flags=re.MULTILINE)
    ours = {
        "load_definitions": folder / "rabbitmq-definitions.json",
        "listeners.ssl.default": strict_port,
        "ssl_options.cacertfile": papers.trusted,
        "ssl_options.certfile": papers.server,
        "ssl_options.keyfile": papers.server,
    }
    for key, value in ours.items():
        text, times = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert times == 1
    text, times = re.subn(r"^listeners.tcp = none\n", "", text, flags=re.MULTILINE)
    assert times == 1
    yield from running(lambda: RabbitMQ(text))


@pytest.fixture(scope="module")
def database(mortal_postgres: Postgres, papers: Papers) -> str:
    """A database that speaks TLS, without what a client needs for it."""
    mortal_postgres.tls(papers.server)
    mortal_postgres.certified("muster", papers.trusted)
    return mortal_postgres.create("secured").replace("postgres@", "{user}@")


@dataclass(frozen=True)
class Secured:
    """Addresses of a broker and a database that speak TLS; `certified` if they ask for a client's certificate too."""

    papers: Papers
    folder: Path
    port: int
    database_form: str
    certified: bool

    def broker(self, user: str, trusted: Path | None = None) -> str:
        """The exported address of a user, at this broker."""
        address = (self.folder / "secrets" / f"broker-{user}").read_text().strip()
        own = f"&certfile={self.papers.client}&keyfile={self.papers.key}" if self.certified else ""
        place = f"amqps://\\g<1>127.0.0.1:{self.port}/?cafile={trusted or self.papers.trusted}{own}"
        return re.sub(r"^amqp://(.*@)rabbitmq/$", place, address)

    @property
    def database(self) -> str:
        """The database's address."""
        own = f"&sslcert={self.papers.client}&sslkey={self.papers.key}" if self.certified else ""
        place = self.database_form.format(user="muster" if self.certified else "postgres")
        return f"{place}?sslmode=verify-full&sslrootcert={self.papers.trusted}{own}"


@pytest.fixture(params=[False, True], ids=["by password", "by certificate too"])
def secured(request: pytest.FixtureRequest, papers: Papers, folder: Path, exported: RabbitMQ, strict_port: int, database: str) -> Secured:
    """A broker and a database that speak TLS."""
    return Secured(papers, folder, strict_port if request.param else exported.tls(papers.server), database, request.param)


@pytest.fixture
def muster(secured: Secured, tmp_path: Path) -> Iterator[Muster]:
    """Settings for it, nothing running."""
    made = Muster(tmp_path, broker=secured.broker("worker"), database=secured.database)
    yield made
    made.close()


def test_the_exported_files_make_the_two_users_and_no_other(exported: RabbitMQ) -> None:
    users = json.loads(exported.ctl("list_users", "--formatter", "json"))
    permissions = json.loads(exported.ctl("list_permissions", "--formatter", "json"))
    rights = {one["user"]: (one["configure"], one["write"], one["read"]) for one in permissions}

    assert {(one["user"], *one["tags"]) for one in users} == {("muster-receiver",), ("muster-worker",)}
    assert rights == {
        "muster-receiver": ("^$", r"^muster\.deliveries$", "^$"),
        "muster-worker": (r"^muster\.", r"^muster\.", r"^muster\."),
    }
    assert exported.ctl("eval", "rabbit_disk_monitor:get_disk_free_limit().").strip() == "2000000000"


async def test_muster_works_as_its_users_over_tls_and_a_receiver_may_only_publish(muster: Muster, secured: Secured) -> None:
    as_receiver = {"MUSTER_BROKER": secured.broker("receiver")}
    assert "exchanges and queues are there" in muster.run("init", "--role", "worker").stdout
    assert muster.run("check", "--role", "receiver", environment=as_receiver).returncode == 0
    muster.start("work")
    muster.start("receive", as_receiver)
    until(lambda: "broker.connected" in muster.log("receive"), 20, "the receiver's connection")
    until(lambda: "broker.connected" in muster.log("work"), 20, "the worker's connection")

    before = len(json.loads(muster.run("deliveries", "list", "--state", "applied", "--json").stdout))
    assert httpx2.post(muster.hook("ACTION_SUBSCRIPTION::CREATE"), json=SUBSCRIPTION).status_code == 200
    until(
        lambda: len(json.loads(muster.run("deliveries", "list", "--state", "applied", "--json").stdout)) > before,
        20,
        "the delivery's application",
    )

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


@pytest.mark.parametrize("secured", [True], indirect=True)
def test_without_a_certificate_of_its_own_nobody_is_let_in_where_one_is_asked_for(muster: Muster, secured: Secured) -> None:
    bare_broker = re.sub(r"&certfile=.*$", "", secured.broker("worker"))
    bare_database = re.sub(r"&sslcert=.*$", "", secured.database)
    at_the_broker = muster.run("init", "--role", "worker", check=False, environment={"MUSTER_BROKER": bare_broker})
    at_the_database = muster.run("check", "--role", "worker", check=False, environment={"MUSTER_DATABASE": bare_database})

    assert (at_the_broker.returncode, at_the_database.returncode) == (1, 1)
    assert "Traceback" not in at_the_broker.stderr + at_the_database.stderr
    assert "cannot be used (AMQPConnectionError)" in at_the_broker.stderr
    assert "the database refuses the connection (InvalidAuthorizationSpecificationError): correct `database`" in at_the_database.stderr


@pytest.mark.parametrize("secured", [False], indirect=True)
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
