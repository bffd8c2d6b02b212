"""The items of a run as work: each logged delivery under its replay's id, and how many have an outcome."""

from collections.abc import Collection, Sequence
from uuid import UUID

from tortoise.queryset import QuerySet

from schemas.delivery import Delivery
from schemas.states import ReplayOutcome, ReplayState
from workers import statements
from workers.database import Database
from workers.log import LoggedDelivery
from workers.operations.deliveries import restored, together
from workers.replays import ReplayItem, ReplayRun, note
from workers.statements import as_uuid

_LAST = UUID(int=2**128 - 1)


class Items:
    """What of a run has no outcome yet, in the order of the replays' ids."""

    def __init__(self, database: Database, run: ReplayRun) -> None:
        self._database, self._run = database, run
        #: All below have an outcome; the last that was handed out; the last that was read; the last that was counted.
        self._floor = self._reached = self._read = self._counted = UUID(int=0)
        self._passed = 0
        #: How many had an outcome when it began.
        self._before: int | None = None

    async def group(self, limit: int) -> Sequence[Delivery]:
        """The next; what the log has no body of any more is noted, and passed over."""
        while items := await self._open(limit):
            rows = {row.id: row for row in await together([item.original for item in items])}
            gone = {item.replay: ReplayOutcome.GONE for item in items if item.original not in rows}
            if gone:
                async with self._database.transaction() as connection:
                    await note(connection, self._database.dialect, gone)
            self._read = items[-1].replay
            if len(gone) < len(items):
                return [self._replay(rows[one.original], one) for one in items if one.replay not in gone]
            self.handed_out()
        if await self._wanted():
            self._reached = _LAST  # what stands behind has an outcome since an earlier sitting
        return ()

    def handed_out(self) -> None:
        """Go on behind them."""
        self._reached = self._read

    async def look(self) -> tuple[int, int]:
        """Count what was passed, and what of it has no outcome."""
        if self._before is None:
            self._before = await ReplayItem.filter(run=self._run.id, outcome__isnull=False).count()
        values = (self._run.id, self._floor, self._reached, self._counted)
        (row,) = await statements.run(self._database.connection, self._database.dialect, _LOOK, *values)
        self._passed, self._counted = self._passed + row["passed"], self._reached
        self._floor = as_uuid(row["first"] or self._reached)
        return max(self._before, self._passed - row["open"]), row["open"]

    async def remaining(self) -> Collection[UUID]:
        """What was not reached."""
        return await self._ahead().values_list("replay", flat=True)  # type: ignore[return-value]

    async def _open(self, limit: int) -> Sequence[ReplayItem]:
        return await self._ahead().order_by("replay").limit(limit) if await self._wanted() else ()

    async def _wanted(self) -> bool:
        """Whether nobody discarded the run meanwhile."""
        return await ReplayRun.filter(id=self._run.id, state=ReplayState.RUNNING.value).exists()

    def _replay(self, original: LoggedDelivery, item: ReplayItem) -> Delivery:
        told = {"effects": True} if self._run.effects else {}
        return restored(original, id=item.replay, replay_of=item.original, **told)

    def _ahead(self) -> QuerySet[ReplayItem]:
        return ReplayItem.filter(run=self._run.id, replay__gt=self._reached, outcome__isnull=True)


#: From the first that has no outcome to the last that was handed out: as many rows as are under way, however large the run.
_LOOK = """
    SELECT (SELECT count(*) FROM replay_items WHERE run = $1 AND replay > $4 AND replay <= $3) AS passed,
        (SELECT count(*) FROM replay_items WHERE run = $1 AND replay >= $2 AND replay <= $3 AND outcome IS NULL) AS open,
        (SELECT replay FROM replay_items WHERE run = $1 AND replay >= $2 AND replay <= $3 AND outcome IS NULL
            ORDER BY replay LIMIT 1) AS first"""
