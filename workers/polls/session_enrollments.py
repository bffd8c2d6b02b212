"""4HSE's ActionSessionSubscriptions: the outcomes that trainers enter, which no webhook tells."""

from collections.abc import Callable, Sequence
from datetime import datetime

from schemas.fourhse import SessionSubscription
from schemas.states import RefreshKind
from workers.database import Connection, Database
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Touch
from workers.mirror.facts import SESSION_ENROLLMENT, Fact
from workers.mirror.tables import SessionEnrollment
from workers.mirror.versions import Key
from workers.polls.walk import Walk
from workers.vendors.accounts import OpenAccount

_ID, _PENDING = "action_session_subscription_id", -1


async def poll(database: Database, mirror: Mirror, account: OpenAccount, now: Callable[[], datetime]) -> None:
    """Keep every enrollment with its outcome; an outcome that is new has its subscription fetched, which it may have certified."""
    # Not at the first time, for all of them: reconcile, which runs then too, fetches every subscription.
    touching = await SessionEnrollment.filter(account=account.name).exists()
    walk = Walk(account, "action-session-subscription", SessionSubscription, now)

    async def write(at: datetime, rows: Sequence[SessionSubscription]) -> None:
        async with database.transaction() as connection:
            touches = await _touches(connection, account.name, at, rows) if touching else {}
            new = await mirror.observe(connection, database.dialect, SESSION_ENROLLMENT, account.name, _facts(account.name, at, rows), at)
            # What is kept out is no news, however often it is shown.
            await mirror.apply(connection, database.dialect, [touches[one.key] for one in new if one.key in touches])

    async for at, rows in walk.pages():
        await write(at, rows)
    if not walk.complete:
        return
    held = SessionEnrollment.filter(account=account.name, superseded_at=None, withdrawn=False, observed_at__lt=walk.began)
    unseen = await held.values_list(_ID, "subtenant_id")
    async for id, at, found in walk.again(unseen):  # noqa: A001
        if found is not None:
            await write(at, [found])
        else:
            async with database.transaction() as connection:
                await mirror.observe(connection, database.dialect, SESSION_ENROLLMENT, account.name, [], at, within={_ID: id})


def _facts(account: str, at: datetime, rows: Sequence[SessionSubscription]) -> list[Fact]:
    content = set(SESSION_ENROLLMENT.content)
    return [Fact(SESSION_ENROLLMENT, account, (row.action_session_subscription_id,), at, row.model_dump(include=content)) for row in rows]


async def _touches(connection: Connection, account: str, at: datetime, rows: Sequence[SessionSubscription]) -> dict[Key, Touch]:
    """The subscriptions of the rows whose outcome is another than the mirror holds, by the keys of their results."""
    ids = [row.action_session_subscription_id for row in rows]
    current = SessionEnrollment.filter(account=account, superseded_at=None, action_session_subscription_id__in=ids).using_db(connection)
    held = dict(await current.values_list(_ID, "done"))
    return {
        (row.action_session_subscription_id,): Touch(account, RefreshKind.ACTION_SUBSCRIPTION, row.action_subscription_id, at)
        for row in rows
        if row.action_subscription_id and _outcome(row.done) != _outcome(held.get(row.action_session_subscription_id))
    }


def _outcome(done: int | None) -> int:
    return _PENDING if done is None else done
