"""The receiver's durable disk queue: an SQLite file, fsynced once per group of waiting deliveries.

With a broker it is where deliveries go while the broker cannot take them; embedded it is the queue itself. One process
owns and empties it, under a file lock; others only append, in short transactions. Its size is bounded by SQLite itself.

Embedded, replays have a spool of their own beside it, a file with a bound of its own: they take no room from live deliveries, and whoever
appends them takes no lock that a request might wait for.
"""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar, TypeVarTuple
from uuid import UUID

import structlog

from schemas.delivery import named
from schemas.logs import Log

log = structlog.get_logger()

FILE, REPLAYS = "spool.sqlite3", "replays.sqlite3"
LOCK = "receiver.lock"
_LOCKS = {FILE: LOCK, REPLAYS: "replays.lock"}
_PAGE = 4096

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spool (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, vendor TEXT NOT NULL, source TEXT NOT NULL, kept_at REAL NOT NULL, delivery BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS handed_out (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), upto INTEGER NOT NULL);
INSERT OR IGNORE INTO handed_out VALUES (1, 0);
"""


@dataclass(frozen=True, slots=True)
class Spooled:
    """One encoded delivery with what routes it."""

    vendor: str
    source: str
    delivery: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery in the spool; `suspect` if it was handed out before and never forgotten."""

    seq: int
    spooled: Spooled
    suspect: bool


class SpoolFull(Exception):
    """The spool has reached its bound (receiver.spool_max; that of the replays: worker.replays_max), or the disk is full."""


class SpoolInUse(Exception):
    """Another receiver empties the spool of this data_dir; give each its own data_dir."""


