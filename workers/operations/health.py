"""How things stand: the one source of every status figure, for the CLI and for the workers' readiness."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import aio_pika
from aiormq.exceptions import ChannelNotFoundEntity
from tortoise.functions import Count

from schemas import topology
from schemas.accounts import Account
from schemas.states import DeliveryState, DriftKind, RunState, SubscriptionState
from workers.consumer import Consumer
from workers.database import Database, DatabaseAway
from workers.envelopes import UNREADABLE
from workers.followups.tables import Enrollment, Need, Recording
from workers.hearing import closed
from workers.lane import Lane
from workers.log import HeldEnvelope, LoggedDelivery
from workers.mirror.tables import ActionSubscription, Drift, ReconcileRun
from workers.operations.followups import late
from workers.operations.freshness import Freshness, freshness
from workers.refreshes import Refresh

DAY = timedelta(days=1)
#: The kinds of drift that a run of reconcile counts.
COUNTED = ("missing", "extra", "different")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Deliveries whose attempt is under way, or was cut short; `oldest`: when the first of those attempts began."""

    count: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is touched and not fetched yet; `oldest`: since when the longest of it."""

    waiting: int
    failing: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The last run of reconcile of an account, and the drift that it found."""

    account: str
    state: str
    dry_run: bool
    began_at: datetime
    ended_at: datetime | None
    missing: int
    extra: int
    different: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """Figures of one moment."""

    as_of: datetime
    deliveries: dict[str, int]
    subscriptions: dict[str, int]
    #: Needs and enrollments by state; a state that nothing is in is left out.
    followups: dict[str, int]
    enrollments: dict[str, int]
    #: Needs whose time has passed, whatever keeps them, and those at which a person should look.
    overdue: int
    alarms: int
    #: Since when the first of the deliveries waits whose attempt is under way or was cut short.
    oldest_waiting: datetime | None
    held_envelopes: int
    last_received: datetime | None
    refreshes: Backlog
    reconciles: list[Reconciled]
    #: Of each account, how many rows of each kind.
    drift: dict[str, dict[str, int]]
    freshness: Freshness
    #: Accounts that live on hints alone: they are in the mirror or deliver, and no API is configured that could confirm it.
    without_api: list[str]


async def status(now: datetime, accounts: Mapping[str, Account]) -> Status:
    """Count the log and the mirror, and what is under way for the configured accounts."""
    # An unreadable message has an id of its content, which says nothing of its time.
    newest = await LoggedDelivery.exclude(vendor=UNREADABLE).order_by("-id").first()
    fresh = await freshness(now, accounts)
    known = {source.account for source in fresh.sources} | await _mirrored()
    return Status(
        as_of=now,
        deliveries={state.value: await deliveries(state) for state in DeliveryState},
        subscriptions={state.value: await ActionSubscription.filter(state=state.value).count() for state in SubscriptionState},
        followups=await by_state(Need),
        enrollments=await by_state(Enrollment),
        overdue=await overdue(now),
        alarms=await alarms(),
        oldest_waiting=(await waiting()).oldest,
        held_envelopes=await held_envelopes(),
        last_received=newest.received_at if newest else None,
        refreshes=await backlog(),
        reconciles=[one for name in accounts if (one := await reconciled(name)) is not None],
        drift={name: await drift(name, now) for name in accounts},
        freshness=fresh,
        without_api=sorted(known - accounts.keys()),
    )


async def deliveries(state: DeliveryState) -> int:
    """How many deliveries of the log are in a state."""
    return await LoggedDelivery.filter(state=state.value).count()


async def waiting() -> Waiting:
    """What waits in the log. Replays do not: whoever resumes their run has them made again."""
    rows = LoggedDelivery.filter(state=DeliveryState.RECEIVED.value, replay_of__isnull=True)
    # Not by when it arrived, which of an import is long ago.
    oldest = await rows.order_by("state_at").first()
    return Waiting(await rows.count(), oldest.state_at if oldest else None)


async def held_envelopes() -> int:
    """How many messages wait for upgraded workers."""
    return await HeldEnvelope.all().count()


