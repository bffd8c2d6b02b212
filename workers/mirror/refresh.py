"""What 4HSE says of what was touched, into the mirror: subscriptions one by one, a subscriber's together, a certificate's.

A view that finds nothing is asked again by index, history included: what is historicized is not deleted. What is absent there too
is judged by `evidence.verdict`. Where many of one office are touched, `workers/mirror/offices.py` walks the office instead.
"""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import datetime

from schemas.accounts import zone_of
from schemas.states import RefreshKind, SubscriptionState
from workers.causes import current
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.asking import Asking, Row, client, listed
from workers.mirror.evidence import Absence, Sighting, Touch, verdict
from workers.mirror.offices import left_to_view
from workers.mirror.sightings import Unreadable, sighting
from workers.mirror.tables import ActionSubscription
from workers.refreshes import Claim
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import NotFound, Refused

__all__ = ["Unreadable", "ask_again", "certificates", "sighting", "subscribers", "subscriptions"]


async def subscriptions(
    database: Database, mirror: Mirror, account: OpenAccount, claims: Sequence[Claim], now: Callable[[], datetime]
) -> None:
    """View each, but those whose office is walked instead."""
    asking = Asking(database, mirror, account, now)
    await asking.each(await left_to_view(asking, claims), lambda claim: _subscription(asking, claim))


async def subscribers(
    database: Database, mirror: Mirror, account: OpenAccount, claims: Sequence[Claim], now: Callable[[], datetime]
) -> None:
    """Ask for all subscriptions of each subscriber, of one action where the claim names it."""
    asking = Asking(database, mirror, account, now)
    await asking.each(claims, lambda claim: _subscriber(asking, claim))


async def certificates(
    database: Database, mirror: Mirror, account: OpenAccount, claims: Sequence[Claim], now: Callable[[], datetime]
) -> None:
    """Ask whose certificate each is, which touches that subscriber; one that is gone touches the subscriptions that it was the last of."""
    asking = Asking(database, mirror, account, now)
    await asking.each(claims, lambda claim: _certificate(asking, claim))


async def ask_again(account: OpenAccount, row: ActionSubscription, now: Callable[[], datetime]) -> Sighting | Absence:
    """What became of a subscription: by view, then by index with history, then by whether its office is seen at all.

    Raises VendorError, Unreadable.
    """
    began, subject = now(), row.action_subscription_id
    shown = await _viewed(account, subject) or await _listed(account, subject, now)
    if shown is None:
        told = row.hint_deleted is True and not _disproved(row)
        visible = not told and await _office_visible(account, row.subtenant_id, now)
        # Rights that came back between these questions show the office, and by now the subscription too.
        shown = await _viewed(account, subject) if visible else None
        if shown is None:
            return Absence(account.name, subject, began, verdict(deletion_told=told, office_visible=visible))
    found = sighting(account.name, shown, began, zone_of(account.settings))
    if found.subject != subject:
        raise Unreadable("it is about another subscription than was asked for")
    return found


async def _viewed(account: OpenAccount, subject: str) -> Row | None:
    try:
        return await client(account).resources["action-subscription"].view(subject)
    except NotFound:
        return None
    except Refused as error:
        if error.status != 403:
            raise
        return None


async def _listed(account: OpenAccount, subject: str, now: Callable[[], datetime]) -> Row | None:
    page, _ = await listed(account, {"action_subscription_id": subject}, now)
    return page.rows[0] if page.rows else None


async def _office_visible(account: OpenAccount, office: str | None, now: Callable[[], datetime]) -> bool:
    if office is None:
        return False
    page, _ = await listed(account, {"subtenant_id": office}, now, per_page=1)
    return bool(page.rows)


def _disproved(row: ActionSubscription) -> bool:
    """Whether a fetch after its DELETE webhook has seen it."""
    covers, told = row.fetch_covers, row.hint_received_at
    return row.state == SubscriptionState.LIVE and covers is not None and told is not None and covers > told


async def _subscription(asking: Asking, claim: Claim) -> None:
    unknown = ActionSubscription(account=claim.account, action_subscription_id=claim.subject)
    row = await ActionSubscription.get_or_none(account=claim.account, action_subscription_id=claim.subject)
    await asking.decide(await ask_again(asking.account, row or unknown, asking.now), claim)


async def _subscriber(asking: Asking, claim: Claim) -> None:
    wanted = {"subscriber_id": claim.subject} | ({"action_id": claim.scope} if claim.scope else {})
    first = asking.now()
    shown: set[object] = set()
    async with aclosing(asking.pages(wanted)) as pages:
        async for turned in pages:
            shown.update(row.get("action_subscription_id") for row in turned.page.rows)
            await asking.keep(turned.page.rows, turned.began)
    known = ActionSubscription.filter(account=claim.account, state=SubscriptionState.LIVE, **wanted)
    lost = [subject for subject in await known.values_list("action_subscription_id", flat=True) if subject not in shown]
    await asking.pass_on([asking.touch(str(subject), first) for subject in lost], claim, first)


async def _certificate(asking: Asking, claim: Claim) -> None:
    began = asking.now()
    try:
        certificate = await client(asking.account).resources["certificate"].view(claim.subject)
    except NotFound:
        rows = ActionSubscription.filter(account=claim.account, last_certificate_id=claim.subject)
        touched = await rows.values_list("action_subscription_id", flat=True)
        await asking.pass_on([asking.touch(str(subject), claim.marked_at) for subject in touched], claim, began)
        return
    holder = certificate.get("resource_id")
    if not isinstance(holder, str) or not holder:
        raise Unreadable("resource_id")
    touch = Touch(claim.account, RefreshKind.SUBSCRIBER, holder, claim.marked_at, claim.scope, current())
    await asking.pass_on([touch], claim, began)
