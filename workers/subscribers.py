"""iSpring's webhook subscribers that muster made, one for each type of event, and whether they are confirmed."""

from datetime import datetime

from tortoise import fields
from tortoise.models import Model
from tortoise.queryset import QuerySet

from schemas.states import SubscriberState
from workers.database import Database


class WebhookSubscriber(Model):
    """iSpring's webhook subscribers that muster made, and whether they are confirmed."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    name = fields.TextField()
    #: The type that it is told of: one, for iSpring allows no more.
    event = fields.TextField()
    #: schemas.states.SubscriberState
    state = fields.TextField()
    #: The code that a worker gives back, while it does.
    code = fields.TextField(null=True)
    #: What iSpring last said against it, in its words.
    error = fields.TextField(null=True)
    #: When the code that counts was asked for: a newer one kills those before it.
    asked_at = fields.DatetimeField(null=True)
    state_at = fields.DatetimeField()

    class Meta:
        table = "webhook_subscribers"
        unique_together = (("account", "name"),)


async def note(database: Database, account: str, name: str, event: str, state: SubscriberState, at: datetime) -> None:
    """Write the row that stands before a call to iSpring, whether or not there was one."""
    asked_at = at if state is SubscriberState.CODE_REQUESTED else None
    row = WebhookSubscriber(account=account, name=name, event=event, state=state.value, asked_at=asked_at, state_at=at)
    async with database.transaction() as connection:
        await WebhookSubscriber.bulk_create(
            [row],
            on_conflict=("account", "name"),
            update_fields=("event", "state", "code", "error", "asked_at", "state_at"),
            using_db=connection,
        )


async def move(
    database: Database,
    rows: QuerySet[WebhookSubscriber],
    state: SubscriberState,
    at: datetime,
    *,
    code: str | None = None,
    error: str | None = None,
) -> bool:
    """Bring rows into a state; whether there was still one to bring."""
    async with database.transaction() as connection:
        return bool(await rows.using_db(connection).update(state=state.value, code=code, error=error, state_at=at))
