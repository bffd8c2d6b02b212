"""What has gone quiet: sources that deliver nothing, polls that do not succeed, subscribers that iSpring tells nothing any more,
receivers without a heartbeat.

It reads small tables alone, so that readiness may ask it often.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.accounts import Account
from schemas.states import SubscriberState
from workers import receivers
from workers.freshness import SourceFreshness
from workers.retention import TURN
from workers.schedules import Schedule, Turn, turns
from workers.subscribers import WebhookSubscriber

#: Heartbeats that may fail to come before their receiver is called quiet.
_MISSED = 3


@dataclass(frozen=True, slots=True)
class Source:
    """A source that delivered something once; quiet if that is longer ago than its account's `quiet_after`."""

    account: str
    name: str
    last_delivery: datetime
    quiet: bool


@dataclass(frozen=True, slots=True)
class Poll:
    """A poll that is configured; quiet if its last success is longer ago than `quiet_after`, and than two of its periods."""

    account: str
    name: str
    last_success: datetime | None
    #: Since the last success.
    failures: int
    error: str | None
    quiet: bool


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A webhook subscriber that muster made at iSpring; quiet unless it is confirmed."""

    account: str
    name: str
    event: str
    state: str
    since: datetime
    quiet: bool


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver as of its last heartbeat; quiet if none was heard for three of its beats, and it did not say that it stops.

    Heard counts, not sent: heartbeats behind a backlog are heard late, and one after the other all the same.
    """

    name: str
    as_of: datetime
    began_at: datetime
    program: str
    spooled: int
    spooled_since: datetime | None
    spool_full: bool
    rejected: int
    rejected_last: datetime | None
    rejected_lost: int
    stopped: bool
    quiet: bool


@dataclass(frozen=True, slots=True)
class Freshness:
    """Who was last heard of when."""

    sources: list[Source]
    polls: list[Poll]
    subscribers: list[Subscriber]
    receivers: list[Receiver]

    @property
    def quiet(self) -> list[str]:
        """What has gone quiet, a sentence each."""
        return list(self._quiet())

    def _quiet(self) -> Iterator[str]:
        for source in filter(lambda one: one.quiet, self.sources):
            yield f"source {source.name} of {source.account}: no delivery since {_time(source.last_delivery)}"
        for poll in filter(lambda one: one.quiet, self.polls):
            since = f" since {_time(poll.last_success)}" if poll.last_success else ""
            yield f"poll {poll.name} of {poll.account}: no success{since}, {poll.failures} failures"
        for one in filter(lambda one: one.quiet, self.subscribers):
            yield f"subscriber {one.name} of {one.account}: {one.state} since {_time(one.since)}"
        for receiver in filter(lambda one: one.quiet, self.receivers):
            yield f"receiver {receiver.name}: no heartbeat since {_time(receiver.as_of)}"


async def freshness(now: datetime, accounts: Mapping[str, Account]) -> Freshness:
    """What the database holds of the configured accounts' polls, and of every source and subscriber."""
    rows = {(row.account, row.name): row for row in await Schedule.all()}
    return Freshness(
        sources=[_source(row, now, accounts) for row in await SourceFreshness.all().order_by("account", "source")],
        polls=[
            _poll(turn, rows.get((name, turn.name)), now, account.quiet_after)
            for name, account in accounts.items()
            for turn in turns(name, account)
        ]
        + [_poll(TURN, row, now, None) for row in [rows.get((TURN.account, TURN.name))] if row is not None],
        subscribers=[_subscriber(row) for row in await WebhookSubscriber.all().order_by("account", "name")],
        receivers=[_receiver(row, now) for row in await receivers.Receiver.all().order_by("name")],
    )


def _source(row: SourceFreshness, now: datetime, accounts: Mapping[str, Account]) -> Source:
    account = accounts.get(row.account)
    limit = account.quiet_after if account else None
    return Source(row.account, row.source, row.received_at, limit is not None and now - row.received_at > limit)


def _poll(turn: Turn, row: Schedule | None, now: datetime, quiet_after: timedelta | None) -> Poll:
    if row is None:
        return Poll(turn.account, turn.name, None, 0, None, quiet=False)
    late = now - (row.last_success or row.created_at) > max(2 * turn.period, quiet_after or turn.period)
    return Poll(turn.account, turn.name, row.last_success, row.failures, row.error, late)


def _subscriber(row: WebhookSubscriber) -> Subscriber:
    return Subscriber(row.account, row.name, row.event, row.state, row.state_at, row.state != SubscriberState.CONFIRMED)


def _receiver(row: receivers.Receiver, now: datetime) -> Receiver:
    told = {name: getattr(row, name) for name in Receiver.__slots__ if name not in {"as_of", "stopped", "quiet"}}
    silent = now - (row.heard_at or row.at) > _MISSED * timedelta(seconds=row.every)
    return Receiver(**told, as_of=row.at, stopped=row.stopping, quiet=silent and not row.stopping)


def _time(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
