"""What was meant to happen to everybody, held against muster's rows and against what happened at the vendors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults import others
from tests.faults.company import COURSE, Company, Employee, Fate
from tests.faults.rows import Row, Rows


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened at the vendors for one learner; changes of state, not requests."""

    subscribed: int
    unsubscribed: int
    #: Whether there is a seat at aNewSpring now.
    seated: bool
    certificates: int
    links: int


def happened(company: Company, one: Employee) -> Happened:
    """Look at the vendors."""
    seat, tables = company.environment.seats.get((one.learner, COURSE)), company.tenancy.tables
    certificates = {row["certificate_id"] for row in tables["certificate"].values() if row["resource_id"] == one.person}
    links = [row for row in tables["certificate-action"].values() if row["certificate_id"] in certificates]
    done = company.books.done
    return Happened(
        subscribed=done["subscribe", one.learner, COURSE],
        unsubscribed=done["unsubscribe", one.learner, COURSE],
        seated=seat is not None and not seat.ended,
        certificates=len(certificates),
        links=len(links),
    )


def problems(one: Employee, row: Row, what: Happened) -> list[str]:
    """What is otherwise than it was meant, each as a sentence."""
    told = _deleted(one, row, what) if one.fate is Fate.DELETED else _judged(one, row, what)
    return [f"{one.learner} ({one.fate}, seated={one.seated}, passed_before={one.passed_before}): {sentence}" for sentence in told]


def _judged(one: Employee, row: Row, what: Happened) -> list[str]:
    passed, again = one.fate is not Fate.FAILS, int(one.fate is not Fate.PASSES)
    expected: dict[str, tuple[Any, Any]] = {
        "the mirror's row": ((row.state, row.status), ("live", "VALID" if passed else "NEW")),
        "its needs": (row.needs, ("valid" if passed else "failed",)),
        # That of the last attempt.
        "its enrollments": (row.enrollments, ("closed",)),
        # To resubscribe is to end what was passed, or failed, before.
        "subscribed, unsubscribed": ((what.subscribed, what.unsubscribed), (int(not one.seated) + again, int(one.passed_before) + again)),
        "certificates, links": ((what.certificates, what.links), (int(passed), int(passed))),
    }
    return _differing(expected)


def _deleted(one: Employee, row: Row, what: Happened) -> list[str]:
    # What was there before us stays, unless nobody had looked by then.
    ended = (("closed",), ("undone",)) if one.seated else (("undone",),)
    # Nobody saw it in time, or it was taken back; what was passed before may have been ended to be renewed.
    renewed = one.passed_before and what.unsubscribed == what.subscribed + 1
    balance = (what.subscribed, what.unsubscribed - renewed)
    stands = one.seated or (one.passed_before and not what.unsubscribed)
    expected: dict[str, tuple[Any, Any]] = {
        "the mirror's row": (row.state in (None, "deleted"), True),
        "its needs": (row.needs in ((), ("undone",)), True),
        "its enrollments": (row.enrollments in ((), *ended), True),
        "subscribed, unsubscribed": (balance in ((0, 0), (int(not one.seated),) * 2), True),
        "a seat in the end": (what.seated, stands),
        "certificates, links": ((what.certificates, what.links), (0, 0)),
    }
    return [f"{sentence}: {row}, {what}" for sentence in _differing(expected)]


def _differing(expected: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [f"{name}: {is_}, not {should}" for name, (is_, should) in expected.items() if is_ != should]


def audit(company: Company, found: Rows) -> list[str]:
    """Everybody's problems."""
    told: list[str] = []
    for one in company.employees:
        told += problems(one, found.of.get(one.subscription, Row()), happened(company, one))
    for duty in company.others.duties:
        told += others.problems(duty, found.of.get(duty.subscription, Row()), company.others.happened(duty))
    return told
