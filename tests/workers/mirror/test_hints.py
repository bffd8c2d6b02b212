"""Which of two hints holds: the strongest, whatever their order."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.workers.made import NOON
from workers.mirror.hints import Hint, fold

_hints = st.builds(
    Hint,
    account=st.sampled_from(["a", "b"]),
    subject=st.sampled_from(["1", "2", "10"]),
    deleted=st.booleans(),
    received_at=st.integers(-2, 2).map(lambda seconds: NOON + timedelta(seconds=seconds)),
    fingerprint=st.sampled_from([b"\x00", b"\x7f", b"\x80", b"\xff"]),
    fields=st.fixed_dictionaries({}),
)


@given(hints=st.lists(_hints, max_size=12), again=st.randoms())
def test_the_order_of_hints_makes_no_difference(hints: list[Hint], again: object) -> None:
    assert fold(hints) == fold(sorted(hints, key=id)) == fold([*reversed(hints), *hints])


@given(hints=st.lists(_hints, max_size=12))
def test_one_hint_is_left_for_each_key_in_the_order_of_keys(hints: list[Hint]) -> None:
    keys = [hint.key for hint in fold(hints)]

    assert keys == sorted({hint.key for hint in hints})


@given(hints=st.lists(_hints, min_size=1, max_size=12))
def test_a_delete_beats_every_create_and_within_a_kind_the_later_wins(hints: list[Hint]) -> None:
    for held in fold(hints):
        rivals = [hint for hint in hints if hint.key == held.key]
        kind = [hint for hint in rivals if hint.deleted] or rivals
        latest = max(hint.received_at for hint in kind)

        assert held.deleted == any(hint.deleted for hint in rivals)
        assert held.received_at == latest
        assert held.fingerprint == max(hint.fingerprint for hint in kind if hint.received_at == latest)


@given(hints=st.lists(_hints, max_size=6), more=st.lists(_hints, max_size=6))
def test_folding_in_parts_is_folding_at_once(hints: list[Hint], more: list[Hint]) -> None:
    assert fold([*fold(hints), *fold(more)]) == fold([*hints, *more])
