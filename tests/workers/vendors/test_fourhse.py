"""The 4HSE client against the simulated 4HSE, operation by operation, over real HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.types import Message, Receive, Scope, Send

from schemas.fourhse import SUBSCRIBER_TYPES_BY_ACTION
from tests.workers.vendors.acme import (
    ACTION,
    ENROLLMENT,
    OFFICE,
    PATIENT,
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
from workers.simulators.faults import Broken, Faults, Instead, TooMany
from workers.simulators.fourhse import Tenancy
from workers.simulators.fourhse.kinds import SUBSCRIBER_TYPES
from workers.simulators.server import served
from workers.vendors.errors import Complaint, Conflict, NotFound, Refused, Throttled, Unavailable, UnknownOutcome, VendorError
from workers.vendors.fourhse import Fourhse, Resource
from workers.vendors.fourhse.client import Id

#: What each kind is created with, and a change to it.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "action": ({"action_type": "CHECK", "name": "Extinguishers", **PLACE}, {"expire_interval": 60}),
    "action-session": ({"action_id": ACTION, "date_begin": "2026-04-01", **PLACE}, {"date_begin": "2026-04-02"}),
    "action-subscription": (
        {"action_id": ACTION, "subscriber_id": "other", "subscriber_type": "PERSON", **PLACE},
        {"data": {"note": "urgent"}},
    ),
    "action-session-subscription": (
        {"action_session_id": SESSION, "action_subscription_id": SUBSCRIPTION, **PLACE},
        {"done": 1, "date_begin": "2024-03-15", "date_expire": "2029-03-15"},
    ),
    "certificate": (
        {"date_release": "2022-01-10", "name": "Fire", "action_type": "TRAINING", "resource_id": PERSON, "tenant_id": TENANT},
        {"note": "a copy"},
    ),
    "certificate-action": ({"certificate_id": "c1", "action_id": ACTION, "tenant_id": TENANT}, {"date_expire": "2030-01-01"}),
    "person": ({"first_name": "Ada", "last_name": "Rossi", "birth_date": "1990-05-01", "project_id": TENANT}, {"code": "AR1"}),
}
of_every_kind = pytest.mark.parametrize("kind", KINDS)
NEW = "11111111-2222-4333-8444-555555555555"


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Acme with John Smith subscribed and enrolled, and a certificate that is linked to nothing."""
    tenancy = populated()
    tenancy.create("certificate", KINDS["certificate"][0] | {"certificate_id": "c1"})
    tenancy.journal.clear()
    async with staged(tmp_path, tenancy) as made:
        yield made


@pytest_asyncio.fixture
async def client(stage: Stage) -> AsyncIterator[Fourhse]:
    """A client with time."""
    async with stage.client() as made:
        yield made


def fields(resource: Resource, id_: str = NEW) -> dict[str, Any]:
    """What a row of this kind is created with."""
    return {resource.shape.id: id_} | KINDS[resource.shape.path][0]


async def rows(resource: Resource, **query: Any) -> list[dict[str, Any]]:
    """Every row of an index."""
    return [dict(row) async for page in resource.index(**query) for row in page.rows]


# Every operation of every kind.


@of_every_kind
async def test_what_is_created_is_there_under_our_id_and_can_be_viewed_and_found(client: Fourhse, kind: str) -> None:
    resource = client.resources[kind]
    made = await resource.create(fields(resource))
    seen = await resource.view(NEW)
    (found,) = await rows(resource, filter={resource.shape.id: NEW})

    assert fields(resource).items() <= made.items()
    assert made.items() <= seen.items()
    assert found == seen


@of_every_kind
async def test_without_an_id_of_the_callers_a_uuid_is_chosen(client: Fourhse, kind: str) -> None:
    resource = client.resources[kind]
    made = await resource.create(KINDS[kind][0])

    assert len(str(made[resource.shape.id])) == 36
    assert await resource.view(made[resource.shape.id])


@of_every_kind
async def test_the_same_id_twice_is_a_conflict_and_one_row(stage: Stage, client: Fourhse, kind: str) -> None:
    resource = client.resources[kind]
    await resource.create(fields(resource))
    with pytest.raises(Conflict, match="already been taken"):
        await resource.create(fields(resource))

    assert stage.tenancy.journal == [("CREATE", kind, NEW)]


@of_every_kind
async def test_an_update_changes_what_it_names_and_finds_the_required_fields_itself(client: Fourhse, kind: str) -> None:
    resource, (_, change) = client.resources[kind], KINDS[kind]
    await resource.create(fields(resource))
    await resource.update(NEW, change)
    seen = await resource.view(NEW)

    assert (fields(resource) | change).items() <= seen.items()


