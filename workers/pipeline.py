"""A batch of deliveries into one transaction: the log and the mirror change together, or not at all.

A replay is a delivery with an id of its own that names its original: applied or ignored, it settles an original that was dead. A delivery
that is to have no effects is logged and mirrored, and nothing follows from it (`workers.mirror.apply.Mirror.apply`, `quietly`).

What fails together is tried alone; what fails alone, or kills the process, is counted in the log before each attempt and
given up after five. What is the database's fault is never counted: it is raised, for the lane to hold and try again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from schemas.delivery import Delivery, now_utc
from schemas.logs import Log
from schemas.states import DeliveryState, Reason, ReplayOutcome
from schemas.traces import OFF, SpanName, Tracer
from workers.database import Connection, Database, DatabaseAway
from workers.freshness import heard
from workers.handlers import Applied, Dead, Ignored, Outcome, handle
from workers.handlers.bodies import subscription_named_in
from workers.log import Entry, already_applied, begin_attempt, first_with_same_content, record, settle
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Effect, aim
from workers.replays import note

log = structlog.get_logger()

#: How often a delivery is tried alone before it is dead.
ATTEMPTS = 5

_STATES: dict[type[Applied | Ignored | Dead], DeliveryState] = {
    Applied: DeliveryState.APPLIED,
    Ignored: DeliveryState.IGNORED,
    Dead: DeliveryState.DEAD,
}

Tally = Counter[str]
#: Is told of every transaction once it is committed: the deliveries that were to be worked off, and the log's entries, which are fewer
#: where some were applied before.
Told = Callable[[Sequence[Delivery], Sequence[Entry]], None]


def nobody(_deliveries: Sequence[Delivery], _entries: Sequence[Entry]) -> None:
    """Is told of a transaction, and does nothing."""


class Failed(Exception):
    """Deciding or writing failed, and not for the database's sake: the message is the error's name."""


def foreseen(decide: Callable[[Delivery], Outcome], delivery: Delivery) -> Outcome:
    """What would be decided, where failing is given up on as it would be here."""
    try:
        return decide(delivery)
    except Exception as error:  # noqa: BLE001 - the same that `Pipeline` takes for Failed
        return Dead(delivery.event, Reason.HANDLER_FAILED, type(error).__name__)


class Pipeline:
    """Parses, decides, writes; knows no broker and no queue."""

    def __init__(
        self,
        database: Database,
        decide: Callable[[Delivery], Outcome] = handle,
        mirror: Mirror = Mirror(),  # noqa: B008 - frozen
        told: Told = nobody,
        tracer: Tracer = OFF,
    ) -> None:
        self._database, self._decide, self._mirror, self._told, self._tracer = database, decide, mirror, told, tracer
        #: Attempts that the database cut short, to be made again under their number.
        self._unfinished: dict[UUID, int] = {}

    async def together(self, deliveries: Sequence[Delivery]) -> Tally:
        """Apply deliveries in one transaction; if that fails on anything but the database, one by one."""
        if not deliveries:
            return Tally()
        try:
            return await self._commit(deliveries, self._decide)
        except Failed as failed:
            log.warning(Log.BATCH_SPLIT, deliveries=ids(deliveries), error=str(failed))
        return await self.one_by_one(deliveries)

    async def one_by_one(self, deliveries: Sequence[Delivery]) -> Tally:
        """Apply deliveries that are suspected of harm, each alone, its attempt committed before it begins."""
        tally = Tally()
        for delivery in deliveries:
            tally += await self._alone(delivery)
        return tally

    async def bury(self, deliveries: Sequence[Delivery], reason: Reason, detail: str | None = None) -> Tally:
        """Log deliveries as dead without trying them; what was applied before stays applied."""
        return await self._commit(deliveries, lambda delivery: Dead(delivery.event, reason, detail))

    async def _alone(self, delivery: Delivery) -> Tally:
        while True:
            attempt = self._unfinished.pop(delivery.id, None) or await begin_attempt(self._database, delivery)
            if attempt is None:
                return Tally(suppressed=1)
            try:
                tally = await self._attempt(delivery, attempt)
            except DatabaseAway:
                self._unfinished[delivery.id] = attempt
                raise
            if tally is not None:
                return tally
            await asyncio.sleep(0.02 * 2**attempt)

    async def _attempt(self, delivery: Delivery, attempt: int) -> Tally | None:
        """One attempt; None if it failed and is not the last."""
        if attempt > ATTEMPTS:
            return await self._give_up(delivery, Reason.WORKER_KILLED, None)
        try:
            return await self._commit([delivery], self._decide, attempt)
        except Failed as failed:
            return await self._give_up(delivery, Reason.HANDLER_FAILED, str(failed)) if attempt == ATTEMPTS else None

    async def _give_up(self, delivery: Delivery, reason: Reason, detail: str | None) -> Tally:
        return await self._commit([delivery], lambda one: Dead(one.event, reason, detail), ATTEMPTS)

    async def _commit(self, deliveries: Sequence[Delivery], decide: Callable[[Delivery], Outcome], attempts: int = 1) -> Tally:
        """Decide, and write log and mirror in one transaction; raises DatabaseAway, or Failed for everything else."""
        try:
            return await self._written([(delivery, decide(delivery)) for delivery in deliveries], attempts)
        except DatabaseAway:
            raise
        except Exception as error:
            raise Failed(type(error).__name__) from error

    async def _written(self, decided: Sequence[tuple[Delivery, Outcome]], attempts: int) -> Tally:
        database, began = self._database, now_utc()
        async with database.transaction() as connection:
            applied = await already_applied(connection, database.dialect, [delivery.id for delivery, _ in decided])
            fresh = {delivery.id: (delivery, outcome) for delivery, outcome in decided if delivery.id not in applied}
            erased = await self._erased(connection, list(fresh.values()))
            fresh |= {id_: (fresh[id_][0], left) for id_, left in erased.items()}
            repeats = await first_with_same_content(connection, database.dialect, [delivery for delivery, _ in fresh.values()])
            logged = [_entry(delivery, outcome, attempts, repeats) for delivery, outcome in fresh.values()]
            entries = [replace(one, erased=True, reason=Reason.ERASED) if one.delivery.id in erased else one for one in logged]
            await record(connection, database.dialect, entries)
            # Of the log first whatever of it is written, then of the mirror: in one order wherever two writers may meet.
            await settle(connection, database.dialect, _redeemed(entries))
            outcomes = await self._mirrored(connection, fresh.values())
            await note(connection, database.dialect, outcomes)
            # Last, for until the end nobody else can note the same source; what is handed out again proves nothing of today.
            await heard(connection, database.dialect, [one for one, _ in fresh.values() if one.replay_of is None and one.effects])
        _tell_of_the_dead(entries)
        self._told([delivery for delivery, _ in decided], entries)
        self._follow(entries, began)
        return Tally(entry.state.value for entry in entries) + Tally(suppressed=len(decided) - len(entries))

    def _follow(self, entries: Sequence[Entry], began: datetime) -> None:
        """Each delivery's trace goes on by itself, though a batch was applied together."""
        for entry in entries:
            one = entry.delivery
            if one.trace is not None:
                about = {"muster.delivery": str(one.id), "muster.source": one.source, "muster.account": one.account}
                became = {"muster.state": entry.state.value, "messaging.batch.message_count": len(entries)}
                self._tracer.followed(SpanName.APPLY, one.trace, began, {**about, **became})

    async def _erased(self, connection: Connection, decided: Sequence[tuple[Delivery, Outcome]]) -> dict[UUID, Outcome]:
        """Those that are about somebody of whom nothing is kept, and what is left of each."""
        marks = self._mirror.marks
        return {} if marks is None else await marks.reduced(connection, self._database.dialect, decided)

    async def _mirrored(self, connection: Connection, decided: Collection[tuple[Delivery, Outcome]]) -> dict[UUID, ReplayOutcome]:
        """Write into the mirror what was decided; gives what became of the replays in it."""
        dialect, replays = self._database.dialect, {one.id: outcome for one, outcome in decided if one.replay_of is not None}
        loud, quiet = ([effect for one, outcome in decided if one.effects is how for effect in _effects(outcome)] for how in (True, False))
        changed = await self._mirror.apply(connection, dialect, loud, noting=bool(replays))
        if quiet:
            changed |= await self._mirror.apply(connection, dialect, quiet, quietly=True, noting=bool(replays))
        return {id_: _became(outcome, changed) for id_, outcome in replays.items()}


