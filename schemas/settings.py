"""Settings: the one reader of `muster.toml`, of the environment and of the secret files they name.

Precedence: environment (`MUSTER_…`, nested with `__`), then the file, then the defaults below. A role reads only its part:
a receiver never sees the database's URL, a worker never a webhook secret, and neither opens the other's secret files.
"""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl, BaseModel, ByteSize, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource

from schemas.vendors import VENDORS
from schemas.verification import Verification

CONFIG_VARIABLE = "MUSTER_CONFIG"
DEFAULT_CONFIG = Path("muster.toml")
_PREFIX = "MUSTER_"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Network = IPv4Network | IPv6Network
MEBIBYTE = 1024 * 1024


class Role(StrEnum):
    """Which part of the settings a process reads."""

    RECEIVER = "receiver"
    WORKER = "worker"
    ALL = "all"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ReceiverSettings(_Section):
    """`[receiver]`: the internet-facing side."""

    host: str = "127.0.0.1"
    port: Port = 8000
    public_url: AnyHttpUrl | None = None
    max_body: ByteSize = ByteSize(MEBIBYTE)
    body_deadline: Seconds = 10.0
    publish_deadline: Seconds = 2.0
    max_in_flight: Annotated[int, Field(ge=1)] = 1000
    spool_max: Annotated[ByteSize, Field(ge=MEBIBYTE)] = ByteSize(1024 * MEBIBYTE)
    grace: Seconds = 15.0
    trusted_proxies: tuple[Network, ...] = ()


class LocalSettings(_Section):
    """`[local]`: the port beside it, for this machine only."""

    host: str = "127.0.0.1"
    receiver_port: Port = 8001
    worker_port: Port = 8002


class WorkerSettings(_Section):
    """`[worker]`: how much is taken at once."""

    batch: Annotated[int, Field(ge=1, le=5000)] = 500
    linger: Annotated[float, Field(ge=0, le=1, description="Seconds to gather a batch once its first delivery is there.")] = 0.005
    prefetch: Annotated[int, Field(ge=1, le=1000, description="AMQP messages handed out ahead of their acknowledgement.")] = 50
    grace: Seconds = 15.0


class LogSettings(_Section):
    """`[log]`: to standard error."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"


class SourceSettings(_Section):
    """`[sources.NAME]`: one sender, and how it proves itself."""

    vendor: str
    account: Annotated[str, Field(min_length=1, max_length=100)]
    verify: Annotated[tuple[Verification, ...], Field(min_length=1)]
    max_body: ByteSize | None = None
    networks: tuple[Network, ...] = ()
    event_header: str | None = None
    event_query: str | None = None
    keep_headers: tuple[str, ...] = ()

    @field_validator("vendor")
    @classmethod
    def _known(cls, vendor: str) -> str:
        if vendor not in VENDORS:
            raise ValueError(f"no such vendor; take one of {', '.join(VENDORS)}")
        return vendor

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, raw: Any) -> Any:
        """Fill in the vendor's own scheme where `verify` names none; one scheme may stand without its list."""
        if not isinstance(raw, dict) or "verify" not in raw:
            return raw
        verify = raw["verify"] if isinstance(raw["verify"], list) else [raw["verify"]]
        vendor = VENDORS.get(str(raw.get("vendor")))
        preset = dict(vendor.verify) if vendor and vendor.verify else {}
        return raw | {"verify": [{**preset, **one} if isinstance(one, dict) and "scheme" not in one else one for one in verify]}


