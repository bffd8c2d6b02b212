"""That the agreement is one only where rows and vendors agree."""

from dataclasses import replace

import pytest

from tests.faults.agreement import Happened, Row, problems
from tests.faults.company import Employee, Fate

_PASSED = Row("live", "VALID", ("valid",), ("closed",)), Happened(1, 0, seated=True, certificates=1, links=1)
_FAILED = Row("live", "NEW", ("failed",), ("closed",)), Happened(2, 1, seated=True, certificates=0, links=0)
_RETRIED = Row("live", "VALID", ("valid",), ("closed",)), Happened(2, 1, seated=True, certificates=1, links=1)
_DELETED = Row("deleted", None, ("undone",), ("undone",)), Happened(1, 1, seated=False, certificates=0, links=0)
_MEANT = {Fate.PASSES: _PASSED, Fate.FAILS: _FAILED, Fate.RETRIES: _RETRIED, Fate.DELETED: _DELETED}


def employee(fate: Fate, **history: bool) -> Employee:
    """Somebody with a duty."""
    return Employee(1, "p", "s", fate, **{"seated": False, "passed_before": False, **history}, began=0.0)


@pytest.mark.parametrize("fate", Fate)
def test_what_was_meant_is_no_problem(fate: Fate) -> None:
    assert problems(employee(fate), *_MEANT[fate]) == []


@pytest.mark.parametrize("fate", Fate)
@pytest.mark.parametrize("change", [{"subscribed": 3}, {"unsubscribed": 3}, {"certificates": 2}, {"links": 2}])
def test_what_happened_twice_is_a_problem(fate: Fate, change: dict[str, int]) -> None:
    row, what = _MEANT[fate]

    assert problems(employee(fate), row, replace(what, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("fate", Fate)
def test_what_did_not_happen_is_a_problem(fate: Fate) -> None:
    row, what = _MEANT[fate]

    assert problems(employee(fate), row, replace(what, subscribed=0))


@pytest.mark.parametrize("fate", Fate)
@pytest.mark.parametrize("change", [{"needs": ("enrolled",)}, {"enrollments": ("requested",)}, {"enrollments": ("closed", "enrolled")}])
def test_a_row_that_says_otherwise_is_a_problem(fate: Fate, change: dict[str, tuple[str, ...]]) -> None:
    row, what = _MEANT[fate]

    assert problems(employee(fate), replace(row, **change), what)  # type: ignore[arg-type]


def test_a_seat_that_was_there_before_and_is_taken_back_is_a_problem() -> None:
    row, what = _DELETED
    found = replace(row, enrollments=("closed",))

    assert problems(employee(Fate.DELETED, seated=True), found, what)
    assert not problems(employee(Fate.DELETED, seated=True), found, replace(what, subscribed=0, unsubscribed=0, seated=True))


def test_what_was_passed_before_is_ended_once_to_begin_anew() -> None:
    row, what = _PASSED

    assert problems(employee(Fate.PASSES, passed_before=True), row, what)
    assert not problems(employee(Fate.PASSES, passed_before=True), row, replace(what, unsubscribed=1))