def _effects(outcome: Outcome) -> tuple[Effect, ...]:
    return () if isinstance(outcome, Ignored) else outcome.effects


def _became(outcome: Outcome, changed: Collection[tuple[Any, ...]]) -> ReplayOutcome:
    """What became of a replay: `applied` if what it is about was changed, be it by another in its batch that is about the same."""
    if isinstance(outcome, Dead):
        return ReplayOutcome.DEAD
    return ReplayOutcome.APPLIED if any(aim(effect) in changed for effect in _effects(outcome)) else ReplayOutcome.UNCHANGED


def _redeemed(entries: Iterable[Entry]) -> set[UUID]:
    """The deliveries whose replays came to a good end."""
    return {one.delivery.replay_of for one in entries if one.delivery.replay_of is not None and one.state is not DeliveryState.DEAD}


def _entry(delivery: Delivery, outcome: Outcome, attempts: int, repeats: dict[tuple[str, str], UUID]) -> Entry:
    first = repeats.setdefault((delivery.account, delivery.fingerprint), delivery.id)
    return Entry(
        delivery,
        _STATES[type(outcome)],
        outcome.event,
        reason=None if isinstance(outcome, Applied) else outcome.reason,
        detail=None if isinstance(outcome, Applied) else outcome.detail,
        subject=outcome.subject if isinstance(outcome, Applied) else _named(delivery, outcome),
        attempts=attempts,
        repeat_of=None if first == delivery.id else first,
    )


def _named(delivery: Delivery, outcome: Ignored | Dead) -> str | None:
    """Which subscription is looked for when somebody asks what became of its deliveries."""
    if delivery.vendor != "4hse" or outcome.reason == Reason.ERASED:
        return None
    return subscription_named_in(delivery.body)


def ids(deliveries: Iterable[Delivery]) -> list[str]:
    """What a line of the log says of deliveries."""
    return [str(one.id) for one in deliveries]


def _tell_of_the_dead(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.state is DeliveryState.DEAD:
            log.error(Log.DELIVERY_DEAD, delivery=str(entry.delivery.id), source=entry.delivery.source, reason=entry.reason)
