"""Requests that failed verification, kept on this host: never processed, for a wrong secret may be mended within days.

A bounded SQLite file beside the spool, written off the hot path: what is rejected waits in a short queue, and what the queue
has no room for is counted and gone, so that a flood costs next to nothing. `receiver/retrials.py` looks at them again.
"""

import asyncio
import json
import os
import secrets
import sqlite3
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from receiver.intake import Request, printable
from receiver.masks import masked
from receiver.sources import Source
from schemas.delivery import now_utc
from schemas.logs import Log
from schemas.settings import RejectedSettings

log = structlog.get_logger()

FILE, KEY = "rejected.sqlite3", "rejected.key"
_KEY_LENGTH = 32
#: What may wait to be written, and how much is written at a time, how many seconds apart: some 250 requests a second.
QUEUE_COUNT, QUEUE_BYTES = 256, 4 * 1024 * 1024
GROUP, PAUSE = 64, 0.25

Result = TypeVar("Result")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rejected (
    id TEXT PRIMARY KEY, source TEXT NOT NULL, at TEXT NOT NULL, size INTEGER NOT NULL, request TEXT NOT NULL, body BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A request that failed verification, its credentials masked. If it is taken after all, its delivery has the same id."""

    id: UUID
    source: str
    at: datetime
    request: Request


@dataclass(frozen=True, slots=True)
class Standing:
    """How many are kept, and when the last of them came."""

    kept: int = 0
    last: datetime | None = None


class Rejects:
    """The receiver's side of the file, which is made when it is first needed."""

    def __init__(self, data_dir: Path, limits: RejectedSettings, now: Callable[[], datetime] = now_utc) -> None:
        self._data_dir, self._limits, self._now = data_dir, limits, now
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rejects")
        self._connection: sqlite3.Connection | None = None
        self._key = b""
        self._waiting: deque[tuple[Source, Request, datetime]] = deque()
        self._waiting_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._failing = False
        #: As the file was when it was last looked at.
        self.standing = Standing()
        #: How many found no room in the queue, or on the disk.
        self.lost = 0

    def add(self, source: Source, request: Request, at: datetime) -> None:
        """Have a request kept soon, if there is room for it."""
        if self._limits.count == 0:
            return
        if len(self._waiting) >= QUEUE_COUNT:  # nothing is looked at in a flood
            self.lost += 1
            return
        weight = _weight(request)
        if self._waiting_bytes + weight > QUEUE_BYTES or weight > self._limits.size:
            self.lost += 1
            return
        self._waiting.append((source, request, at))
        self._waiting_bytes += weight
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_waiting())

    async def look(self) -> Standing:
        """Delete what is too old, or beyond the bounds, and see what there is."""
        if self._connection is not None or (self._data_dir / FILE).exists():
            await self._attempt([])
        return self.standing

    async def close(self) -> None:
        """Write what waits, and close the file."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        if self._connection is not None:
            await self._run(self._connection.close)
            self._connection = None
        self._thread.shutdown()

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
                self._waiting_bytes -= sum(_weight(request) for _, request, _ in group)
                await self._attempt(group)
                await asyncio.sleep(PAUSE)
        finally:
            self._writing = None

    async def _attempt(self, group: Sequence[tuple[Source, Request, datetime]]) -> None:
        """Write a group; whatever is wrong with the file must be wrong with the file alone."""
        try:
            self.standing = await self._run(lambda: self._write(group))
            self._failing = False
        except (sqlite3.Error, OSError) as error:
            self.lost += len(group)
            if not self._failing:
                log.error(Log.REJECTED_LOST, error=type(error).__name__)
            self._failing = True

    async def _run(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _write(self, group: Sequence[tuple[Source, Request, datetime]]) -> Standing:
        if self._connection is None:
            self._key = _made_key(self._data_dir / KEY)
            self._connection = _opened(self._data_dir / FILE)
        with self._connection as transaction:
            transaction.executemany("INSERT INTO rejected VALUES (?, ?, ?, ?, ?, ?)", [_row(self._key, *one) for one in group])
            _trim(transaction, self._limits, self._now())
        count, last = transaction.execute("SELECT count(*), max(at) FROM rejected").fetchone()
        return Standing(count, datetime.fromisoformat(last) if last else None)


def kept(data_dir: Path, since: datetime) -> Iterator[Rejected]:
    """What a data_dir holds that came since then, in the order of arrival; a receiver may be running there."""
    if not (data_dir / FILE).exists():
        return
    with closing(sqlite3.connect(f"file:{data_dir / FILE}?mode=ro", uri=True, timeout=5.0)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'rejected'").fetchone():
            return  # just being made
        query = "SELECT id, source, at, request, body FROM rejected WHERE at >= ? ORDER BY id"
        for id_, source, at, request, body in connection.execute(query, (_text(since),)):
            yield Rejected(UUID(id_), source, datetime.fromisoformat(at), Request(**json.loads(request), body=body))


def forget(data_dir: Path, ids: Iterable[UUID]) -> None:
    """Delete what need not be kept any more."""
    with closing(sqlite3.connect(data_dir / FILE, timeout=30.0)) as connection, connection:
        connection.execute("PRAGMA secure_delete=ON")
        connection.executemany("DELETE FROM rejected WHERE id = ?", [(str(one),) for one in ids])


def key(data_dir: Path) -> bytes:
    """The key under which credentials are digests; an empty one, which recognises nothing, where it is gone."""
    path = data_dir / KEY
    return path.read_bytes() if path.exists() else b""


def _weight(request: Request) -> int:
    """Bytes, about: a name and its digest, or what stays readable."""
    pairs = (*request.headers.items(), *request.query.items())
    return len(request.body) + sum(len(name) + max(len(value), 100) for name, value in pairs)


def _row(key: bytes, source: Source, request: Request, at: datetime) -> tuple[Any, ...]:
    hidden = asdict(masked(key, source, request))
    body = hidden.pop("body")
    hidden["event"] = printable(hidden["event"]) if hidden["event"] else None
    text = json.dumps(hidden)
    return str(uuid7()), source.name, _text(at), len(text) + len(body), text, body


def _text(at: datetime) -> str:
    """A time whose order as text is the order of time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _trim(connection: sqlite3.Connection, limits: RejectedSettings, now: datetime) -> None:
    connection.execute("DELETE FROM rejected WHERE at < ?", (_text(now - limits.age),))
    rows = connection.execute("SELECT id, source, size FROM rejected ORDER BY id").fetchall()
    connection.executemany("DELETE FROM rejected WHERE id = ?", [(one,) for one in surplus(rows, limits)])


