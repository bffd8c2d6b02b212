"""Does at the vendors what enrollments wish for: claims due rows, looks, asks, writes what came of it, and has what follows planned.

A row says what will be asked for before the vendor is asked, and no transaction is open while it is. A try that ended without an answer,
or with its process, is looked up before anything is asked again: `workers/followups/targets/` says for each kind why even a request that
lands after that look ends in one seat.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

import structlog

from schemas.logs import Log
from schemas.states import EnrollmentState, EnrollmentWish, TargetKind
from workers.database import Database, DatabaseAway, patiently
from workers.followups import claims, outcomes
from workers.followups.claims import Claim, LeaseLost, Placed, Taken
from workers.followups.dates import counted
from workers.followups.leases import LEASE, SETTLED
from workers.followups.outcomes import Planner
from workers.followups.retries import RETRIES, retry
from workers.followups.sharing import Shared
from workers.followups.targets import TARGETS
from workers.followups.targets.adapter import Adapter, NotYet, Undoing, Unheard
from workers.vendors.accounts import OpenAccount, OpenAccounts
from workers.vendors.errors import UnknownOutcome, VendorError
from workers.vendors.pauses import IDLE

log = structlog.get_logger()

#: Seconds for one row, well within its lease.
LONGEST = LEASE.total_seconds() / 2

#: What a poll, another enrollment, a fetch or a correction of ours may bring, however long it takes.
_NOT_YET, _TAKEN, _UNHEARD, _OURS = timedelta(hours=1), timedelta(seconds=5), timedelta(seconds=15), timedelta(minutes=15)

_UNDONE: Mapping[Undoing, tuple[EnrollmentState, str]] = {
    Undoing.UNDONE: (EnrollmentState.UNDONE, "given back"),
    Undoing.ABSENT: (EnrollmentState.UNDONE, "nothing was there any more"),
    Undoing.COMPLETED: (EnrollmentState.CLOSED, "completed, so it stays"),
    Undoing.USED: (EnrollmentState.CLOSED, "another enrollment uses it"),
}


class Ended(NamedTuple):
    """It is over, with a reason."""

    state: EnrollmentState
    reason: str | None


class Postponed(NamedTuple):
    """Come back to it. `blamed`: it counts as a failed try; `doubtful`: something may have been done; `unheard`: what was reached there
    is to be asked for; `pause`: leave the account alone.
    """

    wait: timedelta
    error: str
    blamed: bool = False
    doubtful: bool = False
    unheard: bool = False
    pause: float = 0.0


class Enroller:
    """One task for each account, so that no vendor holds up another."""

    def __init__(
        self,
        database: Database,
        accounts: OpenAccounts,
        followups: Planner,
        now: Callable[[], datetime],
        targets: Mapping[TargetKind, Adapter] = MappingProxyType(TARGETS),
    ) -> None:
        self._database, self._accounts, self._followups, self._now, self._targets = database, accounts, followups, now, targets
        self._enrolled = Shared[tuple[Claim, Placed]](self._place)
        self._zones = {one.name: getattr(one.settings, "time_zone", "UTC") for one in accounts}

    async def run(self) -> None:
        """Work until cancelled."""
        vendors = {adapter.vendor for adapter in self._targets.values()}
        async with asyncio.TaskGroup() as group:
            for account in self._accounts:
                if account.settings.vendor in vendors:
                    group.create_task(self._serve(account))
            await asyncio.Event().wait()

    async def _serve(self, account: OpenAccount) -> None:
        while True:
            pause = await self.round(account)
            await asyncio.sleep(pause)

    async def round(self, account: OpenAccount) -> float:
        """Do what is due in an account; gives how many seconds to wait before the next round."""
        # No more rows than are worked off at once: what a worker that dies has claimed waits for its lease to end.
        zone, at_once = self._zones.get, account.settings.limits.concurrency
        due = await patiently(
            lambda: claims.claim(self._database, account.name, self._now(), at_once, lambda name: zone(name or "", "UTC"))
        )
        return max(await asyncio.gather(*(self._followed(account, one) for one in due)), default=IDLE)

    async def _followed(self, account: OpenAccount, claim: Claim) -> float:
        with claim.followed(account.tracer):
            return await self._worked(account, claim)

    async def _worked(self, account: OpenAccount, claim: Claim) -> float:
        """Do one; whatever goes wrong, its row says what. Gives how long to leave the account alone."""
        # In a task of its own, so that every line that follows says for whose sake it is.
        structlog.contextvars.bind_contextvars(enrollment=str(claim.id))
        try:
            return await self._written(claim, await self._tried(account, claim))
        except Exception as error:  # noqa: BLE001 - the one place: a mistake of ours ends neither the task nor unseen
            log.error(Log.ENROLLMENT_FAILED, enrollment=str(claim.id), kind=claim.kind, account=claim.account, error=type(error).__name__)
            return await self._written(claim, Postponed(_OURS, type(error).__name__, blamed=True, doubtful=True))

    async def _written(self, claim: Claim, outcome: Placed | Ended | Postponed | None) -> float:
        if isinstance(outcome, Placed):
            await self._enrolled((claim, outcome))
        elif isinstance(outcome, Ended):
            await patiently(lambda: outcomes.ended(self._database, claim, *outcome, self._followups, self._now()))
        elif isinstance(outcome, Postponed):
            now, how = self._now(), {name: getattr(outcome, name) for name in ("blamed", "doubtful", "unheard")}
            await patiently(lambda: outcomes.again(self._database, claim, now + outcome.wait, outcome.error, now, **how))
            return outcome.pause
        return 0.0

    async def _place(self, done: Sequence[tuple[Claim, Placed]]) -> None:
        await patiently(lambda: outcomes.enrolled(self._database, done, self._followups, self._now()))

    async def _tried(self, account: OpenAccount, claim: Claim) -> Placed | Ended | Postponed | None:
        act = self._enroll if claim.wish is EnrollmentWish.ENROLL else self._undo
        try:
            async with asyncio.timeout(LONGEST):
                return await act(account, claim)
        except LeaseLost:
            return None
        except NotYet as reason:
            return Postponed(_NOT_YET, str(reason))
        except Taken:
            return Postponed(_TAKEN, "another enrollment stands for it")
        except Unheard as reason:
            return Postponed(_UNHEARD, str(reason), unheard=True)
        except DatabaseAway as away:  # while reading, so that nothing was asked
            log.error(Log.DATABASE_AWAY, error=str(away))
            return Postponed(timedelta(), str(away))
        except TimeoutError:
            return self._failed(claim, UnknownOutcome("no end of it came"))
        except VendorError as error:
            return self._failed(claim, error)

    async def _enroll(self, account: OpenAccount, claim: Claim) -> Placed:
        adapter = self._targets[claim.kind]
        seen = await adapter.look(account, claim)
        if not seen.todo and seen.stands:
            return seen.placed
        wanted = seen.placed if seen.stands else counted(claim, seen.placed)
        intended = await claims.intend(self._database, claim, wanted)
        seen = await adapter.request(account, intended, replace(seen, start_on=wanted.start_on))
        return seen.placed._replace(expire_on=wanted.expire_on)

    async def _undo(self, account: OpenAccount, claim: Claim) -> Ended | Postponed:
        if claim.found:
            return Ended(EnrollmentState.CLOSED, "it was there before us, so it stays")
        if claim.found is None:
            return _undone("it was never asked for", claim)
        undoing = await self._targets[claim.kind].undo(account, claim)
        early = claim.state is EnrollmentState.REQUESTED and claim.at < claim.state_at + SETTLED
        if undoing is Undoing.ABSENT and early:
            # What was asked for without an answer may still land, and would be nobody's then.
            return Postponed(claim.state_at + SETTLED - claim.at, "a request of ours may still land")
        state, why = _UNDONE[undoing]
        return _undone(why, claim) if state is EnrollmentState.UNDONE else Ended(state, why)

    def _failed(self, claim: Claim, error: VendorError) -> Ended | Postponed:
        log.warning(Log.ENROLLMENT_FAILED, enrollment=str(claim.id), kind=claim.kind, account=claim.account, error=type(error).__name__)
        return _failure(claim, error)


def _undone(how: str, claim: Claim) -> Ended:
    return Ended(EnrollmentState.UNDONE, f"{how} ({claim.reason})" if claim.reason else how)


def _failure(claim: Claim, error: VendorError) -> Ended | Postponed:
    """What becomes of a row after an error: later again, alone or with its whole account, or dead with the vendor's words."""
    wait, pause = retry(error, claim.attempts, RETRIES)
    if wait is None:
        return Ended(EnrollmentState.DEAD, str(error))
    if claim.wish is EnrollmentWish.UNDO and isinstance(error, UnknownOutcome):
        # Landing late it would end what was wanted again meanwhile: nothing is asked for before.
        wait = max(wait, SETTLED)
    return Postponed(wait, str(error), blamed=not pause, doubtful=isinstance(error, UnknownOutcome), pause=pause)
