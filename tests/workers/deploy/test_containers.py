"""The image and compose.yaml pass their linters, and each service's settings load as they would in its container."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.reader import Role, load
from schemas.settings import LocalSettings, ReceiverSettings, Settings, WorkerSettings
from tests.workers.deploy.examples import COMPOSE, OURS, image_environment, linted, understood
from workers.operations.deployment import FILES, export, text_of

ROOT = Path(__file__).parents[3]
ROLES = {"receive": Role.RECEIVER, "work": Role.WORKER, "init": Role.WORKER}
_YAMLLINT = "{extends: default, rules: {line-length: {max: 160}, document-start: disable}}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as `export` writes them."""
    folder = tmp_path_factory.mktemp("deploy")
    assert list(export(folder))
    return folder


def test_the_image_passes_its_linter(folder: Path) -> None:
    assert linted("hadolint", folder / "Containerfile") == ""


def test_a_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM python\nRUN cd /tmp\n")
    (tmp_path / "compose.yaml").write_text("services: {one: {imaje: muster}}\n")

    assert "DL3006" in linted("hadolint", tmp_path / "Containerfile")
    assert "imaje" in linted("check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml")


def test_compose_passes_its_schema(folder: Path) -> None:
    assert linted("check-jsonschema", "--builtin-schema", "vendor.compose-spec", folder / "compose.yaml") == ""


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".yaml")])
def test_yaml_passes_its_linter(name: str, folder: Path) -> None:
    assert linted("yamllint", "--strict", "-d", _YAMLLINT, folder / name) == ""


def test_every_image_is_pinned_and_musters_own_is_of_this_version() -> None:
    images = [service["image"] for service in COMPOSE["services"].values()]
    bases = re.findall(r"^FROM (\S+)", text_of("Containerfile"), re.MULTILINE)
    own = f"muster:{version('muster')}"

    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?(-[a-z-]+)?", image) for image in images + bases)
    assert {service["image"] for service in OURS.values()} == {own}
    assert own in text_of("Containerfile")


@pytest.mark.parametrize("name", OURS)
def test_a_services_command_is_one_of_musters(name: str) -> None:
    understood(OURS[name]["command"])


def loaded(name: str, folder: Path) -> Settings:
    """A service's settings as its container would read them, the folders of a container replaced by those of this machine."""
    service = OURS[name]
    environ = image_environment() | service["environment"]
    del environ["MUSTER_CONFIG"]
    environ = {key: value.replace("/run/secrets", str(folder / "secrets")) for key, value in environ.items()}
    (mounted,) = (volume.split(":")[0] for volume in service["volumes"] if volume.split(":")[1] == "/etc/muster/muster.toml")
    here = folder / f"{name}.toml"
    here.write_text((folder / mounted).read_text().replace("/run/secrets", str(folder / "secrets")))
    return load(here, ROLES[service["command"][0]], environ)


@pytest.mark.parametrize("name", OURS)
def test_a_services_settings_load(name: str, folder: Path) -> None:
    settings = loaded(name, folder)

    assert settings.broker_url is not None
    assert re.fullmatch(r"amqp://muster-(receiver|worker):[\w-]{43}@rabbitmq/", settings.broker_url)
    if ROLES[OURS[name]["command"][0]] is Role.RECEIVER:
        assert settings.receiver.name == name
        assert list(settings.sources) == ["hse"]
    else:
        assert re.fullmatch(r"postgres://muster:[\w-]{43}@postgres/muster", settings.database_url)


