"""Runs of reconcile: for an account one at a time however many processes there are, and taken up where the last one was cut short."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from schemas.states import RunState
from workers.database import Connection, Database, DatabaseAway
from workers.mirror.tables import ActionSubscription, ReconcileRun, ReconcileSeen

#: How long a run belongs to a process that does not renew it, and how often it does.
LEASE, BEAT = timedelta(seconds=12), 3.0
#: What a run saw longer ago is worth nothing.
_TAKEN_UP_WITHIN = timedelta(days=1)
#: Any number beside which no other program locks in the same database.
_ADVISORY_LOCK = 0x6D757273
_LAST_RUNS = 20


class Busy(Exception):
    """This account is being reconciled by another process."""

    def __init__(self, until: datetime) -> None:
        super().__init__(self.__doc__)
        self.until = until


class Lost(Exception):
    """Another process has taken this run over, for this one had not been heard of for too long."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is reconciled: everything, or what a filter shows. Names are the vendor's and the mirror's alike."""

    office: str | None = None
    status: str | None = None

    @property
    def filter(self) -> dict[str, str]:
        """As the index takes it."""
        given = {"subtenant_id": self.office, "status": self.status}
        return {name: value for name, value in given.items() if value is not None}


async def take(database: Database, account: str, asked: Asked, now: datetime, *, dry_run: bool, held: bool) -> ReconcileRun:
    """The unfinished run of the same kind, or a new one, for us alone; `held`: one that is held counts as unfinished. Raises Busy."""
    async with database.transaction() as connection:
        if database.dialect == "postgres":  # SQLite lets one transaction in at a time
            await connection.execute_query("SELECT pg_advisory_xact_lock($1, hashtext($2))", [_ADVISORY_LOCK, account])
        other = await ReconcileRun.filter(account=account, lease_until__gt=now).using_db(connection).first()
        if other is not None and other.lease_until is not None:
            raise Busy(other.lease_until)
        run = await _unfinished(connection, account, asked, now, dry_run=dry_run, held=held)
        if run is None:
            run = _new(account, asked, now, dry_run=dry_run)
        run.update_from_dict(
            {"state": RunState.RUNNING.value, "error": None, "ended_at": None, "holder": uuid4(), "lease_until": now + LEASE}
        )
        await run.save(using_db=connection)
        return run


async def save(connection: Connection, run: ReconcileRun, now: datetime, **changed: Any) -> None:
    """Change a run that is still ours; raises Lost."""
    changed |= {"step_at": now}
    if not await ReconcileRun.filter(id=run.id, holder=run.holder).using_db(connection).update(**changed):
        raise Lost(Lost.__doc__)
    run.update_from_dict(changed)


@asynccontextmanager
async def kept(database: Database, run: ReconcileRun, now: Callable[[], datetime]) -> AsyncIterator[None]:
    """Renew the lease in the background, and give it back in the end."""
    beating = asyncio.create_task(_beat(run, now))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        with suppress(DatabaseAway, Lost):
            async with database.transaction() as connection:
                await save(connection, run, now(), lease_until=None)


async def forget(database: Database, account: str, *, but: ReconcileRun | None = None) -> None:
    """Remove what the account's last runs saw."""
    async with database.transaction() as connection:
        last = ReconcileRun.filter(account=account).using_db(connection).order_by("-began_at").limit(_LAST_RUNS)
        gone = [one for one in await last.values_list("id", flat=True) if but is None or one != but.id]
        await ReconcileSeen.filter(run__in=gone).using_db(connection).delete()


async def filled(account: str, connection: Connection | None = None) -> bool:
    """Whether a run over all of the account was ever finished."""
    done = ReconcileRun.filter(account=account, state=RunState.DONE.value, dry_run=False)
    return any(not one.asked for one in await (done.using_db(connection) if connection else done).only("id", "asked"))


async def is_backfill(account: str, total: int | None) -> bool:
    """Whether the mirror is still to be filled: no run was ever finished, and what it holds is next to nothing."""
    if await filled(account):
        return False
    return await ActionSubscription.filter(account=account).count() * 10 <= (total or 0)


async def _unfinished(
    connection: Connection, account: str, asked: Asked, now: datetime, *, dry_run: bool, held: bool
) -> ReconcileRun | None:
    states = [RunState.RUNNING.value, RunState.FAILED.value] + [RunState.HELD.value] * held
    # Only the newest: what an older one saw is forgotten.
    newest = await ReconcileRun.filter(account=account).using_db(connection).order_by("-began_at").first()
    if newest is None or newest.state not in states or newest.began_at <= now - _TAKEN_UP_WITHIN:
        return None
    return newest if (newest.asked, newest.dry_run) == (asked.filter, dry_run) else None


def _new(account: str, asked: Asked, now: datetime, *, dry_run: bool) -> ReconcileRun:
    counted = dict.fromkeys(("seen", "calls", "missing", "extra", "different", "unreadable"), 0)
    return ReconcileRun(
        id=uuid4(),
        account=account,
        asked=asked.filter,
        dry_run=dry_run,
        backfill=False,
        walk=1,
        next_page=1,
        began_at=now,
        step_at=now,
        **counted,
    )


async def _beat(run: ReconcileRun, now: Callable[[], datetime]) -> None:
    while True:
        await asyncio.sleep(BEAT)
        with suppress(DatabaseAway):
            await ReconcileRun.filter(id=run.id, holder=run.holder).update(lease_until=now() + LEASE)
