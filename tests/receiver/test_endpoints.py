"""The applications over ASGI: the order of refusals, problems that give nothing away, and 200 only for what is kept."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from receiver import app
from receiver.endpoints import UNKNOWN, Hook
from receiver.intake import Request
from receiver.publisher import Keeper, SpoolKeeper
from receiver.recent import Recent
from receiver.sources import Source, sources
from receiver.spool import Spool, Spooled, SpoolFull
from schemas.delivery import Delivery, decode, named
from schemas.settings import ReceiverSettings, Settings

LIMIT = 64
GOOD = {"token": "s3cret-token"}

SOURCES = sources(
    Settings.model_validate(
        {
            "receiver": {"max_body": LIMIT},
            "sources": {
                "hse": {
                    "vendor": "4hse",
                    "account": "acme",
                    "verify": {"secrets": ["s3cret-token"]},
                    "keep_headers": ["authorization", "X-Id"],
                },
                "fenced": {
                    "vendor": "4hse",
                    "account": "acme",
                    "verify": {"secrets": ["s3cret-token"]},
                    "networks": ["198.51.100.0/24"],
                },
                "named": {
                    "vendor": "kare",
                    "account": "k",
                    "verify": {"scheme": "token", "header": "X-Token", "secrets": ["s3cret-token"]},
                    "event_header": "X-Event",
                    "event_query": "event",
                },
                "lms": {"vendor": "anewspring", "account": "lms", "verify": {"secrets": ["s3cret-token"]}, "max_body": 2 * LIMIT},
            },
        }
    )
)


class Kept:
    """Keeps deliveries in memory."""

    def __init__(self) -> None:
        self.rows: list[Spooled] = []

    async def keep(self, spooled: Spooled) -> None:
        self.rows.append(spooled)

    @property
    def deliveries(self) -> list[Delivery]:
        return [decode(row.delivery) for row in self.rows]


class Failing:
    """Fails to keep anything."""

    def __init__(self, error: Exception) -> None:
        self.error, self.asked = error, list[bytes]()

    async def keep(self, spooled: Spooled) -> None:
        self.asked.append(spooled.delivery)
        raise self.error


class Stuck:
    """Keeps nothing before it is let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = asyncio.Event(), asyncio.Event()

    async def keep(self, _: Spooled) -> None:
        self.entered.set()
        await self.let_go.wait()


async def ready() -> tuple[bool, dict[str, object]]:
    return True, {"spooled": 7}


async def unready() -> tuple[bool, dict[str, object]]:
    return False, {"spooled": 7}


async def exposed(accept: str) -> tuple[bytes, str]:
    return f"# asked for {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"


def served(
    keeper: Keeper,
    recent: Recent | None = None,
    peer: str = "192.0.2.7",
    known: dict[str, Source] | None = None,
    **settings: Any,
) -> httpx2.AsyncClient:
    """A client of the public application."""
    hook = Hook(ReceiverSettings(**settings), known or SOURCES, keeper, recent or Recent())
    transport = httpx2.ASGITransport(app.public(hook, ready), raise_app_exceptions=False, client=(peer, 40000))
    return httpx2.AsyncClient(transport=transport, base_url="http://hooks.example")


