"""Who was at Kare's exercises. Kare has no webhooks."""

from collections.abc import Callable
from datetime import datetime

from workers.database import Database
from workers.mirror import tables
from workers.mirror.apply import Mirror
from workers.mirror.facts import ATTENDANCE, Fact
from workers.vendors.accounts import OpenAccount
from workers.vendors.kare import Kare


async def poll(database: Database, mirror: Mirror, account: OpenAccount, now: Callable[[], datetime]) -> None:
    """Keep every attendance; what two readings of the list miss, which is no snapshot, was withdrawn.

    An empty list withdraws nothing: it may be for want of rights.
    """
    began = now()
    for _attempt in range(2):
        if not await _read(database, mirror, account, now) or not await _unseen(account.name, began):
            return
    async with database.transaction() as connection:
        await mirror.observe(connection, database.dialect, ATTENDANCE, account.name, [], began, within={})


async def _read(database: Database, mirror: Mirror, account: OpenAccount, now: Callable[[], datetime]) -> int:
    """Keep what the list holds now; how much it was."""
    assert isinstance(account.client, Kare)
    at, count = now(), 0
    async for page in account.client.attendance():
        # Of two rows for one user at one exercise, the one that was changed last.
        rows = {(row.intervention_id, row.user_id): row for row in sorted(page, key=lambda row: str(row.updated_at or row.created_at))}
        facts = [Fact(ATTENDANCE, account.name, key, at, {"status": row.status, "ended_at": row.ended_at}) for key, row in rows.items()]
        async with database.transaction() as connection:
            await mirror.observe(connection, database.dialect, ATTENDANCE, account.name, facts, at)
        at, count = now(), count + len(page)
    return count


async def _unseen(account: str, began: datetime) -> bool:
    return await tables.Attendance.filter(account=account, superseded_at=None, withdrawn=False, observed_at__lt=began).exists()
