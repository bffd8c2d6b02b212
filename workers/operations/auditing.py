"""Reading the audit log."""

from collections.abc import Sequence
from datetime import datetime

from tortoise.expressions import Q

from workers.audit import AuditEntry


async def find(
    *, who: str | None = None, verb: str | None = None, subject: str | None = None, since: datetime | None = None, limit: int = 50
) -> Sequence[AuditEntry]:
    """The newest entries that match, newest first: of a command, or all of its verbs; about something by its kind and name, or its name."""
    found = AuditEntry.all()
    if who is not None:
        found = found.filter(who=who)
    if since is not None:
        found = found.filter(at__gte=since)
    if verb is not None:
        found = found.filter(Q(verb=verb) | Q(verb__startswith=f"{verb} "))
    if subject is not None:
        found = found.filter(Q(subject=subject) | Q(subject__endswith=f" {subject}"))
    return await found.order_by("-id").limit(limit)
