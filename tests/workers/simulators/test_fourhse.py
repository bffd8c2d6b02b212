"""The simulated 4HSE behaves as the vendor's documents say, oddities included."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.workers.vendors.acme import (
    ACTION,
    ENROLLMENT,
    KEY,
    NOON,
    OFFICE,
    PASSWORD,
    PERSON,
    PLACE,
    SESSION,
    SUBSCRIPTION,
    TENANT,
    Stage,
    acme,
    populated,
    staged,
)
from workers.simulators.fourhse import Tenancy
from workers.simulators.fourhse.login import PATH

#: The index's example in the vendor's document "ActionSubscription", to the letter.
SUBSCRIPTION_EXAMPLE = {
    "action_subscription_id": SUBSCRIPTION,
    "action_id": ACTION,
    "action_type": "TRAINING",
    "action_code": "FST-01",
    "action_name": "Fire Safety Training Medium Risk",
    "subscriber_id": PERSON,
    "subscriber_type": "PERSON",
    "subscriber_code": "JS001",
    "subscriber_name": "Smith John",
    "status": "EXPIRED",
    "last_certificate_id": "f6a7b8c9-d0e1-2f3a-4b5c-6d7e8f9a0b1c",
    "certificate_date_release": "2020-01-15",
    "certificate_date_expire": "2025-01-15",
    "subtenant_id": OFFICE,
    "tenant_id": TENANT,
    "office_name": "Rome North Site",
    "project_name": "Acme Construction Ltd",
    "project_type": "safety",
    "owned_active": True,
    "parent_active": True,
}
#: The same of "ActionSessionSubscription".
ENROLLMENT_EXAMPLE = {
    "action_session_subscription_id": ENROLLMENT,
    "action_session_id": SESSION,
    "action_subscription_id": SUBSCRIPTION,
    "done": 1,
    "warning": 0,
    "date_begin": "2024-03-15",
    "date_expire": "2029-03-15",
    "certificate_id": "f6a7b8c9-d0e1-2f3a-4b5c-6d7e8f9a0b1c",
    "subtenant_id": OFFICE,
    "tenant_id": TENANT,
    "subscriber_id": PERSON,
    "subscriber_type": "PERSON",
    "subscriber_code": "JS001",
    "subscriber_name": "Smith John",
    "action_id": ACTION,
    "action_code": "FST-01",
    "action_name": "Fire Safety Training Medium Risk",
    "action_type": "TRAINING",
    "validity_unit": "YEAR",
    "validity": 5,
    "session_date_begin": "2024-03-15",
}


@asynccontextmanager
async def calling(directory: Path, tenancy: Tenancy | None = None, **keycloak: Any) -> AsyncIterator[tuple[httpx2.AsyncClient, Stage]]:
    """Acme's 4HSE, and a plain client with an API key."""
    async with (
        staged(directory, tenancy, **keycloak) as stage,
        httpx2.AsyncClient(base_url=stage.url, trust_env=False, verify=False) as client,
    ):
        client.params = httpx2.QueryParams({"access-token": KEY})
        yield client, stage


def certificate(tenancy: Tenancy, release: str, expire: str | None, **changed: Any) -> str:
    """A certificate of John Smith's that is linked to nothing."""
    made = {
        "date_release": release,
        "date_expire": expire,
        "name": "Fire",
        "action_type": "TRAINING",
        "resource_id": PERSON,
        "tenant_id": TENANT,
    }
    return str(tenancy.create("certificate", made | changed)["certificate_id"])


def link(tenancy: Tenancy, certificate_id: str, **changed: Any) -> str:
    """Link a certificate to the training."""
    made = {"certificate_id": certificate_id, "action_id": ACTION, "tenant_id": TENANT, **changed}
    return str(tenancy.create("certificate-action", made)["certificate_action_id"])


async def test_index_gives_the_documents_own_examples(tmp_path: Path) -> None:
    tenancy = populated()
    link(tenancy, certificate(tenancy, "2020-01-15", "2025-01-15", certificate_id="f6a7b8c9-d0e1-2f3a-4b5c-6d7e8f9a0b1c"))
    outcome = {name: ENROLLMENT_EXAMPLE[name] for name in ("certificate_id", "date_begin", "date_expire")}
    tenancy.record(ENROLLMENT, 1, **outcome)
    async with calling(tmp_path, tenancy) as (client, _):
        (subscription,) = (await client.post("/v2/action-subscription/index", json={})).json()
        (enrollment,) = (await client.post("/v2/action-session-subscription/index", json={})).json()

    assert {name: subscription[name] for name in SUBSCRIPTION_EXAMPLE} == SUBSCRIPTION_EXAMPLE
    assert {name: enrollment[name] for name in ENROLLMENT_EXAMPLE} == ENROLLMENT_EXAMPLE


