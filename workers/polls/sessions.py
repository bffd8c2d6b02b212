"""4HSE's planned sessions."""

from collections.abc import Callable
from datetime import datetime

from schemas.fourhse import ActionSession
from workers.database import Database
from workers.mirror import tables
from workers.mirror.apply import Mirror
from workers.polls.listed import Listed
from workers.vendors.accounts import OpenAccount

_SESSIONS = Listed(
    "action-session",
    ActionSession,
    tables.ActionSession,
    {
        "action_session_id": "text",
        "action_id": "text",
        "name": "text",
        "date_begin": "date",
        "date_end": "date",
        "validity": "integer",
        "validity_unit": "text",
        "subtenant_id": "text",
        "tenant_id": "text",
    },
)


async def poll(database: Database, _: Mirror, account: OpenAccount, now: Callable[[], datetime]) -> None:
    """Bring the mirror's sessions to what 4HSE shows."""
    await _SESSIONS.poll(database, account, now)
