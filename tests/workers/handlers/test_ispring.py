"""iSpring's envelopes: each payload has a state of its own, and the delivery that of the worst."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ispring import unix_time
from schemas.states import Reason
from tests.workers.made import NOON, delivery, states
from workers.database import Database
from workers.handlers import Applied, Dead, Ignored, Outcome, handle
from workers.mirror.tables import CourseResult
from workers.mirror.versions import COURSE_RESULT, Fact
from workers.pipeline import Pipeline

EVENT = "COURSE_COMPLETED_SUCCESSFULLY"
WHEN = datetime(2024, 8, 5, 23, 57, 49, tzinfo=UTC)
NANOSECONDS = int(WHEN.timestamp()) * 10**9


def completion(learner: Any = "l1", **changed: Any) -> dict[str, Any]:
    """A payload: a learner has completed course c1."""
    return {"courseId": "c1", "learnerId": learner, "enrollmentIds": ["e1"], "completionDate": NANOSECONDS} | changed


def envelope(*payloads: Any, **changed: Any) -> dict[str, Any]:
    """An envelope of completions."""
    return {"type": EVENT, "payloads": list(payloads)} | changed


def told(body: Any) -> Outcome:
    """What becomes of an envelope."""
    return handle(delivery(body, EVENT, vendor="ispring", account="lms"))


def learners(outcome: Applied | Dead) -> list[tuple[Any, Any]]:
    """Who completed a course when."""
    return [(one.key[0], one.content["completed_at"]) for one in outcome.effects if isinstance(one, Fact)]


def test_a_completion_is_a_course_result() -> None:
    outcome = told(envelope(completion()))

    assert isinstance(outcome, Applied)
    (fact,) = outcome.effects
    assert isinstance(fact, Fact)
    assert (fact.kind, fact.account, fact.key, fact.at) == (COURSE_RESULT, "lms", ("l1", "c1", "", 0), NOON)
    assert fact.content == {"completed": True, "completed_at": WHEN}


def test_payloads_are_objects_or_the_same_in_strings() -> None:
    outcome = told(envelope(completion("l1"), json.dumps(completion("l2"))))

    assert isinstance(outcome, Applied)
    assert learners(outcome) == [("l1", WHEN), ("l2", WHEN)]


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        pytest.param({"courseId": "c1"}, "payload 2 of 3: learnerId: Field required", id="a missing field"),
        pytest.param(completion(""), "payload 2 of 3: learnerId: String should have at least 1 character", id="an empty id"),
        pytest.param(
            completion(completionDate=1), "payload 2 of 3: completionDate: Value error, not a time between 2000 and 2100", id="a bad time"
        ),
        pytest.param(completion(completionDate="soon"), "payload 2 of 3: completionDate: Value error, not a time between", id="a word"),
        pytest.param(completion(completionDate=[]), "payload 2 of 3: completionDate: Value error, not a time between", id="a list"),
        pytest.param("{", "payload 2 of 3: not JSON: EOF", id="half a string"),
        pytest.param("[]", "payload 2 of 3: payload: Input should be", id="a string of another thing"),
        pytest.param(None, "payload 2 of 3: payload: Input should be", id="nothing"),
    ],
)
def test_the_good_ones_apply_and_the_reason_names_the_bad_one(bad: Any, detail: str) -> None:
    outcome = told(envelope(completion("l1"), bad, completion("l3")))

    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.PAYLOAD_DEAD
    assert (outcome.detail or "").startswith(detail)
    assert [learner for learner, _ in learners(outcome)] == ["l1", "l3"]


def test_of_many_bad_ones_the_first_are_named() -> None:
    outcome = told(envelope(*[None] * 7))

    assert isinstance(outcome, Dead)
    assert [part.partition(":")[0] for part in (outcome.detail or "").split("; ")] == [
        *(f"payload {n} of 7" for n in range(1, 6)),
        "and 2 more",
    ]


def test_a_reason_quotes_no_value() -> None:
    outcome = told(envelope(completion("rossi" * 99), completion(completionDate="rossi")))

    assert isinstance(outcome, Dead)
    assert "rossi" not in (outcome.detail or "rossi")


@pytest.mark.parametrize("body", [{"type": EVENT}, {"type": EVENT, "payloads": {}}, {"type": EVENT, "payloads": "[]"}])
def test_an_envelope_without_a_list_is_dead(body: Any) -> None:
    assert told(body) == Dead(EVENT, Reason.UNPARSABLE, "payloads: not a list")


def test_an_envelope_of_nothing_is_ignored() -> None:
    assert told(envelope()) == Ignored(EVENT, Reason.NOT_HANDLED, "it holds no payload")


@pytest.mark.parametrize("many", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("written", [int, str, float])
def test_a_time_is_read_in_any_unit(many: int, written: Any) -> None:
    assert unix_time(written(int(WHEN.timestamp()) * many)) == WHEN


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 12, 31)), st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_no_unit_is_taken_for_another(moment: datetime, many: int) -> None:
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    number = since // timedelta(microseconds=1) * many // 10**6
    read = unix_time(number)

    assert read is not None
    assert abs(read - moment.replace(tzinfo=UTC)) <= timedelta(seconds=1) / min(many, 10**6)


@pytest.mark.parametrize("value", [0, -1, 946684799, 4102444800, 10**12 // 2, 10**40, 1e300, True, "1.5", "²", "1" * 5000, {}])
def test_what_is_no_time_of_this_century_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not a time between 2000 and 2100"):
        unix_time(value)


def test_a_completion_may_come_without_its_time() -> None:
    outcome = told(envelope(completion("l1", completionDate=None), {"courseId": "c1", "learnerId": 2}))

    assert isinstance(outcome, Applied)
    assert learners(outcome) == [("l1", None), ("2", None)]


async def _rows() -> Sequence[tuple[str, int, bool]]:
    return [(row.learner, row.version, row.completed) for row in await CourseResult.all().order_by("learner", "version")]


async def test_a_dead_one_leaves_its_good_payloads_once_however_often_it_comes(database: Database) -> None:
    pipeline = Pipeline(database)
    one = delivery(envelope(completion("l1"), None, completion("l2")), EVENT, vendor="ispring", account="lms")
    for _ in range(3):
        await pipeline.together([one])
    await pipeline.one_by_one([one.model_copy(update={"id": delivery(b"").id, "replay_of": one.id})])

    assert await states(one) == [("dead", "payload_dead")]
    assert await _rows() == [("l1", 1, True), ("l2", 1, True)]


async def test_a_course_completed_again_is_a_new_version(database: Database) -> None:
    again = completion("l1", completionDate=str(NANOSECONDS + 10**18 // 10))
    for number, payload in enumerate((completion("l1"), again)):
        at = {"received_at": NOON + timedelta(days=number)}
        await Pipeline(database).together([delivery(envelope(payload), EVENT, vendor="ispring", account="lms", **at)])

    assert await _rows() == [("l1", 1, True), ("l1", 2, True)]
