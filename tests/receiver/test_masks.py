"""What is kept of a request that nobody vouched for: no credential, and enough to recognise it by."""

from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.intake import Request
from receiver.masks import masked, unmasked
from receiver.signatures import Evidence, sign, verified
from receiver.sources import Source, sources
from schemas.settings import Settings

KEY, NOON = b"k" * 32, datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = {"scheme": "token", "query": "token"}
HEADER_TOKEN = {"scheme": "token", "header": "X-Token"}
RIGHT = "right"
SIGNED = {"scheme": "hmac", "header": "X-Sig", "timestamp_header": "X-When"}


def source(*verify: dict[str, Any], secret: str = RIGHT, **changed: Any) -> Source:
    """A source with these schemes, all with one secret."""
    schemes = [one | ({} if one["scheme"] == "none" else {"secrets": [secret]}) for one in verify]
    given = {"vendor": "kare", "account": "k", "verify": schemes} | changed
    return sources(Settings.model_validate({"sources": {"one": given}}))["one"]


def request(headers: dict[str, str] | None = None, query: dict[str, str] | None = None, body: bytes = b"{}") -> Request:
    """A request as the endpoint reads it."""
    return Request("E", headers or {}, query or {}, "192.0.2.7", body)


@pytest.mark.parametrize(
    ("verify", "header"),
    [
        pytest.param(TOKEN, "authorization", id="authorization"),
        pytest.param(TOKEN, "proxy-authorization", id="a proxy's"),
        pytest.param(TOKEN, "cookie", id="a cookie"),
        pytest.param(TOKEN, "x-api-key", id="an API key"),
        pytest.param(TOKEN, "x-anything", id="what nobody knows"),
        pytest.param(HEADER_TOKEN, "x-token", id="the configured token's"),
        pytest.param({"scheme": "token", "header": "X-Signature"}, "x-signature", id="a token's that is called a signature"),
        pytest.param({"scheme": "token", "header": "User-Agent"}, "user-agent", id="a token's in a harmless place"),
        pytest.param({"scheme": "basic"}, "authorization", id="basic"),
    ],
)
def test_what_might_be_a_credential_is_a_digest(verify: dict[str, Any], header: str) -> None:
    hidden = masked(KEY, source(verify, secret="u:p"), request({header: "planted"}, {"token": "planted", "other": "planted"}))

    assert "planted" not in str(hidden)
    assert hidden.headers[header].startswith("digest:")


@pytest.mark.parametrize(
    ("verify", "header"),
    [
        pytest.param(SIGNED, "x-sig", id="the configured signature's"),
        pytest.param(SIGNED, "x-when", id="its time's"),
        pytest.param({"scheme": "sha256-concat", "header": "X-Hub"}, "x-hub", id="a hash's"),
        pytest.param({"scheme": "hmac", "header": "User-Agent"}, "user-agent", id="a signature's in a harmless place"),
        pytest.param(TOKEN, "webhook-signature", id="a standard webhook's"),
        pytest.param(TOKEN, "webhook-timestamp", id="a standard webhook's time"),
        pytest.param(TOKEN, "x-webhook-signature", id="what is called a signature"),
        pytest.param(TOKEN, "x-timestamp-token", id="what is called a time"),
    ],
)
@pytest.mark.parametrize("token", ["planted", "planted0" * 8, "v1,planted v1,planted"])
def test_a_token_where_a_signature_or_a_time_belongs_is_a_digest(verify: dict[str, Any], header: str, token: str) -> None:
    assert "planted" not in str(masked(KEY, source(verify), request({header: token})))


@pytest.mark.parametrize("query", [{"planted": ""}, {"token": "", "planted": ""}, {"planted": "", "event": "e"}])
def test_a_token_without_a_name_is_a_digest(query: dict[str, str]) -> None:
    assert "planted" not in str(masked(KEY, source(TOKEN, event_query="event"), request({}, query)))


