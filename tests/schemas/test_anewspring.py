"""aNewSpring's answers become typed results, oddities and all."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.accounts import AnewspringAccount
from schemas.anewspring import Activity, ActivityAnswer, Attempt, IsSubscribed, Progress, Result, Results, Subscriptions, percent, progress

SUBSCRIPTIONS = {
    "courses": [
        {
            "active": True,
            "efficiency": 0.5,
            "expired": False,
            "finished": False,
            "id": "EXAMPLE-00001",
            "knowledgeIntake": 0.7,
            "name": "Example course",
            "objectivesProgress": 0.625,
            "progress": "1/1",
            "reseller": "SUBENV-001",
            "startDate": "2019-03-27",
            "startDateTime": "2019-03-27T14:23:11Z",
            "subscribeDate": "2019-03-27",
            "subscribeDateTime": "2019-03-27T11:08:44Z",
            "uid": "a62b0793-7682-11eb-b67e-06575dd7e8c5",
        }
    ]
}
ASSIGNMENT: dict[str, Any] = {
    "attempts": [
        {
            "attemptNr": -1,
            "completeDate": "2020-02-12",
            "completeDateTime": "2020-02-12T14:20:21Z",
            "completed": True,
            "criteria": [
                {"id": "EXAMPLECRI-001", "maxScore": 100, "name": "Criterion 1", "score": 100},
                {"id": "EXAMPLECRI-002", "maxScore": 100, "name": "Criterion 2", "score": 100},
            ],
            "passed": True,
            "progress": None,
            "score": "100%",
            "startDate": "2020-02-12",
            "startDateTime": "2020-02-12T14:14:38Z",
            "terms": [],
        }
    ],
    "blockName": "Block 1",
    "completeDate": "2020-02-12",
    "completeDateTime": "2020-02-12T14:20:21Z",
    "completed": True,
    "id": None,
    "name": "Example hand-in assignment",
    "partId": 118,
    "passed": True,
    "score": "100%",
    "subType": "SkillAssignment",
    "type": "SkillAssignment",
    "uid": "8e28909d-ff9d-4813-9007-dc7c785c62b0",
}
ASSESSMENT: dict[str, Any] = ASSIGNMENT | {
    "attempts": [
        {
            "attemptNr": 2,
            "completeDateTime": "2020-02-13T16:23:55Z",
            "completed": True,
            "criteria": [],
            "passed": True,
            "progress": "3/3",
            "score": "67%",
            "terms": [{"maxScore": 1, "name": "Exam term 1", "score": 1, "threshold": 0}],
        }
    ],
    "partId": 223,
    "score": "67%",
    "subType": "Assessment",
    "type": "Assessment",
}
RESULT: dict[str, Any] = {
    "active": True,
    "completeDate": "2020-02-13",
    "completeDateTime": "2020-02-13T16:23:55Z",
    "completed": True,
    "efficiency": 0.5,
    "expired": False,
    "finished": False,
    "grade": "67%",
    "gradeDate": "2020-02-13",
    "gradeDateTime": "2020-02-13T16:23:55Z",
    "id": "EXAMPLECOURSE-0001",
    "knowledgeIntake": 0.4,
    "lastTrainingCompletedDate": "2020-02-12",
    "lastTrainingCompletedDateTime": "2020-02-12T08:05:23Z",
    "name": "Example course",
    "objectives": [{"knowledgeIntake": 0.5, "name": "Example objective", "target": 0.8, "value": 0.3}],
    "objectivesProgress": 0.375,
    "parts": [ASSIGNMENT, ASSESSMENT],
    "progress": "2/2",
    "reseller": "EXAMPLEID",
    "startDate": "2020-02-05",
    "startDateTime": "2020-02-05T15:38:35Z",
    "subscribeDate": "2020-02-05",
    "subscribeDateTime": "2020-02-05T09:00:12Z",
    "uid": "a62b0793-7682-11eb-b67e-06575dd7e8c5",
}


def test_the_documents_list_of_subscriptions_is_read() -> None:
    (one,) = Subscriptions.model_validate(SUBSCRIPTIONS).courses

    assert (one.id, one.active, one.finished, one.progress, one.knowledge_intake) == ("EXAMPLE-00001", True, False, Progress(1, 1), 0.7)
    assert (one.start_on, one.subscribed_at) == (date(2019, 3, 27), datetime(2019, 3, 27, 11, 8, 44, tzinfo=UTC))


def test_the_documents_result_is_read() -> None:
    one = Result.model_validate(RESULT)

    assert (one.id, one.completed, one.grade, one.progress) == ("EXAMPLECOURSE-0001", True, 67.0, Progress(2, 2))
    assert one.completed_at == one.graded_at == datetime(2020, 2, 13, 16, 23, 55, tzinfo=UTC)
    assert [(part.part_id, part.id, part.type, part.score) for part in one.activities] == [
        (118, None, "SkillAssignment", 100.0),
        (223, None, "Assessment", 67.0),
    ]


def test_an_attempt_that_cannot_be_repeated_is_number_minus_one() -> None:
    (only,), (second,) = (part.attempts for part in Result.model_validate(RESULT).activities)

    assert (only.number, only.progress, [one.id for one in only.criteria]) == (-1, None, ["EXAMPLECRI-001", "EXAMPLECRI-002"])
    assert (second.number, second.progress, second.terms[0].threshold) == (2, Progress(3, 3), 0)


def test_finished_is_not_completed() -> None:
    ended = Result.model_validate(RESULT | {"finished": True, "expired": True, "completed": False, "completeDateTime": None, "grade": None})

    assert (ended.finished, ended.completed, ended.completed_at, ended.grade) == (True, False, None, None)


@pytest.mark.parametrize(
    ("kind", "completed", "passed", "failed"),
    [
        pytest.param("Assessment", True, False, True, id="an assessment that was not passed"),
        pytest.param("Assessment", True, True, False, id="an assessment that was"),
        pytest.param("Assessment", False, False, False, id="an assessment that is not over"),
        pytest.param("Lesson", True, False, False, id="a lesson, which has no threshold"),
        pytest.param("Evaluation", True, None, False, id="an evaluation, which says null"),
    ],
)
def test_not_passed_is_a_failure_only_where_passing_means_something(kind: str, completed: bool, passed: bool | None, failed: bool) -> None:
    assert Activity.model_validate({"type": kind, "completed": completed, "passed": passed}).failed is failed


def test_no_result_is_known_by_the_uid_that_courses_of_a_template_share() -> None:
    assert "uid" not in Activity.model_fields
    assert not any(name.endswith("uid") for name in Attempt.model_fields)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param("67%", 67.0, id="as documented"),
        pytest.param("66.7%", 66.7, id="with a fraction"),
        pytest.param("66,7 %", 66.7, id="with a comma"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="null"),
    ],
)
def test_a_grade_is_a_percentage(written: str | None, read: float | None) -> None:
    assert Result.model_validate(RESULT | {"grade": written}).grade == read


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("grade", "very good", id="a grade in words"),
        pytest.param("grade", "NaN", id="a grade that is no number"),
        pytest.param("progress", "half", id="a progress in words"),
        pytest.param("completeDateTime", "yesterday", id="a time in words"),
        pytest.param("completed", "perhaps", id="a completion that is neither"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Result.model_validate(RESULT | {field: value})

    assert [one["loc"] for one in caught.value.errors()] == [(field,)]
    assert value not in str(caught.value)


def test_the_results_of_a_learner_are_a_list_of_courses() -> None:
    assert [one.id for one in Results.model_validate({"courses": [RESULT]}).courses] == ["EXAMPLECOURSE-0001"]


@pytest.mark.parametrize("answer", [pytest.param(ASSESSMENT, id="bare"), pytest.param({"parts": [ASSESSMENT]}, id="in its course")])
def test_the_result_of_one_activity_is_read_bare_or_in_its_course(answer: dict[str, Any]) -> None:
    assert ActivityAnswer.model_validate(answer).root.part_id == 223


def test_statistics_that_were_not_asked_for_are_none() -> None:
    (one,) = Subscriptions.model_validate({"courses": [{"id": "C", "active": False}]}).courses

    assert (one.progress, one.efficiency, one.knowledge_intake, one.objectives_progress) == (None, None, None, None)


def test_a_numeric_external_id_is_text_and_an_empty_one_is_none() -> None:
    numeric, empty = Subscriptions.model_validate({"courses": [{"id": 12}, {"id": ""}]}).courses

    assert (numeric.id, empty.id) == ("12", None)


def test_a_subscription_is_there_or_not() -> None:
    assert IsSubscribed.model_validate({"result": True}).result is True


@given(st.floats(min_value=0, max_value=100, allow_nan=False).map(lambda value: round(value, 3)))
def test_any_percentage_is_read_back(value: float) -> None:
    assert percent(f"{value:.3f}%") == pytest.approx(value)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_any_progress_is_read_back(done: int, available: int) -> None:
    assert progress(f"{done}/{available}") == Progress(done, available)


@pytest.mark.parametrize(
    ("path", "allowed"), [("/api", True), ("", True), ("/a/b", True), ("api", False), ("/api/", False), ("/api?x", False)]
)
def test_the_path_of_the_api_begins_with_a_slash_and_ends_without(path: str, allowed: bool) -> None:
    raw = {"vendor": "anewspring", "base_url": "https://acme.anewspring.com", "api_key_file": "key", "api_path": path}
    try:
        AnewspringAccount.model_validate(raw)
        taken = True
    except ValidationError:
        taken = False

    assert taken is allowed
