"""That the agreement is one only where rows and vendors agree."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from schemas.delivery import now_utc
from tests.faults import kinds, others
from tests.faults.agreement import Happened, problems
from tests.faults.company import Employee, Fate
from tests.faults.doors import Books
from tests.faults.kinds import CHAIN, KINDS, Duty, Vendors
from tests.faults.rows import Row
from workers.simulators import anewspring, ispring, kare
from workers.simulators.acme import PLACE, TENANT, tenancy

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


def _duties() -> Iterator[Duty]:
    """One of each kind and fate; of a chain as far as it may come."""
    for kind in KINDS:
        for fate in kinds.Fate:
            courses = [0] if kind != "chain" else [len(CHAIN)] if fate is kinds.Fate.PASSES else range(len(CHAIN))
            yield from (Duty(kind, "p", "s", fate, before=before) for before in courses)


def _named(one: Duty) -> str:
    return f"{one.kind} {one.fate} {one.before}"


#: What a vendor says where something happened once more than it was meant; of an observation only the certificate can be made twice.
_TWICE: Mapping[str, Callable[[Any], Any]] = {
    "classroom": lambda seats: [*seats, (1, True)],
    "drill": lambda exercises: [*exercises, 2],
    "chain": lambda courses: [(asked + 1, ended) for asked, ended in courses],
}
DUTIES = list(_duties())


def stands(one: Duty) -> tuple[Row, others.Happened]:
    """Rows and vendors as they were meant for a duty, as far as it may go."""
    meant, state = KINDS[one.kind].meant(one), {"passes": "valid", "fails": "failed", "ends": "undone"}[one.fate]
    row = Row("live", "VALID" if one.passes else "NEW", (state,), meant.enrollments[-1])
    return row, others.Happened(one.passes, one.passes, meant.vendor[-1])


@pytest.mark.parametrize("one", DUTIES, ids=_named)
def test_a_duty_of_another_kind_that_went_as_it_was_meant_is_no_problem(one: Duty) -> None:
    assert others.problems(one, *stands(one)) == []


@pytest.mark.parametrize("one", DUTIES, ids=_named)
def test_what_happened_twice_for_a_duty_of_another_kind_is_a_problem(one: Duty) -> None:
    row, what = stands(one)
    twice = [replace(what, certificates=2), replace(what, links=2)]
    twice += [replace(what, vendor=_TWICE[one.kind](what.vendor))] if one.kind in _TWICE else []

    assert all(others.problems(one, row, each) for each in twice)


@pytest.mark.parametrize("one", [one for one in DUTIES if one.passes], ids=_named)
def test_what_did_not_happen_for_a_duty_of_another_kind_is_a_problem(one: Duty) -> None:
    row, what = stands(one)

    assert others.problems(one, row, replace(what, certificates=0, links=0))
    assert others.problems(one, Row(), what)


@pytest.mark.parametrize("one", DUTIES, ids=_named)
@pytest.mark.parametrize("change", [{"needs": ("awaiting",)}, {"needs": ("undone", "undone")}, {"enrollments": ("requested",)}])
def test_a_row_of_another_kind_that_says_otherwise_is_a_problem(one: Duty, change: dict[str, tuple[str, ...]]) -> None:
    row, what = stands(one)

    assert others.problems(one, replace(row, **change), what)  # type: ignore[arg-type]


def test_a_course_of_a_chain_that_is_begun_before_the_one_before_it_is_passed_is_a_problem() -> None:
    failed = Duty("chain", "p", "s", kinds.Fate.FAILS)
    row, what = stands(failed)

    assert others.problems(failed, row, replace(what, vendor=[(1, 0), (1, 0)]))


def test_a_course_of_a_chain_that_was_passed_and_is_taken_back_is_a_problem() -> None:
    ended = Duty("chain", "p", "s", kinds.Fate.ENDS, before=1)
    row, what = stands(ended)

    assert others.problems(ended, row, replace(what, vendor=[(1, 1), (1, 1)]))
    assert others.problems(ended, Row("live", "NEW"), what)


def test_an_observation_that_nobody_passed_and_a_certificate_is_a_problem() -> None:
    failed = Duty("observation", "p", "s", kinds.Fate.FAILS)
    row, what = stands(failed)

    assert others.problems(failed, row, replace(what, certificates=1, links=1))


@pytest.fixture
def there() -> Vendors:
    """The vendors before muster has done anything."""
    environment = anewspring.Environment("key", now_utc)
    books, account = Books(anewspring.simulator(environment)), ispring.Account("muster", "key", now_utc)
    made = Vendors(tenancy(), kare.Register("key", "key", now_utc), environment, account, books, random.Random(1))
    kinds.begin(made)
    return made


def _certified(there: Vendors, one: Duty) -> None:
    about = {"date_release": "2024-03-15", "name": "n", "action_type": "TRAINING", "resource_id": one.subscriber, "tenant_id": TENANT}
    certificate = there.tenancy.create("certificate", about)["certificate_id"]
    there.tenancy.create("certificate-action", {"certificate_id": certificate, "action_id": one.kind, "tenant_id": TENANT})


def _seated(there: Vendors, one: Duty) -> None:
    ids = {"action_session_id": "session", "action_subscription_id": one.subscription}
    there.tenancy.create("action-session-subscription", {**ids, **PLACE})


def _scheduled(there: Vendors, one: Duty) -> None:
    free = next(number for number in one.exercises if not there.register.interventions[number]["creationStatus"])
    there.register.update(free, {"creationStatus": 1})


def _subscribed(there: Vendors, one: Duty) -> None:
    there.books.done["subscribe", one.learner, CHAIN[0]] += 1


@pytest.mark.parametrize(
    ("kind", "do"), [("classroom", _seated), ("drill", _scheduled), ("chain", _subscribed), *((kind, _certified) for kind in KINDS)]
)
def test_what_is_made_at_a_vendor_is_seen_as_often_as_it_is_made(there: Vendors, kind: str, do: Callable[[Vendors, Duty], None]) -> None:
    one, company = KINDS[kind].hire(there, 1, kinds.Fate.PASSES), others.Others(there)
    seen = [company.happened(one)]
    for _ in range(2):
        do(there, one)
        seen.append(company.happened(one))

    assert len({repr(each) for each in seen}) == 3
