"""iSpring's webhooks: an address is registered under a name, confirmed by a code that iSpring delivers to it, and subscribed to one
type of event.

What stands already is left as it is, so that doing it again is harmless, and is what to do after an unknown outcome. The secret and the
address go to iSpring and are kept nowhere.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

from schemas.ispring import Subscriber, SubscriptionType
from schemas.states import SubscriberState
from workers.database import Database
from workers.subscribers import WebhookSubscriber, note
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import Conflict, NotFound, Refused, UnknownOutcome
from workers.vendors.ispring import Ispring

_GLANCE = 0.3
_UNCONFIRMED = """\
no worker has confirmed {name} within {seconds:g} s.{refused}
- Does a worker run on this database, with [accounts.{account}] in its settings?
- Has the code arrived: `muster deliveries list --event CONFIRMATION`? If not, iSpring does not reach the address, or the source does \
not let an unsigned CONFIRMATION in: it needs a token with events = ["CONFIRMATION"] in `verify`, and the address carries the token.
- Have address or secret changed since {name} was registered? Then first `muster vendor {account} remove {name}`.
Then run this again: it goes on where it stands."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subscriber as it is to be: told of one type of event, at an address, with proof under a secret."""

    name: str
    event: SubscriptionType
    url: str = field(repr=False)
    secret: str = field(repr=False)


class Step(Enum):
    """What `connect` does, in this order; the first two exclude each other."""

    FOUND = auto()
    REGISTERING = auto()
    ASKING_FOR_A_CODE = auto()
    WAITING = auto()
    CONFIRMED = auto()
    SUBSCRIBING = auto()
    SUBSCRIBED = auto()


class NotConnected(Exception):
    """The subscriber is not what it is to be; the message says what to do."""


async def subscribers(account: str) -> Sequence[WebhookSubscriber]:
    """The subscribers that muster made in an account."""
    return await WebhookSubscriber.filter(account=account).order_by("name")


async def connect(
    database: Database, account: OpenAccount, wanted: Wanted, patience: timedelta, now: Callable[[], datetime]
) -> AsyncIterator[Step]:
    """Register, have a worker confirm, and subscribe, telling each step as it begins.

    Raises NotConnected, and the errors of `workers.vendors.errors`.
    """
    ispring = account.client
    assert isinstance(ispring, Ispring)
    found = await _found(ispring, wanted.name)
    if found is not None:
        yield Step.FOUND
        await _check_type(ispring, wanted)
    else:
        yield Step.REGISTERING
        await note(database, account.name, wanted.name, wanted.event, SubscriberState.REGISTERED, now())
        await _register(ispring, wanted)
    if found is None or not found.confirmed:
        yield Step.ASKING_FOR_A_CODE
        await note(database, account.name, wanted.name, wanted.event, SubscriberState.CODE_REQUESTED, now())
        await _send_code(ispring, wanted.name)
        yield Step.WAITING
        await _confirmed(account.name, wanted.name, patience)
    elif not await WebhookSubscriber.exists(account=account.name, name=wanted.name, state=SubscriberState.CONFIRMED.value):
        await note(database, account.name, wanted.name, wanted.event, SubscriberState.CONFIRMED, now())
    yield Step.CONFIRMED
    if wanted.event not in await _types(ispring, wanted.name):
        yield Step.SUBSCRIBING
        await _subscribe(ispring, wanted)
    yield Step.SUBSCRIBED


async def _found(ispring: Ispring, name: str) -> Subscriber | None:
    try:
        return await ispring.subscriber(name)
    except NotFound:
        return None


async def _types(ispring: Ispring, name: str) -> set[str]:
    return {one.type for one in await ispring.subscriptions(name)}


async def _check_type(ispring: Ispring, wanted: Wanted) -> None:
    others = await _types(ispring, wanted.name) - {wanted.event}
    if others:
        raise NotConnected(f"iSpring has a subscriber {wanted.name} for {', '.join(sorted(others))}: take other names with --name")


async def _register(ispring: Ispring, wanted: Wanted) -> None:
    """Register, or see that it has been: by a request whose answer was lost, or by somebody at the same time."""
    try:
        await ispring.register(wanted.name, wanted.url, wanted.secret)
    except (UnknownOutcome, Conflict, Refused):
        if await _found(ispring, wanted.name) is None:
            raise


async def _send_code(ispring: Ispring, name: str) -> None:
    try:
        await ispring.send_code(name)
    except UnknownOutcome:
        # Nothing tells whether it is on its way, and a second one would kill it: whoever waits will see.
        return


async def _confirmed(account: str, name: str, patience: timedelta) -> None:
    """Wait until a worker has given back the code."""
    deadline = time.monotonic() + patience.total_seconds()
    while not await WebhookSubscriber.exists(account=account, name=name, state=SubscriberState.CONFIRMED.value):
        if time.monotonic() > deadline:
            row = await WebhookSubscriber.get_or_none(account=account, name=name)
            refused = f" iSpring's last word: {row.error}." if row and row.error else ""
            raise NotConnected(_UNCONFIRMED.format(name=name, account=account, seconds=patience.total_seconds(), refused=refused))
        await asyncio.sleep(_GLANCE)


async def _subscribe(ispring: Ispring, wanted: Wanted) -> None:
    """Subscribe, and see that it is so: the answer may be lost, or be that it is so already."""
    try:
        await ispring.subscribe(wanted.name, wanted.event)
    except (UnknownOutcome, Conflict, Refused):
        if wanted.event not in await _types(ispring, wanted.name):
            raise
    if wanted.event not in await _types(ispring, wanted.name):
        raise NotConnected(f"iSpring took the subscription of {wanted.name} and does not list it: run this again")
