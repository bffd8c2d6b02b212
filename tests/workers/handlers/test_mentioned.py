"""Whom a delivery is about: what its handler read, and where none understood it every text in it."""

import json
from typing import Any

import pytest

from tests.workers.followups.mirrored import ACCOUNTS
from tests.workers.made import CREATE, delivery
from workers.handlers import handle
from workers.handlers.mentioned import mentioned

LMS = {"account": "lms", "vendor": "anewspring"}
ISPRING = {"account": "ispring", "vendor": "ispring"}


def named(body: Any, event: str | None = None, **about: Any) -> frozenset[str]:
    """Whom a delivery is about."""
    one = delivery(body, event, **about)
    return mentioned(one, handle(one, ACCOUNTS))


@pytest.mark.parametrize(
    ("body", "event", "about", "expected"),
    [
        pytest.param(
            {"action_subscription_id": "s", "subscriber_id": "p"}
            | dict.fromkeys(("action_id", "subtenant_id", "tenant_id", "subscriber_type"), "x"),
            CREATE,
            {},
            {"s", "p"},
            id="a subscription and its subscriber, and not its office",
        ),
        pytest.param({"action_subscription_id": "s"}, "ACTION_SUBSCRIPTION::DELETE", {}, {"s"}, id="a bare deletion"),
        pytest.param({"person_id": "p", "code": "C"}, "PERSON::UPDATE", {}, {"p"}, id="a person"),
        pytest.param({"certificate_id": "c", "resource_id": "p"}, "CERTIFICATE::CREATE", {}, {"p"}, id="a certificate's holder"),
        pytest.param({"certificate_id": "c"}, "CERTIFICATE_ACTION::CREATE", {}, {"c"}, id="a certificate whose holder is unsaid"),
        pytest.param({"event": "e", "user": {"id": 42}, "course": {"id": "77777"}}, None, LMS, {"42"}, id="a learner, and not the course"),
        pytest.param(
            {"type": "COURSE_COMPLETED_SUCCESSFULLY", "payloads": [{"learnerId": one, "courseId": "c"} for one in "ab"]},
            None,
            ISPRING,
            {"a", "b"},
            id="each learner of several",
        ),
        pytest.param({"type": "CONFIRMATION", "payloads": [{"code": "k"}]}, None, ISPRING, set(), id="a hand-shake, which is nobody's"),
    ],
)
def test_what_is_understood_is_about_whom_it_says(body: Any, event: str | None, about: dict[str, Any], expected: set[str]) -> None:
    assert named(body, event, **about) == expected


def test_of_what_is_not_understood_every_text_and_long_number_counts() -> None:
    body = {"type": "USER_REGISTERED", "payloads": [{"userId": "u1", "score": 42, "login": None, "number": 12345, "is": True, "of": 7.5}]}

    assert named(body, **ISPRING) == {
        *("type", "USER_REGISTERED", "payloads", "userId", "u1", "score", "login", "number", "12345", "is", "of")
    }


def test_also_in_json_within_a_text_and_in_xml() -> None:
    nested = named({"type": "USER_REGISTERED", "payloads": [json.dumps({"userId": " u1 "}), "{no json"]}, **ISPRING)
    marked = named(b'<w type="x"><learner id="u1">Ada <i>R</i></learner></w>', **LMS)

    assert {"u1", "{no json"} <= nested
    assert {"u1", "x"} <= marked


def test_of_what_cannot_be_read_every_word() -> None:
    assert {"u1-2", "ada@example.com", "Adà"} <= named("\xff{u1-2: ada@example.com, Adà}".encode(), "PERSON::CREATE")
    assert named(b"\xff\xfe", "PERSON::CREATE") == frozenset()


def test_a_delivery_of_which_only_a_part_is_understood_is_about_all_that_it_names() -> None:
    body = {"type": "COURSE_COMPLETED_SUCCESSFULLY", "payloads": [{"learnerId": "a", "courseId": "c"}, {"learnerId": "b"}]}

    assert {"a", "b"} <= named(body, **ISPRING)