class Settings(BaseSettings):
    """Everything; a role's `load` leaves the other role's part at its defaults, unread."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)  # type: ignore[assignment]

    database: SecretStr | None = None
    broker: SecretStr | None = None
    data_dir: Path = Path("muster-data")
    receiver: ReceiverSettings = ReceiverSettings()
    local: LocalSettings = LocalSettings()
    worker: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()
    sources: Annotated[dict[str, SourceSettings], Field(default_factory=dict)]

    @field_validator("database")
    @classmethod
    def _database_url(cls, url: SecretStr | None) -> SecretStr | None:
        return _checked_url(url, ("postgres", "sqlite"), "postgres://user@host/name or sqlite:///path/to/file")

    @field_validator("broker")
    @classmethod
    def _broker_url(cls, url: SecretStr | None) -> SecretStr | None:
        return _checked_url(url, ("amqp", "amqps"), "amqp://user:password@host/")

    @property
    def database_url(self) -> str:
        """The database's URL, by default an SQLite file in `data_dir`."""
        return self.database.get_secret_value() if self.database else f"sqlite://{self.data_dir / 'muster.sqlite3'}"

    @property
    def broker_url(self) -> str | None:
        """The broker's URL; None means embedded."""
        return self.broker.get_secret_value() if self.broker else None


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in the settings, and what to do about it; holds no value that was given."""

    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. {self.remedy}"


class SettingsError(Exception):
    """The settings hold mistakes; all of them are here."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


_SHARED_KEYS = {"broker", "broker_file", "data_dir", "local", "log"}
_ROLE_KEYS = {
    Role.RECEIVER: _SHARED_KEYS | {"receiver", "sources"},
    Role.WORKER: _SHARED_KEYS | {"database", "database_file", "worker"},
}
_ALL_KEYS = frozenset().union(*_ROLE_KEYS.values())

#: Keys that name a file: what each becomes, and how the file's text is read.
_FILE_KEYS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "database_file": ("database", str.strip),
    "broker_file": ("broker", str.strip),
    "secrets_file": ("secrets", lambda text: [line.strip() for line in text.splitlines() if line.strip()]),
}

_STAND_IN: Mapping[str, Any] = {"database": "sqlite://unread", "broker": "amqp://unread", "secrets": ["unread:d2FpdA=="]}


