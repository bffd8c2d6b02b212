"""Replaying logged deliveries: fix the selection, hand it out bit by bit, wait for what becomes of it.

    run = await begin(database, Selection(state=("dead",)), who="ada")       # committed, and nothing is handed out yet
    await carry_on(database, run, outlet, told=bar)                          # until every item has an outcome
    await discard(database, run)                                             # or instead of it, if nobody says yes

`begin` and `carry_on` may be cut short at any moment: `carry_on(database, await one(id), outlet)` takes the run up where it is. What was
handed out and has no outcome yet is handed out again then, and is known by its id. `workers/cli/replaying.py` does all of it for a command.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tortoise.functions import Count
from uuid_utils.compat import uuid7

from schemas.delivery import Delivery, now_utc, replayed_id
from schemas.states import ReplayOutcome, ReplayState
from workers import statements
from workers.bulk import Upsert
from workers.database import Connection, Database, Dialect
from workers.handlers import Applied, Outcome
from workers.log import LoggedDelivery
from workers.operations.deliveries import restored, selected
from workers.operations.items import Items
from workers.operations.selection import START, Place, Selection, Step, step
from workers.operations.sitting import Progress, Sitting
from workers.replay_lane import Outlet
from workers.replays import ReplayItem, ReplayRun

_ITEMS = Upsert("replay_items", {"replay": "uuid", "run": "uuid", "original": "uuid"}, key=("replay",))


def _nobody(_: Any) -> None:
    """Nobody watches."""


async def begin(database: Database, selection: Selection, who: str, told: Callable[[ReplayRun], None] = _nobody) -> ReplayRun:
    """A new run with its selection fixed: what arrived until now, by the log as it is now. Tells of it as it grows."""
    numbers = dict.fromkeys(("selected", "bodiless", *ReplayOutcome), 0)
    run = ReplayRun(id=UUID(str(uuid7())), who=who, asked=selection.asked, state=ReplayState.SELECTING.value, began_at=now_utc(), **numbers)
    async with database.transaction() as connection:
        await run.save(using_db=connection)
    await _select(database, run, told)
    return run


async def carry_on(
    database: Database,
    run: ReplayRun,
    outlet: Outlet,
    *,
    rate: float | None = None,
    stay: bool = True,
    told: Callable[[Progress], None] = _nobody,
) -> ReplayRun:
    """Hand out what has no outcome yet, at most `rate` a second, and wait until everything has one; a run that is done stays so.

    Without `stay` it returns early, the run still running, where it would wait for somebody who is not there.
    """
    if run.state == ReplayState.SELECTING:
        await _select(database, run, _nobody)
    if run.state == ReplayState.RUNNING and await Sitting(Items(database, run), outlet, rate, told).worked_off(stay=stay):
        await _end(database, run)
    return run


async def discard(database: Database, run: ReplayRun) -> None:
    """Forget a run of which nothing was handed out."""
    more = True
    while more:
        async with database.transaction() as connection:
            more = bool(await statements.run(connection, database.dialect, _FORGET, run.id))
    async with database.transaction() as connection:
        await run.delete(using_db=connection)


_FORGET = """
    DELETE FROM replay_items WHERE replay IN (SELECT replay FROM replay_items WHERE run = $1 LIMIT 5000) RETURNING replay"""


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
        groups.update((row.vendor, row.event, _told(row.state, row.reason), _would(decide(restored(row)))) for row in rows)
        told(groups.total())
    return Preview(groups, bodiless, shown)


async def _select(database: Database, run: ReplayRun, told: Callable[[ReplayRun], None]) -> None:
    """Fix the selection step by step, each committed with how far it came: one that was cut short goes on there."""
    selection = Selection.model_validate(run.asked)
    while run.state == ReplayState.SELECTING:
        async with database.transaction() as connection:
            await _lock(connection, database.dialect, run)
            place = Place(run.looked_at, run.looked_id) if run.looked_at and run.looked_id else START
            found = await step(connection, database.dialect, selection, place, run.began_at)
            await _take(connection, database.dialect, run, found, selection.limit)
            await run.save(using_db=connection)
        told(run)


async def _take(connection: Connection, dialect: Dialect, run: ReplayRun, found: Step | None, limit: int | None) -> None:
    """Make items of what a step found; of what is the last, or fills the limit, nothing more is selected."""
    if found is not None:
        originals = found.found[: None if limit is None else limit - run.selected]
        items = [{"replay": replayed_id(run.id, original), "run": run.id, "original": original} for original in originals]
        await _ITEMS.execute(connection, dialect, items)
        run.selected, run.bodiless = run.selected + len(items), run.bodiless + found.bodiless
        run.looked_at, run.looked_id = found.place.at, found.place.id
    if found is None or run.selected == limit:
        run.state = ReplayState.RUNNING.value


async def _end(database: Database, run: ReplayRun) -> None:
    async with database.transaction() as connection:
        await _lock(connection, database.dialect, run)
        if run.state == ReplayState.RUNNING:
            run.state, run.ended_at = ReplayState.DONE.value, now_utc()
            await run.update_from_dict(await _outcomes(run)).save(using_db=connection)


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
