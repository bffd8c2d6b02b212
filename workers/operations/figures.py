"""What a scrape asks the database and the broker: each question gives the samples of some metrics (`schemas/metrics.py`).

What a figure is, `workers/operations/health.py` says, for `muster status` and for these.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas import metrics
from schemas.accounts import Account
from schemas.broker_faults import BROKER_FAULTS, as_broker_faults
from schemas.metrics import OTHER, Metric, Samples
from schemas.states import DeliveryState, EnrollmentState, NeedState, RunState
from workers.database import DatabaseAway
from workers.followups.recording import DEAD, DONE, DROPPED, PLANNED
from workers.followups.tables import Enrollment, Need, Recording
from workers.operations import health
from workers.operations.freshness import Poll, freshness
from workers.outbox import OutboxEvent
from workers.replays import ReplayItem, ReplayRun

Answer = Mapping[Metric, Samples]

#: Seconds for which an answer is good, one that takes a walk through a table, and none at all.
EVERY, SELDOM, AGAIN = 20.0, 120.0, 5.0
#: Seconds within which it has to come: whoever scrapes waits ten at most.
PATIENCE = 4.0
#: Names that whoever may publish could make up: no more of them than this.
_NAMES = 100


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
    with as_broker_faults():
        depths = await health.queue_depths(url)
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


#: What is asked of the database; raises DatabaseAway.
Question = Callable[[Moment], Awaitable[Answer]]


async def _deliveries(moment: Moment) -> Answer:
    waiting = await health.waiting()
    return {
        metrics.WAITING: {(): waiting.count},
        metrics.WAITING_AGE: moment.age(waiting.oldest),
        metrics.DEAD: {(): await health.deliveries(DeliveryState.DEAD)},
        metrics.HELD: {(): await health.held_envelopes()},
    }


async def _refreshes(moment: Moment) -> Answer:
    backlog = await health.backlog()
    return {
        metrics.REFRESHES: {(): backlog.waiting},
        metrics.REFRESHES_FAILING: {(): backlog.failing},
        metrics.REFRESHES_AGE: moment.age(backlog.oldest),
    }


async def _followups(moment: Moment) -> Answer:
    return {
        metrics.FOLLOWUPS: _each(NeedState, await health.by_state(Need)),
        metrics.ENROLLMENTS: _each(EnrollmentState, await health.by_state(Enrollment)),
        metrics.RECORDINGS: _each((PLANNED, DONE, DEAD, DROPPED), await health.by_state(Recording)),
        metrics.OVERDUE: {(): await health.overdue(moment.now)},
        metrics.ALARMS: {(): await health.alarms()},
    }


def _each(states: Iterable[StrEnum | str], counts: Mapping[str, int]) -> Samples:
    return {(str(state),): counts.get(str(state), 0) for state in states}


async def _outbox(moment: Moment) -> Answer:
    oldest = await OutboxEvent.all().order_by("id").first()
    return {metrics.OUTBOX: {(): await OutboxEvent.all().count()}, metrics.OUTBOX_AGE: moment.age(oldest.at if oldest else None)}


async def _drift(moment: Moment) -> Answer:
    last = {account: await health.reconciled(account) for account in moment.accounts}
    found = {account: await health.drift(account, moment.now) for account in moment.accounts}
    return {
        metrics.DRIFT: {(account, kind): rows for account, kinds in found.items() for kind, rows in kinds.items()},
        metrics.RECONCILE_HELD: {(account,): run.state == RunState.HELD for account, run in last.items() if run is not None},
    }


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


#: Asking another is adding it to a row, with how long its answer is good: one that takes a walk through a table is asked for seldom.
QUESTIONS: Mapping[str, tuple[Question, float]] = {
    "deliveries": (_deliveries, EVERY),
    "refreshes": (_refreshes, EVERY),
    "outbox": (_outbox, EVERY),
    "drift": (_drift, EVERY),
    "freshness": (_freshness, EVERY),
    "replays": (_replays, EVERY),
    "followups": (_followups, SELDOM),
}