def config_path(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the settings file is, whether or not it exists: `--config`, `MUSTER_CONFIG`, `./muster.toml`."""
    return given or Path(environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)


def load(given: Path | None = None, role: Role = Role.ALL, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read file, environment and the role's secret files into Settings.

    A file that is named but not there is a mistake; without any the defaults hold. Raises SettingsError with every mistake.
    """
    path = config_path(given, environ)
    named = given is not None or bool(environ.get(CONFIG_VARIABLE))
    file, variables = _read_file(path, named=named), _read_environment(environ)
    mistakes = [_unknown_key(key) for key in file if key not in _ALL_KEYS]
    mistakes += [_unknown_key(f"{_PREFIX}{key.upper()}") for key in variables if key not in _ALL_KEYS]
    raw = _merged(file, variables)
    allowed = _ALL_KEYS if role is Role.ALL else _ROLE_KEYS[role]
    part = {key: value for key, value in raw.items() if key in allowed}
    part = _resolve_files(part, path.parent, "", mistakes)
    _name_accounts(part)
    mistakes += _bad_source_names(part)
    try:
        settings = Settings.model_validate(part)
    except ValidationError as error:
        mistakes += [_mistake(one) for one in error.errors(include_input=False, include_url=False)]
    if mistakes:
        raise SettingsError(_without_consequences(mistakes))
    return settings


def redacted(url: str) -> str:
    """A URL without its password and query, for people's eyes."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _read_file(path: Path, *, named: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not named:
            return {}
        raise SettingsError([Mistake(str(path), "there is no such file", f"Write one with `muster init --config {path}`")]) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError([Mistake(str(path), f"it cannot be read: {error}", "Mend the file; it is TOML (https://toml.io)")]) from None


class _Environment(EnvSettingsSource):
    """The environment as nested keys, from a given mapping instead of the process' own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {key.lower(): value for key, value in environ.items()}
        super().__init__(Settings, env_prefix=_PREFIX, env_nested_delimiter="__", case_sensitive=False)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._environ


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    given = {key: value for key, value in environ.items() if key.upper().startswith(_PREFIX) and key.upper() != CONFIG_VARIABLE}
    keys = {key[len(_PREFIX) :].lower(): value for key, value in given.items()}
    found = dict(_Environment(given)())
    # File keys and unknown keys are no fields of Settings: they pass as they are, to be resolved or refused by name.
    return found | {key: value for key, value in keys.items() if key.partition("__")[0] not in Settings.model_fields}


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another, key by key."""
    both = under.keys() & over.keys()
    nested = {key: _merged(under[key], over[key]) for key in both if isinstance(under[key], dict) and isinstance(over[key], dict)}
    return under | over | nested


def _resolve_files(raw: dict[str, Any], base: Path, prefix: str, mistakes: list[Mistake]) -> dict[str, Any]:
    """Replace every key that names a file by what the file holds; relative names start at the settings file's folder."""
    resolved: dict[str, Any] = {}
    for key, value in raw.items():
        path = f"{prefix}{key}"
        if key in _FILE_KEYS:
            name, read = _FILE_KEYS[key]
            if name in raw:
                mistakes.append(Mistake(path, f"{name} is given too", f"Keep one of {name} and {key}"))
                continue
            try:
                resolved[name] = read((base / str(value)).expanduser().read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                mistakes.append(Mistake(path, f"the file cannot be read: {reason}", "Create it, or let this user read it"))
                resolved[name] = _STAND_IN[name]  # so that its absence is not told as a second mistake
        elif isinstance(value, dict):
            resolved[key] = _resolve_files(value, base, f"{path}.", mistakes)
        elif isinstance(value, list):
            resolved[key] = [_resolve_files(one, base, f"{path}.", mistakes) if isinstance(one, dict) else one for one in value]
        else:
            resolved[key] = value
    return resolved


def _name_accounts(raw: dict[str, Any]) -> None:
    """A source that names no account is of the account of its own name."""
    for name, source in _sources(raw):
        if isinstance(source, dict):
            source.setdefault("account", name)


def _bad_source_names(raw: dict[str, Any]) -> Iterator[Mistake]:
    for name, _ in _sources(raw):
        if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum() and len(name) <= 63):
            yield Mistake(f"sources.{name}", "the name cannot stand in an address", "Use letters, digits, - and _, at most 63")


def _sources(raw: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    sources = raw.get("sources")
    return iter(sources.items() if isinstance(sources, dict) else ())


def _checked_url(url: SecretStr | None, schemes: tuple[str, ...], example: str) -> SecretStr | None:
    if url is not None and urlsplit(url.get_secret_value()).scheme not in schemes:
        raise ValueError(f"not a URL of the form {example}")
    return url


def _unknown_key(name: str) -> Mistake:
    return Mistake(name, "unknown key", f"Remove it, or take one of {', '.join(sorted(_ALL_KEYS))}")


def _without_consequences(mistakes: list[Mistake]) -> list[Mistake]:
    """Leave out what is only said of a whole because a part of it is wrong."""
    return [one for one in mistakes if not any(other.path.startswith(f"{one.path}.") for other in mistakes)]


#: What to do about the mistakes that pydantic finds, by its error type; everything else is told by its message.
_REMEDIES = {
    "extra_forbidden": "Remove it; it may be misspelt, or belong to another section",
    "missing": "Add it",
    "union_tag_not_found": "Name a scheme: token, basic, hmac, sha256-concat, standard-webhooks or none",
    "union_tag_invalid": "Take one of token, basic, hmac, sha256-concat, standard-webhooks or none",
}
_SCHEMES = {"token", "basic", "hmac", "sha256-concat", "standard-webhooks", "none"}


def _mistake(error: Any) -> Mistake:
    steps = [str(step) for step in error["loc"] if step not in _SCHEMES]
    if error["type"] == "extra_forbidden":
        return Mistake(".".join(steps), "unknown key", _REMEDIES["extra_forbidden"])
    message = str(error["msg"]).removeprefix("Value error, ")
    return Mistake(".".join(steps), message[0].lower() + message[1:], _REMEDIES.get(error["type"], "Correct the value"))
