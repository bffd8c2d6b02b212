"""CONFIRMATION: a code for the workers to give back, in either of the shapes that are seen, on whichever event's address."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.accounts import IspringAccount
from schemas.states import Reason, RefreshKind
from tests.workers.made import delivery
from workers.handlers import Applied, Dead, Ignored, Outcome, handle
from workers.mirror.evidence import Touch

EVENT, CODE = "CONFIRMATION", "1759b14e-d387-11ed-88a2-42349c105193"
ACCOUNT = IspringAccount.model_validate(
    {"vendor": "ispring", "account_url": "https://acme.ispringlearn.com", "client_id": "id", "client_secret_file": "secret"}
)
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def said(payloads: Any, address: str | None = None) -> Outcome:
    """The outcome of a CONFIRMATION with these payloads, sent to an event's address."""
    made = delivery({"type": EVENT, "payloads": payloads}, address, vendor="ispring", account="lms", received_at=AT)
    return handle(made, {"lms": ACCOUNT})


@pytest.mark.parametrize("payload", [{"code": CODE}, json.dumps({"code": CODE})], ids=["an object", "a string"])
@pytest.mark.parametrize("address", [None, "CONFIRMATION", "COURSE_COMPLETED_SUCCESSFULLY"])
def test_a_code_is_given_to_the_refresher_wherever_it_came_in(payload: Any, address: str | None) -> None:
    outcome = said([payload], address)

    assert isinstance(outcome, Applied)
    (touch,) = outcome.effects
    assert isinstance(touch, Touch)
    assert (outcome.event, touch.key, touch.at) == (EVENT, ("lms", RefreshKind.CONFIRMATION.value, CODE, ""), AT)
    assert touch.cause.deliveries


@pytest.mark.parametrize(
    ("payloads", "reason"),
    [
        pytest.param(None, Reason.MISSING_FIELD, id="no payloads"),
        pytest.param([], Reason.MISSING_FIELD, id="none of them"),
        pytest.param({"code": CODE}, Reason.MISSING_FIELD, id="no list"),
        pytest.param([{}], Reason.MISSING_FIELD, id="no code"),
        pytest.param([[CODE]], Reason.MISSING_FIELD, id="a list in the list"),
        pytest.param(["[]"], Reason.MISSING_FIELD, id="a string of a list"),
        pytest.param([CODE], Reason.UNPARSABLE, id="a bare code"),
        pytest.param(["{"], Reason.UNPARSABLE, id="half an object"),
        pytest.param([{"code": ""}], Reason.INVALID_FIELD, id="an empty code"),
        pytest.param([{"code": 7}], Reason.INVALID_FIELD, id="a number"),
        pytest.param([{"code": "x" * 256}], Reason.INVALID_FIELD, id="a long one"),
    ],
)
def test_what_holds_no_code_is_dead_with_a_reason(payloads: Any, reason: Reason) -> None:
    outcome = said(payloads)

    assert isinstance(outcome, Dead)
    assert outcome.reason is reason
    assert CODE not in (outcome.detail or "")


def test_without_the_accounts_api_it_is_ignored_and_says_what_is_missing() -> None:
    outcome = handle(delivery({"type": EVENT, "payloads": [{"code": CODE}]}, None, vendor="ispring", account="lms"))

    assert isinstance(outcome, Ignored)
    assert "[accounts.lms]" in (outcome.detail or "")


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_whatever_it_holds_there_is_an_outcome(payloads: Any) -> None:
    assert isinstance(said(payloads), Applied | Dead)
