"""The ledger tells what is missing, altered or mirrored wrongly: every scenario rests on that."""

import dataclasses
import hashlib
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.faults.ledger import Books, Ledger, Logged, Mirrored
from tests.faults.load import CREATE, DELETE

_AT = datetime(2026, 11, 21, tzinfo=UTC)


def _logged(number: int, event: str, sent: Ledger) -> Logged:
    """The row that delivery `number` ought to leave; all are about one subscription, and later ones arrived later."""
    body = json.dumps({"action_subscription_id": "s", "action_code": f"m{number}"}).encode()
    sent.acknowledges(UUID(int=number), sent.sends(f"m{number}", event, body))
    fingerprint = hashlib.sha256(event.encode() + b"\0" + body).digest()
    return Logged(UUID(int=number), event, "applied", _AT + timedelta(seconds=number), body, fingerprint)


def _mirrored(log: Logged, state: str) -> Mirrored:
    return Mirrored(state, log.received_at, log.fingerprint, json.loads(log.body)["action_code"])


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def log(ledger: Ledger) -> tuple[Logged, ...]:
    return tuple(_logged(number, event, ledger) for number, event in enumerate((CREATE, DELETE, CREATE), 1))


@pytest.fixture
def books(log: tuple[Logged, ...]) -> Books:
    """Books that balance: the DELETE holds, although a CREATE came after it."""
    return Books(log, {"s": _mirrored(log[1], "deleted")})


def test_books_that_balance_have_no_problems(ledger: Ledger, books: Books) -> None:
    audit = ledger.audit(books)

    assert (audit.problems, audit.acknowledged, audit.applied) == ([], 3, 3)


def test_an_acknowledged_delivery_that_is_not_in_the_log_is_lost(ledger: Ledger, books: Books) -> None:
    audit = ledger.audit(Books(books.log[:2], books.mirror))

    assert audit.lost == (UUID(int=3),)
    assert audit.problems


@pytest.mark.parametrize("state", ["received", "dead", "ignored"])
def test_an_acknowledged_delivery_that_is_not_applied_is_lost(ledger: Ledger, books: Books, state: str) -> None:
    audit = ledger.audit(Books((*books.log[:2], dataclasses.replace(books.log[2], state=state)), books.mirror))

    assert (audit.lost, audit.unfinished) == ((UUID(int=3),), {state: 1})


@pytest.mark.parametrize(
    "change", [{"body": b'{"action_subscription_id":"s","action_code":"m2"}'}, {"event": CREATE}, {"fingerprint": b"?"}]
)
def test_a_delivery_that_is_logged_with_other_content_is_told(ledger: Ledger, books: Books, change: dict[str, object]) -> None:
    altered = dataclasses.replace(books.log[1], **change)  # type: ignore[arg-type]

    assert ledger.audit(Books((books.log[0], altered, books.log[2]), books.mirror)).problems


def test_a_delivery_that_nobody_sent_is_a_stranger(ledger: Ledger, books: Books) -> None:
    stranger = _logged(4, CREATE, Ledger())

    assert ledger.audit(Books((*books.log, stranger), books.mirror)).strangers == (UUID(int=4),)


def test_an_id_that_was_given_out_twice_is_a_loss(ledger: Ledger, books: Books) -> None:
    ledger.acknowledges(UUID(int=1), ledger.sends("m5", CREATE, b"{}"))

    assert UUID(int=1) in ledger.audit(books).lost


@pytest.mark.parametrize("row", [0, 2], ids=["an older hint", "a CREATE after the DELETE"])
def test_a_mirror_that_follows_a_weaker_hint_differs(ledger: Ledger, books: Books, row: int) -> None:
    assert ledger.audit(Books(books.log, {"s": _mirrored(books.log[row], "live")})).differing == ("s",)


def test_a_mirror_without_its_row_differs(ledger: Ledger, books: Books) -> None:
    assert ledger.audit(Books(books.log, {})).differing == ("s",)
