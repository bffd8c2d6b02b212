"""The example files that muster is run with, and the passwords that stand in more than one of them."""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: Each file and what it is for.
FILES: Mapping[str, str] = {
    "muster-serve.service": "systemd: everything in one process (embedded)",
    "muster-receiver@.service": "systemd: receivers, one for each name behind the @",
    "muster-worker@.service": "systemd: workers, one for each local port that is named behind the @",
    "Containerfile": "an image for receivers, workers and embedded use",
    "compose.yaml": "two receivers, two workers, RabbitMQ, PostgreSQL and a proxy on one machine",
    "receiver.toml": "the receivers' settings in compose.yaml",
    "worker.toml": "the workers' settings in compose.yaml",
    "nginx.conf": "the proxy in front of receivers: TLS, bounds, a log without tokens",
    "rabbitmq.conf": "RabbitMQ: where its users stand, when it stops taking messages, TLS",
    "rabbitmq-definitions.json": "RabbitMQ: the receivers' user, who may only publish, and the workers'",
    "prometheus.yaml": "Prometheus: a job that scrapes the local ports, and where the alert rules stand",
    "alerts.yaml": "Prometheus: alert rules",
    "dashboard.json": "Grafana: a dashboard",
}

#: The files in `secrets/`, with a password's place in them; of each broker's user, the file with its address.
_SECRETS: Mapping[str, str] = {
    "broker-receiver": "amqp://muster-receiver:{}@rabbitmq/",
    "broker-worker": "amqp://muster-worker:{}@rabbitmq/",
    "postgres-password": "{}",
    "hse-token": "{}",
}
_DATABASE = "postgres://muster:{}@postgres/muster"
_DEFINITIONS = "rabbitmq-definitions.json"


class Differs(Exception):
    """Files of these names stand there and say something else."""


def text_of(name: str) -> str:
    """An example as it is kept, without passwords."""
    return files("workers").joinpath("deploy", name).read_text(encoding="utf-8")


def export(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Write every example, and secrets that are not there yet, and say where; raises Differs before anything is overwritten unasked.

    Secrets are never overwritten: what is written beside them goes by those that are there.
    """
    kept = folder / "secrets"
    known = {name: _read(kept / name) or form.format(secrets.token_urlsafe(32)) for name, form in _SECRETS.items()}
    known["database"] = _read(kept / "database") or _DATABASE.format(known["postgres-password"])
    written = {name: text_of(name) for name in FILES}
    written[_DEFINITIONS] = definitions({name: known[name] for name in ("broker-receiver", "broker-worker")})
    if differing := [name for name, text in written.items() if not overwrite and _differs(name, _read(folder / name), text)]:
        raise Differs(", ".join(differing))
    folder.mkdir(parents=True, exist_ok=True)
    kept.mkdir(exist_ok=True)
    kept.chmod(0o700)
    fresh = {kept / name: f"{text}\n" for name, text in known.items() if not (kept / name).exists()}
    for path, text in ({folder / name: text for name, text in written.items()} | fresh).items():
        path.write_text(text, encoding="utf-8")
        # What is bound into a container keeps its mode, and is read there by another user: the folder of the secrets is what is shut.
        path.chmod(0o644)
        yield path


def definitions(addresses: Mapping[str, str]) -> str:
    """RabbitMQ's definitions with the passwords of the addresses, as digests."""
    passwords = {parts.username: parts.password or "" for parts in map(urlsplit, addresses.values())}
    document = json.loads(text_of(_DEFINITIONS))
    for user in document["users"]:
        user["password_hash"] = hashed(passwords[user["name"]], secrets.token_bytes(4))
    return json.dumps(document, indent=2) + "\n"


def hashed(password: str, salt: bytes) -> str:
    """A password as RabbitMQ keeps it (https://www.rabbitmq.com/docs/passwords#computing-password-hash)."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _differs(name: str, there: str | None, text: str) -> bool:
    if there is None:
        return False
    return _unsalted(there) != _unsalted(text) if name == _DEFINITIONS else there != text.strip()


def _unsalted(text: str) -> Any:
    """The definitions without what is different each time."""
    try:
        document = json.loads(text)
        return document | {"users": [user | {"password_hash": ""} for user in document["users"]]}
    except (ValueError, KeyError, TypeError):
        return text


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
