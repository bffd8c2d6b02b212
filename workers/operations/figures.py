"""What a scrape asks the database and the broker: each question gives the samples of some metrics (`schemas/metrics.py`)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tortoise.functions import Count
from tortoise.models import Model

from schemas import metrics
from schemas.accounts import Account
from schemas.broker_faults import BROKER_FAULTS, heartbeats_missed
from schemas.metrics import OTHER, Metric, Samples
from schemas.states import DeliveryState, EnrollmentState, NeedState, RunState
from workers.database import DatabaseAway, told_apart
from workers.followups.recording import DEAD, DONE, DROPPED, PLANNED
from workers.followups.tables import Enrollment, Need, Recording
from workers.log import HeldEnvelope, LoggedDelivery
from workers.mirror.tables import ReconcileRun
from workers.operations.freshness import Poll, freshness
from workers.operations.health import queue_depths
from workers.outbox import OutboxEvent
from workers.refreshes import Refresh
from workers.replays import ReplayItem, ReplayRun

Answer = Mapping[Metric, Samples]

#: Seconds for which an answer is good, one that takes a walk through a table, and none at all.
EVERY, SELDOM, AGAIN = 20.0, 120.0, 5.0
#: Seconds within which it has to come: whoever scrapes waits ten at most.
PATIENCE = 4.0
#: Names that whoever may publish could make up: no more of them than this.
_NAMES = 100
_DRIFT = ("missing", "extra", "different")


class Asked:
    """An answer that costs somebody something: asked for when somebody looks, and again when it is too old."""

    def __init__(self, ask: Callable[[], Awaitable[Answer]], every: float = EVERY, patience: float = PATIENCE) -> None:
        self._ask, self._every, self._patience = ask, every, patience
        self._asked_at: float | None = None
        self._lock = asyncio.Lock()
        #: None where none came: what was true before is not told as if it still were.
        self.answer: Answer | None = None

    async def look(self) -> Answer | None:
        """The answer, at most so old."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            good_for = self._every if self.answer is not None else min(self._every, AGAIN)
            if self._asked_at is None or now - self._asked_at >= good_for:
                self.answer, self._asked_at = await self._answered(), now
            return self.answer

    async def _answered(self) -> Answer | None:
        try:
            async with asyncio.timeout(self._patience):
                return await self._ask()
        except (TimeoutError, DatabaseAway, *BROKER_FAULTS):
            return None


async def from_broker(url: str) -> Answer:
    """The queues as the broker sees them; raises one of BROKER_FAULTS."""
    with heartbeats_missed():
        depths = await queue_depths(url)
    return {
        metrics.QUEUE: {(one.name,): one.messages for one in depths},
        metrics.CONSUMERS: {(one.name,): one.consumers for one in depths},
    }


@dataclass(frozen=True, slots=True)
class Moment:
    """When is asked, and for which accounts."""

    now: datetime
    accounts: Mapping[str, Account]

    def age(self, since: datetime | None) -> Samples:
        """Seconds since then; 0 since never."""
        return {(): 0.0 if since is None else max(0.0, (self.now - since).total_seconds())}


Question = Callable[[Moment], Awaitable[Answer]]


async def from_database(questions: Sequence[Question], now: datetime, accounts: Mapping[str, Account]) -> Answer:
    """Every question's answer; raises DatabaseAway."""
    moment, found = Moment(now, accounts), dict[Metric, Samples]()
    with told_apart():
        for question in questions:
            found |= await question(moment)
    return found


async def _deliveries(moment: Moment) -> Answer:
    waiting, dead = (LoggedDelivery.filter(state=state.value) for state in (DeliveryState.RECEIVED, DeliveryState.DEAD))
    oldest = await waiting.order_by("received_at").first()
    return {
        metrics.WAITING: {(): await waiting.count()},
        metrics.WAITING_AGE: moment.age(oldest.received_at if oldest else None),
        metrics.DEAD: {(): await dead.count()},
        metrics.HELD: {(): await HeldEnvelope.all().count()},
    }