async def test_an_update_that_is_given_the_required_fields_asks_for_nothing_else(stage: Stage, client: Fourhse) -> None:
    ids = {"action_session_id": SESSION, "action_subscription_id": SUBSCRIPTION, **PLACE}
    await client.resources["action-session-subscription"].update(ENROLLMENT, {"done": 1, **ids})

    assert list(stage.faults.seen) == [("PUT", f"/v2/action-session-subscription/update/{ENROLLMENT}")]
    assert stage.tenancy.row("action-session-subscription", ENROLLMENT)["done"] == 1


@of_every_kind
async def test_a_preview_deletes_nothing_and_a_delete_does(stage: Stage, client: Fourhse, kind: str) -> None:
    resource = client.resources[kind]
    await resource.create(fields(resource))
    stage.tenancy.journal.clear()
    preview = await resource.preview_delete(NEW)
    before = list(stage.tenancy.journal)
    deleted = await resource.delete(NEW)

    assert (preview.affected, before, deleted.id) == ([], [], NEW)
    assert stage.tenancy.journal == [("DELETE", kind, NEW)]
    with pytest.raises(NotFound):
        await resource.view(NEW)


async def test_a_preview_tells_what_would_go_with_it(client: Fourhse) -> None:
    preview = await client.resources["action-subscription"].preview_delete(SUBSCRIPTION)

    assert preview.affected == [{"entity": "action-session-subscription", "action_session_subscription_id": ENROLLMENT}]


VERBS: dict[str, Callable[[Resource, Id], Awaitable[object]]] = {
    "view": lambda resource, id_: resource.view(id_),
    "update": lambda resource, id_: resource.update(id_, fields(resource)),
    "preview": lambda resource, id_: resource.preview_delete(id_),
    "delete": lambda resource, id_: resource.delete(id_),
}


@of_every_kind
@pytest.mark.parametrize("verb", VERBS)
async def test_what_is_not_there_is_not_found(client: Fourhse, kind: str, verb: str) -> None:
    with pytest.raises(NotFound):
        await VERBS[verb](client.resources[kind], "no-such-id")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("id_", ["../../person/index", "a/b", "ü?#%", " "], ids=repr)
async def test_an_id_stays_within_its_place_in_the_path(client: Fourhse, verb: str, id_: str) -> None:
    with pytest.raises(NotFound):
        await VERBS[verb](client.resources["action-subscription"], id_)


@pytest.mark.parametrize("id_", ["", ".", ".."])
async def test_what_cannot_be_an_id_is_not_sent(stage: Stage, client: Fourhse, id_: str) -> None:
    with pytest.raises(Refused, match="person_id"):
        await client.resources["person"].delete(id_)

    assert not stage.faults.seen


async def test_the_documents_id_that_is_no_uuid_is_taken_as_it_is(client: Fourhse) -> None:
    assert (await client.resources["action-session-subscription"].view(ENROLLMENT))["subscriber_name"] == "Smith John"


# A person by code and project.

SMITH = {"code": "JS001", "project_id": TENANT}


async def test_a_person_is_found_changed_previewed_and_deleted_by_code_and_project(stage: Stage, client: Fourhse) -> None:
    persons = client.resources["person"]
    seen = await persons.view(SMITH)
    changed = await persons.update(SMITH, {"tax_code": "SMTJHN"})
    preview = await persons.preview_delete(SMITH)
    deleted = await persons.delete(SMITH)

    assert seen["person_id"] == PERSON
    assert (changed["person_id"], changed["tax_code"], changed["last_name"]) == (PERSON, "SMTJHN", "Smith")
    assert {one["entity"] for one in preview.affected} >= {"action-subscription"}
    assert (deleted.id, PERSON in stage.tenancy.tables["person"]) == (SMITH, False)


@pytest.mark.parametrize("verb", [*VERBS, "historicize"])
async def test_a_code_that_nobody_has_in_that_project_is_not_found(stage: Stage, client: Fourhse, verb: str) -> None:
    persons = client.resources["person"]
    for key in (SMITH | {"code": "JS002"}, SMITH | {"project_id": "elsewhere"}):
        with pytest.raises(NotFound):
            await ({"historicize": Resource.historicize} | VERBS)[verb](persons, key)

    assert stage.tenancy.journal == []


