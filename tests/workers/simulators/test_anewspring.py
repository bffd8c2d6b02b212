"""The simulated aNewSpring has the manners of its documents, and sends webhooks by itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from defusedxml.ElementTree import fromstring
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver import signatures
from schemas.verification import Hmac
from workers.simulators.anewspring import Activity, Environment, Hook, Manners, simulator
from workers.simulators.anewspring.environment import INTERVALS
from workers.simulators.server import served

KEY = "k3y"
NOW = datetime(2020, 2, 13, 16, 23, 55, tzinfo=UTC)
FORM = {"content-type": "application/x-www-form-urlencoded"}


SCHEME = Hmac(scheme="hmac", header="X-WebHook-Signature", algorithm="sha1", encoding="base64", secrets=(SecretStr("s3cret"),))


def sign(body: bytes) -> Mapping[str, str]:
    return signatures.sign(SCHEME, body, "", NOW).headers


class Inbox:
    """Takes webhooks, and answers what it is told to, the last of it for ever."""

    def __init__(self, *statuses: int | None) -> None:
        self.statuses = [*statuses] or [200]
        self.taken: list[tuple[bytes, Mapping[str, str]]] = []
        self.app = Starlette(routes=[Route("/hook", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        self.taken.append((await request.body(), dict(request.headers)))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status is None:
            await asyncio.sleep(0.5)
        return Response(status_code=status or 200)


@asynccontextmanager
async def told(inbox: Inbox, **hook: Any) -> AsyncIterator[Environment]:
    """An environment that sends its webhooks to the inbox, with a learner on a course."""
    async with served(inbox.app) as url:
        environment = Environment(KEY, lambda: NOW, Hook(f"{url}/hook", **{"scale": 1e-9, **hook}))
        environment.add_user("JS001")
        environment.add_course("FIRE", Activity("PRACTICE", "External", 1), Activity("EXAM", "Assessment", 2))
        environment.subscribe("JS001", "FIRE")
        yield environment
        await environment.close()


@asynccontextmanager
async def asked(manners: Manners | None = None) -> AsyncIterator[tuple[Environment, httpx2.AsyncClient]]:
    """An environment, and a client that has its key."""
    environment = Environment(KEY, lambda: NOW)
    environment.add_user("JS001")
    environment.add_course("FIRE")
    async with (
        served(simulator(environment, manners)) as url,
        httpx2.AsyncClient(base_url=f"{url}/api", headers={"X-API-Key": KEY}, verify=False) as client,
    ):
        yield environment, client
    await environment.close()


async def test_success_is_empty_or_on_request_a_message() -> None:
    async with asked() as (_, client):
        empty = await client.post("/subscribe/JS001/FIRE")
        message = await client.post("/unsubscribe/JS001/FIRE?_returnSuccessMessage=true")

    assert [(one.status_code, one.text) for one in (empty, message)] == [(200, ""), (200, "OK")]


@pytest.mark.parametrize(
    ("query", "accept", "manners", "body"),
    [
        pytest.param(
            "", "application/json", Manners(), "no users exist with the specified ID: NOBODY", id="plain text, whatever is accepted"
        ),
        pytest.param("?_formatErrors=true", "application/json", Manners(), '{"status": 404, "message": "no users exist', id="JSON"),
        pytest.param("?_formatErrors=true", "text/xml", Manners(), "<error><status>404</status><message>no users", id="XML"),
        pytest.param("?_formatErrors=true", "application/json", Manners(html_errors=True), "<html><head><title>HTTP Status 404", id="HTML"),
    ],
)
async def test_errors_come_as_they_are_asked_for(query: str, accept: str, manners: Manners, body: str) -> None:
    async with asked(manners) as (_, client):
        answer = await client.get(f"/isSubscribed/NOBODY/FIRE{query}", headers={"Accept": accept})

    assert answer.status_code == 404
    assert answer.text.startswith(body)


@pytest.mark.parametrize(
    ("header", "query", "status"),
    [
        pytest.param(KEY, "", 200, id="in the header"),
        pytest.param("wrong", f"?_key={KEY}", 200, id="in the query, which wins"),
        pytest.param(KEY, "?_key=wrong", 401, id="wrong in the query"),
        pytest.param("wrong", "", 401, id="wrong in the header"),
    ],
)
async def test_the_key_of_the_query_wins(header: str, query: str, status: int) -> None:
    async with asked() as (_, client):
        assert (await client.get(f"/getSubscriptions/JS001{query}", headers={"X-API-Key": header})).status_code == status


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        pytest.param(b"startDate=2020-03-01", FORM, 200, id="a form"),
        pytest.param(b'{"startDate": "2020-03-01"}', {"content-type": "application/json"}, 400, id="JSON"),
        pytest.param(b"startDate=1.3.2020", FORM, 400, id="a date that is none"),
        pytest.param(b"startDate=", FORM, 200, id="an empty date"),
    ],
)
async def test_bodies_are_forms_and_dates_are_iso(content: bytes, headers: Mapping[str, str], status: int) -> None:
    async with asked() as (_, client):
        assert (await client.post("/subscribe/JS001/FIRE", content=content, headers=headers)).status_code == status


async def test_courses_of_one_template_share_their_uid_which_then_names_none() -> None:
    async with asked() as (environment, client):
        north, south = (environment.add_course(name, template="T") for name in ("NORTH", "SOUTH"))
        answer = await client.get("/isSubscribed", params={"userUID": environment.users["JS001"], "courseUID": south})

    assert (north, answer.status_code) == (south, 409)


async def test_a_completed_course_is_told_with_a_signature_that_the_receiver_takes() -> None:
    inbox = Inbox()
    async with told(inbox, sign=sign) as environment:
        environment.complete("JS001", "FIRE", 67)
        await environment.sender.settled()

    ((body, headers),) = inbox.taken
    assert signatures.verified([SCHEME], signatures.Evidence(headers, {}, body), NOW)
    assert json.loads(body) == {
        "event": "course_completed",
        "created": "2020-02-13T16:23:55Z",
        "learner": {"id": "JS001"},
        "course": {"id": "FIRE", "completed": True, "completeDateTime": "2020-02-13T16:23:55Z", "grade": "67%"},
    }


async def test_webhooks_come_in_xml_with_the_event_in_type() -> None:
    inbox = Inbox()
    async with told(inbox, xml=True) as environment:
        environment.complete("JS001", "FIRE", 67)
        await environment.sender.settled()

    ((body, headers),) = inbox.taken
    read = fromstring(body)
    assert headers["content-type"] == "text/xml"
    assert [read.findtext(path) for path in ("type", "learner/id", "course/grade")] == ["course_completed", "JS001", "67%"]


async def test_activities_are_told_and_with_the_last_of_them_the_course() -> None:
    inbox = Inbox()
    async with told(inbox) as environment:
        for activity in ("PRACTICE", "EXAM"):
            environment.complete_activity("JS001", "FIRE", activity, 80)
            await environment.sender.settled()

    assert sorted(json.loads(body)["event"] for body, _ in inbox.taken) == ["activity_completed", "activity_completed", "course_completed"]


@pytest.mark.parametrize(
    ("status", "tries"),
    [(200, 1), (201, 1), (202, 1), (204, 1), (203, 11), (206, 11), (302, 11), (400, 11), (500, 11), (None, 11)],
    ids=lambda value: str(value),
)
async def test_only_four_statuses_acknowledge_and_ten_more_tries_follow(status: int | None, tries: int) -> None:
    inbox = Inbox(status)
    async with told(inbox, patience=10 if status else 0.05) as environment:
        environment.complete("JS001", "FIRE", 67)
        await environment.sender.settled()

        assert len(environment.sender.tries) == tries
        assert len(environment.lost) == (tries > 1)
    assert len({body for body, _ in inbox.taken}) == 1


async def test_a_webhook_that_is_taken_late_is_sent_no_more() -> None:
    inbox = Inbox(500, None, 503, 200)
    async with told(inbox, patience=0.1) as environment:
        environment.complete("JS001", "FIRE", 67)
        await environment.sender.settled()

        assert [one.status for one in environment.sender.tries] == [500, None, 503, 200]
        assert not environment.lost


def test_the_intervals_grow_from_ten_seconds_to_sixteen_hours() -> None:
    assert len(INTERVALS) == 10
    assert (INTERVALS[0], round(INTERVALS[-1])) == (10, 16 * 3600)
    assert sorted(INTERVALS) == list(INTERVALS)
