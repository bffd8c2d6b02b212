"""What the vendors are asked again and again because no webhook tells it, one module a noun. Each result is kept once."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from workers.database import Database
from workers.mirror import reconcile
from workers.mirror.apply import Mirror
from workers.polls import actions, attendance, course_results, observations, session_enrollments, sessions, subscribers
from workers.vendors.accounts import OpenAccount

#: Asks an account's vendor with no transaction open, and writes in short ones; raises the errors of `workers.vendors.errors`.
Poll = Callable[[Database, Mirror, OpenAccount, Callable[[], datetime]], Awaitable[None]]

#: (vendor, name in its account's `polls`) to what is done then: adding a poll is adding a row.
POLLS: Mapping[tuple[str, str], Poll] = {
    ("4hse", "actions"): actions.poll,
    ("4hse", "reconcile"): reconcile.scheduled,
    ("4hse", "session_enrollments"): session_enrollments.poll,
    ("4hse", "sessions"): sessions.poll,
    ("anewspring", "course_results"): course_results.poll,
    ("ispring", "observations"): observations.poll,
    ("ispring", "subscribers"): subscribers.poll,
    ("kare", "attendance"): attendance.poll,
}
