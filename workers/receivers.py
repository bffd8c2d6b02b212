"""The receivers that were heard of, a row each, as their last heartbeats tell of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tortoise import fields
from tortoise.models import Model

from schemas.heartbeat import Heartbeat
from workers.bulk import Upsert
from workers.database import Database
from workers.log import storable_time
from workers.statements import run

#: A receiver that is silent for so long is gone for good, and so is its row.
REMEMBERED = timedelta(days=7)


class Receiver(Model):
    """A receiver, as of its last heartbeat."""

    name = fields.CharField(max_length=100, primary_key=True)
    #: When it was so: by the receiver's clock, and never later than it was heard.
    at = fields.DatetimeField()
    began_at = fields.DatetimeField()
    #: Seconds from one heartbeat to the next.
    every = fields.FloatField()
    #: Its version of muster.
    program = fields.TextField()
    spooled = fields.BigIntField()
    spooled_since = fields.DatetimeField(null=True)
    spool_full = fields.BooleanField()
    #: Requests that failed verification: kept there, when the last one came, and how many could not be kept since it began.
    rejected = fields.BigIntField()
    rejected_last = fields.DatetimeField(null=True)
    rejected_lost = fields.BigIntField()
    #: It was told to end.
    stopping = fields.BooleanField()
    #: When a worker took the heartbeat from the queue, in which it may have waited long; none: an older worker took it.
    heard_at = fields.DatetimeField(null=True)

    class Meta:
        table = "receivers"


_TIMES = ("at", "began_at", "spooled_since", "rejected_last")
_COLUMNS = {
    "name": "text",
    "at": "timestamptz",
    "began_at": "timestamptz",
    "every": "double precision",
    "program": "text",
    "spooled": "bigint",
    "spooled_since": "timestamptz",
    "spool_full": "boolean",
    "rejected": "bigint",
    "rejected_last": "timestamptz",
    "rejected_lost": "bigint",
    "stopping": "boolean",
    "heard_at": "timestamptz",
}
_NOTE = Upsert("receivers", _COLUMNS, key=("name",), update=tuple(_COLUMNS)[1:], when="new.at > old.at")


async def note(database: Database, heartbeats: Sequence[Heartbeat], now: datetime) -> None:
    """Keep the newest of each receiver, in whatever order and however often they come, and forget who is gone for good.

    Raises DatabaseAway.
    """
    newest = {one.name: one for one in sorted(heartbeats, key=lambda one: (one.name, one.at))}
    rows = [_row(one, now) for one in newest.values()]
    async with database.transaction() as connection:
        await _NOTE.execute(connection, database.dialect, rows)
        await run(connection, database.dialect, "DELETE FROM receivers WHERE at < $1", now - REMEMBERED)


def _row(heartbeat: Heartbeat, now: datetime) -> dict[str, object]:
    told = {name: getattr(heartbeat, name) for name in _COLUMNS if name != "heard_at"}
    times = {name: storable_time(told[name]) for name in _TIMES if told[name] is not None}
    return told | times | {"at": min(times["at"], now), "heard_at": now}