async def chunks(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


async def stalled() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.sleep(60)


def assert_problem(response: httpx2.Response, status: int) -> None:
    """RFC 9457's members, and its media type."""
    problem = response.json()

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"]


async def test_what_is_authentic_is_answered_200_with_its_id_and_kept_as_it_came() -> None:
    kept, body, before = Kept(), b'\xff\x00{"not": JSON', datetime.now(UTC)
    headers = {"content-type": "application/json", "user-agent": "4HSE", "authorization": "Basic c2VjcmV0", "x-id": "7", "x-other": "no"}
    async with served(kept) as client:
        response = await client.post("/hooks/hse/ACTION_SUBSCRIPTION::CREATE", params=GOOD, content=body, headers=headers)
    (one,) = kept.deliveries

    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert UUID(response.json()["id"]) == one.id
    assert (one.source, one.account, one.vendor, one.event, one.body) == ("hse", "acme", "4hse", "ACTION_SUBSCRIPTION::CREATE", body)
    assert one.headers == {"content-type": "application/json", "user-agent": "4HSE", "x-id": "7"}
    assert before <= one.received_at <= datetime.now(UTC)
    assert (kept.rows[0].vendor, kept.rows[0].source) == ("4hse", "hse")


async def test_200_goes_out_only_after_the_delivery_is_on_disk(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, 2**20, owner=True)
    try:
        async with served(SpoolKeeper(spool)) as client:
            response = await client.post("/hooks/hse", params=GOOD, content=b"{}")
        (row,) = await spool.oldest(10)
    finally:
        await spool.close()

    assert str(decode(row.spooled.delivery).id) == response.json()["id"]


async def test_no_200_before_the_keeper_is_done() -> None:
    stuck = Stuck()
    async with served(stuck) as client:
        waiting = asyncio.create_task(client.post("/hooks/hse", params=GOOD, content=b"{}"))
        await stuck.entered.wait()
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        stuck.let_go.set()

        assert not done
        assert (await waiting).status_code == 200


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("/hooks/hse", None),
        ("/hooks/hse/ACTION_SUBSCRIPTION::DELETE", "ACTION_SUBSCRIPTION::DELETE"),
        ("/hooks/hse/ACTION_SUBSCRIPTION%3A%3ADELETE", "ACTION_SUBSCRIPTION::DELETE"),
        ("/hooks/hse/%41%42%20c", "AB c"),
        ("/hooks/hse/A%0AB%1b", r"A\nB\x1b"),
    ],
)
async def test_the_address_names_the_event_also_percent_encoded(path: str, event: str | None) -> None:
    kept = Kept()
    async with served(kept) as client:
        assert (await client.post(path, params=GOOD)).status_code == 200

    assert kept.deliveries[0].event == event


async def test_a_configured_header_or_query_parameter_names_the_event() -> None:
    kept = Kept()
    async with served(kept) as client:
        await client.post("/hooks/named?event=Q", headers={"x-token": "s3cret-token", "X-Event": "H"})
        await client.post("/hooks/named?event=Q", headers={"x-token": "s3cret-token"})

    assert [one.event for one in kept.deliveries] == ["H", "Q"]


# A request that is wrong in every way from `wrong` on, and right before it.
_ORDER = [
    ("unknown source", 404),
    ("method", 405),
    ("size", 413),
    ("encoding", 415),
    ("address", 403),
    ("token", 401),
    ("nothing", 200),
]


@pytest.mark.parametrize(("wrong", "status"), _ORDER)
async def test_a_request_is_refused_for_the_first_of_its_faults(wrong: str, status: int) -> None:
    faults = [name for name, _ in _ORDER][[name for name, _ in _ORDER].index(wrong) :]
    kept = Kept()
    async with served(kept, peer="192.0.2.7" if "address" in faults else "198.51.100.3") as client:
        response = await client.request(
            "PUT" if "method" in faults else "POST",
            "/hooks/nobody" if "unknown source" in faults else "/hooks/fenced",
            params={"token": "wrong"} if "token" in faults else GOOD,
            headers={"content-encoding": "gzip"} if "encoding" in faults else {},
            content=b"x" * (LIMIT + 1 if "size" in faults else LIMIT),
        )

    assert response.status_code == status
    assert len(kept.rows) == (status == 200)
    if status != 200:
        assert_problem(response, status)


