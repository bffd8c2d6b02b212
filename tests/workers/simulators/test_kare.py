"""The simulated Kare holds to the bounds of its document, and keeps what nobody else may."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from workers.simulators.kare import Register, simulator
from workers.simulators.server import served

HEADERS = {"Authorization": "Bearer token", "x-session-token": "session", "content-type": "application/json"}
PATH = "/interventions/v2/rs/training-exercise/1"


@asynccontextmanager
async def asked(headers: Mapping[str, str] = HEADERS) -> AsyncIterator[tuple[Register, httpx2.AsyncClient]]:
    """A register with one exercise, and a client that has its tokens."""
    register = Register("token", "session", lambda: datetime(2024, 12, 1, 12, 34, 56, tzinfo=UTC))
    register.schedule()
    async with served(simulator(register)) as url, httpx2.AsyncClient(base_url=url, headers=headers, verify=False) as client:
        yield register, client


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        pytest.param({}, 200, id="both tokens"),
        pytest.param({"Authorization": "Bearer other"}, 401, id="another token"),
        pytest.param({"x-session-token": "other"}, 401, id="another session"),
        pytest.param({"content-type": "application/json; charset=utf-8"}, 400, id="another content type"),
    ],
)
async def test_both_tokens_and_the_exact_content_type_are_needed(changed: Mapping[str, str], status: int) -> None:
    async with asked({**HEADERS, **changed}) as (_, client):
        assert (await client.patch(PATH, content=b"{}")).status_code == status


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"description": "a" * 2501}, "description"),
        ({"scheduledStart": "2024-12-01T12:34:56+01:00"}, "scheduledStart"),
        ({"siteIds": []}, "siteIds"),
        ({"ruleId": 2**53}, "ruleId"),
        ({"creationStatus": 3}, "creationStatus"),
        ({"validateIntervention": "yes"}, "validateIntervention"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_and_changes_nothing(body: Any, field: str) -> None:
    async with asked() as (register, client):
        before = dict(register.interventions[1])
        answer = await client.patch(PATH, json=body)

        assert register.interventions[1] == before
    assert (answer.status_code, [one["path"] for one in answer.json()["errors"]]) == (400, [[field]])


async def test_an_update_answers_the_exercise_with_its_signature_and_its_pin() -> None:
    async with asked() as (_, client):
        answer = (await client.patch(PATH, json={"description": "Drill"})).json()["data"]

    assert (answer["description"], "imgSignature" in answer, answer["codePin"]) == ("Drill", True, 123456)


async def test_attendance_carries_proof_user_and_exercise() -> None:
    async with asked() as (register, client):
        register.attend(7, 1)
        (row,) = (await client.get("/interventions-users/v1/rs")).json()["data"]

    assert (row["userId"], row["attendanceStatus"], row["user"]["id"], row["intervention"]["codePin"]) == (7, "present", 7, 123456)
    assert row["attendanceProof"]["presignedUrl"]


async def test_an_exercise_that_was_attended_is_done_and_counts_who_was_there() -> None:
    async with asked() as (register, client):
        register.attend(7, 1)
        register.attend(8, 1, "absent")
        row = (await client.get("/interventions/v2/rs/1")).json()["data"]

    assert (row["attendeeCount"], row["creationStatus"], row["actualEnd"]) == (1, 2, "2024-12-01T12:34:56.000Z")


async def test_what_is_not_there_is_not_found() -> None:
    async with asked() as (_, client):
        assert [(await client.get("/interventions/v2/rs/9")).status_code, (await client.patch(PATH[:-1] + "9", json={})).status_code] == [
            404,
            404,
        ]
