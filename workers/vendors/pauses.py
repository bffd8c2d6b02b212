"""How long to leave a vendor's account alone."""

from workers.vendors.errors import Refused, Throttled, Unavailable, VendorError

#: Seconds between two looks where nothing is due: no pause is shorter.
IDLE = 0.5
#: The longest that an account is left alone, whatever it asks for.
LONGEST_PAUSE = 3600.0
#: Seconds to leave an account alone that asks for it and does not say how long.
_PAUSE = 30.0


def pause_wanted(error: VendorError) -> float | None:
    """How many seconds to leave the whole account alone after this; None where it is about nothing but what was asked for."""
    wanted = _wanted(error)
    return None if wanted is None else min(max(wanted, IDLE), LONGEST_PAUSE)


def _wanted(error: VendorError) -> float | None:
    if isinstance(error, Throttled):
        return error.retry_after if error.retry_after is not None else _PAUSE
    if isinstance(error, Unavailable):
        return error.retry_after
    return _PAUSE if isinstance(error, Refused) and error.status == 401 else None
