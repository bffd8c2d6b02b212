"""Where mirror and vendor disagree: exactly where a field says something else, and nobody has told of it yet."""

import json
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import DriftKind, RefreshKind, SubscriptionState
from tests.workers.made import NOON
from workers.mirror.drift import COLUMNS, JSON, Disagreement, Held, agrees, disagreement, same, seen_to, touches
from workers.mirror.evidence import Sighting
from workers.mirror.sightings import Unreadable, sighting

EARLIER = NOON - timedelta(hours=1)
FIELDS: dict[str, Any] = dict.fromkeys(SUBSCRIPTION_FIELDS) | {
    "action_subscription_id": "s1",
    "subscriber_id": "p1",
    "last_certificate_id": "c1",
    "status": "VALID",
    "certificate_date_expire": date(2029, 3, 15),
    "owned_active": True,
    "manager": [{"id": 7, "quota": 1.5}],
}


def seen(flags: list[str] | None = None, **changed: Any) -> Sighting:
    """What the vendor shows at noon."""
    return Sighting("hse", "s1", NOON, FIELDS | changed, flags or [])


def row(**changed: Any) -> Held:
    """What the mirror holds, fetched an hour before."""
    return FIELDS | {"state": "live", "flags": [], "hint_last_at": None, "fetched_at": EARLIER} | changed


def test_rows_that_say_the_same_do_not_disagree() -> None:
    assert disagreement(row(), seen()) is None


@pytest.mark.parametrize("name", [name for name in SUBSCRIPTION_FIELDS if name != "action_subscription_id"])
def test_any_field_that_differs_is_named(name: str) -> None:
    assert disagreement(row(**{name: "otherwise"}), seen()) == Disagreement("s1", DriftKind.DIFFERENT, (name,))


def test_a_flag_that_the_mirror_did_not_raise_differs() -> None:
    assert disagreement(row(), seen(flags=["odd"])) == Disagreement("s1", DriftKind.DIFFERENT, ("flags",))


@pytest.mark.parametrize("held", [None, row(state="missing"), row(state="deleted")], ids=["unknown", "missing", "deleted"])
def test_a_row_that_the_mirror_does_not_have_alive_is_missing(held: Held | None) -> None:
    assert disagreement(held, seen()) == Disagreement("s1", DriftKind.MISSING)


@pytest.mark.parametrize("changed", [{"status": "EXPIRED"}, {"state": "deleted"}])
def test_what_was_fetched_since_is_right_and_the_page_is_old(changed: dict[str, Any]) -> None:
    assert disagreement(row(fetched_at=NOON, **changed), seen()) is None


@pytest.mark.parametrize(
    ("held", "waits", "told"),
    [
        pytest.param(row(), (RefreshKind.ACTION_SUBSCRIPTION, "s1"), True, id="its own webhook waits"),
        pytest.param(None, (RefreshKind.ACTION_SUBSCRIPTION, "s1"), True, id="its CREATE waits"),
        pytest.param(row(), (RefreshKind.SUBSCRIBER, "p1"), True, id="its person's webhook waits"),
        pytest.param(row(), (RefreshKind.CERTIFICATE, "c1"), True, id="its certificate's webhook waits"),
        pytest.param(row(last_certificate_id="old"), (RefreshKind.CERTIFICATE, "old"), True, id="its former certificate's waits"),
        pytest.param(row(), (RefreshKind.SUBSCRIBER, "p2"), False, id="somebody else's waits"),
        pytest.param(row(hint_last_at=NOON), None, True, id="a webhook came after the page"),
        pytest.param(row(hint_last_at=NOON - timedelta(seconds=5)), None, True, id="a webhook came too shortly before the page"),
        pytest.param(row(hint_last_at=NOON - timedelta(seconds=6)), None, False, id="the last webhook is older"),
        pytest.param(row(), None, False, id="no webhook ever came"),
    ],
)
def test_what_a_webhook_told_of_is_being_seen_to(held: Held | None, waits: tuple[RefreshKind, str] | None, *, told: bool) -> None:
    assert seen_to(held, seen(), NOON - timedelta(seconds=5), {waits} if waits else set()) is told


