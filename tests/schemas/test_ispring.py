"""iSpring's answers become typed results: local times by the account's dates, absent fields, words in any case."""

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.accounts import Dates
from schemas.ispring import Observation, Observations, Subscriber, SubscriptionType, WebhookSubscriptions, moment
from schemas.vendors import VENDORS

SESSION: dict[str, Any] = {
    "checklistId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "checklistTitle": "Floor Sales Representative",
    "sessionId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "sessionStatus": "PASSED",
    "startDate": "05-08-2024, 23:57:49",
    "actualStartDate": "02-08-2024, 13:57:49",
    "completionDate": "05-08-2024, 23:57:49",
    "result": 60,
    "totalPoints": 30,
    "points": 18,
    "employeeId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "observerId": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
}
ROME = Dates(zone="Europe/Rome")


def test_the_documents_session_is_read_day_first_in_the_accounts_zone() -> None:
    (one,) = Observations.model_validate([SESSION], context=ROME).root

    assert (one.status, one.result, one.total_points, one.points) == ("PASSED", 60.0, 30.0, 18.0)
    assert one.scheduled_at == one.completed_at == datetime(2024, 8, 5, 21, 57, 49, tzinfo=UTC)
    assert one.started_at == datetime(2024, 8, 2, 11, 57, 49, tzinfo=UTC)


@pytest.mark.parametrize("field", ["actualStartDate", "completionDate", "result", "totalPoints", "points", "checklistTitle"])
def test_a_session_without_what_it_has_not_yet_is_read(field: str) -> None:
    row = {name: value for name, value in SESSION.items() if name != field}
    read = Observation.model_validate(row, context=ROME)

    assert read == Observation.model_validate({**row, field: None}, context=ROME)


@pytest.mark.parametrize("field", ["checklistId", "sessionId", "sessionStatus", "startDate", "employeeId", "observerId"])
def test_a_session_without_what_every_one_has_is_refused_by_name(field: str) -> None:
    row = {name: value for name, value in SESSION.items() if name != field}
    with pytest.raises(ValidationError) as caught:
        Observation.model_validate(row, context=ROME)

    assert [one["loc"] for one in caught.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("written", "dates", "read"),
    [
        pytest.param("05-08-2024, 23:57:49", Dates(), datetime(2024, 8, 5, 23, 57, 49, tzinfo=UTC), id="UTC by default"),
        pytest.param("15-01-2024, 12:00:00", ROME, datetime(2024, 1, 15, 11, tzinfo=UTC), id="winter"),
        pytest.param("27-10-2024, 02:30:00", ROME, datetime(2024, 10, 27, 0, 30, tzinfo=UTC), id="the first of an hour that comes twice"),
        pytest.param("31-03-2024, 02:30:00", ROME, datetime(2024, 3, 31, 1, 30, tzinfo=UTC), id="an hour that is left out"),
        pytest.param(
            "08/05/2024 11:57:49 PM",
            Dates(format="%m/%d/%Y %I:%M:%S %p"),
            datetime(2024, 8, 5, 23, 57, 49, tzinfo=UTC),
            id="another format",
        ),
    ],
)
def test_a_local_time_is_read_by_format_and_zone(written: str, dates: Dates, read: datetime) -> None:
    assert moment(written, dates) == read


@pytest.mark.parametrize("written", ["2024-08-05T23:57:49Z", "31-02-2024, 00:00:00", "08-13-2024, 10:00:00", 1722902269, ["x"]])
def test_a_time_in_another_form_is_refused_with_the_form_that_is_expected(written: Any) -> None:
    with pytest.raises(ValidationError, match="not a time of the form %d-%m-%Y, %H:%M:%S"):
        Observation.model_validate(SESSION | {"completionDate": written}, context=ROME)


@pytest.mark.parametrize("form", ["%d-%m-%Y", "%d-%m-%y, %H:%M", "day first", "%"])
def test_a_format_that_loses_part_of_a_time_is_refused(form: str) -> None:
    with pytest.raises(ValidationError, match="must hold day, month, year, hour, minute and second"):
        Dates(format=form)


def test_a_poor_result_reads_passed_and_stays_poor() -> None:
    read = Observation.model_validate(SESSION | {"result": 12.5}, context=ROME)

    assert (read.status, read.result) == ("PASSED", 12.5)


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2090, 1, 1)).map(lambda value: value.replace(microsecond=0)))
def test_every_local_time_becomes_a_utc_time_that_reads_the_same_there(local: datetime) -> None:
    assert moment(local.strftime(Dates().format), Dates()) == local.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("answer", "confirmed", "sending"),
    [
        pytest.param(
            {"subscriberStatus": "ACTIVE", "confirmationStatus": "CONFIRMED", "notificationProcessStatus": "ACTIVE"},
            True,
            "ACTIVE",
            id="the document's sample",
        ),
        pytest.param({"subscriberStatus": "active", "confirmationStatus": "confirmed"}, True, None, id="in the words of its prose"),
        pytest.param(
            {"subscriberStatus": "ACTIVE", "confirmationStatus": "UNCONFIRMED", "notificationProcessStatus": "SUSPENDED"},
            False,
            "SUSPENDED",
            id="given up",
        ),
        pytest.param({"subscriberStatus": "INACTIVE"}, False, None, id="nothing said of the address"),
    ],
)
def test_a_subscriber_is_confirmed_only_if_iSpring_says_so(answer: dict[str, str], confirmed: bool, sending: str | None) -> None:  # noqa: N802
    read = Subscriber.model_validate(answer)

    assert (read.confirmed, read.sending) == (confirmed, sending)


def test_the_documents_list_of_subscriptions_is_read() -> None:
    read = WebhookSubscriptions.model_validate(
        [{"subscriptionType": "TRAINING_MEETING_UPDATED", "params": [{"name": "a", "value": "b"}]}]
    ).root

    assert [(one.type, [(param.name, param.value) for param in one.params]) for one in read] == [("TRAINING_MEETING_UPDATED", [("a", "b")])]


def test_the_types_one_can_subscribe_to_are_the_events_that_are_received() -> None:
    assert {*get_args(SubscriptionType), "CONFIRMATION"} == set(VENDORS["ispring"].events or ())
