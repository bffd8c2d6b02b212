"""The refusals: a status, a sentence, the headers that go with it."""

from collections.abc import Iterator
from http import HTTPStatus

import pytest

from receiver.errors import NotPost, Refusal, Unavailable


def _leaves(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for child in kind.__subclasses__():
        yield from _leaves(child) if child.__subclasses__() else (child,)


REFUSALS = list(_leaves(Refusal))


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_a_problem_with_its_statuss_own_title_and_a_sentence(kind: type[Refusal]) -> None:
    problem = kind().problem

    assert problem["status"] == kind.status
    # The phrases of RFC 9110; this Python's table still has the older one for 413.
    assert problem["title"] in {HTTPStatus(kind.status).phrase, "Content Too Large"}
    assert str(problem["detail"]).endswith(".")


def test_every_status_that_the_receiver_answers_has_its_refusal() -> None:
    assert {kind.status for kind in REFUSALS} == {401, 403, 404, 405, 408, 413, 415, 503}


def test_what_may_be_sent_again_says_when_and_a_wrong_method_says_which_is_right() -> None:
    assert all(int(kind.headers["Retry-After"]) > 0 for kind in REFUSALS if issubclass(kind, Unavailable))
    assert NotPost.headers == {"Allow": "POST"}