@pytest.mark.parametrize(
    ("path", "query", "content", "status"),
    [
        pytest.param("/hooks/hse/E", {"token": "wrong"}, b"x", 401, id="not verified"),
        pytest.param("/hooks/hse/E", GOOD, b"x", 200, id="verified"),
        pytest.param("/hooks/hse/E", {"token": "wrong"}, b"x" * (LIMIT + 1), 413, id="too large"),
        pytest.param("/hooks/fenced/E", {"token": "wrong"}, b"x", 403, id="from elsewhere"),
        pytest.param("/hooks/nobody/E", {"token": "wrong"}, b"x", 404, id="of no source"),
    ],
)
async def test_only_what_failed_verification_is_handed_to_the_rejects_as_it_came(
    path: str, query: dict[str, str], content: bytes, status: int
) -> None:
    handed: list[tuple[str, Request, datetime]] = []
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    hook = Hook(
        ReceiverSettings(), SOURCES, Kept(), Recent(), lambda: noon, rejected=lambda source, *rest: handed.append((source.name, *rest))
    )
    transport = httpx2.ASGITransport(app.public(hook, ready), client=("192.0.2.7", 40000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://hooks.example") as client:
        assert (await client.post(path, params=query, content=content)).status_code == status

    assert len(handed) == (status == 401)
    for source, request, at in handed:
        assert (source, at, request.event, request.query, request.peer) == ("hse", noon, "E", query, "192.0.2.7")
        assert (request.body, request.headers["host"]) == (b"x", "hooks.example")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_another_method_is_told_which_is_allowed(method: str) -> None:
    async with served(Kept()) as client:
        response = await client.request(method, "/hooks/hse/E", params=GOOD)

    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/", "/hooks", "/hooks/", "/hooks/hse/", "/hooks/hse/a/b", "/recent", "/metrics", "/hooks/nobody/E"])
async def test_an_address_that_leads_nowhere_is_a_problem_and_no_redirection(path: str) -> None:
    async with served(Kept()) as client:
        assert_problem(await client.post(path, params=GOOD), 404)


async def test_a_wrong_method_elsewhere_is_a_problem_too() -> None:
    async with served(Kept()) as client:
        response = await client.post("/livez")

    assert_problem(response, 405)
    assert "GET" in response.headers["allow"]


@pytest.mark.parametrize(
    ("sizes", "status"),
    [((LIMIT,), 200), ((LIMIT - 1, 1), 200), ((1,) * LIMIT, 200), ((), 200), ((LIMIT + 1,), 413), ((LIMIT, 1), 413), ((10**6, 10**6), 413)],
    ids=["exact", "exact in two", "exact in many", "none", "one over", "over by the second", "far over"],
)
async def test_a_chunked_body_is_counted_and_kept_whole_or_refused(sizes: tuple[int, ...], status: int) -> None:
    kept = Kept()
    async with served(kept) as client:
        response = await client.post("/hooks/hse", params=GOOD, content=chunks(*sizes))

    assert "content-length" not in response.request.headers
    assert response.status_code == status
    assert [len(one.body) for one in kept.deliveries] == ([sum(sizes)] if status == 200 else [])


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413)])
async def test_a_declared_body_is_held_to_the_same_limit(size: int, status: int) -> None:
    kept = Kept()
    async with served(kept) as client:
        response = await client.post("/hooks/hse", params=GOOD, content=b"x" * size)

    assert response.request.headers["content-length"] == str(size)
    assert response.status_code == status


async def test_a_declared_body_that_is_too_large_is_refused_unread() -> None:
    async def unread() -> Message:
        raise AssertionError("was read")

    status, headers = await raw_request(unread, headers=[(b"content-length", str(LIMIT + 1).encode())])

    assert status == 413
    assert headers[b"connection"] == b"close"


@pytest.mark.parametrize("declared", [b"", b"-1", b"abc", b"\xb2", b"5"], ids=repr)
async def test_a_length_that_is_a_lie_or_no_number_changes_nothing_about_the_count(declared: bytes) -> None:
    async def too_much() -> Message:
        return {"type": "http.request", "body": b"x" * (LIMIT + 1), "more_body": False}

    assert (await raw_request(too_much, headers=[(b"content-length", declared)]))[0] == 413


async def test_a_source_has_a_limit_of_its_own_where_it_says_so() -> None:
    async with served(Kept()) as client:
        # 401, not 413: the size was right, the signature is missing.
        assert (await client.post("/hooks/lms", content=b"x" * LIMIT * 2)).status_code == 401
        assert (await client.post("/hooks/lms", content=b"x" * (LIMIT * 2 + 1))).status_code == 413


