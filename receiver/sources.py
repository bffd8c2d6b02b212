"""The configured senders, a row each."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.settings import Network, Settings, SourceSettings
from schemas.vendors import VENDORS
from schemas.verification import Unverified, Verification

#: Request headers worth keeping with a delivery. None of them proves anything, so none of them is a secret.
KEPT_HEADERS = ("content-type", "user-agent", "webhook-id", "webhook-timestamp")
#: Never kept, whatever `keep_headers` says.
CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "webhook-signature", "x-api-key"})


@dataclass(frozen=True, slots=True)
class Source:
    """One sender: who it is, how it proves itself, what it may send."""

    name: str
    vendor: str
    account: str
    verify: tuple[Verification, ...]
    max_body: int
    networks: tuple[Network, ...]
    #: The field of a JSON body that names the event; None where bodies name none.
    event_field: str | None
    event_header: str | None
    event_query: str | None
    kept_headers: tuple[str, ...]

    @property
    def unverified(self) -> bool:
        """Whether anybody who knows the address is believed."""
        return any(isinstance(scheme, Unverified) for scheme in self.verify)


def sources(settings: Settings) -> Mapping[str, Source]:
    """The settings' sources by name."""
    return {name: _source(name, one, settings.receiver.max_body) for name, one in settings.sources.items()}


def _source(name: str, settings: SourceSettings, max_body: int) -> Source:
    wanted = (*KEPT_HEADERS, *(header.lower() for header in settings.keep_headers))
    return Source(
        name=name,
        vendor=settings.vendor,
        account=settings.account,
        verify=settings.verify,
        max_body=settings.max_body or max_body,
        networks=settings.networks,
        event_field=VENDORS[settings.vendor].event_field,
        event_header=settings.event_header.lower() if settings.event_header else None,
        event_query=settings.event_query,
        kept_headers=tuple(header for header in wanted if header not in _secret_headers(settings)),
    )


def _secret_headers(settings: SourceSettings) -> frozenset[str]:
    named = {getattr(scheme, "header", None) for scheme in settings.verify}
    return CREDENTIAL_HEADERS | {header.lower() for header in named if header}
