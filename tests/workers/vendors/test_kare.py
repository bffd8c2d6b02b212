"""Every operation of Kare's against a register of its own over HTTP, and every fault against its one write."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.accounts import KareAccount, Limits
from schemas.kare import LARGEST, Attendance, ExerciseUpdate, Intervention
from tests.workers.vendors.acme import HASTY, PATIENT
from workers.simulators.faults import Broken, Dropped, Fault, Faults, Instead, LandsLate, LostAfter, LostBefore, Slow, TooMany
from workers.simulators.kare import Register, simulator
from workers.simulators.server import served
from workers.vendors.errors import Conflict, NotFound, Refused, Throttled, Unavailable, UnknownOutcome, VendorError
from workers.vendors.kare import Kare

TOKEN, SESSION, NEW_TOKEN, NEW_SESSION = "t0ken-planted", "s3ssion-planted", "t0ken-rotated", "s3ssion-rotated"
NOW = datetime(2024, 12, 1, 12, 34, 56, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stage:
    """A simulated Kare that is served."""

    register: Register
    faults: Faults
    url: str
    token_file: Path
    session_file: Path

    @asynccontextmanager
    async def client(self, limits: Limits = PATIENT, **changed: Any) -> AsyncIterator[Kare]:
        """A client, or what `changed` makes of its account."""
        made = {"vendor": "kare", "insecure": True, "base_url": self.url, "limits": limits}
        made |= {"token_file": self.token_file, "session_token_file": self.session_file}
        client = Kare(KareAccount.model_validate(made | changed), lambda: datetime.now(UTC))
        try:
            yield client
        finally:
            await client.close()


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    register = Register(TOKEN, SESSION, lambda: NOW)
    faults = Faults(simulator(register))
    for name, text in (("token", TOKEN), ("session", SESSION)):
        (tmp_path / name).write_text(text)
    async with served(faults) as url:
        yield Stage(register, faults, url, tmp_path / "token", tmp_path / "session")
    faults.off()


@pytest_asyncio.fixture
async def kare(stage: Stage) -> AsyncIterator[Kare]:
    async with stage.client() as client:
        yield client


async def _interventions(kare: Kare) -> list[Intervention]:
    return [one async for page in kare.interventions() for one in page]


async def _attendance(kare: Kare, **filters: str) -> list[Attendance]:
    return [one async for page in kare.attendance(filters) for one in page]


async def test_an_exercise_is_viewed_and_updated(stage: Stage, kare: Kare) -> None:
    number = stage.register.schedule()
    start = datetime(2025, 1, 2, 9, tzinfo=timezone(timedelta(hours=1)))
    updated = await kare.update(number, {"scheduledStart": start, "description": "Drill", "creationStatus": 1, "siteIds": [3]})

    assert updated == await kare.view(number)
    assert (updated.id, updated.scheduled_start, updated.description, updated.rule_id) == (number, start, "Drill", 1)
    assert stage.register.interventions[number]["scheduledStart"] == "2025-01-02T08:00:00.000Z"


async def test_what_is_not_given_is_not_sent(stage: Stage, kare: Kare) -> None:
    number = stage.register.schedule(description="as it was", assignedUserId=4)
    await kare.update(number, {"ruleId": 9})

    assert (await kare.view(number)).model_dump(include={"description", "assigned_user_id", "rule_id"}) == {
        "description": "as it was",
        "assigned_user_id": 4,
        "rule_id": 9,
    }


@pytest.mark.parametrize("profiles", [False, True], ids=["users", "profiles"])
async def test_both_versions_of_the_documents_are_understood(stage: Stage, kare: Kare, profiles: bool) -> None:
    stage.register.profiles = profiles
    number = stage.register.schedule(assignedUserId=4, verifiedByUserId=5, createdByUserId=6)
    one = await kare.view(number)

    assert (one.assigned_user_id, one.verified_by_user_id, one.created_by_user_id) == (4, 5, 6)


async def test_every_page_is_read(stage: Stage) -> None:
    numbers = [stage.register.schedule() for _ in range(7)]
    async with stage.client(paging={"rows": 3}) as client:
        pages = [[one.id for one in page] async for page in client.interventions()]

    assert pages == [numbers[:3], numbers[3:6], numbers[6:]]


@pytest.mark.parametrize(
    ("paging", "calls"),
    [
        pytest.param({}, 2, id="the second page brings nothing new"),
        pytest.param({"page": "", "size": ""}, 1, id="no paging is configured"),
    ],
)
async def test_a_list_that_knows_no_pages_is_read_once(stage: Stage, paging: dict[str, Any], calls: int) -> None:
    stage.register.pageless = True
    numbers = [stage.register.schedule() for _ in range(3)]
    async with stage.client(paging=paging) as client:
        assert [one.id for one in await _interventions(client)] == numbers

    assert stage.faults.count("/interventions/v2/rs") == calls


async def test_attendance_tells_who_was_where(stage: Stage, kare: Kare) -> None:
    first, second = stage.register.schedule(), stage.register.schedule()
    stage.register.users[7] = {"id": 7, "key": "a13f2277", "email": "test@mail.com", "firstName": "John"}
    stage.register.attend(7, first)
    stage.register.attend(8, second, "absent")

    assert [(one.user_id, one.intervention_id, one.present) for one in await _attendance(kare)] == [(7, first, True), (8, second, False)]
    assert [one.user and one.user.email for one in await _attendance(kare, interventionId=str(first))] == ["test@mail.com"]
    assert (await kare.view(first)).attendee_count == 1


async def test_nothing_sensitive_comes_through_any_operation(stage: Stage, kare: Kare) -> None:
    number = stage.register.schedule()
    stage.register.attend(7, number)
    read = [await kare.view(number), await kare.update(number, {"ruleId": 1}), await _interventions(kare), await _attendance(kare)]

    assert not {word for word in ("123456", "c2lnbmF0dXJl", "presigned", "document.pdf") if word in repr(read)}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        pytest.param({"description": "a" * 2501}, ["description"], id="description"),
        pytest.param({"scheduledStart": "2024-12-01T12:34:56+01:00"}, ["scheduledStart"], id="scheduledStart"),
        pytest.param({"scheduledEnd": datetime(2024, 1, 1)}, ["scheduledEnd"], id="scheduledEnd"),
        pytest.param({"siteIds": []}, ["siteIds"], id="siteIds"),
        pytest.param({"ruleId": LARGEST + 1}, ["ruleId"], id="ruleId"),
        pytest.param({"creationStatus": 3}, ["creationStatus"], id="creationStatus"),
        pytest.param({"codePin": 1}, ["codePin"], id="a field that is not to be written"),
        pytest.param({"siteIds": [1, "x"], "creationStatus": -1}, ["siteIds", "creationStatus"], id="two of them"),
    ],
)
async def test_what_the_document_does_not_allow_is_refused_before_it_is_sent(
    stage: Stage, kare: Kare, changes: Any, fields: list[str]
) -> None:
    with pytest.raises(Refused) as caught:
        await kare.update(1, changes)

    assert sorted(str(one.field) for one in caught.value.complaints) == sorted(fields)
    assert not stage.faults.seen


@pytest.mark.parametrize("number", [LARGEST + 1, -LARGEST - 1, True, "1", 1.0])
async def test_an_id_that_is_no_safe_integer_is_refused_before_it_is_sent(stage: Stage, kare: Kare, number: Any) -> None:
    with pytest.raises(Refused, match="interventionId"):
        await kare.view(number)

    assert not stage.faults.seen


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"message": "Bad", "errors": [{"path": ["siteIds", 0], "message": "Wrong"}]}', "siteIds.0: Wrong", id="issues"),
        pytest.param(b'{"error": {"message": "Bad", "path": ["ruleId"]}}', "ruleId: Bad", id="an error"),
        pytest.param(b'{"message": "Forbidden"}', "Forbidden", id="a message"),
        pytest.param(b"<html><head><title>x</title></head><body>Bad <b>Gateway</b></body></html>", "Bad Gateway", id="a page"),
        pytest.param(b"Bad\n  request", "Bad request", id="text"),
        pytest.param(b"[]", "no reason given", id="something else"),
        pytest.param(b"", "no reason given", id="nothing"),
    ],
)
async def test_a_refusal_is_told_in_the_vendors_words(stage: Stage, kare: Kare, body: bytes, words: str) -> None:
    stage.faults.on(Instead(status=400, body=body))
    with pytest.raises(Refused, match=f"^400: {words}$"):
        await kare.update(1, {"ruleId": 1})


async def test_what_is_missing_is_not_found(kare: Kare) -> None:
    with pytest.raises(NotFound):
        await kare.view(99)
    with pytest.raises(NotFound):
        await kare.update(99, {"ruleId": 1})


async def test_a_conflict_is_one(stage: Stage, kare: Kare) -> None:
    stage.faults.on(Instead(status=409, body=b'{"message": "It is done already"}'))

    with pytest.raises(Conflict, match="It is done already"):
        await kare.update(1, {"ruleId": 1})


@pytest.mark.parametrize(
    ("token", "session"),
    [
        pytest.param(NEW_TOKEN, SESSION, id="the token"),
        pytest.param(TOKEN, NEW_SESSION, id="the session token"),
        pytest.param(NEW_TOKEN, NEW_SESSION, id="both"),
    ],
)
async def test_rotated_tokens_are_read_again_and_the_call_repeated(stage: Stage, kare: Kare, token: str, session: str) -> None:
    await kare.login()
    stage.register.token, stage.register.session = token, session
    stage.token_file.write_text(token)
    stage.session_file.write_text(f"{session}\n")
    await kare.login()

    assert stage.faults.count("*") == 3


async def test_tokens_that_stay_refused_are_not_tried_twice(stage: Stage, kare: Kare) -> None:
    stage.register.session = NEW_SESSION
    with pytest.raises(Refused, match="401: Unauthorized"):
        await kare.login()

    assert stage.faults.count("*") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 200])
async def test_no_credential_stands_in_an_exception_even_if_the_vendor_repeats_it(stage: Stage, kare: Kare, status: int) -> None:
    said = f'{{"message": "{"x" * 480} {TOKEN} {SESSION}", "data": {{"id": "{TOKEN}"}}}}'
    stage.faults.on(Instead(status=status, body=said.encode(), times=None))
    with pytest.raises(VendorError) as caught:
        await kare.update(1, {"ruleId": 1})

    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caught.value.__context__!r} {kare!r} {vars(kare)}"
    assert not {word for word in (TOKEN, SESSION, "planted") if word in shown}


@pytest.mark.parametrize("body", [b"<html>Maintenance</html>", b'{"data": ', b'{"data": {}}', b"[]", b""])
async def test_an_answer_that_cannot_be_read_leaves_a_write_uncertain_and_a_read_undone(stage: Stage, kare: Kare, body: bytes) -> None:
    stage.faults.on(Instead(status=200, body=body, times=2))
    with pytest.raises(UnknownOutcome):
        await kare.update(1, {"ruleId": 1})
    with pytest.raises(Unavailable):
        await kare.view(1)


CHANGES: ExerciseUpdate = {"description": "Drill"}
#: label: (fault, what the caller learns, whether it was done by then)
FAULTS: dict[str, tuple[Fault, type[VendorError] | None, bool]] = {
    "slow": (Slow(method="PATCH", seconds=0.05), None, True),
    "throttled once": (TooMany(method="PATCH", retry_after="0"), None, True),
    "throttled for long": (TooMany(method="PATCH", retry_after="3600", times=None), Throttled, False),
    "away once": (Broken(method="PATCH", status=503, retry_after="0"), None, True),
    "away for long": (Broken(method="PATCH", status=503, retry_after="3600", times=None), Unavailable, False),
    "broken before": (Broken(method="PATCH"), UnknownOutcome, False),
    "broken after": (Broken(method="PATCH", status=504, done=True), UnknownOutcome, True),
    "lost before": (LostBefore(method="PATCH"), UnknownOutcome, False),
    "lost after": (LostAfter(method="PATCH"), UnknownOutcome, True),
    "dropped before": (Dropped(method="PATCH"), UnknownOutcome, False),
    "dropped after": (Dropped(method="PATCH", done=True), UnknownOutcome, True),
    "redirected": (Instead(method="PATCH", status=302), Refused, False),
    "answered by a page": (Instead(method="PATCH", status=200, body=b"<html>maintenance</html>"), UnknownOutcome, False),
}


async def _learnt(act: Awaitable[Any]) -> type[VendorError] | None:
    try:
        await act
    except VendorError as error:
        return type(error)
    return None


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_doubles_or_loses_an_update(stage: Stage, fault: str) -> None:
    """The caller learns what is certain; where nothing is, a look-up tells, and the write is repeated only if it was not done."""
    switch, error, done = FAULTS[fault]
    number = stage.register.schedule(description="Planned")
    stage.faults.on(switch)
    async with stage.client(HASTY) as client:
        assert await _learnt(client.update(number, CHANGES)) is error
        assert ((await client.view(number)).description == "Drill") is done
        stage.faults.off()
        if not done:
            await client.update(number, CHANGES)

        assert (await client.view(number)).description == "Drill"
    assert stage.faults.count("*", "PATCH") == {"slow": 1, "throttled once": 2, "away once": 2}.get(fault, 1 if done else 2)


async def test_an_update_that_lands_after_its_repetition_changes_nothing(stage: Stage) -> None:
    number = stage.register.schedule(description="Planned")
    stage.faults.on(LandsLate(method="PATCH"))
    async with stage.client(HASTY) as client:
        assert await _learnt(client.update(number, CHANGES)) is UnknownOutcome
        assert (await client.view(number)).description == "Planned"
        await client.update(number, CHANGES)
        await stage.faults.land()

        assert (await client.view(number)).description == "Drill"
    assert list(stage.register.interventions) == [number]