@pytest.mark.parametrize(
    ("verify", "header", "value"),
    [
        pytest.param(SIGNED, "x-when", "1772366400", id="the time that is signed"),
        pytest.param(TOKEN, "webhook-timestamp", "1772366400", id="a standard webhook's time"),
        pytest.param(TOKEN, "content-type", "plain", id="the content's type"),
        pytest.param(TOKEN, "content-encoding", "plain", id="the content's encoding"),
        pytest.param(TOKEN, "x-forwarded-for", "plain", id="where it came from"),
        pytest.param(TOKEN, "x-event", "plain", id="the event's"),
        pytest.param(TOKEN, "x-kept", "plain", id="what deliveries keep"),
    ],
)
def test_what_is_no_credential_stays_as_it_is(verify: dict[str, Any], header: str, value: str) -> None:
    given = source(verify, event_header="X-Event", event_query="event", keep_headers=["X-Kept"])
    hidden = masked(KEY, given, request({header: value}, {"event": "plain"}, b"\xff\x00"))

    assert (hidden.headers, hidden.query) == ({header: value}, {"event": "plain"})
    assert (hidden.event, hidden.peer, hidden.body) == ("E", "192.0.2.7", b"\xff\x00")


@pytest.mark.parametrize(
    ("verify", "header", "written"),
    [
        pytest.param(SIGNED, "x-sig", "{}", id="hmac"),
        pytest.param(SIGNED | {"prefix": "sha256="}, "x-sig", "{}", id="with its prefix"),
        pytest.param({"scheme": "hmac", "header": "X-Sig", "encoding": "base64"}, "x-sig", "{}", id="in base64"),
        pytest.param({"scheme": "sha256-concat", "header": "X-Hub"}, "x-hub", "sha256={}", id="a hash, with a prefix or without"),
        pytest.param({"scheme": "standard-webhooks"}, "webhook-signature", "v1,other {}", id="one of several"),
    ],
)
def test_a_signature_under_a_secret_of_today_is_recognised(verify: dict[str, Any], header: str, written: str) -> None:
    secret = "whsec_cmlnaHQ=" if verify["scheme"] == "standard-webhooks" else RIGHT
    known = source(verify, secret=secret)
    proof = sign(known.verify[0], b"{}", "msg_1", NOON)
    headers = {name.lower(): value for name, value in proof.headers.items()}
    headers[header] = written.format(headers[header])
    hidden = masked(KEY, source(verify, secret="whsec_d3Jvbmc="), request(headers))

    assert headers[header] not in str(hidden)
    shown = unmasked(KEY, known, hidden)
    assert verified(known.verify, Evidence(shown.headers, {}, b"{}"), NOON)
    assert not verified(known.verify, Evidence(unmasked(b"another", known, hidden).headers, {}, b"{}"), NOON)


def test_capital_digits_are_recognised() -> None:
    known = source({"scheme": "hmac", "header": "X-Sig", "prefix": "sha256="})
    sent = sign(known.verify[0], b"{}", "", NOON).headers["X-Sig"].removeprefix("sha256=").upper()

    assert unmasked(KEY, known, masked(KEY, known, request({"x-sig": sent}))).headers == {"x-sig": sent}


@pytest.mark.parametrize(
    ("verify", "secret", "headers", "query"),
    [
        pytest.param(TOKEN, "right", {}, {"token": "right"}, id="a token in the query"),
        pytest.param(HEADER_TOKEN, "right", {"x-token": "right"}, {}, id="a token in a header"),
        pytest.param({"scheme": "token", "header": "Authorization"}, "Bearer x", {"authorization": "Bearer x"}, {}, id="a bearer"),
        pytest.param({"scheme": "basic"}, "u:p", {"authorization": "Basic dTpw"}, {}, id="basic"),
    ],
)
def test_a_secret_of_today_is_put_back_wherever_it_was_sent(
    verify: dict[str, Any], secret: str, headers: dict[str, str], query: dict[str, str]
) -> None:
    hidden = masked(KEY, source({"scheme": "token", "query": "token"}, secret="wrong"), request(headers, query))
    shown = unmasked(KEY, source(verify, secret=secret), hidden)

    assert (shown.headers, shown.query) == (headers, query)
    assert unmasked(KEY, source(verify, secret="x:y"), hidden) == hidden
    assert unmasked(b"another", source(verify, secret=secret), hidden) == hidden


def test_basic_credentials_are_recognised_however_they_are_written() -> None:
    hidden = masked(KEY, source(TOKEN), request({"authorization": "bAsIc  dTpw "}))

    assert unmasked(KEY, source({"scheme": "basic"}, secret="u:p"), hidden).headers == {"authorization": "Basic dTpw"}


def test_what_no_secret_accounts_for_stays_a_digest() -> None:
    hidden = masked(KEY, source(TOKEN), request({"x-other": "right", "cookie": "right"}, {"token": "wrong", "other": "right"}))

    assert unmasked(KEY, source(TOKEN, HEADER_TOKEN, SIGNED, {"scheme": "none"}), hidden) == hidden
