"""Logged deliveries written out, for another muster to read (`schemas/exports.py`)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from schemas.exports import Exported, line
from workers.database import Database
from workers.operations.deliveries import restored, selected
from workers.operations.selection import Selection
from workers.redaction import redacted


@dataclass(slots=True)
class Written:
    """How much was written out, and what was left out."""

    exported: int = 0
    #: The log has their bodies no more.
    bodiless: int = 0
    #: Nothing could be redacted, for their bodies cannot be read.
    unreadable: int = 0


async def exported(database: Database, selection: Selection, *, redact: bool, written: Written) -> AsyncIterator[str]:
    """Lines for what is selected, the oldest first; counts in `written`."""
    async for rows, bodiless in selected(database, selection):
        written.bodiless += bodiless
        for row in rows:
            whole = restored(row)
            delivery = redacted(whole) if redact else whole
            if delivery is None:
                written.unreadable += 1
            else:
                written.exported += 1
                yield line(Exported(redacted=redact, state=row.state, reason=row.reason, delivery=delivery))