async def _refreshes(moment: Moment) -> Answer:
    oldest = await Refresh.all().order_by("since").first()
    return {
        metrics.REFRESHES: {(): await Refresh.all().count()},
        metrics.REFRESHES_FAILING: {(): await Refresh.filter(attempts__gt=0).count()},
        metrics.REFRESHES_AGE: moment.age(oldest.since if oldest else None),
    }


async def _followups(_: Moment) -> Answer:
    return {
        metrics.FOLLOWUPS: await _by_state(Need, NeedState),
        metrics.ENROLLMENTS: await _by_state(Enrollment, EnrollmentState),
        metrics.RECORDINGS: await _by_state(Recording, (PLANNED, DONE, DEAD, DROPPED)),
    }


async def _by_state(model: type[Model], states: Iterable[StrEnum | str]) -> Samples:
    # Of the column alone, which an index may have.
    rows = await model.annotate(count=Count("state")).group_by("state").values("state", "count")
    counts = {row["state"]: row["count"] for row in rows}
    return {(str(state),): counts.get(str(state), 0) for state in states}


async def _outbox(moment: Moment) -> Answer:
    oldest = await OutboxEvent.all().order_by("id").first()
    return {metrics.OUTBOX: {(): await OutboxEvent.all().count()}, metrics.OUTBOX_AGE: moment.age(oldest.at if oldest else None)}


async def _drift(moment: Moment) -> Answer:
    drift, held = dict[tuple[str, ...], float](), dict[tuple[str, ...], float]()
    for account in moment.accounts:
        runs = ReconcileRun.filter(account=account).order_by("-began_at")
        last, done = await runs.first(), await runs.filter(state=RunState.DONE.value, dry_run=False, backfill=False).first()
        if last is not None:
            held[account,] = last.state == RunState.HELD
        if done is not None:
            drift |= {(account, kind): getattr(done, kind) for kind in _DRIFT}
    return {metrics.DRIFT: drift, metrics.RECONCILE_HELD: held}


async def _freshness(moment: Moment) -> Answer:
    fresh = await freshness(moment.now, moment.accounts)
    polls: dict[tuple[str, ...], Poll] = {(one.account, one.name): one for one in fresh.polls}
    succeeded = {labels: one.last_success.timestamp() for labels, one in polls.items() if one.last_success is not None}
    quiet: dict[str, list[tuple[tuple[str, ...], float]]] = {
        "source": [((one.account, one.name), one.quiet) for one in fresh.sources],
        "poll": [(labels, one.quiet) for labels, one in polls.items()],
        "subscriber": [((one.account, one.name), one.quiet) for one in fresh.subscribers],
        "receiver": [(("", one.name), one.quiet) for one in fresh.receivers],
    }
    return {
        metrics.LAST_DELIVERY: _bounded([((one.account, one.name), one.last_delivery.timestamp()) for one in fresh.sources]),
        metrics.LAST_SUCCESS: succeeded,
        metrics.FAILURES: {labels: one.failures for labels, one in polls.items()},
        metrics.LAST_HEARTBEAT: _bounded([((one.name,), one.as_of.timestamp()) for one in fresh.receivers]),
        metrics.QUIET: {(kind, *labels): value for kind, rows in quiet.items() for labels, value in _bounded(rows).items()},
    }


async def _replays(_: Moment) -> Answer:
    runs = await ReplayRun.filter(ended_at__isnull=True).values_list("id", flat=True)
    waiting = await ReplayItem.filter(run__in=list(runs), outcome__isnull=True).count() if runs else 0
    return {metrics.REPLAY_RUNS: {(): len(runs)}, metrics.REPLAYS: {(): waiting}}


def _bounded(rows: Sequence[tuple[tuple[str, ...], float]]) -> Samples:
    """The first so many under their names, and of the rest the largest."""
    named = dict(rows[:_NAMES])
    rest = [value for labels, value in rows[_NAMES:] if labels not in named]
    return named | ({(OTHER,) * len(rows[0][0]): max(rest)} if rest else {})


#: Asking another is adding it to a row: what an index answers, and what takes a walk through a table.
QUICK: Sequence[Question] = (_deliveries, _refreshes, _outbox, _drift, _freshness, _replays)
SLOW: Sequence[Question] = (_followups,)
