"""The command line as an operator meets it: real processes, wrong and right."""

import json
import signal
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import commands, free_port, until
from tests.services.muster import SECRET, Muster
from tests.services.rabbitmq import RabbitMQ
from workers.cli import COMMANDS


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Muster]:
    """Settings for an embedded muster, nothing running, no database yet."""
    muster = Muster(tmp_path)
    yield muster
    muster.close()


@pytest.fixture
def serving(embedded: Muster) -> Muster:
    """An embedded muster that runs."""
    embedded.start("serve")
    return embedded


def bare(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run muster in a directory of its own, with nothing but what is given."""
    return commands.run(*arguments, cwd=directory, environment=environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    shown = bare(tmp_path, command, "--help")

    assert shown.returncode == 0
    assert "Usage: muster" in shown.stdout


def test_help_imports_neither_the_database_nor_the_broker_nor_tables(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom workers.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print({'tortoise', 'aio_pika', 'rich', 'httpx2', 'starlette', 'pydantic'} & set(sys.modules))"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--no-such-flag"], "No such option", id="a flag that does not exist"),
        pytest.param(["sevre"], "No such command", id="a command that does not exist"),
        pytest.param(["deliveries", "show", "not-an-id"], "not a valid UUID", id="an id that is none"),
        pytest.param(["deliveries", "list", "--state", "lost"], "'lost' is not one of", id="a state that does not exist"),
        pytest.param(["--config", "none.toml", "check"], "there is no such file", id="a settings file that does not exist"),
        pytest.param(["receive"], "`receive` needs a broker", id="receive without a broker"),
        pytest.param(["work"], "`work` needs a broker", id="work without a broker"),
        pytest.param(["trigger", "hse", "X"], "no source 'hse' is configured", id="a source that does not exist"),
    ],
)
def test_misuse_is_told_and_exits_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = bare(tmp_path, *arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_with_a_broker_exits_2_and_says_what_to_use(tmp_path: Path) -> None:
    done = bare(tmp_path, "serve", MUSTER_BROKER="amqp://127.0.0.1/")

    assert done.returncode == 2
    assert "`muster receive` and `muster work`" in done.stderr


def test_check_tells_every_mistake_at_once_and_no_value(tmp_path: Path) -> None:
    (tmp_path / "muster.toml").write_text(
        'brokr = "x"\n[receiver]\nport = "p0rt"\n[sources.hse]\nvendor = "4hse"\n'
        'verify = { secret = "pssst" }\n[sources.k]\nvendor = "kare"\n'
    )
    done = bare(tmp_path, "check")

    assert done.returncode == 2
    for path in ("brokr", "receiver.port", "sources.hse.verify.secret", "sources.k.verify"):
        assert path in done.stderr
    assert "pssst" not in done.stderr
    assert "p0rt" not in done.stderr


def test_check_fails_where_there_is_no_database_yet_and_passes_after_init(tmp_path: Path) -> None:
    before, init, after = bare(tmp_path, "check"), bare(tmp_path, "init"), bare(tmp_path, "check")

    assert (before.returncode, init.returncode, after.returncode) == (1, 0, 0)
    assert "run `muster init`" in before.stderr


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        pytest.param(
            "MUSTER_BROKER", "amqp://guest:hidden@127.0.0.1:{port}/", "broker: amqp://127.0.0.1:{port}/ cannot be used", id="broker off"
        ),
        pytest.param(
            "MUSTER_DATABASE", "postgres://me:hidden@127.0.0.1:{port}/x", "127.0.0.1:{port}/x cannot be reached", id="database off"
        ),
    ],
)
def test_check_and_init_fail_without_a_traceback_or_password_when_a_server_is_away(
    tmp_path: Path, variable: str, value: str, says: str
) -> None:
    port = str(free_port())
    for command in ("check", "init"):
        done = bare(tmp_path, command, **{variable: value.format(port=port)})

        assert done.returncode == 1
        assert "cannot be" in done.stderr
        assert "hidden" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert says.format(port=port) in bare(tmp_path, "check", **{variable: value.format(port=port)}).stderr


def test_a_command_prints_what_it_has_to_say_and_logs_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hidden")
    (tmp_path / "muster.toml").write_text(
        f'[accounts.lms]\nvendor = "anewspring"\nbase_url = "https://127.0.0.1:{free_port()}"\napi_key_file = "key"\n'
        "limits = { attempts = 2, timeout = 0.2 }\n"
    )
    bare(tmp_path, "init")
    done = bare(tmp_path, "check")

    assert "account lms: anewspring: Unavailable" in done.stderr
    assert "retry" not in done.stdout + done.stderr


def test_init_writes_a_file_for_this_user_alone_and_leaves_it_alone_the_second_time(tmp_path: Path) -> None:
    bare(tmp_path, "init")
    written = (tmp_path / "muster.toml").read_text()
    again = bare(tmp_path, "init")

    assert stat.S_IMODE((tmp_path / "muster.toml").stat().st_mode) == 0o600
    assert (tmp_path / "muster.toml").read_text() == written
    assert "up to date" in again.stdout


@pytest.mark.parametrize(
    ("role", "sources", "databases"),
    [pytest.param("receiver", True, False, id="receiver"), pytest.param("worker", False, True, id="worker")],
)
def test_init_writes_only_the_part_of_its_role(tmp_path: Path, role: str, sources: bool, databases: bool) -> None:
    done = bare(tmp_path, "init", "--role", role)
    text = (tmp_path / "muster.toml").read_text()

    assert done.returncode == 0
    assert ("sources" in tomllib.loads(text)) is sources
    assert ("database_file" in text) is databases
    assert (tmp_path / "muster-data" / "muster.sqlite3").exists() is databases


def test_secrets_are_printed_by_init_and_on_demand_alone(tmp_path: Path) -> None:
    printed = bare(tmp_path, "init").stdout
    secret = tomllib.loads((tmp_path / "muster.toml").read_text())["sources"]["hse"]["verify"]["secrets"][0]
    quiet = [bare(tmp_path, *command) for command in (["sources", "urls"], ["sources", "list"], ["check"], ["sources", "urls", "--json"])]

    assert secret in printed
    assert secret in bare(tmp_path, "sources", "urls", "--show-secrets").stdout
    assert all(secret not in done.stdout + done.stderr for done in quiet)


def test_commands_that_read_say_what_to_do_before_there_is_a_database(embedded: Muster) -> None:
    done = embedded.run("status", check=False)

    assert done.returncode == 1
    assert "run `muster init`" in done.stderr


def test_serve_sets_itself_up_where_there_is_nothing(tmp_path: Path) -> None:
    port, local = str(free_port()), str(free_port())
    environment = {"MUSTER_RECEIVER__PORT": port, "MUSTER_LOCAL__RECEIVER_PORT": local}
    with subprocess.Popen(
        [sys.executable, "-m", "workers.cli", "serve"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])} | environment,
        stderr=subprocess.PIPE,
    ) as process:
        until(lambda: bare(tmp_path, "trigger", "hse", "ACTION_SUBSCRIPTION::CREATE", **environment).returncode == 0, 20, "an acceptance")
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=20)[1].decode()

    assert process.returncode == 0
    assert "wrote muster.toml" in output
    assert tomllib.loads((tmp_path / "muster.toml").read_text())["sources"]["hse"]["verify"]["secrets"][0] not in output


def test_a_wrong_secret_is_refused_and_told(serving: Muster) -> None:
    serving.config.write_text(serving.config.read_text().replace(SECRET, "another"))
    done = serving.run("trigger", "hse", "ACTION_SUBSCRIPTION::CREATE", check=False)

    assert done.returncode == 1
    assert done.stdout.startswith("401")
    assert json.loads(serving.run("deliveries", "list", "--json").stdout) == []


def test_trigger_without_a_receiver_says_where_it_looked(embedded: Muster) -> None:
    done = embedded.run("trigger", "hse", "ACTION_SUBSCRIPTION::CREATE", check=False)

    assert done.returncode == 1
    assert f"no receiver answers at {embedded.url}" in done.stderr


def test_trigger_sends_a_body_of_ones_own_and_the_log_keeps_it_verbatim(serving: Muster) -> None:
    body = serving.home / "body.json"
    body.write_bytes(b'{ "event" : "certificate_earned", "n": 1.50 }\n')
    answer = json.loads(serving.run("trigger", "lms", "ignored-here", "--file", str(body), "--json").stdout)
    until(lambda: json.loads(serving.run("deliveries", "list", "--json").stdout), 10, "the logging")
    shown = json.loads(serving.run("deliveries", "show", answer["answer"]["id"], "--json").stdout)

    assert shown["body"].encode() == body.read_bytes()
    assert shown["event"] == "certificate_earned"


def test_trigger_names_the_samples_there_are(embedded: Muster) -> None:
    done = embedded.run("trigger", "hse", "ACTION::CREATE", check=False)

    assert done.returncode == 2
    assert "ACTION_SUBSCRIPTION::DELETE" in done.stderr


def test_deliveries_list_filters_by_state_and_has_the_promised_keys(serving: Muster) -> None:
    (serving.home / "broken.json").write_text("{")
    serving.run("trigger", "hse", "ACTION_SUBSCRIPTION::CREATE")
    serving.run("trigger", "hse", "ACTION_SUBSCRIPTION::CREATE", "--file", str(serving.home / "broken.json"))
    until(lambda: len(json.loads(serving.run("deliveries", "list", "--json").stdout)) == 2, 10, "the logging")
    (dead,) = json.loads(serving.run("deliveries", "list", "--state", "dead", "--json").stdout)

    assert set(dead) == {"id", "source", "event", "state", "reason", "received_at"}
    assert dead["reason"] == "unparsable"
    assert "unparsable" in serving.run("deliveries", "show", dead["id"]).stdout


def test_status_counts_what_is_there(serving: Muster) -> None:
    serving.run("trigger", "hse", "ACTION_SUBSCRIPTION::CREATE")
    until(lambda: json.loads(serving.run("status", "--json").stdout)["deliveries"]["applied"] == 1, 10, "the application")
    figures = json.loads(serving.run("status", "--json").stdout)

    assert figures["subscriptions"] == {"live": 1, "missing": 0, "deleted": 0}
    assert figures["queues"] == [{"name": name, "messages": 0, "consumers": 0} for name in ("spool", "replays")]
    assert "applied 1" in serving.run("status").stdout


def test_status_says_that_the_broker_is_away_and_still_counts(embedded: Muster) -> None:
    embedded.run("init")
    away = {"MUSTER_BROKER": f"amqp://127.0.0.1:{free_port()}/"}
    done = embedded.run("status", environment=away)

    assert "the broker cannot be reached" in done.stderr
    assert "applied 0" in done.stdout


def test_sources_wait_shows_what_is_refused_and_ends_with_what_is_accepted(serving: Muster) -> None:
    command = [sys.executable, "-m", "workers.cli", "--config", str(serving.config), "sources", "wait", "hse", "--timeout", "30"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        assert waiting.stderr is not None
        assert b"waiting for hse" in waiting.stderr.readline()
        bad = serving.run("trigger", "hse", "ACTION_SUBSCRIPTION::CREATE", environment=_wrong_secret(), check=False)
        serving.run("trigger", "hse", "ACTION_SUBSCRIPTION::CREATE")
        output = waiting.communicate(timeout=30)[0].decode()

    assert bad.returncode == 1
    assert waiting.returncode == 0
    assert [line.split("  ")[3] for line in output.splitlines()] == ["401", "200"]


def test_sources_wait_without_a_receiver_fails_at_once(embedded: Muster) -> None:
    done = embedded.run("sources", "wait", check=False)

    assert done.returncode == 1
    assert "no receiver answers" in done.stderr


def test_a_second_serve_on_the_same_data_refuses_and_names_the_setting(serving: Muster) -> None:
    ports = {"MUSTER_RECEIVER__PORT": "0", "MUSTER_LOCAL__RECEIVER_PORT": "0"}
    done = serving.run("serve", check=False, environment=ports)

    assert done.returncode == 1
    assert "data_dir" in done.stderr


def test_an_address_that_is_taken_is_told_with_the_setting_to_change(serving: Muster) -> None:
    done = serving.run("serve", check=False, environment={"MUSTER_DATA_DIR": str(serving.home / "other")})

    assert done.returncode == 1
    assert "change receiver.port" in done.stderr


def test_a_second_worker_on_sqlite_refuses_and_names_database(tmp_path: Path, broker_url: str) -> None:
    muster = Muster(tmp_path, broker=broker_url)
    muster.run("init")
    muster.start("work")
    done = muster.run("work", check=False, environment={"MUSTER_LOCAL__WORKER_PORT": "0"})
    muster.close()

    assert done.returncode == 1
    assert "`database`" in done.stderr


def test_work_refuses_a_database_without_schema_and_says_what_to_run(tmp_path: Path, broker_url: str) -> None:
    done = Muster(tmp_path, broker=broker_url).run("work", check=False)

    assert done.returncode == 1
    assert "run `muster init`" in done.stderr


def test_work_refuses_a_topology_with_other_arguments_and_says_what_to_do(tmp_path: Path, rabbitmq: RabbitMQ, broker_url: str) -> None:
    muster = Muster(tmp_path, broker=broker_url, database=f"sqlite://{tmp_path / 'other.sqlite3'}")
    vhost = broker_url.rpartition("/")[2]
    declare = f"import asyncio, aio_pika\nasync def main():\n c = await aio_pika.connect('{rabbitmq.url(vhost)}')\n"
    declare += " await (await c.channel()).declare_queue('muster.deliveries', durable=True)\n await c.close()\nasyncio.run(main())"
    subprocess.run([sys.executable, "-c", declare], check=True, timeout=30)
    init = muster.run("init", check=False)
    done = muster.run("work", check=False)

    assert (init.returncode, done.returncode) == (1, 1)
    assert "exists on the broker with other arguments" in init.stderr
    assert "exists on the broker with other arguments" in done.stderr


def _wrong_secret() -> dict[str, str]:
    return {"MUSTER_SOURCES__HSE__VERIFY__SECRETS": '["guessed"]'}
