"""The items of a run as work: each logged delivery under its replay's id, and how many have an outcome."""

from collections.abc import Sequence
from uuid import UUID

from schemas.delivery import Delivery
from schemas.states import ReplayOutcome
from workers import statements
from workers.database import Database
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
                return [restored(rows[one.original], id=one.replay, replay_of=one.original) for one in items if one.replay not in gone]
            self.handed_out()
        self._reached = _LAST  # what stands behind has an outcome since an earlier sitting
        return ()

    def handed_out(self) -> None:
        """Go on behind them."""
        self._reached = self._read

    async def look(self) -> tuple[int, int]:
        """Count what was passed, and what of it has no outcome."""
        values = (self._run.id, self._floor, self._reached, self._counted)
        (row,) = await statements.run(self._database.connection, self._database.dialect, _LOOK, *values)
        self._passed, self._counted = self._passed + row["passed"], self._reached
        self._floor = as_uuid(row["first"] or self._reached)
        return self._passed - row["open"], row["open"]

    async def _open(self, limit: int) -> Sequence[ReplayItem]:
        left = ReplayItem.filter(run=self._run.id, replay__gt=self._reached, outcome__isnull=True)
        return await left.order_by("replay").limit(limit)


#: From the first that has no outcome to the last that was handed out: as many rows as are under way, however large the run.
_LOOK = """
    SELECT (SELECT count(*) FROM replay_items WHERE run = $1 AND replay > $4 AND replay <= $3) AS passed,
        (SELECT count(*) FROM replay_items WHERE run = $1 AND replay >= $2 AND replay <= $3 AND outcome IS NULL) AS open,
        (SELECT replay FROM replay_items WHERE run = $1 AND replay >= $2 AND replay <= $3 AND outcome IS NULL
            ORDER BY replay LIMIT 1) AS first"""
