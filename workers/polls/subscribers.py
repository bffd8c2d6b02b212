"""Whether iSpring's webhook subscribers are still confirmed: no webhook tells that they are not, for then none are sent.

After a day of failures iSpring takes an address for unconfirmed and drops what it had queued for it: `muster ispring connect` confirms
it again, and what was lost is to be fetched by API.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from schemas.logs import Log
from schemas.states import SubscriberState
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.subscribers import WebhookSubscriber, move
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import NotFound
from workers.vendors.ispring import Ispring

log = structlog.get_logger()

_LOGGED = {SubscriberState.UNCONFIRMED: Log.SUBSCRIBER_UNCONFIRMED, SubscriberState.GONE: Log.SUBSCRIBER_GONE}


async def poll(database: Database, _: Mirror, account: OpenAccount, now: Callable[[], datetime]) -> None:
    """Ask about each subscriber that muster made, and note what has changed."""
    assert isinstance(account.client, Ispring)
    for row in await WebhookSubscriber.filter(account=account.name).order_by("id"):
        began = now()
        state = await _found(account.client, row)
        unchanged = WebhookSubscriber.filter(id=row.id, state=row.state, state_at__lt=began)
        if state != row.state and await move(database, unchanged, state, now()) and state in _LOGGED:
            log.error(_LOGGED[state], account=account.name, subscriber=row.name, event_type=row.event, since=str(row.state_at))


async def _found(client: Ispring, row: WebhookSubscriber) -> SubscriberState:
    """The state that iSpring's word makes of the row's; where it was never confirmed, `connect` is under way or was given up."""
    try:
        confirmed = (await client.subscriber(row.name)).confirmed
    except NotFound:
        return SubscriberState.GONE
    if confirmed:
        return SubscriberState.CONFIRMED
    held = SubscriberState(row.state)
    return SubscriberState.UNCONFIRMED if held in (SubscriberState.CONFIRMED, SubscriberState.GONE) else held