async def test_create_gives_the_bare_resource_with_the_id_that_the_client_chose(tmp_path: Path) -> None:
    body = {"action_subscription_id": SUBSCRIPTION, "action_id": ACTION, "subscriber_id": PERSON, "subscriber_type": "PERSON", **PLACE}
    async with calling(tmp_path, acme()) as (client, _):
        answer = await client.post("/v2/action-subscription/create", json=body)

    assert (answer.status_code, answer.headers["location"], answer.json()) == (201, f"/v2/action-subscription/view/{SUBSCRIPTION}", body)


_ID = "Action Session Subscription ID"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("action-subscription", {"action_id": ACTION}, {"subscriber_id": "Subscriber ID cannot be blank."}),
        (
            "action-session-subscription",
            {"action_session_subscription_id": ENROLLMENT, "action_session_id": SESSION, "action_subscription_id": SUBSCRIPTION, **PLACE},
            {"action_session_subscription_id": f'{_ID} "{ENROLLMENT}" has already been taken.'},
        ),
        (
            "action-session-subscription",
            {"action_session_id": "nowhere", "action_subscription_id": SUBSCRIPTION, **PLACE},
            {"action_session_id": "Action Session ID is invalid."},
        ),
        (
            "action-session-subscription",
            {"action_session_id": SESSION, "action_subscription_id": SUBSCRIPTION, "done": 2, **PLACE},
            {"done": "Done is invalid."},
        ),
        (
            "action-session-subscription",
            {"action_session_id": SESSION, "action_subscription_id": SUBSCRIPTION, "date_begin": "15/03/2024", **PLACE},
            {"date_begin": "The format of Date Begin is invalid."},
        ),
        (
            "action-subscription",
            {"action_id": ACTION, "subscriber_id": "drill", "subscriber_type": "EQUIPMENT", **PLACE},
            {"subscriber_type": "Subscriber Type is not compatible with TRAINING."},
        ),
    ],
    ids=["missing", "taken", "no such parent", "not allowed", "no date", "misfit"],
)
async def test_what_it_does_not_take_is_422_with_a_message_for_each_field(
    tmp_path: Path, path: str, body: dict[str, Any], said: dict[str, str]
) -> None:
    async with calling(tmp_path) as (client, stage):
        answer = await client.post(f"/v2/{path}/create", json=body)

    told = {one["field"]: one["message"] for one in answer.json()}
    assert (answer.status_code, {name: told.get(name) for name in said}) == (422, said)
    assert stage.tenancy.journal == []


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/v2/action-subscription/view/none", 404, "Not Found"),
        ("PUT", "/v2/action-subscription/update/none", 404, "Not Found"),
        ("DELETE", "/v2/action-subscription/delete/none?force=true", 404, "Not Found"),
        ("GET", "/v2/nonsense/view/1", 404, "Not Found"),
        ("GET", "/v2/action-subscription/index", 405, "Method Not Allowed"),
        ("POST", "/v2/action-subscription/create", 400, "Bad Request"),
    ],
    ids=["view", "update", "delete", "no such kind", "wrong method", "no JSON"],
)
async def test_exceptions_have_yii2s_body(tmp_path: Path, method: str, path: str, status: int, name: str) -> None:
    async with calling(tmp_path) as (client, _):
        answer = await client.request(method, path, params=client.params, content=b"{" if status == 400 else b"{}")

    body = answer.json()
    assert (answer.status_code, body["status"], body["name"], body["code"]) == (status, status, name, 0)
    assert body["message"]


async def test_update_needs_the_four_ids_that_the_example_leaves_out(tmp_path: Path) -> None:
    ids = {"action_session_id": SESSION, "action_subscription_id": SUBSCRIPTION, **PLACE}
    async with calling(tmp_path) as (client, stage):
        without = await client.put(f"/v2/action-session-subscription/update/{ENROLLMENT}", json={"done": 1})
        with_ids = await client.put(f"/v2/action-session-subscription/update/{ENROLLMENT}", json={"done": 1, **ids})

    assert (without.status_code, {one["field"] for one in without.json()}) == (422, set(ids))
    assert (with_ids.status_code, stage.tenancy.row("action-session-subscription", ENROLLMENT)["done"]) == (200, 1)


async def test_delete_without_force_is_a_preview_and_with_force_takes_everything_along(tmp_path: Path) -> None:
    async with calling(tmp_path) as (client, stage):
        preview = await client.delete(f"/v2/action-subscription/delete/{SUBSCRIPTION}")
        before = list(stage.tenancy.journal)
        forced = await client.delete(f"/v2/action-subscription/delete/{SUBSCRIPTION}", params={"access-token": KEY, "force": "true"})

    assert (preview.status_code, preview.json()) == (
        200,
        [{"entity": "action-session-subscription", "action_session_subscription_id": ENROLLMENT}],
    )
    assert (before, forced.status_code) == ([], 204)
    assert stage.tenancy.journal == [("DELETE", "action-session-subscription", ENROLLMENT), ("DELETE", "action-subscription", SUBSCRIPTION)]


