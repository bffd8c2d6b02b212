"""The settings' sections and their defaults: pure data. `schemas/reader.py` fills them from file and environment."""

import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AnyHttpUrl, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, SecretStr, field_validator, model_validator

from schemas.accounts import Account, Duration, Every
from schemas.heartbeat import RECEIVER_NAME
from schemas.rules import Rule
from schemas.vendors import VENDORS
from schemas.verification import Verification

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
# One reader for both kinds, so that a mistake is told once.
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(lambda value: ip_network(str(value)))]
MEBIBYTE = 1024 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class RejectedSettings(_Section):
    """`receiver.rejected`: how many requests that failed verification are kept on the receiver's host, and how long."""

    count: Annotated[int, Field(ge=0, le=10_000, description="Requests at most; 0: none is kept.")] = 1000
    size: Annotated[ByteSize, Field(ge=1024, description="Bytes at most, of all of them together.")] = ByteSize(16 * MEBIBYTE)
    age: Annotated[Duration, Field(description="What is older is deleted.")] = timedelta(days=7)


class ReceiverSettings(_Section):
    """`[receiver]`: the internet-facing side."""

    name: Annotated[str | None, Field(description="In its heartbeats; default: the host's name, with the port unless that is 8000.")] = None
    host: str = "127.0.0.1"
    port: Port = 8000
    public_url: AnyHttpUrl | None = None
    max_body: ByteSize = ByteSize(MEBIBYTE)
    body_deadline: Seconds = 10.0
    publish_deadline: Seconds = 2.0
    max_in_flight: Annotated[int, Field(ge=1)] = 1000
    spool_max: Annotated[ByteSize, Field(ge=MEBIBYTE)] = ByteSize(1024 * MEBIBYTE)
    grace: Seconds = 15.0
    heartbeat: Annotated[Seconds, Field(le=3600, description="Seconds from one heartbeat to the next.")] = 30.0
    rejected: RejectedSettings = RejectedSettings()
    trusted_proxies: tuple[Network, ...] = ()

    @field_validator("name")
    @classmethod
    def _in_a_routing_key(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(RECEIVER_NAME, name):
            raise ValueError("is made of letters, digits and . _ : - and at most 100 of them")
        return name


class LocalSettings(_Section):
    """`[local]`: the port beside it, for this machine only."""

    host: str = "127.0.0.1"
    receiver_port: Port = 8001
    worker_port: Port = 8002


class WorkerSettings(_Section):
    """`[worker]`: how much is taken at once."""

    batch: Annotated[int, Field(ge=1, le=2000)] = 500
    linger: Annotated[float, Field(ge=0, le=1, description="Seconds to gather a batch once its first delivery is there.")] = 0.005
    prefetch: Annotated[int, Field(ge=1, le=1000, description="AMQP messages handed out ahead of their acknowledgement.")] = 50
    replay_prefetch: Annotated[int, Field(ge=1, le=1000, description="The same for replays, which live deliveries go before.")] = 4
    replays_max: Annotated[
        ByteSize, Field(ge=MEBIBYTE, description="What replays that wait may take on disk without a broker, beside the spool.")
    ] = ByteSize(256 * MEBIBYTE)
    grace: Seconds = 15.0
    clock_skew: Annotated[Seconds, Field(description="Seconds that clocks may differ: a fetch decides over hints older than that.")] = 5.0


class RetentionSettings(_Section):
    """`[retention]`: for how long it is kept what was worked off; what is dead or waits stays."""

    keep_bodies: Annotated[Every, Field(description="Bodies and headers in the delivery log; off: for as long as their rows.")] = timedelta(
        days=30
    )
    keep_log: Annotated[Every, Field(description="The rows of the delivery log, and runs of replays; off: for ever.")] = timedelta(days=365)

    @field_validator("keep_bodies", "keep_log")
    @classmethod
    def _sane(cls, keep: timedelta | None) -> timedelta | None:
        if keep is not None and not timedelta(days=1) <= keep <= timedelta(days=36500):
            raise ValueError("must be off, or a day at least and 100y at most; m is minutes")
        return keep

    @model_validator(mode="after")
    def _bodies_first(self) -> Self:
        if self.keep_bodies is not None and self.keep_log is not None and self.keep_log < self.keep_bodies:
            raise ValueError("keep_log is shorter than keep_bodies, and a body is kept no longer than its row")
        return self


class LogSettings(_Section):
    """`[log]`: to standard error."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"


class TracingSettings(_Section):
    """`[tracing]`: spans to an OpenTelemetry collector."""

    enabled: bool = False
    endpoint: Annotated[
        AnyHttpUrl | None,
        Field(description="An OTLP/HTTP collector; default: OTEL_EXPORTER_OTLP_ENDPOINT's, else port 4318 of this machine."),
    ] = None

    @field_validator("endpoint")
    @classmethod
    def _without_credentials(cls, endpoint: AnyHttpUrl | None) -> AnyHttpUrl | None:
        if endpoint is not None and (endpoint.username or endpoint.password or endpoint.query or endpoint.fragment):
            raise ValueError("holds more than scheme, host, port and path; credentials are for OTEL_EXPORTER_OTLP_HEADERS")
        return endpoint


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

    @model_validator(mode="after")
    def _events_that_bodies_name(self) -> Self:
        if VENDORS[self.vendor].event_field is None and any(getattr(scheme, "events", ()) for scheme in self.verify):
            raise ValueError(f"no body of {self.vendor} names its event: remove `events` from verify")
        return self

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


class Settings(_Section):
    """Everything; a role's `load` leaves the other role's part at its defaults, unread."""

    database: SecretStr | None = None
    broker: SecretStr | None = None
    data_dir: Path = Path("muster-data")
    receiver: ReceiverSettings = ReceiverSettings()
    local: LocalSettings = LocalSettings()
    worker: WorkerSettings = WorkerSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    sources: Annotated[dict[str, SourceSettings], Field(default_factory=dict)]
    accounts: Annotated[dict[str, Account], Field(default_factory=dict)]
    rules: tuple[Rule, ...] = ()

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


def redacted(url: str) -> str:
    """A URL without its password and query, for people's eyes."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _checked_url(url: SecretStr | None, schemes: tuple[str, ...], example: str) -> SecretStr | None:
    if url is not None and not _is_url(url.get_secret_value(), schemes):
        raise ValueError(f"not a URL of the form {example}")
    return url


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and parts.port != 0
    except ValueError:  # a host or port that cannot be; the message would repeat the password
        return False
