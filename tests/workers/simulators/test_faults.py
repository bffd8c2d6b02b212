"""Each switch does to a request what it says, once, and to the right ones; over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from tests.workers.made import until
from workers.simulators.faults import Broken, Dropped, Fault, Faults, Instead, LandsLate, LostAfter, LostBefore, Slow, TooMany
from workers.simulators.server import served


class Counter:
    """An app that counts the bodies it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def switched(*faults: Fault) -> AsyncIterator[tuple[httpx2.AsyncClient, Faults, Counter]]:
    """A counter behind switches, and a client of it that does not wait for long."""
    counter = Counter()
    switches = Faults(counter)
    switches.on(*faults)
    async with served(switches) as url, httpx2.AsyncClient(base_url=url, timeout=0.2, trust_env=False, verify=False) as client:
        yield client, switches, counter
    switches.off()


async def ended(client: httpx2.AsyncClient, method: str = "POST", path: str = "/") -> str:
    """How a request ends: a status and a body, or an error's name."""
    try:
        answer = await client.request(method, path, content=b"body" * 1000)
    except httpx2.HTTPError as error:
        return type(error).__name__
    return f"{answer.status_code} {answer.headers.get('retry-after', '-')} {answer.text}"


PAGE = "<html><body>Server Error</body></html>"


@pytest.mark.parametrize(
    ("fault", "seen", "done"),
    [
        (Slow(seconds=0.01), "200 - ok", 1),
        (Slow(seconds=0.5), "ReadTimeout", 0),
        (TooMany(), "429 - ", 0),
        (TooMany(retry_after="7"), "429 7 ", 0),
        (Broken(), f"500 - {PAGE}", 0),
        (Broken(status=503, retry_after="7"), f"503 7 {PAGE}", 0),
        (Broken(done=True), f"500 - {PAGE}", 1),
        (Instead(status=404, body=b"who?"), "404 - who?", 0),
        (LostBefore(), "ReadTimeout", 0),
        (LostAfter(), "ReadTimeout", 1),
        (LandsLate(), "ReadTimeout", 0),
        (Dropped(), "RemoteProtocolError", 0),
        (Dropped(done=True), "RemoteProtocolError", 1),
    ],
    ids=repr,
)
async def test_a_switch_is_seen_by_the_client_and_by_the_app_as_it_says_and_then_used_up(fault: Fault, seen: str, done: int) -> None:
    async with switched(fault) as (client, _, counter):
        assert (await ended(client), len(counter.bodies)) == (seen, done)
        assert await ended(client) == "200 - ok"


async def test_what_lands_late_lands_once_with_its_whole_body_when_it_is_told_to() -> None:
    async with switched(LandsLate(), LandsLate()) as (client, switches, counter):
        await ended(client)
        await ended(client)
        before = len(counter.bodies)
        await switches.land()
        await switches.land()

    assert (before, counter.bodies) == (0, [b"body" * 1000] * 2)


async def test_what_lands_late_lands_by_itself_after_its_time() -> None:
    async with switched(LandsLate(seconds=0.3)) as (client, _, counter):
        assert (await ended(client), len(counter.bodies)) == ("ReadTimeout", 0)
        await until(lambda: counter.bodies, "landing")

    assert len(counter.bodies) == 1


async def test_what_has_not_landed_when_the_switches_are_put_off_never_does() -> None:
    async with switched(LandsLate()) as (client, switches, counter):
        await ended(client)
        switches.off()
        await asyncio.sleep(0)
        await switches.land()

    assert counter.bodies == []


@pytest.mark.parametrize(
    ("fault", "befallen"),
    [
        (TooMany(times=None), ["GET /a", "POST /a", "GET /b/1"]),
        (TooMany(times=None, method="GET"), ["GET /a", "GET /b/1"]),
        (TooMany(times=None, path="/b/*"), ["GET /b/1"]),
        (TooMany(times=2), ["GET /a", "POST /a"]),
        (TooMany(times=None, skip=1), ["POST /a", "GET /b/1"]),
        (TooMany(times=1, skip=1, method="GET"), ["GET /b/1"]),
        (TooMany(path="/c"), []),
    ],
    ids=["all", "a method", "a path", "the first two", "all but the first", "the second of a method", "none"],
)
async def test_a_switch_befalls_the_requests_that_it_names(fault: Fault, befallen: list[str]) -> None:
    async with switched(fault) as (client, _, _):
        requests = [("GET", "/a"), ("POST", "/a"), ("GET", "/b/1")]
        hit = [f"{method} {path}" for method, path in requests if (await ended(client, method, path)).startswith("429")]

    assert hit == befallen


async def test_of_two_that_fit_the_first_wins_until_it_is_used_up() -> None:
    async with switched(TooMany(), Broken(status=502)) as (client, _, _):
        assert [(await ended(client))[:3] for _ in range(3)] == ["429", "502", "200"]


async def test_every_request_is_counted_whatever_became_of_it() -> None:
    async with switched(TooMany(), LostBefore()) as (client, switches, _):
        for path in ("/a", "/b", "/b"):
            await ended(client, path=path)

        assert (switches.count("/b"), switches.count("*", "POST"), switches.count("*", "GET")) == (2, 3, 0)


async def test_what_met_which_fault_is_told() -> None:
    fault = TooMany(method="POST")
    async with switched(fault) as (client, switches, _):
        for method in ("GET", "POST", "POST"):
            await ended(client, method, "/a")

        assert list(switches.played) == [(fault, "POST", "/a")]


async def test_a_server_that_ends_leaves_no_request_hanging_and_its_port_free() -> None:
    switches = Faults(Counter())
    switches.on(LostBefore(times=None))
    async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=10) as client:
        async with served(switches) as url:
            hanging = [asyncio.create_task(client.get(url)) for _ in range(3)]
            await until(lambda: len(switches.seen) == 3, "the requests' arrival")
        lost = await asyncio.gather(*hanging, return_exceptions=True)
        with pytest.raises(httpx2.ConnectError):
            await client.get(url)
    async with served(switches, port=int(url.rpartition(":")[2])) as again:
        assert again == url

    assert all(isinstance(one, httpx2.HTTPError) for one in lost)
