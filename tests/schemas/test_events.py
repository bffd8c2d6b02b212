"""Events are CloudEvents, their documents say what they are, and neither holds a person's name."""

import copy
import json
import re
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import ValidationError

from schemas.asyncapi import asyncapi, data_schema, documents, envelope_schema
from schemas.events import (
    EVENTS,
    ChangedSubscription,
    CourseResult,
    Data,
    DriftFound,
    Event,
    EventType,
    ExerciseResult,
    FollowupMoved,
    ObservationResult,
    SessionResult,
    StatusChanged,
    Subscription,
    cloud_event,
)
from schemas.states import DriftKind, SubscriptionState

with warnings.catch_warnings(action="ignore"):  # its models shadow names of pydantic's
    from asyncapi3 import AsyncAPI3

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ID = UUID("01a20138-889b-72a4-9c22-c85d43551024")
_ROW = {
    "action_subscription_id": "s1",
    "state": SubscriptionState.LIVE,
    "status": "VALID",
    "subscriber_code": "JS001",
    "certificate_date_release": date(2024, 3, 15),
    "certificate_date_expire": date(2029, 3, 15),
    "owned_active": True,
}
SAMPLES: dict[EventType, Data] = {
    EventType.SUBSCRIPTION_CREATED: Subscription(**_ROW),
    EventType.SUBSCRIPTION_CHANGED: ChangedSubscription(**_ROW, changed=["subscriber_name"]),
    EventType.SUBSCRIPTION_DELETED: Subscription(action_subscription_id="s1", state=SubscriptionState.DELETED),
    EventType.SUBSCRIPTION_MISSING: Subscription(action_subscription_id="s1", state=SubscriptionState.MISSING),
    EventType.STATUS_CHANGED: StatusChanged(**_ROW, before="EXPIRING", by="clock"),
    EventType.FOLLOWUP_MOVED: FollowupMoved(action_subscription_id="s1", rule="fire", need=ID, state="planned", reason="it holds"),
    EventType.COURSE_RESULT: CourseResult(
        version=2, withdrawn=False, learner="JS001", course="FIRE", activity="", attempt=0, grade=81.5, completed_at=NOON
    ),
    EventType.OBSERVATION_RESULT: ObservationResult(version=1, withdrawn=True, session_id="o1", checklist_id="c", result=80),
    EventType.SESSION_RESULT: SessionResult(
        version=1, withdrawn=False, action_session_subscription_id="e1", done=1, date_begin=date(2024, 1, 1)
    ),
    EventType.EXERCISE_RESULT: ExerciseResult(version=1, withdrawn=False, intervention_id=7, user_id=12, status="present", ended_at=NOON),
    EventType.DRIFT_FOUND: DriftFound(action_subscription_id="s1", kind=DriftKind.DIFFERENT, differing=["status"], run=ID),
}


def told(kind: EventType) -> dict[str, Any]:
    """The sample of a type, whole, as JSON gives it."""
    data = SAMPLES[kind].model_dump(mode="json")
    made = cloud_event(id=ID, type=kind.value, account="hse", subject="hse/s1", sequence=42, at=NOON, data=data)
    read: dict[str, Any] = json.loads(json.dumps(made))
    return read


@pytest.mark.parametrize("kind", EventType)
def test_an_event_validates_against_the_documents_of_its_type_and_against_no_other(kind: EventType) -> None:
    for schema in (data_schema(kind), envelope_schema(kind)):
        Draft202012Validator.check_schema(schema)
    checker = FormatChecker()
    Draft202012Validator(data_schema(kind), format_checker=checker).validate(told(kind)["data"])
    Draft202012Validator(envelope_schema(kind), format_checker=checker).validate(told(kind))

    others = [other for other in EventType if Draft202012Validator(envelope_schema(other)).is_valid(told(kind))]
    assert others == [kind]


@pytest.mark.parametrize("kind", EventType)
def test_its_attributes_are_those_of_cloudevents(kind: EventType) -> None:
    event = told(kind)

    assert {name for name in event if not re.fullmatch("[a-z0-9]{1,20}", name)} == set()
    assert {event.pop("data") is not None, event.pop("specversion")} == {True, "1.0"}
    assert event == {
        "id": str(ID),
        "source": "muster/hse",
        "type": kind.value,
        "subject": "hse/s1",
        "time": "2026-03-01T12:00:00Z",
        "sequence": "000000000042",
        "datacontenttype": "application/json",
        "dataschema": data_schema(kind)["$id"],
    }
    assert re.fullmatch(r"muster\.[a-z]+\.[a-z_]+\.v[0-9]+", kind)


def test_a_time_is_told_in_utc_and_an_odd_account_still_makes_a_uri_of_the_source() -> None:
    at = datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1)))
    event = cloud_event(id=ID, type="t", account="Città/1", subject="s", sequence=1, at=at, data={})

    assert (event["time"], event["source"]) == ("2026-03-01T12:00:00Z", "muster/Citt%C3%A0%2F1")


def test_sequences_order_as_text() -> None:
    numbers = [1, 9, 10, 99, 100, 10**11]
    texts = [cloud_event(id=ID, type="t", account="a", subject="s", sequence=one, at=NOON, data={})["sequence"] for one in numbers]

    assert texts == sorted(texts)


