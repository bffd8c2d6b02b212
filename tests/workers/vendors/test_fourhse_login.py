"""How the 4HSE client is let in: a password or an access token, and neither ever told."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.workers.vendors.acme import (
    HASTY,
    KEY,
    PASSWORD,
    PERSON,
    TENANT,
    Stage,
    acme,
    staged,
)
from workers.simulators.faults import Dropped, Fault, Instead, LostBefore, TooMany
from workers.vendors.errors import Refused, VendorError

NEW = "11111111-2222-4333-8444-555555555555"
PERSON_FIELDS = {"person_id": NEW, "first_name": "Ada", "last_name": "Rossi", "birth_date": "1990-05-01", "project_id": TENANT}


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Acme's 4HSE."""
    async with staged(tmp_path, acme()) as made:
        yield made


async def test_a_password_is_turned_into_a_token_once_for_many_calls(stage: Stage) -> None:
    async with stage.client(**stage.login()) as client:
        await asyncio.gather(*(client.resources["person"].view(PERSON) for _ in range(10)))

    assert stage.keycloak.granted == ["password"]


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
async def test_a_401_is_answered_by_one_new_login_and_the_same_call_again(stage: Stage, write: bool) -> None:
    async with stage.client(**stage.login()) as client:
        persons = client.resources["person"]
        await client.login()
        stage.keycloak.revoke(refresh=True)
        await (persons.create(PERSON_FIELDS) if write else persons.view(PERSON))

    assert stage.keycloak.granted == ["password", "password"]
    assert stage.tenancy.journal == ([("CREATE", "person", NEW)] if write else [])


async def test_many_calls_whose_token_ended_log_in_once(stage: Stage) -> None:
    async with stage.client(**stage.login()) as client:
        await client.login()
        stage.keycloak.revoke()
        await asyncio.gather(*(client.resources["person"].view(PERSON) for _ in range(10)))

    assert stage.keycloak.granted == ["password", "password"]


async def test_who_is_not_let_in_twice_is_refused_and_asks_no_third_time(stage: Stage) -> None:
    async with stage.client(**stage.login()) as client:
        stage.faults.on(Instead(status=401, path="/v2/*", times=None))
        with pytest.raises(Refused, match="401"):
            await client.login()

    assert (stage.faults.count("/v2/*"), len(stage.keycloak.granted)) == (2, 2)


async def test_tokens_that_expire_are_renewed_without_a_401(stage: Stage) -> None:
    stage.keycloak.lifetime = 0.4
    async with stage.client(**stage.login(early=0.2)) as client:
        for _ in range(6):
            assert (await client.resources["person"].view(PERSON))["code"] == "JS001"
            await asyncio.sleep(0.1)

    assert stage.keycloak.granted[:2] == ["password", "refresh_token"]


async def test_a_password_file_is_read_again_when_the_account_is_let_in_no_more(stage: Stage) -> None:
    async with stage.client(**stage.login()) as client:
        await client.login()
        stage.keycloak.users["muster"] = "rotated"
        stage.keycloak.revoke(refresh=True)
        stage.file("password", "rotated")
        await client.login()


async def test_an_access_token_file_is_read_again_on_a_401(stage: Stage) -> None:
    async with stage.client() as client:
        await client.login()
        stage.keycloak.keys = {"rotated"}
        with pytest.raises(Refused, match="401: Your request was made with invalid credentials"):
            await client.login()
        stage.file("key", "rotated")
        await client.login()


@pytest.mark.parametrize(
    ("changed", "setting"),
    [
        ("access_token_file", "access_token_file"),
        ("password_file", "login.password_file"),
        ("client_secret_file", "login.client_secret_file"),
    ],
)
async def test_a_credential_file_that_cannot_be_read_is_refused_by_its_setting(stage: Stage, changed: str, setting: str) -> None:
    missing = stage.directory / "missing"
    account = {changed: missing} if changed == "access_token_file" else stage.login(**{changed: missing})
    async with stage.client(**account) as client:
        with pytest.raises(Refused, match=f"{setting}: the file cannot be read"):
            await client.login()


PLANTED = (PASSWORD, KEY, "s3cret-planted")
_EVERYTHING: tuple[Fault, ...] = (
    *(Instead(status=status, body=b"{}", times=None) for status in (302, 400, 401, 403, 404, 409, 422, 500, 503)),
    *(Instead(status=200, body=body, times=None) for body in (b"", b"no JSON", b"<html></html>")),
    *(TooMany(retry_after="3600", times=None), LostBefore(times=None), Dropped(times=None)),
)


@pytest.mark.parametrize("fault", _EVERYTHING, ids=repr)
@pytest.mark.parametrize("way", ["password", "access token"])
async def test_no_error_and_no_log_line_tells_a_credential(stage: Stage, fault: Fault, way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stage.keycloak.client_secret = "s3cret-planted"
    login = stage.login(client_secret_file=stage.file("secret", "s3cret-planted")) if way == "password" else {}
    limits = HASTY.model_copy(update={"attempts": 1, "timeout": 0.1, "retry_after_max": 0.01})
    told = ""
    for faulty in (fault, replace(fault, path="/v2/*")):
        stage.faults.on(faulty)
        async with stage.client(limits, **login) as client:
            persons = client.resources["person"]
            for attempt in (persons.view(PERSON), persons.create(PERSON_FIELDS), persons.delete(PERSON), client.login()):
                told += await _told(attempt)
        stage.faults.off()
    tokens = [*stage.keycloak.issued] if way == "password" else []

    # The simulated vendor's server may log what it likes.
    logged = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn"))
    assert "httpcore2" in {record.name.partition(".")[0] for record in caplog.records}, "the libraries' words are listened to"
    assert not [secret for secret in (*PLANTED, *tokens) if secret in told + logged]


async def _told(attempt: Awaitable[object]) -> str:
    try:
        return repr(await attempt)
    except VendorError as error:
        return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__)
