"""iSpring's on-the-job sessions: no webhook tells of them, and they can be asked for by no date, so all of them are compared."""

from collections.abc import Callable
from datetime import datetime

from schemas import ispring
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.facts import OBSERVATION, Fact
from workers.vendors.accounts import OpenAccount
from workers.vendors.ispring import Ispring


async def poll(database: Database, mirror: Mirror, account: OpenAccount, now: Callable[[], datetime]) -> None:
    """Keep the observations of every checklist; what is not in a checklist's list any more was withdrawn.

    An empty list withdraws nothing: it may be for want of rights.
    """
    assert isinstance(account.client, Ispring)
    at = now()
    async for checklist, sessions in account.client.every_observation():
        facts = [_fact(account.name, at, session) for session in sessions]
        within = ({"checklist_id": checklist} if checklist else {}) if facts else None
        async with database.transaction() as connection:
            await mirror.observe(connection, database.dialect, OBSERVATION, account.name, facts, at, within)
        at = now()


def _fact(account: str, at: datetime, session: ispring.Observation) -> Fact:
    content = {name: getattr(session, name, None) for name in OBSERVATION.content} | {"planned_at": session.scheduled_at}
    return Fact(OBSERVATION, account, (session.session_id,), at, content)