def test_every_type_has_data_and_a_sample() -> None:
    assert set(EVENTS) == set(EventType) == set(SAMPLES)


def test_no_event_holds_a_name_or_free_text_of_the_vendors() -> None:
    fields = {field for data in EVENTS.values() for field in data.model_fields}

    assert {field for field in fields if re.search("name|title|mail|manager|assignee|watcher|^data$", field)} == set()


def test_data_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="has DriftFound for data, not Subscription"):
        Event(EventType.DRIFT_FOUND, "hse", "s1", NOON, SAMPLES[EventType.SUBSCRIPTION_CREATED])


def test_the_asyncapi_document_is_one() -> None:
    AsyncAPI3.model_validate(asyncapi("1.2.3"))


@pytest.mark.parametrize("spoilt", ["channels", "operations"])
def test_what_validates_it_refuses_what_asyncapi_does_not_know(spoilt: str) -> None:
    document = asyncapi("1.2.3")
    next(iter(document[spoilt].values()))["adress"] = "x"

    with pytest.raises(ValidationError):
        AsyncAPI3.model_validate(document)


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi("1.2.3")
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))

    assert len(references) == 3 * len(EventType)
    for reference in references:
        part: Any = document
        for step in reference.split("/"):
            part = part[step]
        assert part


def test_the_asyncapi_document_says_what_the_relay_does() -> None:
    document = asyncapi("1.2.3")

    assert {channel["address"] for channel in document["channels"].values()} == {kind.routing_key for kind in EventType}
    assert {channel["bindings"]["amqp"]["exchange"]["name"] for channel in document["channels"].values()} == {"muster.events"}
    for message in document["components"]["messages"].values():
        Draft202012Validator(message["payload"]).validate(told(EventType(message["name"])))


def test_a_document_is_written_for_each_type_and_one_for_all() -> None:
    assert set(documents("1")) == {"asyncapi.json", *(f"{kind}.json" for kind in EventType)}


#: What consumers rely on: of each type the fields that its data has, with their JSON types, and those that are always there.
PUBLISHED = Path(__file__).with_name("published_events.json")
Shape = dict[str, dict[str, Any]]


def shapes() -> Shape:
    """The same of this program."""
    found = {}
    for kind in EventType:
        data = envelope_schema(kind)["properties"]["data"]
        found[kind.value] = {
            "required": sorted(data.get("required", [])),
            "properties": {name: bare(one) for name, one in sorted(data["properties"].items())},
        }
    return found


def bare(schema: Any) -> Any:
    """A schema without words."""
    if isinstance(schema, list):
        return [bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: bare(one) for name, one in schema.items() if name not in ("title", "description", "default")}


def broken(published: Shape, now: Shape) -> list[str]:
    """What consumers rely on and do not find any more."""
    wrong = [f"{kind} is gone" for kind in published if kind not in now]
    for kind in published.keys() & now.keys():
        was, is_ = published[kind], now[kind]
        wrong += [f"{kind}: {name} is not always there any more" for name in was["required"] if name not in is_["required"]]
        for name, shape in was["properties"].items():
            if is_["properties"].get(name) != shape:
                wrong.append(f"{kind}: {name} was {json.dumps(shape)}, and is {json.dumps(is_['properties'].get(name))}")
    return sorted(wrong)


def test_no_published_field_is_removed_or_means_another_type() -> None:
    wrong = broken(json.loads(PUBLISHED.read_text()), shapes())

    assert not wrong, "\n".join([*wrong, "Leave the type as it is, and make a `….v2` beside it in schemas/events.py."])


def test_every_type_and_field_is_written_down_as_published() -> None:
    assert shapes() == json.loads(PUBLISHED.read_text()), "a field or type more: `python -m tests.schemas.test_events` writes it down"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            lambda kind: kind["properties"].pop("subject_code"), 'x.v1: subject_code was {"type": "string"}, and is null', id="gone"
        ),
        pytest.param(
            lambda kind: kind["properties"].update(subject_code={"type": "integer"}),
            'x.v1: subject_code was {"type": "string"}, and is {"type": "integer"}',
            id="retyped",
        ),
        pytest.param(lambda kind: kind["required"].clear(), "x.v1: subject_code is not always there any more", id="optional"),
        pytest.param(lambda kind: kind["properties"].update(more={"type": "string"}), None, id="a field more"),
    ],
)
def test_what_breaks_a_consumer_is_told_from_what_does_not(change: Callable[[dict[str, Any]], object], says: str | None) -> None:
    published: Shape = {"x.v1": {"required": ["subject_code"], "properties": {"subject_code": {"type": "string"}}}}
    now = copy.deepcopy(published)
    change(now["x.v1"])

    assert broken(published, now) == [*filter(None, [says])]
    assert broken(published, {}) == ["x.v1 is gone"]


def _written(found: Shape) -> str:
    """A field a line."""
    kinds = []
    for kind, one in found.items():
        fields = ",\n".join(f"   {json.dumps(name)}: {json.dumps(shape)}" for name, shape in one["properties"].items())
        kinds.append(f' {json.dumps(kind)}: {{\n  "required": {json.dumps(one["required"])},\n  "properties": {{\n{fields}\n  }}\n }}')
    return "{\n" + ",\n".join(kinds) + "\n}\n"


if __name__ == "__main__":
    PUBLISHED.write_text(_written(shapes()))