async def test_a_body_that_does_not_arrive_in_time_is_refused_and_its_connection_closed() -> None:
    async with served(Kept(), body_deadline=0.05) as client:
        response = await client.post("/hooks/hse", params=GOOD, content=stalled())

    assert_problem(response, 408)
    assert response.headers["connection"] == "close"


async def test_a_sender_that_hangs_up_midway_leaves_nothing_behind() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def hang_up() -> Message:
        return messages.pop(0)

    kept = Kept()
    await raw_request(hang_up, keeper=kept)

    assert kept.rows == []


@pytest.mark.parametrize(
    ("params", "headers", "path"),
    [
        ({}, {}, "/hooks/hse"),
        ({"token": ""}, {}, "/hooks/hse"),
        ({"token": "wrong"}, {}, "/hooks/hse"),
        ({"token": "s3cret-toke"}, {}, "/hooks/hse"),
        ({"TOKEN": "s3cret-token"}, {}, "/hooks/hse"),
        ({"token": "s3cret-tokén"}, {}, "/hooks/hse"),
        ({"token": "\x00"}, {}, "/hooks/hse"),
        ({}, {}, "/hooks/lms"),
        ({}, {"x-webhook-signature": "AAAA"}, "/hooks/lms"),
        ({}, {"x-webhook-signature": b"\xff\xfe"}, "/hooks/lms"),
    ],
)
async def test_whatever_is_wrong_with_the_proof_the_answer_is_the_same(params: dict[str, str], headers: dict[str, Any], path: str) -> None:
    async with served(Kept()) as client:
        response = await client.post(path, params=params, headers=headers, content=b"{}")

    assert_problem(response, 401)
    assert response.json()["detail"] == "The request could not be verified."


async def test_the_address_list_counts_with_trusted_proxies_and_several_header_lines() -> None:
    async def status(peer: str, *forwarded: str) -> int:
        async with served(Kept(), peer=peer, trusted_proxies=["10.0.0.0/8"]) as client:
            lines = [("x-forwarded-for", line) for line in forwarded]
            return (await client.post("/hooks/fenced", params=GOOD, headers=lines)).status_code

    assert await status("198.51.100.3") == 200
    assert await status("192.0.2.7", "198.51.100.3") == 403
    assert await status("10.0.0.1", "198.51.100.3") == 200
    assert await status("10.0.0.1", "198.51.100.3, 192.0.2.7") == 403
    assert await status("10.0.0.1", "198.51.100.3", "192.0.2.7") == 403
    assert await status("10.0.0.1", "192.0.2.7", "198.51.100.3", "10.0.0.2") == 200
    assert await status("::ffff:10.0.0.1", "::ffff:198.51.100.3") == 200


async def test_more_requests_than_the_bound_are_told_to_come_back() -> None:
    stuck, recent = Stuck(), Recent()
    async with served(stuck, recent, max_in_flight=1) as client:
        first = asyncio.create_task(client.post("/hooks/hse", params=GOOD))
        await stuck.entered.wait()
        refused = await client.post("/hooks/hse", params=GOOD)
        stuck.let_go.set()

        assert (await first).status_code == 200
        assert (await client.post("/hooks/hse", params=GOOD)).status_code == 200
    assert_problem(refused, 503)
    assert int(refused.headers["retry-after"]) > 0
    assert [one["status"] for one in recent.after(0)] == [503, 200, 200]


@pytest.mark.parametrize("error", [SpoolFull("full"), RuntimeError("planted-detail"), ValueError("planted-detail")], ids=repr)
async def test_a_fault_of_ours_is_503_with_retry_after_never_a_4xx(error: Exception) -> None:
    failing = Failing(error)
    with capture_logs() as logged:
        async with served(failing) as client:
            response = await client.post("/hooks/hse", params=GOOD, content=b"{}")

    told = [line["deliveries"] for line in logged if line["event"] == "request.failed"]
    assert told == ([] if isinstance(error, SpoolFull) else [named(failing.asked)])
    assert_problem(response, 503)
    assert int(response.headers["retry-after"]) > 0
    assert "planted-detail" not in response.text


