"""Replaying logged deliveries: fix the selection, hand it out bit by bit, wait for what becomes of it.

    await count(database, Selection(state=("dead",)))                        # for whoever has to say yes
    run = await begin(database, Selection(state=("dead",)), who="ada")       # committed, and nothing is handed out yet
    await carry_on(database, run, outlet, told=bar)                          # until every item has an outcome
    await discard(database, run, who="ada")                                  # or no more of it, if nobody wants it any more

`begin` and `carry_on` may be cut short at any moment: `carry_on(database, await one(id), outlet)` takes the run up where it is. What was
handed out and has no outcome yet is handed out again then, and is known by its id. `workers/cli/replaying.py` does all of it for a command.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tortoise.functions import Count
from uuid_utils.compat import uuid7

from schemas.delivery import Delivery, now_utc, replayed_id
from schemas.states import DeliveryState, ReplayOutcome, ReplayState
from workers import statements
from workers.audit import record
from workers.bulk import Upsert
from workers.database import Connection, Database, Dialect
from workers.handlers import Applied, Outcome
from workers.log import LoggedDelivery
from workers.operations.deliveries import restored, selected
from workers.operations.items import Items
from workers.operations.selection import START, Place, Selection, Step, step
from workers.operations.sitting import Left, Progress, Sitting
from workers.pipeline import foreseen
from workers.replay_lane import Outlet
from workers.replays import ReplayItem, ReplayRun
from workers.statements import as_uuid

DISCARD = "replay discard"

_ITEMS = Upsert("replay_items", {"replay": "uuid", "run": "uuid", "original": "uuid"}, key=("replay",))
_AMONG = "SELECT id, body IS NULL AS bodiless FROM deliveries WHERE id = any($1) AND state = $2 AND replay_of IS NULL"


def _nobody(_: Any) -> None:
    """Nobody watches."""


async def count(database: Database, selection: Selection, told: Callable[[int], None] = _nobody) -> tuple[int, int, datetime]:
    """How many a run of this selection would replay, how many it would leave out as their bodies were dropped, and as of when."""
    at, place, found, bodiless = now_utc(), START, 0, 0
    limit = selection.limit or sys.maxsize
    while found < limit and (looked := await step(database.connection, database.dialect, selection, place, at)):
        found, bodiless, place = min(limit, found + len(looked.found)), bodiless + looked.bodiless, looked.place
        told(found)
    return found, bodiless, at


async def begin(
    database: Database,
    selection: Selection,
    who: str,
    told: Callable[[ReplayRun], None] = _nobody,
    *,
    rate: float | None = None,
    effects: bool = False,
    at: datetime | None = None,
) -> ReplayRun:
    """A new run with its selection fixed: what arrived until `at`, by the log as it is now. Tells of it as it grows."""
    run = _new(selection, who, ReplayState.SELECTING, rate, effects=effects, at=at)
    async with database.transaction() as connection:
        await run.save(using_db=connection)
    told(run)
    await _select(database, run, told)
    return run


async def begin_of(
    database: Database, ids: Collection[UUID], selection: Selection, who: str, verb: str, rate: float | None = None
) -> ReplayRun | None:
    """A new run of what is dead still among these deliveries, which `selection` found, and the deed, in one transaction."""
    run = _new(selection, who, ReplayState.RUNNING, rate)
    async with database.transaction() as connection:
        found = await statements.run(connection, database.dialect, _AMONG, sorted(ids), DeliveryState.DEAD.value)
        await _add(connection, database.dialect, run, [as_uuid(row["id"]) for row in found if not row["bodiless"]])
        run.bodiless = len(found) - run.selected
        if not run.selected:
            return None
        await run.save(using_db=connection)
        details = {"asked": run.asked, "selected": run.selected}
        await record(connection, database.dialect, who, verb, f"replay run {run.id}", details=details)
    return run


async def carry_on(
    database: Database,
    run: ReplayRun,
    outlet: Outlet,
    *,
    rate: float | None = None,
    stay: bool = True,
    told: Callable[[Progress], None] = _nobody,
) -> Left | None:
    """Hand out what has no outcome yet, and wait until everything has one; a run that is done stays so.

    The run keeps its rate, unless there is another from now on. Without `stay` it returns early, the run still running, with what it
    left, where it would wait for somebody who is not there.
    """
    if rate is not None:
        run.rate = rate
        async with database.transaction() as connection:
            await run.save(using_db=connection, update_fields=["rate"])
    if run.state == ReplayState.SELECTING:
        await _select(database, run, _nobody)
    if run.state == ReplayState.RUNNING:
        left = await Sitting(Items(database, run), outlet, run.rate, told).worked_off(stay=stay)
        if left is not None:
            return left
        await _end(database, run, ReplayState.DONE)
    return None


async def discard(database: Database, run: ReplayRun, who: str) -> bool:
    """Hand out no more of a run; False if it had ended. What was handed out is worked off."""
    return await _end(database, run, ReplayState.DISCARDED, who)


async def one(run: UUID) -> ReplayRun | None:
    """A run by its id, with what became of it so far."""
    found = await ReplayRun.get_or_none(id=run)
    return found and await _counted(found)


async def newest(limit: int) -> list[ReplayRun]:
    """The newest runs, newest first, with what became of each so far."""
    return [await _counted(run) for run in await ReplayRun.all().order_by("-began_at").limit(limit)]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a replay would do, decided without doing it."""

    #: (vendor, event, how the log has it, what would become of it), and how many.
    groups: Counter[tuple[str, str | None, str, str]]
    bodiless: int
    #: The first few.
    sample: Sequence[LoggedDelivery]


