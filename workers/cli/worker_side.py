"""The workers' parts put together from their settings: for work, serve and demo."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator

import stamina
import structlog

from schemas.logs import Log
from schemas.settings import Settings
from workers.cli.process import EndedByItself
from workers.consumer import Consumer, readmitted
from workers.database import Database, DatabaseAway, close_database, open_database, told_apart
from workers.lane import Inlet, Lane
from workers.log import HeldEnvelope
from workers.migrations import check_schema, migrate
from workers.operations.health import worker_readiness
from workers.pipeline import Pipeline

log = structlog.get_logger()

LOCK = "worker.lock"


class WorkerRunning(Exception):
    """Another worker holds this SQLite database; name a PostgreSQL one with `database` to run several."""


class Worker:
    """A lane from an inlet into the database, which may be away at any time."""

    def __init__(self, settings: Settings, inlet: Inlet, *, set_up: bool = False) -> None:
        self._settings, self._inlet, self._set_up = settings, inlet, set_up
        self._database: Database | None = None
        self.lane: Lane | None = None

    async def run(self) -> None:
        """Work until cancelled; then finish and settle the batch under way before anything is closed.

        Raises WorkerRunning, DatabaseRefused, SchemaMismatch, TopologyDiffers.
        """
        async with self._opened() as database:
            self._database, self.lane = database, Lane(self._inlet, Pipeline(database), database)
            feeding, working = asyncio.create_task(self._inlet.run()), asyncio.create_task(self.lane.run())
            try:
                await asyncio.wait({feeding, working}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                working.cancel()
                await self.lane.finish(self._settings.worker.grace)
                feeding.cancel()
                outcomes = await asyncio.gather(feeding, working, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
            raise EndedByItself("the inlet or the lane has ended, and nobody told it to")

    async def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether deliveries are being applied now, with details."""
        if self._database is None or self.lane is None:
            return False, {"database": "not connected yet"}
        return await worker_readiness(self._database, self.lane, self._inlet if isinstance(self._inlet, Consumer) else None)

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[Database]:
        with contextlib.ExitStack() as held:
            if self._settings.database_url.startswith("sqlite:"):
                self._settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
                held.enter_context(_only_worker(self._settings.data_dir / LOCK))
            try:
                yield await self._open_patiently()
            finally:
                await close_database()

    async def _open_patiently(self) -> Database:
        """Open the database, see to its schema and to what an older version held, waiting loudly while it is away."""
        async for attempt in stamina.retry_context(DatabaseAway, attempts=None, timeout=None, wait_initial=0.5, wait_max=5.0):
            with attempt:
                try:
                    database = await open_database(self._settings.database_url)
                    if self._set_up:
                        await migrate(database)
                    await check_schema(database)
                    await _readmit(Pipeline(database))
                    return database
                except DatabaseAway as away:
                    log.error(Log.DATABASE_AWAY, error=str(away))
                    raise
        raise AssertionError("retries without end have ended")


async def _readmit(pipeline: Pipeline) -> None:
    """Apply what an older version held and this one can open."""
    with told_apart():
        for row, batch in await readmitted():
            await pipeline.together(batch.fresh)
            for delivery, reason, detail in batch.dead:
                await pipeline.bury([delivery], reason, detail)
            await HeldEnvelope.filter(id=row).delete()


@contextlib.contextmanager
def _only_worker(path: os.PathLike[str]) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise WorkerRunning(WorkerRunning.__doc__) from None
    try:
        yield
    finally:
        os.close(lock)
