"""The circuit breaker opens after a run of failures, lets one request probe, and closes when that is answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.vendors.breaker import Breaker, State


def opened(threshold: int = 2, pause: float = 10, longest: float = 30) -> Breaker:
    """A breaker that has just opened, at 0."""
    breaker = Breaker(threshold, pause, longest)
    for _ in range(threshold):
        fail(breaker, 0)
    return breaker


def fail(breaker: Breaker, now: float) -> None:
    """A request that is admitted and fails."""
    era = breaker.admit(now)
    assert era is not None
    breaker.failed(era, now)


def end(breaker: Breaker, how: str, era: int, now: float) -> None:
    """A request that was under way ends."""
    match how:
        case "succeed":
            breaker.succeeded(era)
        case "fail":
            breaker.failed(era, now)
        case _:
            breaker.abandoned(era)


def test_it_stays_closed_below_its_threshold() -> None:
    breaker = Breaker(3, 10, 30)
    fail(breaker, 0)
    fail(breaker, 0)

    assert breaker.state(0) is State.CLOSED


def test_a_success_begins_the_count_anew() -> None:
    breaker = Breaker(2, 10, 30)
    fail(breaker, 0)
    breaker.succeeded(breaker.admit(0) or 0)
    fail(breaker, 0)

    assert breaker.state(0) is State.CLOSED


def test_open_it_admits_nothing_and_says_for_how_long() -> None:
    breaker = opened()

    assert (breaker.state(9.9), breaker.admit(9.9), breaker.remaining(4)) == (State.OPEN, None, 6)


def test_half_open_it_admits_one_probe_and_no_other() -> None:
    breaker = opened()

    assert breaker.state(10) is State.HALF_OPEN
    assert [breaker.admit(10) is not None for _ in range(3)] == [True, False, False]


def test_an_answered_probe_closes_it() -> None:
    breaker = opened()
    breaker.succeeded(breaker.admit(10) or 0)

    assert breaker.state(10) is State.CLOSED
    assert [breaker.admit(10) is not None for _ in range(3)] == [True, True, True]


def test_every_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    breaker, now, pauses = opened(pause=10, longest=30), 0.0, []
    for _ in range(4):
        pauses.append(breaker.remaining(now))
        now += breaker.remaining(now)
        fail(breaker, now)

    assert pauses == [10, 20, 30, 30]


def test_after_closing_the_first_pause_is_the_short_one_again() -> None:
    breaker = opened()
    fail(breaker, 10)
    breaker.succeeded(breaker.admit(30) or 0)
    fail(breaker, 31)
    fail(breaker, 31)

    assert breaker.remaining(31) == 10


def test_an_abandoned_probe_lets_the_next_one_probe() -> None:
    breaker = opened()
    breaker.abandoned(breaker.admit(10) or 0)

    assert breaker.state(10) is State.HALF_OPEN
    assert breaker.admit(10) is not None


@pytest.mark.parametrize("late", [0.0, 5.0, 10.0, 11.0], ids=lambda at: f"at {at:g} s")
def test_failures_of_requests_from_before_it_opened_make_nothing_worse(late: float) -> None:
    breaker = Breaker(2, 10, 30)
    eras = [breaker.admit(0) for _ in range(6)]
    for era in eras[:2]:
        breaker.failed(era or 0, 0)
    probe = breaker.admit(late)
    for era in eras[2:]:
        breaker.failed(era or 0, late)

    assert breaker.remaining(0) == 10
    assert breaker.state(late) is State.OPEN
    breaker.succeeded(probe or 0)
    assert breaker.state(late) is (State.CLOSED if late >= 10 else State.OPEN)


def test_an_answer_to_a_request_from_before_it_opened_does_not_close_it() -> None:
    breaker = Breaker(1, 10, 30)
    slow, failing = breaker.admit(0), breaker.admit(0)
    breaker.failed(failing or 0, 0)
    breaker.succeeded(slow or 0)

    assert breaker.state(1) is State.OPEN


@given(st.lists(st.tuples(st.sampled_from(["admit", "succeed", "fail", "abandon"]), st.floats(0, 15)), max_size=60), st.integers(1, 4))
def test_whatever_happens_it_never_has_two_probes_under_way_and_always_opens_a_way_again(
    events: list[tuple[str, float]], threshold: int
) -> None:
    breaker, now, under_way = Breaker(threshold, 10, 30), 0.0, list[tuple[int, bool]]()
    for event, seconds in events:
        now += seconds
        if event == "admit":
            probing = breaker.state(now) is State.HALF_OPEN
            era = breaker.admit(now)
            under_way += [] if era is None else [(era, probing)]
        elif under_way:
            era, _ = under_way.pop(0)
            end(breaker, event, era, now)
        assert sum(probing for _, probing in under_way) <= 1

    for era, _ in under_way:
        breaker.failed(era, now)
    assert breaker.admit(now + 30) is not None
