"""When to come back to what failed at a vendor."""

import pytest

from workers.followups.retries import RETRIES, Retry, retry
from workers.vendors.errors import Conflict, NotFound, Refused, Throttled, Unavailable, UnknownOutcome, VendorError


@pytest.mark.parametrize(
    ("error", "attempts", "seconds"),
    [
        (UnknownOutcome("?"), 0, 60),
        (Unavailable("down"), 0, 5),
        (Unavailable("down"), 5, 3600),
        (Refused(403, ()), 0, 300),
        (Refused(302, ()), 1, 900),
    ],
)
def test_an_error_waits_by_the_table_spread_by_a_fifth(error: VendorError, attempts: int, seconds: float) -> None:
    wait, pause = retry(error, attempts, RETRIES)

    assert wait is not None
    assert seconds <= wait.total_seconds() <= seconds * 1.2
    assert pause == 0


@pytest.mark.parametrize(
    ("error", "pause"), [(Throttled(7.0), 7), (Throttled(1e9), 3600), (Unavailable("down", 20.0), 20), (Refused(401, ()), 30)]
)
def test_what_is_about_the_account_waits_as_long_as_it_wants_however_often_it_failed(error: VendorError, pause: float) -> None:
    for attempts in (0, 100):
        wait, paused = retry(error, attempts, RETRIES)

        assert (wait and wait.total_seconds(), paused) == (pause, pause)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(Refused(422, ()), 0), (NotFound("it"), 0), (Conflict("it"), 0), (Unavailable("down"), 11), (UnknownOutcome("?"), 9)],
)
def test_what_no_wait_will_help_with_is_given_up(error: VendorError, attempts: int) -> None:
    assert retry(error, attempts, RETRIES) == Retry(None)
