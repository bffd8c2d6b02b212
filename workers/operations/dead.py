"""What was given up, by hand: tried again, or dropped. Every one stands in the audit log, with who did it, and dropped with why.

delivery    again: a run of replays, the same as `muster replay`      dropped: settled, and kept as the log keeps what is settled
enrollment  again: due now, by whoever needs it still                 dropped: closed, and the needs that it kept dead are cancelled
recording   again: due now                                            dropped: unwritten; without it or its link the need is cancelled
event       again: its attempts are forgotten                         dropped: deleted, which leaves a gap in its subject's sequence
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from schemas.states import DeadKind, DeliveryState, NeedState, Reason
from workers import log, outbox
from workers.audit import Deed, record_each
from workers.database import Connection, Database
from workers.followups import dead
from workers.followups.dead import Use
from workers.followups.outcomes import Planner
from workers.followups.tables import Need
from workers.operations import replays
from workers.operations.followups import cancelled, deed
from workers.operations.letters import Letter, Wanted, meant
from workers.operations.selection import Selection
from workers.replays import ReplayRun

#: How many are seen to in one transaction.
_PART = 100
AGAIN, DROP = "dead replay", "dead drop"

Act = Callable[[Connection, Sequence[UUID]], Awaitable[Collection[UUID]]]


async def replay(database: Database, letters: Iterable[Letter], wanted: Wanted, who: str, rate: float | None = None) -> ReplayRun | None:
    """A run of replays of the deliveries among these, which were wanted, to be carried on as any run; None where none is dead any more."""
    reasons = tuple(reason for reason in Reason if meant(reason, wanted.reason)) if wanted.reason else ()
    asked = Selection(id=wanted.ids, state=(DeliveryState.DEAD,), reason=reasons, source=wanted.source, account=wanted.account)
    ids = [one.id for one in letters if one.kind is DeadKind.DELIVERY]
    return await replays.begin_of(database, ids, asked, who, AGAIN, rate)


class Hand:
    """A person's, with what follows from what they do."""

    def __init__(
        self, database: Database, planner: Planner, who: str, now: Callable[[], datetime], clock_skew: timedelta = timedelta(seconds=5)
    ) -> None:
        self._database, self._planner, self._who, self._now, self._clock_skew = database, planner, who, now, clock_skew

    async def again(self, letters: Iterable[Letter]) -> list[Letter]:
        """Try follow-ups and events again; gives those for which it was not too late. Deliveries are replayed (`replay`)."""
        acts = {
            DeadKind.ENROLLMENT: self._enrollments_again,
            DeadKind.RECORDING: self._recordings_again,
            DeadKind.EVENT: lambda connection, ids: outbox.afresh(connection, self._dialect, ids),
        }
        return await self._each(letters, AGAIN, None, acts)

    async def drop(self, letters: Iterable[Letter], why: str) -> list[Letter]:
        """Give up on them for good; gives those for which it was not too late."""
        acts = {
            DeadKind.DELIVERY: lambda connection, ids: log.drop(connection, self._dialect, ids, why),
            DeadKind.ENROLLMENT: lambda connection, ids: self._enrollments_dropped(connection, ids, why),
            DeadKind.RECORDING: lambda connection, ids: self._recordings_dropped(connection, ids, why),
            DeadKind.EVENT: lambda connection, ids: outbox.drop(connection, self._dialect, ids),
        }
        return await self._each(letters, DROP, why, acts)

    @property
    def _dialect(self) -> Any:
        return self._database.dialect

    async def _each(self, letters: Iterable[Letter], verb: str, why: str | None, acts: Mapping[DeadKind, Act]) -> list[Letter]:
        """Some at a time, kind by kind, each part with its audit entries in one transaction."""
        chosen, done = list(letters), list[Letter]()
        for kind, act in acts.items():
            mine = sorted((one for one in chosen if one.kind is kind), key=lambda one: one.id)
            for start in range(0, len(mine), _PART):
                part = mine[start : start + _PART]
                async with self._database.transaction() as connection:
                    changed = await act(connection, [one.id for one in part])
                    seen_to = [one for one in part if one.id in changed]
                    await record_each(connection, self._dialect, [self._deed(one, verb, why) for one in seen_to])
                done += seen_to
        return done

    def _deed(self, one: Letter, verb: str, why: str | None) -> Deed:
        """What it was, without vendors' words and learners' ids: those may name somebody, and nothing of this is ever erased."""
        about = one.about.partition(" ")[0] if one.kind is DeadKind.EVENT else one.about
        was = {"account": one.account, "source": one.source, "about": about, "at": one.at.isoformat()}
        ours = {"reason": one.reason} if one.kind in (DeadKind.DELIVERY, DeadKind.EVENT) else {}
        return Deed(self._who, verb, f"{one.kind} {one.id}", why, was | ours)

    async def _enrollments_again(self, connection: Connection, ids: Sequence[UUID]) -> Collection[UUID]:
        uses, now = await dead.hold_seats_of(connection, self._dialect, ids), self._now()
        done = await dead.enrollments_again(connection, self._dialect, ids, uses, now)
        await self._plan(connection, uses, now)
        return done

    async def _recordings_again(self, connection: Connection, ids: Sequence[UUID]) -> Collection[UUID]:
        uses, now = await dead.hold_needs_of(connection, self._dialect, ids), self._now()
        done = await dead.recordings_again(connection, self._dialect, uses, now)
        await self._plan(connection, uses, now)
        return done

    async def _enrollments_dropped(self, connection: Connection, ids: Sequence[UUID], why: str) -> Collection[UUID]:
        uses, now = await dead.hold_seats_of(connection, self._dialect, ids), self._now()
        await self._cancel(connection, uses, now, why)
        done = await dead.enrollments_dropped(connection, self._dialect, ids, uses, now, why)
        await self._plan(connection, uses, now)
        return done

    async def _recordings_dropped(self, connection: Connection, ids: Sequence[UUID], why: str) -> Collection[UUID]:
        uses, now = await dead.hold_needs_of(connection, self._dialect, ids), self._now()
        await self._cancel(connection, uses, now, why)
        done = await dead.recordings_dropped(connection, self._dialect, uses, now, self._clock_skew)
        await self._plan(connection, uses, now)
        return done

    async def _cancel(self, connection: Connection, uses: Collection[Use], now: datetime, why: str) -> None:
        """Undo for good the needs that are dead for want of what is dropped."""
        blocked = {use.need for use in uses if use.blocked}
        needs = await Need.filter(id__in=blocked, state=NeedState.DEAD.value).using_db(connection).select_for_update().order_by("id")
        done = [need for need in needs if await cancelled(connection, self._dialect, need, now, why)]
        await record_each(connection, self._dialect, [deed(self._who, DROP, need, why) for need in done])

    async def _plan(self, connection: Connection, uses: Collection[Use], now: datetime) -> None:
        await self._planner.plan(connection, self._dialect, sorted({use.key for use in uses}), now)
