"""The configured senders as rows: defaults of the receiver, names in lower case, no credential kept."""

from pathlib import Path

import pytest

from receiver.sources import Source, sources
from schemas.reader import Role, load


def rows(tmp_path: Path, toml: str) -> dict[str, Source]:
    """The rows of a settings text."""
    path = tmp_path / "muster.toml"
    path.write_text(toml)
    return dict(sources(load(path, Role.RECEIVER, {})))


def test_a_row_holds_what_the_settings_say(tmp_path: Path) -> None:
    (row,) = rows(
        tmp_path,
        '[sources.hse]\nvendor = "4hse"\naccount = "acme"\nverify = { secrets = ["s"] }\nmax_body = "2 MiB"\nnetworks = ["192.0.2.0/24"]\n'
        'event_header = "X-Event"\nevent_query = "Event"\nkeep_headers = ["X-Request-Id"]\n',
    ).values()

    assert (row.name, row.vendor, row.account, row.max_body) == ("hse", "4hse", "acme", 2 * 1024 * 1024)
    assert [str(network) for network in row.networks] == ["192.0.2.0/24"]
    assert (row.event_header, row.event_query) == ("x-event", "Event")
    assert row.kept_headers == ("content-type", "user-agent", "webhook-id", "webhook-timestamp", "x-request-id")


def test_the_receivers_body_limit_holds_where_a_source_sets_none(tmp_path: Path) -> None:
    found = rows(
        tmp_path,
        '[receiver]\nmax_body = 10\n[sources.a]\nvendor = "4hse"\nverify = { secrets = ["s"] }\n'
        '[sources.b]\nvendor = "4hse"\nverify = { secrets = ["s"] }\nmax_body = 20\n',
    )

    assert {name: row.max_body for name, row in found.items()} == {"a": 10, "b": 20}


@pytest.mark.parametrize(
    ("verify", "header"),
    [
        ('{ scheme = "token", header = "X-Token", secrets = ["s"] }', "X-Token"),
        ('{ scheme = "token", header = "User-Agent", secrets = ["s"] }', "User-Agent"),
        ('{ scheme = "hmac", header = "X-Sig", secrets = ["s"] }', "x-sig"),
        ('{ scheme = "sha256-concat", header = "X-Hub-Signature", secrets = ["s"] }', "X-HUB-SIGNATURE"),
        ('{ scheme = "basic", secrets = ["u:p"] }', "Authorization"),
        ('{ scheme = "standard-webhooks", secrets = ["whsec_c2VjcmV0"] }', "webhook-signature"),
        ('{ scheme = "none" }', "Cookie"),
        ('{ scheme = "none" }', "Proxy-Authorization"),
        ('{ scheme = "none" }', "X-Api-Key"),
        ('[{ scheme = "none" }, { scheme = "token", header = "X-Token", secrets = ["s"] }]', "X-Token"),
    ],
)
def test_no_credential_is_kept_whatever_keep_headers_says(tmp_path: Path, verify: str, header: str) -> None:
    (row,) = rows(tmp_path, f'[sources.a]\nvendor = "4hse"\nverify = {verify}\nkeep_headers = ["{header}", "X-Fine"]\n').values()

    assert header.lower() not in row.kept_headers
    assert "x-fine" in row.kept_headers


@pytest.mark.parametrize(
    ("verify", "expected"),
    [
        ('{ scheme = "none" }', True),
        ('[{ secrets = ["s"] }, { scheme = "none" }]', True),
        ('{ secrets = ["s"] }', False),
    ],
)
def test_a_source_that_believes_anybody_says_so(tmp_path: Path, verify: str, expected: bool) -> None:
    (row,) = rows(tmp_path, f'[sources.a]\nvendor = "4hse"\nverify = {verify}\n').values()

    assert row.unverified is expected
