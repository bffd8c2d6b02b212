"""Kare's bounds are checked as its document writes them, and its sensitive fields end at parsing."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.kare import LARGEST, Attendances, ExerciseUpdate, Intervention, OneIntervention, z_time

UPDATE: ExerciseUpdate = {
    "description": "Description of the intervention",
    "scheduledStart": "2024-12-01T12:34:56.000Z",
    "scheduledEnd": "2024-12-05T14:56:23.000Z",
    "ruleId": 1,
    "siteIds": [1, 2, 3],
    "creationStatus": 1,
    "assignedCompanyContactId": 1,
    "assignedUserId": 1,
    "validateIntervention": True,
}
INTERVENTION: dict[str, Any] = {
    "id": 1,
    "status": 2,
    "type": 1,
    "description": "Description of the intervention",
    "imgSignature": "Signature image",
    "codePin": 123456,
    "autoCreated": True,
    "creationStatus": 1,
    "scheduledStart": "2024-12-01T12:34:56.000Z",
    "scheduledEnd": "2024-12-05T14:56:23.000Z",
    "actualStart": "2024-12-01T12:34:56.000Z",
    "actualEnd": "2024-12-01T12:34:56.000Z",
    "providerName": "Provider name",
    "providerEmail": "example@mail.fr",
    "providerActionComment": "Action comment from the provider",
    "providerGeneralComment": "General comment from the provider",
    "assignedCompanyContactId": 1,
    "assignedUserId": 1,
    "verifiedByUserId": 1,
    "verifiedAt": "2024-12-09T14:23:00.000Z",
    "decisionComment": "Provider refused the intervention due to scheduling conflicts.",
    "attendeeCount": 25,
    "routineId": 1,
    "organizationId": 1,
    "createdByUserId": 1,
    "archivedAt": "2024-12-09T14:23:00.000Z",
    "updatedAt": "2024-12-09T14:23:00.000Z",
    "createdAt": "2024-01-15T08:45:00.000Z",
}
ATTENDANCE: dict[str, Any] = {
    "id": 1,
    "userId": 7,
    "interventionId": 3,
    "attendanceStatus": "present",
    "attendanceProof": {"id": 1, "name": "document.pdf", "presignedUrl": "https://example.com/presigned-url"},
    "updatedAt": "2024-01-01T00:00:00.000Z",
    "createdAt": "2024-01-01T00:00:00.000Z",
    "user": {"id": 7, "key": "a13f2277-4009-458b-93c6-bc77f447281b", "firstName": "John", "lastName": "Doe", "email": "test@mail.com"},
    "intervention": {"id": 3, "codePin": 123456, "description": "Description of the intervention"},
}
SENSITIVE = re.compile(r"imgSignature|img_signature|codePin|code_pin|Signature image|123456|[pP]roof|presigned|document\.pdf")
_UPDATE = TypeAdapter(ExerciseUpdate)


def test_the_documents_update_is_allowed_as_it_stands() -> None:
    assert _UPDATE.validate_python(UPDATE) == UPDATE


def test_what_is_left_out_stays_out() -> None:
    assert _UPDATE.validate_python({"ruleId": 4}) == {"ruleId": 4}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("description", "a" * 2501, id="a description of 2501"),
        pytest.param("description", "\N{FIRE}" * 1251, id="a description of 2502 for JavaScript, which counts some signs twice"),
        pytest.param("description", None, id="no description"),
        pytest.param("scheduledStart", "2024-12-01T12:34:56+01:00", id="an offset instead of Z"),
        pytest.param("scheduledStart", "2024-12-01T12:34:56", id="no zone"),
        pytest.param("scheduledStart", "2023-02-29T12:34:56Z", id="a day that is not"),
        pytest.param("scheduledStart", "2024-12-01T24:00:00Z", id="an hour that is not"),
        pytest.param("scheduledStart", "2024-12-01T12:34:56Z\n", id="something behind the Z"),
        pytest.param("scheduledStart", "\u0662\u0660\u0662\u0664-12-01T12:34:56Z", id="digits of another script"),
        pytest.param("scheduledEnd", datetime(2024, 12, 1), id="a datetime without a zone"),
        pytest.param("scheduledEnd", 1733056496, id="a number for a time"),
        pytest.param("ruleId", LARGEST + 1, id="an integer that JavaScript cannot hold"),
        pytest.param("ruleId", "1", id="an integer as text"),
        pytest.param("ruleId", True, id="an integer that is a boolean"),
        pytest.param("siteIds", [], id="no site"),
        pytest.param("siteIds", [1, -LARGEST - 1], id="a site out of range"),
        pytest.param("creationStatus", 3, id="a creation status of 3"),
        pytest.param("creationStatus", True, id="a creation status that is a boolean"),
        pytest.param("assignedCompanyContactId", 1.5, id="a fraction"),
        pytest.param("assignedUserId", None, id="nobody assigned"),
        pytest.param("validateIntervention", 1, id="a boolean that is a number"),
        pytest.param("status", 2, id="a field that the document has not"),
    ],
)
def test_what_the_document_does_not_allow_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        _UPDATE.validate_python({**UPDATE, field: value})

    assert {one["loc"][0] for one in caught.value.errors()} == {field}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("description", "a" * 2500, id="a description of 2500"),
        pytest.param("description", "", id="an empty description"),
        pytest.param("scheduledStart", "2024-02-29T00:00Z", id="a leap day, without seconds"),
        pytest.param("ruleId", -LARGEST, id="the least integer"),
        pytest.param("creationStatus", 0, id="to be scheduled"),
        pytest.param("siteIds", [LARGEST], id="one site"),
    ],
)
def test_what_the_document_just_allows_is_sent(field: str, value: Any) -> None:
    assert _UPDATE.validate_python({field: value}) == {field: value}


@given(st.datetimes(min_value=datetime(1000, 1, 3), timezones=st.just(timezone(timedelta(hours=2)))))
def test_every_time_with_a_zone_is_written_as_the_pattern_wants_it_to_the_millisecond(at: datetime) -> None:
    written = z_time(at)

    assert z_time(written) == written
    assert timedelta(0) <= at - datetime.fromisoformat(written) < timedelta(milliseconds=1)


def test_the_documents_reply_is_read() -> None:
    one = OneIntervention.model_validate({"data": INTERVENTION}).data

    assert (one.id, one.status, one.creation_status, one.attendee_count, one.assigned_user_id) == (1, 2, 1, 25, 1)
    assert (one.actual_end, one.created_by_user_id) == (datetime(2024, 12, 1, 12, 34, 56, tzinfo=UTC), 1)


def test_the_documents_attendance_is_read() -> None:
    (one,) = Attendances.model_validate({"data": [ATTENDANCE]}).data

    assert (one.user_id, one.intervention_id, one.status, one.present) == (7, 3, "present", True)
    assert one.user is not None
    assert (one.user.key, one.user.email) == ("a13f2277-4009-458b-93c6-bc77f447281b", "test@mail.com")


@pytest.mark.parametrize(
    ("older", "newer"),
    [("assignedUserId", "assignedProfileId"), ("verifiedByUserId", "verifiedById"), ("createdByUserId", "createdById")],
)
def test_both_versions_of_a_name_are_read(older: str, newer: str) -> None:
    renamed = {newer if name == older else name: value for name, value in INTERVENTION.items()}

    assert Intervention.model_validate(renamed) == Intervention.model_validate(INTERVENTION)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(
            OneIntervention.model_validate({"data": INTERVENTION | {"summary": {"imgSignature": "Signature image"}}}), id="exercise"
        ),
        pytest.param(Attendances.model_validate({"data": [ATTENDANCE]}), id="attendance"),
    ],
)
def test_signatures_pin_codes_and_proofs_are_dropped_wherever_they_stand(read: OneIntervention | Attendances) -> None:
    assert not SENSITIVE.search(repr(read))
    assert not SENSITIVE.search(read.model_dump_json())


def test_no_persons_name_or_address_stands_in_a_repr() -> None:
    shown = repr(Attendances.model_validate({"data": [ATTENDANCE]}))

    assert not {word for word in ("John", "Doe", "test@mail.com") if word in shown}


def test_a_reply_that_cannot_be_read_does_not_repeat_what_it_held() -> None:
    with pytest.raises(ValidationError) as caught:
        OneIntervention.model_validate({"data": INTERVENTION | {"id": {"codePin": 987654}}})

    assert "987654" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "sites"),
    [
        pytest.param({"siteIds": [3, 4]}, (3, 4), id="as the update names them"),
        pytest.param({"sites": [{"id": 3, "name": "Rome"}]}, (3,), id="as a list of sites"),
        pytest.param({"siteIds": None}, (), id="nothing"),
        pytest.param({}, (), id="not at all"),
    ],
)
def test_the_sites_of_an_exercise_are_read_however_they_come(said: dict[str, Any], sites: tuple[int, ...]) -> None:
    assert Intervention.model_validate(INTERVENTION | said).site_ids == sites
