"""What people did by hand that others may ask about later: who, when, what, and why. Nothing removes or changes a row.

Written in the transaction that does it, so that neither stands without the other.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tortoise import fields
from tortoise.models import Model

from schemas.delivery import now_utc
from workers.bulk import Upsert
from workers.database import Connection, Dialect


class AuditEntry(Model):
    """One deed."""

    id = fields.BigIntField(primary_key=True)
    at = fields.DatetimeField()
    who = fields.TextField()
    #: The command: `dead drop`, `rules apply`, …
    verb = fields.TextField()
    #: What it was done to, as a kind and a name: `delivery 0199…`, `rule fire`.
    subject = fields.TextField()
    #: In that person's words.
    reason = fields.TextField(null=True)
    #: What it was, as far as that may be kept: ids and codes, nobody's name.
    details = fields.JSONField[dict[str, object]](decoder=json.loads)

    class Meta:
        table = "audit"
        indexes = (("at",),)


@dataclass(frozen=True, slots=True)
class Deed:
    """What is to be written; the columns of AuditEntry."""

    who: str
    verb: str
    subject: str
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


_COLUMNS = {"at": "timestamptz", **dict.fromkeys(("who", "verb", "subject", "reason"), "text"), "details": "jsonb"}
_AUDIT = Upsert("audit", _COLUMNS, key=("id",))


async def record(
    connection: Connection,
    dialect: Dialect,
    who: str,
    verb: str,
    subject: str,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write one deed down, in the transaction that does it."""
    await record_each(connection, dialect, [Deed(who, verb, subject, reason, details or {})])


async def record_each(connection: Connection, dialect: Dialect, deeds: Iterable[Deed]) -> None:
    """Write deeds down, all of one moment."""
    now = now_utc()
    rows = [{"at": now} | {name: getattr(deed, name) for name in Deed.__slots__} for deed in deeds]
    await _AUDIT.execute(connection, dialect, rows)
