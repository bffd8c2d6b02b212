"""4HSE's preventive actions: their validity, and how long before it ends EXPIRING begins."""

from collections.abc import Callable
from datetime import datetime

from schemas.fourhse import Action
from workers.database import Database
from workers.mirror import tables
from workers.mirror.apply import Mirror
from workers.mirror.calendar import reconsider
from workers.polls.listed import Listed
from workers.vendors.accounts import OpenAccount

_ACTIONS = Listed(
    "action",
    Action,
    tables.Action,
    {
        "action_id": "text",
        "action_type": "text",
        "code": "text",
        "name": "text",
        "validity": "integer",
        "validity_unit": "text",
        "expire_interval": "integer",
        "subtenant_id": "text",
        "tenant_id": "text",
    },
    before=reconsider,
)


async def poll(database: Database, _: Mirror, account: OpenAccount, now: Callable[[], datetime]) -> None:
    """Bring the mirror's actions to what 4HSE shows."""
    await _ACTIONS.poll(database, account, now)