@pytest.mark.parametrize(
    ("asked", "told", "rows"),
    [
        ({}, ("1", "3", "100", "250"), 100),
        ({"per-page": 60, "page": 5}, ("5", "5", "60", "250"), 10),
        ({"per-page": 60, "page": 6}, ("5", "5", "60", "250"), 10),
        ({"per-page": 500, "page": 2}, ("2", "3", "100", "250"), 100),
        ({"per-page": 0, "page": 0}, ("1", "250", "1", "250"), 1),
        ({"filter": {"status": "VALID"}}, ("1", "0", "100", "0"), 0),
    ],
    ids=["by default", "the last page", "beyond the last", "larger than allowed", "nonsense", "none"],
)
async def test_a_page_is_a_bare_array_and_headers_tell_where_it_stands(
    tmp_path: Path, asked: dict[str, Any], told: tuple[str, ...], rows: int
) -> None:
    tenancy = acme()
    for number in range(250):
        tenancy.subscribe(ACTION, f"p{number}")
    async with calling(tmp_path, tenancy) as (client, _):
        answer = await client.post("/v2/action-subscription/index", json=asked)

    headers = tuple(answer.headers[f"x-pagination-{name}"] for name in ("current-page", "page-count", "per-page", "total-count"))
    assert (headers, len(answer.json())) == (told, rows)


async def test_a_field_that_is_none_cannot_be_filtered_by(tmp_path: Path) -> None:
    async with calling(tmp_path) as (client, _):
        answer = await client.post("/v2/action-subscription/index", json={"filter": {"colour": "red"}})

    assert (answer.status_code, answer.json()[0]["message"]) == (422, 'Unknown filter attribute "colour"')


@pytest.mark.parametrize("status", [404, 403])
async def test_withdrawn_rights_hide_an_office_from_index_and_view_and_delete_nothing(tmp_path: Path, status: int) -> None:
    async with calling(tmp_path) as (client, stage):
        stage.tenancy.withdraw(OFFICE, status)
        hidden = (await client.post("/v2/action-subscription/index", json={"history": True})).json()
        view = await client.get(f"/v2/action-subscription/view/{SUBSCRIPTION}")
        write = await client.put(f"/v2/action-subscription/update/{SUBSCRIPTION}", json={})
        stage.tenancy.restore(OFFICE)
        back = (await client.post("/v2/action-subscription/index", json={})).json()

    assert (hidden, view.status_code, view.json()["status"], write.status_code, len(back)) == ([], status, status, status, 1)


async def granted(client: httpx2.AsyncClient, **form: str) -> httpx2.Response:
    """What the token endpoint answers."""
    return await client.post(
        PATH, data={"client_id": "muster", "grant_type": "password", "username": "muster", "password": PASSWORD, **form}
    )


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"password": "wrong"}, 401, "invalid_grant"),
        ({"username": "nobody"}, 401, "invalid_grant"),
        ({"client_id": "other"}, 401, "invalid_client"),
        ({"grant_type": "refresh_token", "refresh_token": "made-up"}, 400, "invalid_grant"),
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
    ],
    ids=["password", "user", "client", "refresh token", "grant"],
)
async def test_the_token_endpoint_refuses_as_keycloak_does(tmp_path: Path, form: dict[str, str], status: int, error: str) -> None:
    async with calling(tmp_path) as (client, _):
        answer = await granted(client, **form)

    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_a_token_opens_the_api_until_it_expires_and_its_refresh_token_brings_another_once(tmp_path: Path) -> None:
    clock = [NOON]
    async with calling(tmp_path, lifetime=60, now=lambda: clock[0]) as (client, _):
        client.params = httpx2.QueryParams()
        first = (await granted(client)).json()

        async def answered(token: str) -> int:
            return (await client.post("/v2/person/index", headers={"Authorization": f"Bearer {token}"})).status_code

        fresh = await answered(first["access_token"])
        clock[0] += timedelta(seconds=60)
        expired = await answered(first["access_token"])
        second = await granted(client, grant_type="refresh_token", refresh_token=first["refresh_token"])
        again = await granted(client, grant_type="refresh_token", refresh_token=first["refresh_token"])
        assert (fresh, expired, await answered(second.json()["access_token"]), again.status_code) == (200, 401, 200, 400)
    assert first["expires_in"] == 60


@pytest.mark.parametrize("key", [None, "wrong", ""], ids=["none", "wrong", "empty"])
async def test_without_a_good_key_everything_is_401(tmp_path: Path, key: str | None) -> None:
    async with calling(tmp_path) as (client, _):
        client.params = httpx2.QueryParams({} if key is None else {"access-token": key})
        answer = await client.get("/v2/nonsense/view/1")

    assert (answer.status_code, answer.json()["name"]) == (401, "Unauthorized")
