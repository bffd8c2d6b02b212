"""How long a vendor's account is left alone."""

import pytest

from workers.vendors.errors import Conflict, NotFound, Refused, Throttled, Unavailable, UnknownOutcome, VendorError
from workers.vendors.pauses import IDLE, LONGEST_PAUSE, pause_wanted


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (Throttled(None), 30.0),
        (Throttled(7.0), 7.0),
        (Throttled(0.0), IDLE),
        (Throttled(1e9), LONGEST_PAUSE),
        (Unavailable("down", 7.0), 7.0),
        (Unavailable("down", 1e9), LONGEST_PAUSE),
        (Unavailable("down"), None),
        (Refused(401, ()), 30.0),
        (Refused(403, ()), None),
        (NotFound("it"), None),
        (Conflict("it"), None),
        (UnknownOutcome("?"), None),
    ],
)
def test_an_account_is_left_alone_as_long_as_it_wants_within_bounds(error: VendorError, pause: float | None) -> None:
    assert pause_wanted(error) == pause