def surplus(rows: Sequence[tuple[str, str, int]], limits: RejectedSettings) -> Iterator[str]:
    """The ids, of rows (id, source, size) from the oldest on, that have to go: always the oldest of the source that takes up
    most, so that a flood at one source drives out none of another's.
    """
    if limits.count == 0:
        yield from (one for one, _, _ in rows)
        return
    queues, sizes = defaultdict[str, deque[tuple[str, int]]](deque), Counter[str]()
    for id_, source, size in rows:
        queues[source].append((id_, size))
        sizes[source] += size
    for _ in rows:
        if sum(map(len, queues.values())) <= limits.count and sizes.total() <= limits.size:
            return
        largest = max(queues, key=lambda source: max(len(queues[source]) / limits.count, sizes[source] / limits.size))
        id_, size = queues[largest].popleft()
        sizes[largest] -= size
        yield id_


def _opened(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    # NORMAL: what the last second rejected may go with the power; deleted bodies are overwritten.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON", f"journal_size_limit={QUEUE_BYTES}"):
        connection.execute(f"PRAGMA {pragma}")
    connection.executescript(_SCHEMA)
    return connection


def _made_key(path: Path) -> bytes:
    """The key in the file; a new one where there is none that is whole."""
    with suppress(FileNotFoundError):
        found = path.read_bytes()
        if len(found) == _KEY_LENGTH:
            return found
    made, new = secrets.token_bytes(_KEY_LENGTH), path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return made