async def by_state(model: type[Need | Enrollment | Recording]) -> dict[str, int]:
    """How many are in each state; one that nothing is in is left out."""
    # Of the column alone, which an index may have.
    rows = await model.annotate(count=Count("state")).group_by("state").order_by("state").values("state", "count")
    return {row["state"]: row["count"] for row in rows}


async def overdue(now: datetime) -> int:
    """How many needs are late, whatever keeps them."""
    return await Need.filter(late(now)).count()


async def alarms() -> int:
    """At how many needs a person should look."""
    return await Need.filter(alarm__isnull=False).count()


async def _mirrored() -> set[str]:
    """The accounts that have a subscription, from one to the next by the index."""
    found, row = set(), await ActionSubscription.all().order_by("account").first()
    while row is not None:
        found.add(row.account)
        row = await ActionSubscription.filter(account__gt=row.account).order_by("account").first()
    return found


async def backlog() -> Backlog:
    """What is to be fetched."""
    oldest = await Refresh.all().order_by("since").first()
    return Backlog(await Refresh.all().count(), await Refresh.filter(attempts__gt=0).count(), oldest.since if oldest else None)


async def reconciled(account: str) -> Reconciled | None:
    """The last run, whatever became of it."""
    rows = await ReconcileRun.filter(account=account).order_by("-began_at").limit(1).values(*Reconciled.__slots__)
    return Reconciled(**rows[0]) if rows else None


async def drift(account: str, now: datetime) -> dict[str, int]:
    """How many rows of each kind: as the last run found them that was finished and no trial; of `status`, as any fetch of a day did."""
    done = ReconcileRun.filter(account=account, state=RunState.DONE.value, dry_run=False, backfill=False)
    counted = await done.order_by("-began_at").limit(1).values(*COUNTED)
    told = Drift.filter(account=account, kind=DriftKind.STATUS.value, found_at__gt=now - DAY)
    return (counted[0] if counted else {}) | {DriftKind.STATUS.value: await told.count()}


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """A queue as the broker sees it."""

    name: str
    messages: int
    consumers: int


async def queue_depths(broker_url: str) -> list[QueueDepth]:
    """Ask the broker for the depth of each of muster's queues, in messages of one or more deliveries; a missing queue is left out.

    Raises what the broker connection raises.
    """
    depths = []
    connection = await aio_pika.connect(broker_url, timeout=5)
    try:
        for queue in topology.QUEUES:
            channel = await connection.channel()
            try:
                found = await channel.declare_queue(queue.name, passive=True)
            except ChannelNotFoundEntity:
                continue
            depths.append(QueueDepth(queue.name, found.declaration_result.message_count or 0, found.declaration_result.consumer_count or 0))
            await channel.close()
    finally:
        await closed(connection)
    return depths


class Watch:
    """What has gone quiet, looked up now and then: readiness is asked for often."""

    def __init__(self, accounts: Mapping[str, Account], now: Callable[[], datetime], every: timedelta = timedelta(seconds=10)) -> None:
        self._accounts, self._now, self._every = accounts, now, every
        self._seen: tuple[datetime, list[str]] | None = None

    async def quiet(self) -> list[str]:
        """A sentence for each, at most so old; raises DatabaseAway."""
        now = self._now()
        if self._seen is None or now - self._seen[0] >= self._every:
            self._seen = now, (await freshness(now, self._accounts)).quiet
        return self._seen[1]


async def worker_readiness(
    database: Database, lane: Lane, consumer: Consumer | None, watch: Watch | None = None
) -> tuple[bool, dict[str, object]]:
    """Whether deliveries are being applied now, and if not, why; what has gone quiet is told beside it, and no reason."""
    details: dict[str, object] = {"database": lane.held_up or "up", "broker": "embedded", "applied": dict(lane.tally)}
    if consumer is not None:
        details["broker"] = consumer.away or "up"
    if lane.held_up is None:
        try:
            await database.ping()
            if watch is not None:
                details["quiet"] = await watch.quiet()
        except DatabaseAway as away:
            details["database"] = str(away)
    return details["database"] == "up" and details["broker"] in {"up", "embedded"}, details
