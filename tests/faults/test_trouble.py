"""That faults befall writes, are told by their names, and that what lands late does so once nobody waits for it."""

import asyncio
from dataclasses import replace

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.faults.doors import changes
from tests.faults.trouble import FAULTS, befallen
from workers.simulators.faults import Faults
from workers.simulators.server import served


@pytest.mark.parametrize(
    ("method", "path", "changed"),
    [
        ("POST", "/v2/certificate/create", True),
        ("PUT", "/v2/action-session-subscription/update/1", True),
        ("DELETE", "/v2/action-session-subscription/delete/1", True),
        ("POST", "/v2/action-subscription/index", False),
        ("GET", "/v2/action-subscription/view/1", False),
        ("POST", "/api/subscribe/L0001/FIRE-BASIC", True),
        ("POST", "/api/unsubscribe/L0001/FIRE-BASIC", True),
        ("GET", "/api/getResults/L0001/FIRE-BASIC", False),
        ("PATCH", "/interventions/v2/rs/training-exercise/1", True),
        ("POST", "/job-training/sessions/result/list", False),
        ("POST", "/api/v3/token", False),
    ],
)
def test_what_changes_something_at_a_vendor_is_told_from_what_asks(method: str, path: str, *, changed: bool) -> None:
    assert changes(method, path) is changed


async def test_faults_are_told_by_their_names_and_by_whether_they_hit_a_write() -> None:
    switches = Faults(Starlette())
    switches.on(replace(FAULTS["502"], method="PATCH"), FAULTS["redirects"], replace(FAULTS["pages with 200"], path="/a"))
    async with served(switches) as url, httpx2.AsyncClient(trust_env=False, base_url=url) as client:
        answers = [(await client.request(method, "/a")).status_code for method in ("PATCH", "GET", "GET")]

    assert answers == [502, 302, 200]
    assert befallen({"lms": switches}) == {"502": 1, "redirects": 1, "pages with 200": 1}
    assert befallen({"lms": switches}, writes=True) == {"502": 1}


async def test_what_lands_late_is_done_once_when_its_sender_is_gone() -> None:
    done = list[bytes]()

    async def note(request: Request) -> Response:
        done.append(await request.body())
        return Response()

    switches = Faults(Starlette(routes=[Route("/", note, methods=["POST"])]))
    switches.on(FAULTS["late landings"])
    async with served(switches) as url, httpx2.AsyncClient(trust_env=False, base_url=url, timeout=0.2) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.post("/", content=b"wanted")
        before = list(done)
        await asyncio.sleep(0.3)

    assert (before, done) == ([], [b"wanted"])
