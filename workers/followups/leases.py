"""How long whoever works on an enrollment has it for themselves, and how long what was asked for may take to land. Pure."""

from datetime import datetime, timedelta

from schemas.states import EnrollmentState
from workers.followups.case import Enrollment

#: How long a claim holds: longer than the enroller works on one, and than what it asked for at the last moment may take.
LEASE = timedelta(minutes=10)
#: How long a request may be under way before it lands. What is not there that long after it was asked for will not come.
SETTLED = timedelta(minutes=5)


def free(seat: Enrollment, now: datetime) -> datetime:
    """From when on a seat may be seen to once something else is wished for it: what is done for the wish before may still land."""
    if seat.wish is None or seat.due_at is None or seat.state is EnrollmentState.PLANNED:
        return now
    # A lease is the longest that somebody works on it; the wait for another try may be longer.
    return min(max(seat.due_at, now), now + LEASE)
