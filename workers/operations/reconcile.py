"""Reconciling an account by hand: the verb, and its report."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from schemas.states import RunState
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.reconcile import nobody, reconcile
from workers.mirror.runs import Asked, Busy
from workers.mirror.tables import Drift, ReconcileRun
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import VendorError

#: Seconds between two looks at whether a run of another process is still being seen to.
_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended, and what it found. `extra`, `missing`, `different` count drifts; of a back-fill, `missing` what it took in."""

    account: str
    state: RunState
    dry_run: bool
    backfill: bool
    seen: int
    total: int | None
    missing: int
    extra: int
    different: int
    unreadable: int
    calls: int
    began_at: datetime
    seconds: float
    error: str | None
    run: UUID

    @property
    def drift(self) -> int:
        """How many drifts are kept of it."""
        return self.extra + self.different + (0 if self.backfill else self.missing)


async def run(
    database: Database,
    mirror: Mirror,
    account: OpenAccount,
    asked: Asked,
    now: Callable[[], datetime],
    *,
    dry_run: bool = False,
    accept_missing: bool = False,
    told: Callable[[ReconcileRun], None] = nobody,
) -> Report:
    """Reconcile an account, or take up the run that was cut short; raises Busy, and Lost. What the vendor failed with is in the report."""
    began, last = now(), list[ReconcileRun]()

    def tell(run: ReconcileRun) -> None:
        last[:] = [run]
        told(run)

    try:
        found = await _patiently(
            lambda: reconcile(database, mirror, account, asked, now, dry_run=dry_run, accept_missing=accept_missing, told=tell)
        )
    except VendorError:
        found = last[0]  # it was told of its own end
    return _report(found, now() - began)


async def drifts(run: UUID, limit: int | None = None) -> Sequence[Drift]:
    """What a run found, in the order in which it found it."""
    found = Drift.filter(run=run).order_by("id")
    return await (found if limit is None else found.limit(limit))


async def _patiently(start: Callable[[], Coroutine[Any, Any, ReconcileRun]]) -> ReconcileRun:
    """Start; where a run is another's, only if its process dies: it renews its lease while it lives."""
    first: datetime | None = None
    while True:
        try:
            return await start()
        except Busy as busy:
            if first not in (None, busy.until):
                raise
            first = busy.until
            await asyncio.sleep(_LOOK)


def _report(run: ReconcileRun, took: timedelta) -> Report:
    return Report(
        account=run.account,
        state=RunState(run.state),
        dry_run=run.dry_run,
        backfill=run.backfill,
        seen=run.seen,
        total=run.total,
        missing=run.missing,
        extra=run.extra,
        different=run.different,
        unreadable=run.unreadable,
        calls=run.calls,
        began_at=run.began_at,
        seconds=round(took.total_seconds(), 1),
        error=run.error,
        run=run.id,
    )
