"""Deliveries from a file that another muster exported: into the log under their own ids and times, through the replays' lane."""

import itertools
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from schemas.delivery import Delivery
from schemas.exports import Exported, NotExported, read
from schemas.states import DeliveryState
from workers import statements
from workers.database import Database
from workers.operations.sitting import GROUP, Left, Progress, Sitting
from workers.replay_lane import Outlet
from workers.statements import as_uuid


class NotAnExport(Exception):
    """The file cannot be imported; the message says which line, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Export:
    """A file that can be read more than once, and what to call it."""

    name: str
    file: BinaryIO

    def lines(self) -> Iterator[Exported]:
        """The deliveries in it, one after the other from the first on; raises NotAnExport."""
        self.file.seek(0)
        for number, text in enumerate(self.file, 1):
            if text.strip():
                try:
                    yield read(text)
                except NotExported as error:
                    raise NotAnExport(f"line {number} of {self.name}: {error}") from None


@contextmanager
def opened(path: Path) -> Iterator[Export]:
    """A file, or `-` for standard input; what can be read but once is copied, where nobody else can read it."""
    if path == Path("-"):
        with _copied(sys.stdin.buffer) as copy:
            yield Export("standard input", copy)
        return
    with path.open("rb") as file:
        if stat.S_ISREG(path.stat().st_mode):
            yield Export(str(path), file)
            return
        with _copied(file) as copy:
            yield Export(str(path), copy)


@contextmanager
def _copied(source: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(source, copy)
        yield copy


async def take_in(
    database: Database,
    export: Export,
    outlet: Outlet,
    *,
    effects: bool,
    stay: bool = True,
    told: Callable[[Progress], None] = lambda _: None,
) -> tuple[Left | None, Counter[str]]:
    """Hand out what the log does not hold yet, and wait for what becomes of it: what is left of it, and how many came to which state.

    Without `effects` it comes to the log and the mirror, and nothing follows from it (`schemas.delivery.Delivery.effects`). What is
    in the log already, `known`, is left as it is; so an import that was cut short is simply typed again. Raises NotAnExport.
    """
    work = _File(database, export, effects=effects)
    return await Sitting(work, outlet, None, told).worked_off(stay=stay), work.became


class _File:
    """A file as work."""

    def __init__(self, database: Database, export: Export, *, effects: bool) -> None:
        self._database, self._lines, self._effects = database, export.lines(), effects
        #: As they were read, and as they are to be handed out.
        self._read: Sequence[Delivery] = ()
        self._next: Sequence[Delivery] = ()
        self._open: set[UUID] = set()
        self._left: set[UUID] = set()
        #: By the log's states, and `known`.
        self.became: Counter[str] = Counter()

    async def group(self, limit: int) -> Sequence[Delivery]:
        """The next that the log does not hold, once each."""
        while not self._next:
            self._read = self._read or [one.delivery for one in itertools.islice(self._lines, limit)]
            if not self._read:
                return ()
            known = (await self._states({one.id for one in self._read})).keys() | self._open | self._left
            fresh = {one.id: one.model_copy(update={"effects": self._effects}) for one in self._read if one.id not in known}
            self.became["known"] += len(self._read) - len(fresh)
            self._read, self._next = (), [*fresh.values()]
        return self._next

    def handed_out(self) -> None:
        """Go on behind them."""
        self._open |= {one.id for one in self._next}
        self._next = ()

    async def look(self) -> tuple[int, int]:
        """What of it the log tells the end of."""
        states = await self._states(self._open)
        ended = {id_: state for id_, state in states.items() if state != DeliveryState.RECEIVED}
        self._open -= ended.keys()
        self.became.update(ended.values())
        return self.became.total(), len(self._open)

    async def remaining(self) -> Collection[UUID]:
        """What of the rest of the file the log does not hold."""
        while group := await self.group(GROUP):
            self._left |= {one.id for one in group}
            self._next = ()
        return self._left

    async def _states(self, ids: set[UUID]) -> dict[UUID, str]:
        rows = await statements.run(self._database.connection, self._database.dialect, _STATES, [*ids])
        return {as_uuid(row["id"]): row["state"] for row in rows}


_STATES = "SELECT id, state FROM deliveries WHERE id = any($1)"