async def test_a_full_spool_is_503_and_200_again_once_there_is_room(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, 64 * 1024, owner=True)
    roomy = {"lms": SOURCES["lms"], "hse": replace(SOURCES["hse"], max_body=10**6)}
    try:
        async with served(SpoolKeeper(spool), known=roomy) as client:
            refused = await client.post("/hooks/hse", params=GOOD, content=b"x" * 200_000)
            accepted = await client.post("/hooks/hse", params=GOOD, content=b"x")
    finally:
        await spool.close()

    assert_problem(refused, 503)
    assert accepted.status_code == 200


async def test_refusals_and_acceptances_are_noted_for_the_operator_without_what_could_fool_a_terminal() -> None:
    recent = Recent()
    async with served(Kept(), recent) as client:
        await client.post("/hooks/hse/E%1b%5B2J", params={"token": "wrong"})
        await client.post("/hooks/no%1bbody/E")
        accepted = await client.post("/hooks/hse/E", params=GOOD)
    noted = [(one["source"], one["event"], one["status"], one["delivery"]) for one in recent.after(0)]

    assert noted == [
        ("hse", r"E\x1b[2J", 401, None),
        (UNKNOWN, "E", 404, None),
        ("hse", "E", 200, accepted.json()["id"]),
    ]


async def test_no_log_line_and_no_note_holds_the_token() -> None:
    recent = Recent()
    with capture_logs() as logged:
        async with served(Kept(), recent) as client:
            await client.post("/hooks/hse/E", params=GOOD)
            await client.get("/hooks/hse/E", params=GOOD)
            await client.post("/hooks/nobody/E", params=GOOD)
        async with served(Failing(RuntimeError()), recent) as client:
            await client.post("/hooks/hse/E", params=GOOD)

    assert len(logged) >= 3
    assert "s3cret-token" not in f"{logged} {recent.after(0)}"


async def test_the_public_readiness_says_yes_or_no_and_nothing_else() -> None:
    for readiness, status in ((ready, 200), (unready, 503)):
        transport = httpx2.ASGITransport(app.public(Hook(ReceiverSettings(), {}, Kept(), Recent()), readiness))
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
            response = await client.get("/readyz")

            assert (response.status_code, response.json()) == (status, {"ready": status == 200})
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/recent")).status_code == 404


@pytest.mark.parametrize(("query", "expected"), [("", [1, 2]), ("?after=1", [2]), ("?after=x", [1, 2]), ("?after=%C2%B2", [1, 2])])
async def test_the_local_port_tells_details_and_the_last_requests(query: str, expected: list[int]) -> None:
    recent = Recent()
    for status in (200, 401):
        recent.add(datetime(2026, 1, 1, tzinfo=UTC), "hse", None, status)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app.local(recent, unready, exposed)), base_url="http://x") as client:
        assert (await client.get("/readyz")).json() == {"ready": False, "spooled": 7}
        assert (await client.get("/livez")).status_code == 200
        assert [one["number"] for one in (await client.get(f"/recent{query}")).json()] == expected
        assert (await client.post("/hooks/hse")).status_code == 404
        assert (await client.get("/metrics", headers={"accept": "text/x"})).text == "# asked for text/x\n"


async def raw_request(receive: Any, *, headers: list[tuple[bytes, bytes]] | None = None, keeper: Keeper | None = None) -> tuple[int, Any]:
    """One request without a client, for what no client would send."""
    hook = Hook(ReceiverSettings(), SOURCES, keeper or Kept(), Recent())
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/hooks/hse",
        "query_string": b"token=s3cret-token",
        "headers": headers or [],
        "client": ("192.0.2.7", 1),
    }
    await app.public(hook, ready)(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    assert json.loads(body)["status"] == sent[0]["status"]
    return sent[0]["status"], dict(sent[0]["headers"])
