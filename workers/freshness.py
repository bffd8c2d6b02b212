"""When each source was last heard of: a verified delivery is the proof that its webhooks still arrive."""

from collections.abc import Iterable
from datetime import datetime

from tortoise import fields
from tortoise.models import Model

from schemas.delivery import Delivery
from workers.bulk import Upsert
from workers.database import Connection, Dialect
from workers.log import storable, storable_time


class SourceFreshness(Model):
    """The arrival of a source's last verified delivery."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    source = fields.TextField()
    received_at = fields.DatetimeField()

    class Meta:
        table = "source_freshness"
        unique_together = (("account", "source"),)


_HEARD = Upsert(
    "source_freshness",
    {"account": "text", "source": "text", "received_at": "timestamptz"},
    key=("account", "source"),
    update=("received_at",),
    when="new.received_at > old.received_at",
)


async def heard(connection: Connection, dialect: Dialect, deliveries: Iterable[Delivery]) -> None:
    """Note the sources of these deliveries."""
    last: dict[tuple[str, str], datetime] = {}
    for one in deliveries:
        key, at = (storable(one.account), storable(one.source)), storable_time(one.received_at)
        last[key] = max(last.get(key, at), at)
    rows = [{"account": account, "source": source, "received_at": last[account, source]} for account, source in sorted(last)]
    await _HEARD.execute(connection, dialect, rows)