class Spool:
    """An open spool file. Appends of one moment share one transaction and one fsync."""

    def __init__(self, connection: sqlite3.Connection, lock: int | None) -> None:
        self._connection = connection
        self._lock = lock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._waiting: list[tuple[Spooled, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()
        self.full = False
        #: Deliveries in the spool as this process last saw it.
        self.depth: int = connection.execute("SELECT count(*) FROM spool").fetchone()[0]

    @classmethod
    def open(cls, data_dir: Path, max_bytes: int, *, owner: bool, file: str = FILE) -> Self:
        """Open or create a spool in `data_dir`. The owner may take and forget; raises SpoolInUse if there is one already."""
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _locked(data_dir / _LOCKS[file]) if owner else None
        connection = sqlite3.connect(data_dir / file, timeout=30.0, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"page_size={_PAGE}", f"max_page_count={max_bytes // _PAGE}"):
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(_SCHEMA)
        return cls(connection, lock)

    async def append(self, spooled: Spooled) -> None:
        """Return once the delivery is on disk, fsynced; raises SpoolFull, and then it is not kept."""
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((spooled, kept))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting())
        await kept

    async def take(self, limit: int, forget: Iterable[int] = ()) -> list[Row]:
        """Forget what is done with, and hand out the oldest rows, remembering on disk that they were.

        Rows that were handed out before, by a process that did not live to forget them, come alone and marked suspect.
        """
        return await self._run(self._take, limit, list(forget))

    async def oldest(self, limit: int) -> list[Row]:
        """Look at the oldest rows without handing them out."""
        return await self._run(self._oldest, limit)

    async def forget(self, seqs: Sequence[int]) -> None:
        """Remove rows that are kept elsewhere now."""
        await self._run(self._forget, seqs)

    async def ids(self) -> set[UUID]:
        """Those of all deliveries in it."""
        return await self._run(self._ids)

    async def oldest_age(self) -> float | None:
        """Seconds that the oldest row has waited; None where nothing waits."""
        return await self._run(self._oldest_age)

    async def used(self) -> int:
        """Bytes of the file that hold something."""
        return await self._run(self._used)

    async def grown(self, timeout: float) -> None:
        """Wait until something was appended here, or for `timeout` seconds: other processes append too."""
        if self.depth == 0:
            self._grown.clear()
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with what it waits for.
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._grown.wait()

    async def synchronous(self) -> int:
        """SQLite's own word on how this connection flushes: 2 is FULL, an fsync for every commit."""
        return int(await self._run(lambda: self._connection.execute("PRAGMA synchronous").fetchone()[0]))

    async def close(self) -> None:
        """Finish what waits, close the file, give the lock back."""
        while self._committing is not None:
            await asyncio.wait([self._committing])
        await self._run(self._connection.close)
        self._thread.shutdown()
        if self._lock is not None:
            os.close(self._lock)

    async def _run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._commit([spooled for spooled, _ in group], [kept for _, kept in group])
        finally:
            self._committing = None

    async def _commit(self, group: list[Spooled], kept: list[asyncio.Future[None]]) -> None:
        failure: Exception | None = None
        try:
            await self._run(self._insert, group)
        except (sqlite3.Error, RuntimeError) as error:  # no room, a broken disk, or closed meanwhile
            failure = SpoolFull(str(error))
            if not self.full:
                refused = named(one.delivery for one in group)
                log.error(Log.SPOOL_FULL, error=type(error).__name__, spooled=self.depth, deliveries=refused)
        self.full = failure is not None
        for future in kept:
            if future.done():  # its request was cancelled; the row is kept all the same
                continue
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
        if failure is None:
            self._grown.set()

    def _insert(self, group: list[Spooled]) -> None:
        now = time.time()
        with _transaction(self._connection):
            self._connection.executemany(
                "INSERT INTO spool (vendor, source, kept_at, delivery) VALUES (?, ?, ?, ?)",
                [(one.vendor, one.source, now, one.delivery) for one in group],
            )
        self.depth += len(group)

    def _oldest(self, limit: int) -> list[Row]:
        upto = self._connection.execute("SELECT upto FROM handed_out").fetchone()[0]
        found = self._connection.execute("SELECT seq, vendor, source, delivery FROM spool ORDER BY seq LIMIT ?", (limit,)).fetchall()
        if len(found) < limit:
            self.depth = len(found)  # other processes append too; this is the moment at which it is known
        return [Row(seq, Spooled(vendor, source, delivery), seq <= upto) for seq, vendor, source, delivery in found]

    def _take(self, limit: int, forget: list[int]) -> list[Row]:
        with _transaction(self._connection):
            self._delete(forget)
            rows = self._oldest(limit)
            if rows and rows[0].suspect:
                return [row for row in rows if row.suspect]
            if rows:
                self._connection.execute("UPDATE handed_out SET upto = ?", (rows[-1].seq,))
            return rows

    def _forget(self, seqs: Sequence[int]) -> None:
        with _transaction(self._connection):
            self._delete(seqs)

    def _delete(self, seqs: Sequence[int]) -> None:
        self.depth -= self._connection.executemany("DELETE FROM spool WHERE seq = ?", [(seq,) for seq in seqs]).rowcount if seqs else 0
        self.full = self.full and not seqs

    def _ids(self) -> set[UUID]:
        rows = self._connection.execute("SELECT json_extract(CAST(delivery AS TEXT), '$.id') FROM spool")
        return {UUID(one) for (one,) in rows}

    def _oldest_age(self) -> float | None:
        row = self._connection.execute("SELECT kept_at FROM spool ORDER BY seq LIMIT 1").fetchone()
        return None if row is None else max(0.0, time.time() - row[0])

    def _used(self) -> int:
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size


def depth(data_dir: Path, file: str = FILE) -> int:
    """How many deliveries wait in a data_dir's spool, seen from another process; 0 where there is no spool."""
    if not (data_dir / file).exists():
        return 0
    connection = sqlite3.connect(f"file:{data_dir / file}?mode=ro", uri=True, timeout=5.0)
    try:
        return int(connection.execute("SELECT count(*) FROM spool").fetchone()[0])
    finally:
        connection.close()


def in_use(data_dir: Path, file: str = FILE) -> bool:
    """Whether a process owns the spool. Whoever asks shares its lock for a moment, so ask rarely: an owner could not begin just then."""
    try:
        lock = os.open(data_dir / _LOCKS[file], os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK: short, and never upgraded from a read."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise SpoolInUse from None
    return lock
