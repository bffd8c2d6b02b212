"""The webhook addresses, as they are pasted into a vendor's page."""

from urllib.parse import quote

import click

from schemas.settings import Settings, SourceSettings
from schemas.vendors import VENDORS
from schemas.verification import Token, Unverified, Verification

HIDDEN = "…"

#: What is pasted per event today; the other documented events are accepted at the same pattern.
_OFFERED = {"4hse": ("ACTION_SUBSCRIPTION::CREATE", "ACTION_SUBSCRIPTION::DELETE")}


def base_url(settings: Settings) -> str:
    """Where vendors reach this receiver: `receiver.public_url`, or what it listens on."""
    given = settings.receiver.public_url
    return str(given).rstrip("/") if given else f"http://{settings.receiver.host}:{settings.receiver.port}"


def address(base: str, name: str, source: SourceSettings, event: str | None, *, show_secrets: bool) -> str:
    """One endpoint's URL, with its token where the token stands in the query."""
    path = f"/hooks/{name}" + (f"/{quote(event, safe=':')}" if event else "")
    # The first scheme's, or that of one which lets in what comes unsigned.
    tokens = [one for one in source.verify if isinstance(one, Token) and one.query and (one is source.verify[0] or one.events)]
    if tokens:
        secret = quote(tokens[0].secrets[0].get_secret_value(), safe="") if show_secrets else HIDDEN
        return f"{base}{path}?{quote(tokens[0].query or '')}={secret}"
    return base + path


def lines(settings: Settings, *, show_secrets: bool) -> list[tuple[str, str, str, str]]:
    """(source, event, address, what else to set at the vendor) for every endpoint to paste."""
    rows = []
    for name, source in settings.sources.items():
        events = _OFFERED.get(source.vendor, ("",)) if VENDORS[source.vendor].event_place == "address" else ("",)
        for event in events:
            url = address(base_url(settings), name, source, event or None, show_secrets=show_secrets)
            rows.append((name, event or "every event", url, _secret(source.verify[0], show_secrets=show_secrets)))
    return rows


def print_addresses(settings: Settings, *, show_secrets: bool, err: bool = False) -> None:
    """Print what to paste at the vendors."""
    for name, event, url, secret in lines(settings, show_secrets=show_secrets):
        click.echo(f"{name}  {event}\n    {url}{secret}", err=err)
    if settings.sources and not show_secrets:
        click.echo("secrets: `muster sources urls --show-secrets`", err=err)


def _secret(scheme: Verification, *, show_secrets: bool) -> str:
    if isinstance(scheme, Unverified) or (isinstance(scheme, Token) and scheme.query):
        return ""
    return f"\n    secret: {scheme.secrets[0].get_secret_value() if show_secrets else HIDDEN}  ({scheme.scheme})"