@pytest.mark.parametrize(
    ("kind", "key", "said"),
    [
        ("person", {"code": "JS001"}, "project_id: required"),
        ("person", {"code": "", "project_id": TENANT}, "code: required"),
        ("action", {"code": "FST-01", "project_id": TENANT}, "action_id: 4HSE does this with no action"),
    ],
)
async def test_half_a_key_or_one_of_another_kind_is_not_sent(
    stage: Stage, client: Fourhse, kind: str, key: dict[str, str], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        await client.resources[kind].delete(key)

    assert not stage.faults.seen


async def test_an_upsert_creates_the_first_time_and_changes_the_same_person_after(stage: Stage, client: Fourhse) -> None:
    persons, given = client.resources["person"], KINDS["person"][0] | {"code": "AR1"}
    made = await persons.upsert(given)
    again = await persons.upsert(given | {"last_name": "Bianchi"})

    assert (again["person_id"], again["last_name"]) == (made["person_id"], "Bianchi")
    assert stage.tenancy.journal == [("CREATE", "person", made["person_id"]), ("UPDATE", "person", made["person_id"])]


@pytest.mark.parametrize(("kind", "said"), [("person", "code: required"), ("action", "4HSE does this with no action")])
async def test_an_upsert_without_a_code_is_not_sent(stage: Stage, client: Fourhse, kind: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        await client.resources[kind].upsert(KINDS[kind][0])

    assert not stage.faults.seen


@pytest.mark.parametrize("id_", [PERSON, SMITH], ids=["by id", "by code"])
async def test_a_historicized_person_is_inactive_and_deleted_is_nothing(stage: Stage, client: Fourhse, id_: Id) -> None:
    persons = client.resources["person"]
    await persons.historicize(id_)

    assert (stage.tenancy.active(PERSON), stage.tenancy.journal) == (False, [])
    assert await rows(persons) == []
    assert (await persons.view(id_))["code"] == "JS001"


async def test_only_persons_are_historicized(stage: Stage, client: Fourhse) -> None:
    with pytest.raises(Refused, match="no action-subscription"):
        await client.resources["action-subscription"].historicize(SUBSCRIPTION)

    assert not stage.faults.seen


# Index.


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["p1", "p2"]),
        ({"history": True}, ["p1", "p2", "p3"]),
        ({"filter": {"status": "VALID"}}, ["p1"]),
        ({"filter": {"subscriber_id": "p3"}}, []),
        ({"filter": {"subscriber_id": "p3"}, "history": True}, ["p3"]),
        ({"sort": "-subscriber_id", "history": True}, ["p3", "p2", "p1"]),
    ],
    ids=["all", "with history", "a status", "a historicized one", "it with history", "descending"],
)
async def test_an_index_is_filtered_sorted_and_with_history_if_asked(tmp_path: Path, query: dict[str, Any], found: list[str]) -> None:
    tenancy = acme()
    tenancy.certify(tenancy.subscribe(ACTION, "p1"))
    tenancy.subscribe(ACTION, "p2")
    tenancy.historicize(tenancy.subscribe(ACTION, "p3"))
    async with staged(tmp_path, tenancy) as stage, stage.client() as client:
        assert [row["subscriber_id"] for row in await rows(client.resources["action-subscription"], **query)] == found


def crowded(count: int) -> Tenancy:
    """Acme with so many subscriptions."""
    tenancy = acme()
    for number in range(count):
        tenancy.subscribe(ACTION, f"p{number}")
    return tenancy