async def preview(
    database: Database,
    selection: Selection,
    decide: Callable[[Delivery], Outcome],
    sample: int = 10,
    told: Callable[[int], None] = _nobody,
) -> Preview:
    """Decide on everything that is selected, and do nothing; tells of how many so far."""
    groups: Counter[tuple[str, str | None, str, str]] = Counter()
    shown: list[LoggedDelivery] = []
    bodiless = 0
    async for rows, without in selected(database, selection):
        bodiless += without
        shown += rows[: sample - len(shown)]
        groups.update((row.vendor, row.event, _told(row.state, row.reason), _would(foreseen(decide, restored(row)))) for row in rows)
        told(groups.total())
    return Preview(groups, bodiless, shown)


def _new(
    selection: Selection, who: str, state: ReplayState, rate: float | None, *, effects: bool = False, at: datetime | None = None
) -> ReplayRun:
    numbers = dict.fromkeys(("selected", "bodiless", *ReplayOutcome), 0)
    made = {"id": UUID(str(uuid7())), "who": who, "asked": selection.asked, "state": state.value, "began_at": at or now_utc()}
    return ReplayRun(**made, **numbers, rate=rate, effects=effects)


async def _select(database: Database, run: ReplayRun, told: Callable[[ReplayRun], None]) -> None:
    """Fix the selection step by step, each committed with how far it came: one that was cut short goes on there."""
    selection = Selection.model_validate(run.asked)
    while run.state == ReplayState.SELECTING:
        async with database.transaction() as connection:
            await _lock(connection, database.dialect, run)
            if run.state == ReplayState.SELECTING:
                place = Place(run.looked_at, run.looked_id) if run.looked_at and run.looked_id else START
                found = await step(connection, database.dialect, selection, place, run.began_at)
                await _take(connection, database.dialect, run, found, selection.limit)
                await run.save(using_db=connection)
        told(run)
    if database.dialect == "postgres":
        # Of a table that was just filled PostgreSQL believes that it is small, and for every group to come would sort all that is left.
        async with database.transaction() as connection:
            await connection.execute_query("ANALYZE replay_items")


async def _take(connection: Connection, dialect: Dialect, run: ReplayRun, found: Step | None, limit: int | None) -> None:
    """Make items of what a step found; of what is the last, or fills the limit, nothing more is selected."""
    if found is not None:
        await _add(connection, dialect, run, found.found[: None if limit is None else limit - run.selected])
        run.bodiless += found.bodiless
        run.looked_at, run.looked_id = found.place.at, found.place.id
    if found is None or run.selected == limit:
        run.state = ReplayState.RUNNING.value


async def _add(connection: Connection, dialect: Dialect, run: ReplayRun, originals: Sequence[UUID]) -> None:
    await _ITEMS.execute(connection, dialect, [{"replay": replayed_id(run.id, one), "run": run.id, "original": one} for one in originals])
    run.selected += len(originals)


async def _end(database: Database, run: ReplayRun, state: ReplayState, discarding: str | None = None) -> bool:
    """Whether it had not ended before."""
    async with database.transaction() as connection:
        await _lock(connection, database.dialect, run)
        if run.ended_at is not None:
            return False
        run.state, run.ended_at = state.value, now_utc()
        outcomes = await _outcomes(run)
        await run.update_from_dict(outcomes).save(using_db=connection)
        if discarding is not None:
            details = {"asked": run.asked, "selected": run.selected, **outcomes}
            await record(connection, database.dialect, discarding, DISCARD, f"replay run {run.id}", details=details)
    return True


async def _lock(connection: Connection, dialect: Dialect, run: ReplayRun) -> None:
    """Others may be at this run, too: read how far it is, and let nobody else move it until the transaction ends."""
    await statements.run(connection, dialect, "SELECT id FROM replay_runs WHERE id = $1 FOR UPDATE", run.id)
    await run.refresh_from_db(using_db=connection)


async def _counted(run: ReplayRun) -> ReplayRun:
    return run if run.state == ReplayState.DONE else run.update_from_dict(await _outcomes(run))


async def _outcomes(run: ReplayRun) -> dict[str, int]:
    counted = await ReplayItem.filter(run=run.id).annotate(items=Count("replay")).group_by("outcome").values("outcome", "items")
    items = {row["outcome"]: int(row["items"]) for row in counted}
    return {outcome.value: items.get(outcome.value, 0) for outcome in ReplayOutcome}


def _told(state: str, reason: str | None) -> str:
    return f"{state}: {reason}" if reason else state


def _would(outcome: Outcome) -> str:
    return _told(*(("applied", None) if isinstance(outcome, Applied) else (type(outcome).__name__.lower(), outcome.reason)))
