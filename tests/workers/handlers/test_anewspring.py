"""aNewSpring's webhooks, JSON and XML: whose result in which course has changed, wherever the body says so."""

from typing import Any

import pytest

from schemas.accounts import AnewspringAccount
from schemas.samples import SAMPLES, body
from schemas.states import Reason, RefreshKind
from tests.workers.made import NOON, delivery
from workers.handlers import Applied, Dead, Ignored, Outcome, handle
from workers.mirror.evidence import Touch
from workers.simulators.markup import element

TOLD = {"event": "activity_completed", "user": {"id": "JS001"}, "course": {"id": "FIRE"}}


def account(**webhooks: Any) -> AnewspringAccount:
    """An environment with an API."""
    made = {"vendor": "anewspring", "base_url": "https://acme.anewspring.com", "api_key_file": "key", "webhooks": webhooks}
    return AnewspringAccount.model_validate(made)


def told(said: dict[str, Any], *, xml: bool = False, **webhooks: Any) -> Outcome:
    """What becomes of a body."""
    if xml:
        event = {"type": said["event"]} if "event" in said else {}
        raw: Any = element("webhook", {**event, **{name: value for name, value in said.items() if name != "event"}}).encode()
    else:
        raw = said
    return handle(delivery(raw, None, vendor="anewspring", account="lms"), {"lms": account(**webhooks)})


@pytest.mark.parametrize("xml", [False, True])
def test_a_result_is_to_be_asked_for(xml: bool) -> None:
    outcome = told(TOLD | {"activity": {"id": "EXAM/1"}}, xml=xml)

    assert isinstance(outcome, Applied)
    (touch,) = outcome.effects
    assert isinstance(touch, Touch)
    assert (touch.key, touch.at) == (("lms", "course-result", "JS001", "FIRE"), NOON)
    assert touch.cause.deliveries
    assert (outcome.event, outcome.subject) == ("activity_completed", "JS001/FIRE/EXAM%2F1")


@pytest.mark.parametrize("xml", [False, True])
@pytest.mark.parametrize(
    ("said", "learner", "course"),
    [
        pytest.param({"userID": "a", "courseID": "b"}, "a", "b", id="flat"),
        pytest.param({"learner": {"id": "a"}, "courseId": "b"}, "a", "b", id="another default"),
        pytest.param({"userID": 17, "courseID": " b "}, "17", "b", id="a number, and white space"),
        pytest.param({"userID": None, "student": {"id": "a"}, "courseID": "b"}, "a", "b", id="an empty one does not count"),
        pytest.param({"user": [{"name": "x"}, {"id": "a"}], "courseID": "b"}, "a", "b", id="in the first of a list that has it"),
        pytest.param({"user": {"id": {"x": 1}}, "userId": "a", "courseID": "b"}, "a", "b", id="an object is no id"),
    ],
)
def test_the_first_path_at_which_an_id_stands_counts(xml: bool, said: dict[str, Any], learner: str, course: str) -> None:
    outcome = told({"event": "x"} | said, xml=xml)

    assert isinstance(outcome, Applied)
    assert outcome.effects[0] == Touch("lms", RefreshKind.COURSE_RESULT, learner, NOON, course, outcome.effects[0].cause)  # type: ignore[union-attr]


def test_other_paths_can_be_set() -> None:
    said = {"event": "x", "data": {"who": {"code": "a"}}, "what": "b"}

    assert isinstance(told(said, learner=["data.who.code"], course=["what"]), Applied)


def test_attributes_of_xml_are_fields_and_namespaces_are_not_part_of_names() -> None:
    raw = b'<w xmlns="urn:a"><type xmlns="">x</type><user id="a"/><course><id>b</id></course></w>'
    outcome = handle(delivery(raw, None, vendor="anewspring", account="lms"), {"lms": account()})

    assert isinstance(outcome, Applied)
    assert outcome.subject == "a/b"


@pytest.mark.parametrize(
    ("said", "webhooks", "reason", "detail"),
    [
        pytest.param(
            {"courseID": "b"},
            {},
            Reason.MISSING_FIELD,
            "learner: not where accounts.lms.webhooks.learner looks for it",
            id="no learner",
        ),
        pytest.param(
            {"userID": "a"}, {}, Reason.MISSING_FIELD, "course: not where accounts.lms.webhooks.course looks for it", id="no course"
        ),
        pytest.param({"userID": True, "courseID": "b"}, {}, Reason.MISSING_FIELD, "learner: not where", id="a truth is no id"),
        pytest.param({"userID": "a" * 256, "courseID": "b"}, {}, Reason.INVALID_FIELD, "learner: cannot be an id", id="too long"),
        pytest.param({"userID": "a", "courseID": ".."}, {}, Reason.INVALID_FIELD, "course: cannot be an id", id="a step up"),
        pytest.param(
            {"userID": "a", "courseID": "b"},
            {"events": ["y"]},
            Reason.UNKNOWN_EVENT,
            "x: not among accounts.lms.webhooks.events",
            id="a type that is not among the known ones",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_dead_and_names_the_setting(
    said: dict[str, Any], webhooks: dict[str, Any], reason: Reason, detail: str
) -> None:
    outcome = told({"event": "x"} | said, **webhooks)

    assert isinstance(outcome, Dead)
    assert (outcome.event, outcome.reason) == ("x", reason)
    assert (outcome.detail or "").startswith(detail)


def test_a_known_type_is_handled() -> None:
    assert isinstance(told(TOLD, events=["activity_completed"]), Applied)


def test_without_an_api_there_is_nothing_to_ask() -> None:
    outcome = handle(delivery(TOLD, None, vendor="anewspring", account="lms"))

    assert isinstance(outcome, Ignored)
    assert (outcome.reason, "[accounts.lms]" in (outcome.detail or "")) == (Reason.NOT_HANDLED, True)


@pytest.mark.parametrize("event", [event for vendor, event in SAMPLES if vendor == "anewspring"])
def test_the_samples_are_understood(event: str) -> None:
    outcome = handle(delivery(body("anewspring", event) or b"", None, vendor="anewspring", account="lms"), {"lms": account()})

    assert isinstance(outcome, Applied)
    assert (outcome.event, (outcome.subject or "").split("/")[:2]) == (event, ["JS001", "EXAMPLECOURSE-0001"])