def headless(app: Faults) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The same behind a proxy that lets no header pass that it does not know."""

    async def passed(scope: Scope, receive: Receive, send: Send) -> None:
        async def stripped(message: Message) -> None:
            left = [pair for pair in message.get("headers", []) if not pair[0].lower().startswith(b"x-")]
            await send({**message, "headers": left})

        await app(scope, receive, stripped)

    return passed


@pytest.mark.parametrize(("count", "size"), [(0, 100), (1, 100), (99, 33), (100, 50), (101, 50), (250, 100), (250, 1000)])
@pytest.mark.parametrize("strip", [False, True], ids=["with headers", "without"])
async def test_every_page_is_streamed_and_every_row_comes_once(tmp_path: Path, count: int, size: int, strip: bool) -> None:
    async with (
        staged(tmp_path, crowded(count)) as stage,
        served(headless(stage.faults) if strip else stage.faults) as url,
        stage.client(base_url=url, page_size=size) as client,
    ):
        pages = [page async for page in client.resources["action-subscription"].index()]

    seen = [row["subscriber_id"] for page in pages for row in page.rows]
    assert seen == [f"p{number}" for number in range(count)]
    assert {page.total for page in pages} <= ({None} if strip else {count})


async def test_pages_come_one_at_a_time_as_they_are_asked_for(tmp_path: Path) -> None:
    async with staged(tmp_path, crowded(30)) as stage, stage.client(page_size=10) as client:
        pages = client.resources["action-subscription"].index()
        first = await anext(pages)
        await pages.aclose()

    assert (len(first.rows), first.number, first.count, first.total, stage.faults.count("*/index")) == (10, 1, 3, 30, 1)


async def test_a_fault_on_one_page_is_overcome_and_one_that_lasts_ends_the_walk(tmp_path: Path) -> None:
    async with staged(tmp_path, crowded(30)) as stage, stage.client(page_size=10) as client:
        stage.faults.on(Broken(skip=1))
        assert len(await rows(client.resources["action-subscription"])) == 30

        stage.faults.on(Broken(skip=1, times=None))
        with pytest.raises(Unavailable):
            await rows(client.resources["action-subscription"])


@pytest.mark.parametrize("status", [404, 403])
async def test_withdrawn_rights_are_not_found_or_refused_and_the_index_is_silent(stage: Stage, client: Fourhse, status: int) -> None:
    stage.tenancy.withdraw(OFFICE, status)
    subscriptions = client.resources["action-subscription"]
    with pytest.raises(NotFound if status == 404 else Refused):
        await subscriptions.view(SUBSCRIPTION)

    assert await rows(subscriptions, history=True) == []


# What is refused before it is sent.


@pytest.mark.parametrize("action_type", ["TRAINING", "HEALTH", "PER", "MAINTENANCE", "CHECK"])
async def test_a_subscriber_is_created_only_where_its_type_fits_the_actions(stage: Stage, client: Fourhse, action_type: str) -> None:
    stage.tenancy.create("action", {"action_id": "a", "action_type": action_type, "name": "A", **PLACE})
    subscriptions, fitting = client.resources["action-subscription"], SUBSCRIBER_TYPES_BY_ACTION.get(action_type, SUBSCRIBER_TYPES)
    for subscriber_type in SUBSCRIBER_TYPES:
        given = KINDS["action-subscription"][0] | {"action_id": "a", "subscriber_type": subscriber_type}
        if subscriber_type in fitting:
            assert await subscriptions.create(given)
        else:
            with pytest.raises(Refused, match=f"subscriber_type: {subscriber_type} cannot be subscribed to a {action_type} action"):
                await subscriptions.create(given)

    assert stage.faults.count("*/create") == len(fitting), "what does not fit is not sent"


async def test_a_subscription_to_an_action_that_is_not_there_is_refused_by_its_field(stage: Stage, client: Fourhse) -> None:
    subscriptions = client.resources["action-subscription"]
    with pytest.raises(Refused, match="action_id: no such action") as caught:
        await subscriptions.create(fields(subscriptions) | {"action_id": "nowhere"})

    assert (caught.value.status, stage.faults.count("*/create")) == (404, 0)


async def test_what_4hse_computes_is_not_sent(stage: Stage, client: Fourhse) -> None:
    sent: list[bytes] = []

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        async def heard() -> Message:
            message = await receive()
            sent.append(message.get("body", b""))
            return message

        await stage.faults(scope, heard, send)

    async with served(listening) as url, stage.client(base_url=url) as other:
        subscriptions = other.resources["action-subscription"]
        row = dict(await subscriptions.view(SUBSCRIPTION))
        await subscriptions.update(SUBSCRIPTION, row | {"data": {"a": 1}})
        await subscriptions.create(row | {"action_subscription_id": NEW})

    bodies = b"".join(sent)
    assert b'"subscriber_type"' in bodies
    assert not [name for name in subscriptions.shape.computed if f'"{name}"'.encode() in bodies]


@of_every_kind
async def test_a_create_without_a_required_field_is_refused_by_its_name_and_not_sent(stage: Stage, client: Fourhse, kind: str) -> None:
    resource = client.resources[kind]
    for name in resource.shape.required:
        with pytest.raises(Refused, match=f"{name}: required"):
            await resource.create({key: value for key, value in fields(resource).items() if key != name})

    assert not stage.faults.seen


# 4HSE's refusals.

YII_404 = b'{"name":"Not Found","message":"Object not found.","code":0,"status":404,"type":"yii\\\\web\\\\NotFoundHttpException"}'


@pytest.mark.parametrize(
    ("status", "body", "view", "write"),
    [
        (
            422,
            b'[{"field":"done","message":"Done is invalid."}]',
            "Refused 422: done: Done is invalid.",
            "Refused 422: done: Done is invalid.",
        ),
        (422, b'[{"field":"a","message":"x"},{"field":"b","message":"y"}]', "Refused 422: a: x; b: y", "Refused 422: a: x; b: y"),
        (422, b'[{"field":"person_id","message":"... gi\\u00e0 utilizzato"}]', "Conflict", "Conflict person_id: ... già utilizzato"),
        (422, b'[{"field":"code","message":"Code \\"A\\" has already been taken."}]', "Conflict", "Conflict"),
        (422, b"[]", "Refused 422: GET", "Refused 422: POST"),
        (409, b'{"name":"Conflict","message":"It changed.","status":409}', "Conflict It changed.", "Conflict It changed."),
        (
            400,
            b'{"name":"Bad Request","message":"Invalid JSON.","code":0,"status":400}',
            "Refused 400: Invalid JSON.",
            "Refused 400: Invalid JSON.",
        ),
        (403, b'{"name":"Forbidden","message":"Not yours.","code":0,"status":403}', "Refused 403: Not yours.", "Refused 403: Not yours."),
        (405, b'{"name":"Method Not Allowed","message":"","status":405}', "Refused 405", "Refused 405"),
        (404, YII_404, "NotFound", "Refused 404: Object not found."),
        (404, b"<html>nginx</html>", "NotFound", "Refused 404: POST /v2/person/create"),
        (404, b"", "NotFound", "Refused 404"),
        (415, b"null", "Refused 415", "Refused 415"),
        (418, b'{"message": {"deep": 1}}', "Refused 418", "Refused 418"),
        (429, b"", "Throttled", "Throttled"),
        (500, b'{"name":"Internal Server Error","status":500}', "Unavailable", "UnknownOutcome"),
        (200, b"<!DOCTYPE html><html>Log in to the network</html>", "Unavailable", "UnknownOutcome"),
        (200, b"done", "Unavailable", "UnknownOutcome"),
        (200, b"", "Unavailable", "UnknownOutcome"),
        (201, b'"created"', "Unavailable", "UnknownOutcome"),
        (200, b"[]", "Unavailable", "UnknownOutcome"),
        (200, b'{"person_id": "1', "Unavailable", "UnknownOutcome"),
        (302, b"", "Refused 302", "Refused 302"),
    ],
    ids=lambda value: value[:60].decode() if isinstance(value, bytes) else None,
)
async def test_whatever_it_answers_becomes_an_error_of_ours(
    stage: Stage, client: Fourhse, status: int, body: bytes, view: str, write: str
) -> None:
    persons = client.resources["person"]
    stage.faults.on(Instead(status=status, body=body, times=None))
    told = []
    for attempt in (persons.view(NEW), persons.create(fields(persons))):
        with pytest.raises(VendorError) as caught:
            await attempt
        told.append(f"{type(caught.value).__name__} {caught.value}")

    assert (told[0].startswith(view), told[1].startswith(write)) == (True, True), told


async def test_a_validation_error_keeps_field_and_words(client: Fourhse) -> None:
    enrollments = client.resources["action-session-subscription"]
    with pytest.raises(Refused) as caught:
        await enrollments.create(fields(enrollments) | {"done": 7})

    assert (caught.value.status, caught.value.complaints) == (422, (Complaint("done", "Done is invalid."),))


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, YII_404, Refused),
        (200, b'{"data": []}', Unavailable),
        (200, b"[1, 2]", Unavailable),
        (200, b"<html></html>", Unavailable),
        (401, b"", Refused),
    ],
    ids=["no such path", "wrapped", "no objects", "a page", "not let in"],
)
async def test_an_index_that_is_none_is_never_taken_for_an_empty_one(
    stage: Stage, client: Fourhse, status: int, body: bytes, error: type[VendorError]
) -> None:
    stage.faults.on(Instead(status=status, body=body, times=None))
    with pytest.raises(error):
        await rows(client.resources["person"])


@pytest.mark.parametrize("verb", ["delete", "preview_delete"])
async def test_a_page_for_people_is_no_success_of_a_delete(stage: Stage, client: Fourhse, verb: str) -> None:
    stage.faults.on(Instead(status=200, headers={"content-type": "text/html"}, body=b"<html></html>", times=None))
    with pytest.raises(UnknownOutcome if verb == "delete" else Unavailable):
        await getattr(client.resources["person"], verb)(PERSON)


async def test_throttled_calls_tell_when_to_come_back(stage: Stage, client: Fourhse) -> None:
    stage.faults.on(TooMany(retry_after="3600"))
    with pytest.raises(Throttled) as caught:
        await client.login()

    assert caught.value.retry_after == 3600
    assert PATIENT.retry_after_max < 3600