def test_what_the_examples_leave_commented_out_loads_too(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=\[|\w+ = )", "", text_of("worker.toml"), flags=re.MULTILINE)
    assert list(tomllib.loads(text)) == ["accounts"]
    (tmp_path / "muster.toml").write_text(text)

    assert list(load(tmp_path / "muster.toml", Role.WORKER, {}).accounts) == ["hse"]


def test_every_service_is_given_the_secrets_that_it_names_and_no_other_and_export_writes_them(folder: Path) -> None:
    for name, service in COMPOSE["services"].items():
        mounted = [text_of(volume.split(":")[0].removeprefix("./")) for volume in service.get("volumes", []) if volume.startswith("./")]
        active = "\n".join(line for text in mounted for line in text.splitlines() if not line.lstrip().startswith("#"))
        named = set(re.findall(r"/(?:run/secrets|etc/nginx/tls)/([\w.-]+)", active + yaml.safe_dump(service.get("environment", {}))))
        assert named == {one if isinstance(one, str) else one["source"] for one in service.get("secrets", [])}, name

    files = {Path(secret["file"]) for secret in COMPOSE["secrets"].values()}
    assert {path.name for path in files} - {path.name for path in (folder / "secrets").iterdir()} == {"tls.crt", "tls.key"}


def test_receivers_cannot_reach_the_database_and_have_names_volumes_and_addresses_of_their_own() -> None:
    receivers = [service for service in OURS.values() if service["command"] == ["receive"]]
    workers = [service for service in OURS.values() if service["command"] == ["work"]]

    assert (len(receivers), len(workers)) == (2, 2)
    assert not any("database" in service["networks"] for service in receivers)
    for own in (
        [service["environment"]["MUSTER_RECEIVER__NAME"] for service in receivers],
        [_data(service) for service in receivers],
        [service["networks"]["front"]["ipv4_address"] for service in receivers],
    ):
        assert len(set(own)) == 2


def _data(service: dict[str, Any]) -> str:
    (volume,) = (volume for volume in service["volumes"] if not volume.startswith("./"))
    assert volume.split(":")[1] == image_environment()["MUSTER_DATA_DIR"]
    return str(volume.split(":")[0])


def test_the_health_check_asks_the_local_port_and_the_image_exposes_the_other() -> None:
    text, environment = text_of("Containerfile"), image_environment()

    assert {environment["MUSTER_LOCAL__RECEIVER_PORT"], environment["MUSTER_LOCAL__WORKER_PORT"]} == {str(LocalSettings().receiver_port)}
    assert f"http://{LocalSettings().host}:{LocalSettings().receiver_port}/livez" in text
    assert f"EXPOSE {ReceiverSettings().port}\n" in text
    assert "\nUSER 10001\n" in text


def test_prometheus_reaches_every_local_port_in_a_network_of_its_own_and_nothing_but_the_proxy_is_published() -> None:
    (job,) = yaml.safe_load(text_of("prometheus.yaml"))["scrape_configs"]
    watched = {name: service for name, service in OURS.items() if service["command"][0] != "init"}

    assert job["job_name"] == "muster"
    assert job["static_configs"] == [{"targets": [f"{name}:{LocalSettings().receiver_port}" for name in watched]}]
    assert all(ip_address(service["environment"]["MUSTER_LOCAL__HOST"]).is_unspecified for service in watched.values())
    assert all("monitoring" in service["networks"] for service in watched.values())
    assert COMPOSE["networks"]["monitoring"] == {"internal": True}
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["proxy"]


def test_the_scrape_job_names_the_rules_that_there_are_and_they_name_it() -> None:
    (rules,) = yaml.safe_load(text_of("prometheus.yaml"))["rule_files"]

    assert set(re.findall(r'job="(\w+)"', text_of(rules))) == {"muster"}


def test_the_image_without_settings_says_what_is_missing(tmp_path: Path) -> None:
    (command,) = re.findall(r'^CMD \["(\w+)"\]$', text_of("Containerfile"), re.MULTILINE)
    environment = image_environment() | {"MUSTER_CONFIG": str(tmp_path / "etc/muster.toml"), "PATH": "/usr/bin:/bin"}
    started = [sys.executable, "-m", "workers.cli", command]
    done = subprocess.run(started, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert "muster.toml: it cannot be written: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_container_is_given_longer_than_the_grace_to_end() -> None:
    assert all(
        int(service["stop_grace_period"].removesuffix("s")) > max(ReceiverSettings().grace, WorkerSettings().grace)
        for service in OURS.values()
    )
