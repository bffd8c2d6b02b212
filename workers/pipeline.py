"""A batch of deliveries into one transaction: the log and the mirror change together, or not at all.

What fails together is tried alone; what fails alone, or kills the process, is counted in the log before each attempt and
given up after five. What is the database's fault is never counted: it is raised, for the lane to hold and try again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from schemas.delivery import Delivery
from schemas.logs import Log
from schemas.states import DeliveryState, Reason
from workers.database import Database, DatabaseAway
from workers.freshness import heard
from workers.handlers import Applied, Dead, Ignored, Outcome, handle
from workers.log import Entry, already_applied, begin_attempt, first_with_same_content, record
from workers.mirror.apply import Mirror

log = structlog.get_logger()

#: How often a delivery is tried alone before it is dead.
ATTEMPTS = 5

_STATES: dict[type[Applied | Ignored | Dead], DeliveryState] = {
    Applied: DeliveryState.APPLIED,
    Ignored: DeliveryState.IGNORED,
    Dead: DeliveryState.DEAD,
}

Tally = Counter[str]


class Failed(Exception):
    """Deciding or writing failed, and not for the database's sake: the message is the error's name."""


class Pipeline:
    """Parses, decides, writes; knows no broker and no queue."""

    def __init__(self, database: Database, decide: Callable[[Delivery], Outcome] = handle, mirror: Mirror = Mirror()) -> None:  # noqa: B008 - frozen
        self._database, self._decide, self._mirror = database, decide, mirror
        #: Attempts that the database cut short, to be made again under their number.
        self._unfinished: dict[UUID, int] = {}

    async def together(self, deliveries: Sequence[Delivery]) -> Tally:
        """Apply deliveries in one transaction; if that fails on anything but the database, one by one."""
        if not deliveries:
            return Tally()
        try:
            return await self._commit(deliveries, self._decide)
        except Failed as failed:
            log.warning(Log.BATCH_SPLIT, deliveries=len(deliveries), error=str(failed))
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
        database = self._database
        async with database.transaction() as connection:
            applied = await already_applied(connection, database.dialect, [delivery.id for delivery, _ in decided])
            fresh = {delivery.id: (delivery, outcome) for delivery, outcome in decided if delivery.id not in applied}
            repeats = await first_with_same_content(connection, database.dialect, [delivery for delivery, _ in fresh.values()])
            entries = [_entry(delivery, outcome, attempts, repeats) for delivery, outcome in fresh.values()]
            await record(connection, database.dialect, entries)
            effects = [effect for _, outcome in fresh.values() if not isinstance(outcome, Ignored) for effect in outcome.effects]
            await self._mirror.apply(connection, database.dialect, effects)
            # Last, for until the end nobody else can note the same source.
            await heard(connection, database.dialect, [delivery for delivery, _ in fresh.values()])
        _tell_of_the_dead(entries)
        return Tally(entry.state.value for entry in entries) + Tally(suppressed=len(decided) - len(entries))


def _entry(delivery: Delivery, outcome: Outcome, attempts: int, repeats: dict[tuple[str, str], UUID]) -> Entry:
    first = repeats.setdefault((delivery.account, delivery.fingerprint), delivery.id)
    return Entry(
        delivery,
        _STATES[type(outcome)],
        outcome.event,
        reason=None if isinstance(outcome, Applied) else outcome.reason,
        detail=None if isinstance(outcome, Applied) else outcome.detail,
        subject=outcome.subject if isinstance(outcome, Applied) else None,
        attempts=attempts,
        repeat_of=None if first == delivery.id else first,
    )


def _tell_of_the_dead(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.state is DeliveryState.DEAD:
            log.error(Log.DELIVERY_DEAD, delivery=str(entry.delivery.id), source=entry.delivery.source, reason=entry.reason)
