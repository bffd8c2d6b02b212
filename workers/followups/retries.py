"""When to come back to what failed at a vendor: by the error, longer each time, and at last no more."""

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from workers.vendors.errors import Refused, Throttled, Unavailable, UnknownOutcome, VendorError
from workers.vendors.pauses import pause_wanted

#: How many seconds to wait after so many tries that failed by this error; after the last one, and by any other, it is given up.
Waits = Mapping[type[Exception], tuple[int, ...]]

_SECONDS, _LATER = (5, 15, 60, 300, 900), (3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600)
RETRIES: Waits = {
    # Time to land, before one looks.
    UnknownOutcome: (60, 300, 900, *_LATER),
    Unavailable: (*_SECONDS, *_LATER),
    Throttled: (*_SECONDS, *_LATER),
    # A right that is missing, an address that moved: somebody will put it right.
    Refused: (300, 900, *_LATER),
}
#: The refusals that say nothing about what was asked for.
_ABOUT_US = frozenset({401, 403, 408, 425, *range(300, 400)})


class Retry(NamedTuple):
    """When to come back, if ever, and how many seconds to leave the whole account alone: then the row is not to blame."""

    wait: timedelta | None
    pause: float = 0.0


def retry(error: VendorError, attempts: int, waits: Waits) -> Retry:
    """What follows from an error after so many failed tries: later again, alone or with the whole account, or never."""
    if (pause := pause_wanted(error)) is not None:
        return Retry(timedelta(seconds=pause), pause)
    steps = () if isinstance(error, Refused) and error.status not in _ABOUT_US else waits.get(type(error), ())
    if attempts >= len(steps):
        return Retry(None)
    return Retry(timedelta(seconds=steps[attempts]) * random.uniform(1.0, 1.2))  # noqa: S311 - spreads callers, hides nothing
