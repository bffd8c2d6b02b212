"""The proxy's example is what nginx understands, and agrees with compose.yaml and with the receiver's defaults.

nginx itself is not installed for it: the parser knows its directives, where they may stand and how many words they take.
"""

import json
import re
from pathlib import Path
from typing import Any

import crossplane
import pytest

from receiver.errors import Unavailable
from schemas.settings import ReceiverSettings
from tests.workers.deploy.examples import COMPOSE, OURS
from workers.operations.deployment import text_of


def parsed(path: Path, text: str) -> dict[str, Any]:
    """What the parser makes of a configuration."""
    path.write_text(text)
    found: dict[str, Any] = crossplane.parse(str(path), strict=True)
    return found


@pytest.fixture
def directives(tmp_path: Path) -> list[tuple[str, list[str]]]:
    """Every directive and its words, in order."""
    found = parsed(tmp_path / "nginx.conf", text_of("nginx.conf"))
    assert (found["status"], found["errors"]) == ("ok", [])
    return list(_flat(found["config"][0]["parsed"]))


def _flat(block: list[dict[str, Any]]) -> Any:
    for one in block:
        yield one["directive"], one["args"]
        yield from _flat(one.get("block", []))


def said(directives: list[tuple[str, list[str]]], name: str) -> list[list[str]]:
    """The words of each directive of a name."""
    return [words for directive, words in directives if directive == name]


@pytest.mark.parametrize("wrong", ["proxy_passs http://receivers;", "proxy_pass;", "worker_connections 3;"])
def test_what_nginx_would_not_understand_is_found(wrong: str, tmp_path: Path) -> None:
    text = text_of("nginx.conf").replace("proxy_pass http://receivers;", wrong)

    assert parsed(tmp_path / "nginx.conf", text)["status"] == "failed"


def test_it_passes_on_to_the_receivers_where_compose_puts_them(directives: list[tuple[str, list[str]]]) -> None:
    receivers = [service["networks"]["front"]["ipv4_address"] for service in OURS.values() if service["command"] == ["receive"]]

    assert [words[0] for words in said(directives, "server") if words] == [f"{one}:{ReceiverSettings().port}" for one in receivers]


def test_the_receivers_believe_it_alone() -> None:
    address = COMPOSE["services"]["proxy"]["networks"]["front"]["ipv4_address"]

    for service in OURS.values():
        if service["command"] == ["receive"]:
            assert json.loads(service["environment"]["MUSTER_RECEIVER__TRUSTED_PROXIES"]) == [f"{address}/32"]


def test_it_overwrites_what_senders_say_of_where_they_are_and_of_their_traces(directives: list[tuple[str, list[str]]]) -> None:
    headers = dict(words for words in said(directives, "proxy_set_header"))

    assert headers["X-Forwarded-For"] == "$remote_addr"
    assert headers["traceparent"] == headers["tracestate"] == ""


def test_it_lets_through_what_the_receiver_takes_and_waits_longer_than_it(directives: list[tuple[str, list[str]]]) -> None:
    (body,), (deadline,) = said(directives, "client_max_body_size")[0], said(directives, "proxy_read_timeout")[0]

    assert int(body.removesuffix("m")) * 1024 * 1024 == ReceiverSettings().max_body
    assert int(deadline.removesuffix("s")) > ReceiverSettings().publish_deadline


def test_a_503_is_tried_elsewhere_and_never_counted_against_a_receiver_and_no_answer_is_a_503(tmp_path: Path) -> None:
    """What counts as a failure shuts a receiver out for a while: two that are busy for a moment would leave nobody, and a bare 502."""
    (http,) = (one for one in parsed(tmp_path / "nginx.conf", text_of("nginx.conf"))["config"][0]["parsed"] if one["directive"] == "http")
    (server,) = (one for one in http["block"] if one["directive"] == "server")
    places = {" ".join(one["args"]): dict(_pairs(one["block"])) for one in server["block"] if one["directive"] == "location"}
    around = _pairs([one for one in server["block"] if "block" not in one])

    assert ("proxy_next_upstream", "error timeout non_idempotent") in around
    assert ("recursive_error_pages", "on") in around
    assert ("error_page", "502 504 = @later") in around
    hooks = _pairs(next(one["block"] for one in server["block"] if one["args"] == ["/hooks/"]))
    assert {("proxy_intercept_errors", "on"), ("error_page", "503 = @another"), ("error_page", "502 504 = @later")} < set(hooks)
    assert places["@another"] == {"proxy_pass": "http://receivers"}
    assert places["@later"] == {"add_header": f"Retry-After {Unavailable.headers['Retry-After']} always", "return": "503"}


def _pairs(block: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["directive"], " ".join(one["args"])) for one in block]


def test_it_reads_and_writes_only_what_is_there_on_a_host_and_in_a_container(directives: list[tuple[str, list[str]]]) -> None:
    """`/dev/stdout` is a socket under systemd, which nginx cannot open; `/run/secrets` is a container's alone."""
    logs = [said(directives, name)[0][0] for name in ("access_log", "error_log")]
    keys = [said(directives, name)[0][0] for name in ("ssl_certificate", "ssl_certificate_key")]

    assert logs == ["/var/log/nginx/access.log", "/var/log/nginx/error.log"]
    assert keys == [secret["target"] for secret in COMPOSE["services"]["proxy"]["secrets"]]
    assert all(key.startswith("/etc/nginx/") for key in keys)


def test_no_log_holds_a_query(directives: list[tuple[str, list[str]]]) -> None:
    """nginx writes the request's line, with its query, beside every error of less than `crit`."""
    (_, *parts) = said(directives, "log_format")[0]

    assert not set(re.findall(r"\$\w+", " ".join(parts))) & {"$request", "$request_uri", "$args", "$query_string", "$http_referer"}
    assert [words[-1] for words in said(directives, "access_log")] == ["muster"]
    assert [words[-1] for words in said(directives, "error_log")] == ["crit"]