def test_the_touches_to_look_for_are_those_of_the_mirror_and_of_the_vendor() -> None:
    assert set(touches(row(subscriber_id="before", last_certificate_id=None), seen())) == {
        (RefreshKind.ACTION_SUBSCRIPTION, "s1"),
        (RefreshKind.SUBSCRIBER, "before"),
        (RefreshKind.SUBSCRIBER, "p1"),
        (RefreshKind.CERTIFICATE, "c1"),
    }


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (True, 1, False),
        (False, 0, False),
        ({"a": True}, {"a": 1}, False),
        (1, 1.0, True),
        (1e300, 10**300, True),
        (2**70, 2**70 + 1, False),
        ("1", 1, False),
        (None, 0, False),
        ([1], {"0": 1}, False),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ({"a": None}, {}, False),
    ],
)
def test_values_are_the_same_as_json_is(one: Any, other: Any, *, alike: bool) -> None:
    assert same(one, other) is same(other, one) is alike


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
_values = {name: st.none() | st.sampled_from(["a", "b"]) for name in SUBSCRIPTION_FIELDS} | {
    "action_subscription_id": st.just("s1"),
    "manager": _json,
    "data": _json,
}


@given(one=st.fixed_dictionaries(_values), other=st.fixed_dictionaries(_values))
def test_the_fields_named_are_those_that_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    found = disagreement(row(**one), Sighting("hse", "s1", NOON, other))
    differing = tuple(name for name in SUBSCRIPTION_FIELDS if not same(one[name], other[name]))

    assert found == (Disagreement("s1", DriftKind.DIFFERENT, differing) if differing else None)


_raw = {name: st.none() | st.sampled_from(["a", "", 1, True, "2026-01-01", "2026-01-01T00:00:00Z"]) for name in SUBSCRIPTION_FIELDS} | {
    "action_subscription_id": st.just("s1"),
    "action_type": st.sampled_from(["TRAINING", None]),
    "subscriber_type": st.sampled_from(["PERSON", "PPE", None]),
    "owned_active": st.sampled_from([True, False, None, 1, "1"]),
    "parent_active": st.sampled_from([True, False, None]),
    "manager": _json,
    "data": _json,
}


@given(first=st.fixed_dictionaries(_raw), second=st.fixed_dictionaries(_raw), named=st.sets(st.sampled_from(SUBSCRIPTION_FIELDS)))
def test_a_row_that_agrees_word_for_word_is_one_that_does_not_disagree(
    first: dict[str, Any], second: dict[str, Any], named: set[str]
) -> None:
    try:
        before = sighting("hse", first, NOON)
        shown = first | {name: second[name] for name in named}
        found = disagreement(row(**before.fields, flags=before.flags), sighting("hse", shown, NOON))
    except Unreadable:
        return
    held = row(**before.fields, flags=before.flags)
    as_text = {name: value.isoformat() if isinstance(value, date) else value for name, value in held.items()}
    as_text |= {name: None if held[name] is None else json.dumps(held[name]) for name in (*JSON, "flags")}
    stored = tuple(as_text[name] for name in COLUMNS)

    assert not (agrees(stored, shown) and found)
    wire = dict(before.fields) | {name: as_text[name] for name in SUBSCRIPTION_FIELDS if name not in JSON}
    assert agrees(stored, wire) is (before.flags == [])


@given(fields=st.fixed_dictionaries(_values), state=st.sampled_from(SubscriptionState))
def test_nothing_disagrees_with_itself(fields: dict[str, Any], state: SubscriptionState) -> None:
    found = disagreement(row(**fields, state=state.value), Sighting("hse", "s1", NOON, fields))

    assert (found is None) is (state == SubscriptionState.LIVE)
