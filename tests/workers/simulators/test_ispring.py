"""The simulated iSpring's webhook life cycle is the documents': codes, one type each, exact 200, order, and a day's patience."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver import signatures
from schemas.verification import Sha256Concat
from tests.workers.made import until
from workers.simulators.ispring import Account, Times, simulator
from workers.simulators.server import served

COMPLETED, REGISTERED = "COURSE_COMPLETED_SUCCESSFULLY", "USER_REGISTERED"
QUICK = Times(retry=0.005, give_up=60, patience=5)


class Inbox:
    """Takes webhooks; `status` says what it answers."""

    def __init__(self) -> None:
        self.status: Callable[[], int] = lambda: 200
        self.taken: list[tuple[Any, Mapping[str, str], bytes]] = []
        self.app = Starlette(routes=[Route("/hook/{name}", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        status = self.status()
        if status == 200:
            self.taken.append((json.loads(body), dict(request.headers), body))
        return Response(status_code=status)


@dataclass(frozen=True, slots=True)
class Stage:
    """An account, what it sends, and its API with the headers that it wants."""

    account: Account
    inbox: Inbox
    api: httpx2.AsyncClient
    inbox_url: str

    async def post(self, operation: str, **body: Any) -> int:
        """The status of a call to /webhook."""
        return (await self.api.post(f"/webhook/{operation}", json=body)).status_code

    async def connected(self, name: str, kind: str, secret: str | None = None) -> None:
        """Register, confirm and subscribe."""
        await self.post("register", subscriberName=name, callbackUrl=f"{self.inbox_url}/hook/{name}", secret=secret)
        await self.post("code/send", subscriberName=name)
        await self.account.sender.settled()
        code = json.loads(self.inbox.taken[-1][0]["payloads"][0])["code"]
        await self.post("confirm", subscriberName=name, code=code)
        await self.post("subscribe", subscriberName=name, subscription={"subscriptionType": kind})
        self.inbox.taken.clear()

    async def info(self, name: str) -> Mapping[str, str]:
        """What subscriber/info says."""
        read: Mapping[str, str] = (await self.api.get("/webhook/subscriber/info", params={"subscriberName": name})).json()
        return read


@asynccontextmanager
async def staged(times: Times = QUICK) -> AsyncIterator[Stage]:
    now = datetime(2024, 8, 5, 23, 57, 49, tzinfo=UTC)
    account, inbox = Account("id", "secret", lambda: now, times=times), Inbox()
    headers = {"X-Auth-Account-Url": "https://acme.ispringlearn.com", "Authorization": f"Bearer {account.token()}"}
    async with served(inbox.app) as inbox_url, served(simulator(account)) as url:
        async with httpx2.AsyncClient(base_url=url, headers=headers, verify=False) as api:
            yield Stage(account, inbox, api, inbox_url)
        await account.close()


async def test_a_code_comes_unsigned_as_a_string_of_json_and_a_newer_one_kills_it() -> None:
    async with staged() as stage:
        await stage.post("register", subscriberName="a", callbackUrl=f"{stage.inbox_url}/hook/a", secret="s3cret")
        for _ in range(2):
            await stage.post("code/send", subscriberName="a")
            await stage.account.sender.settled()
        codes = [json.loads(content["payloads"][0])["code"] for content, _, _ in stage.inbox.taken]
        confirmed = [await stage.post("confirm", subscriberName="a", code=code) for code in codes]

    assert [(content["type"], "x-hub-signature" in headers) for content, headers, _ in stage.inbox.taken] == [("CONFIRMATION", False)] * 2
    assert confirmed == [400, 200]


async def test_a_subscriber_takes_one_type_of_event() -> None:
    async with staged() as stage:
        await stage.connected("a", COMPLETED)
        second = await stage.post("subscribe", subscriberName="a", subscription={"subscriptionType": REGISTERED})
        stage.account.emit(REGISTERED, {"userId": "u"})
        stage.account.complete("learner", "course")
        await stage.account.sender.settled()

    assert second == 400
    assert [content["type"] for content, _, _ in stage.inbox.taken] == [COMPLETED]


async def test_events_are_signed_with_the_hash_of_body_and_secret() -> None:
    async with staged() as stage:
        await stage.connected("a", COMPLETED, "s3cret")
        stage.account.complete("learner", "course")
        await stage.account.sender.settled()

    ((content, headers, body),) = stage.inbox.taken
    scheme = Sha256Concat(scheme="sha256-concat", header="X-Hub-Signature", secrets=(SecretStr("s3cret"),))
    assert signatures.verified([scheme], signatures.Evidence(headers, {}, body), stage.account.now())
    assert content["payloads"][0]["completionDate"] == 1_722_902_269_000_000_000


async def test_events_wait_behind_a_failure_and_come_in_order() -> None:
    async with staged() as stage:
        await stage.connected("a", COMPLETED)
        stage.inbox.status = lambda: 503
        for learner in ("1", "2", "3"):
            stage.account.complete(learner, "course")
        await until(lambda: stage.account.subscribers["a"].suspended, "a suspension")
        suspended = await stage.info("a")
        stage.inbox.status = lambda: 200
        await stage.account.sender.settled()
        sending = await stage.info("a")

    assert [suspended["notificationProcessStatus"], sending["notificationProcessStatus"]] == ["SUSPENDED", "ACTIVE"]
    assert [payload["learnerId"] for content, _, _ in stage.inbox.taken for payload in content["payloads"]] == ["1", "2", "3"]


@pytest.mark.parametrize("status", [201, 202, 204, 302, 400, 500])
async def test_exactly_200_acknowledges(status: int) -> None:
    answers = [status]
    async with staged() as stage:
        await stage.connected("a", COMPLETED)
        stage.inbox.status = lambda: answers.pop() if answers else 200
        stage.account.complete("learner", "course")
        await stage.account.sender.settled()

        assert [one.status for one in stage.account.sender.tries][-2:] == [status, 200]


async def test_after_the_retry_period_the_subscriber_is_unconfirmed_and_what_waited_is_lost() -> None:
    async with staged(Times(retry=0.01, give_up=0.05)) as stage:
        await stage.connected("a", COMPLETED)
        stage.inbox.status = lambda: 500
        stage.account.complete("1", "course")
        stage.account.complete("2", "course")
        await stage.account.sender.settled()
        info, lost = await stage.info("a"), [payload["learnerId"] for _, payload in stage.account.subscribers["a"].lost]
        stage.inbox.status = lambda: 200
        stage.account.complete("3", "course")
        await stage.account.sender.settled()
        after = list(stage.inbox.taken)
        await stage.connected("a", COMPLETED)
        stage.account.complete("4", "course")
        await stage.account.sender.settled()

    assert (info["confirmationStatus"], lost, after) == ("UNCONFIRMED", ["1", "2"], [])
    assert [content["payloads"][0]["learnerId"] for content, _, _ in stage.inbox.taken] == ["4"]


async def test_filters_narrow_a_subscription() -> None:
    async with staged() as stage:
        await stage.connected("a", COMPLETED)
        params = [{"name": "courseIds", "value": '["fire"]'}, {"name": "userIds", "value": '["1", "2"]'}]
        await stage.post("subscribe", subscriberName="a", subscription={"subscriptionType": COMPLETED, "params": params})
        for learner, course in (("1", "fire"), ("1", "other"), ("3", "fire")):
            stage.account.complete(learner, course)
        await stage.account.sender.settled()

    told = [payload for content, _, _ in stage.inbox.taken for payload in content["payloads"]]
    assert [(one["learnerId"], one["courseId"]) for one in told] == [("1", "fire")]


async def test_a_disabled_subscriber_is_told_nothing() -> None:
    async with staged() as stage:
        await stage.connected("a", COMPLETED)
        await stage.post("disable", subscriberName="a")
        stage.account.complete("1", "course")
        await stage.post("enable", subscriberName="a")
        stage.account.complete("2", "course")
        await stage.account.sender.settled()

    assert [content["payloads"][0]["learnerId"] for content, _, _ in stage.inbox.taken] == ["2"]


async def test_a_changed_address_has_to_be_confirmed_again() -> None:
    async with staged() as stage:
        await stage.connected("a", COMPLETED)
        await stage.post("settings/change", subscriberName="a", callbackUrl=f"{stage.inbox_url}/hook/b")

        assert (await stage.info("a"))["confirmationStatus"] == "UNCONFIRMED"


@pytest.mark.parametrize(
    ("accept", "body"),
    [
        ("application/json", '{"code":404,"message":"Subscriber not found"}'),
        ("application/xml", "<response><code>404</code><message>Subscriber not found</message></response>"),
    ],
)
async def test_errors_are_json_or_xml(accept: str, body: str) -> None:
    async with staged() as stage:
        answer = await stage.api.get("/webhook/subscriber/info", params={"subscriberName": "x"}, headers={"Accept": accept})

    assert (answer.status_code, answer.text) == (404, body)


@pytest.mark.parametrize(
    ("form", "status"),
    [
        pytest.param({"client_id": "id", "client_secret": "secret", "grant_type": "client_credentials"}, 200, id="right"),
        pytest.param({"client_id": "id", "client_secret": "wrong", "grant_type": "client_credentials"}, 401, id="wrong secret"),
        pytest.param({"client_id": "id", "client_secret": "secret", "grant_type": "password"}, 400, id="another grant"),
    ],
)
async def test_a_token_is_given_for_client_credentials(form: Mapping[str, str], status: int) -> None:
    async with staged() as stage:
        answer = await stage.api.post("/api/v3/token", data=dict(form))

    assert answer.status_code == status
    assert status != 200 or answer.json().keys() == {"access_token", "expires_in", "token_type"}


async def test_a_token_lives_for_half_an_hour() -> None:
    async with staged() as stage:
        expires = list(stage.account.tokens.values())

    assert expires == [stage.account.now() + timedelta(minutes=30)]


async def test_times_are_local_and_day_first() -> None:
    account = Account("id", "secret", lambda: datetime(2024, 8, 5, 21, 57, 49, tzinfo=UTC), zone="Europe/Rome")
    shown = account.shown(account.observe("e", "o", "c", result=60))
    await account.close()

    assert (shown["startDate"], shown["completionDate"], shown["result"]) == ("05-08-2024, 23:57:49", "05-08-2024, 23:57:49", 60)


async def test_a_session_that_has_not_begun_has_no_more_than_it_must() -> None:
    account = Account("id", "secret", lambda: datetime(2024, 8, 5, tzinfo=UTC))
    shown = account.shown(account.observe("e", "o", "c"))
    await account.close()

    assert set(shown) == {"checklistId", "checklistTitle", "sessionId", "sessionStatus", "startDate", "employeeId", "observerId"}
