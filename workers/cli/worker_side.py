"""The workers' parts put together from their settings: for work, serve and demo."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import datetime
from functools import partial
from typing import Any

import stamina
import structlog

from schemas.delivery import now_utc
from schemas.heartbeat import Heartbeat
from schemas.logs import Log
from schemas.settings import Settings
from schemas.traces import OFF, Tracer
from workers.cli.exposition import Exposition
from workers.cli.mirrors import mirror
from workers.cli.process import EndedByItself
from workers.clock import Clock
from workers.consumer import Consumer
from workers.database import Database, DatabaseAway, close_database, open_database
from workers.envelopes import readmitted
from workers.followups.enroller import Enroller
from workers.followups.recorder import Recorder
from workers.followups.walks import Walks
from workers.handlers import handle
from workers.lane import Inlet, Lane
from workers.log import HeldEnvelope
from workers.metrics import Gauges, Outside, Work
from workers.migrations import check_schema, migrate
from workers.operations.figures import AGAIN, QUESTIONS, Answer, Asked, Moment, Question, from_broker
from workers.operations.health import Watch, worker_readiness
from workers.pipeline import Pipeline, ids
from workers.receivers import note
from workers.refresher import Refresher
from workers.relay import Relay
from workers.retention import TURN, Retention
from workers.scheduler import Scheduler
from workers.vendors.accounts import OpenAccounts

log = structlog.get_logger()

LOCK = "worker.lock"


class WorkerRunning(Exception):
    """Another worker holds this SQLite database; name a PostgreSQL one with `database` to run several."""


class Worker:
    """A lane from an inlet into the database, which may be away at any time."""

    def __init__(
        self,
        settings: Settings,
        inlet: Inlet,
        *,
        set_up: bool = False,
        now: Callable[[], datetime] = now_utc,
        exposition: Exposition | None = None,
        tracer: Tracer = OFF,
    ) -> None:
        self._settings, self._inlet, self._set_up, self._now, self._tracer = settings, inlet, set_up, now, tracer
        #: What its local port shows to Prometheus; embedded, the receiver's.
        self.exposition = exposition or Exposition()
        self._work = Work(self.exposition.registry, settings.accounts, now)
        broker = Asked(partial(from_broker, settings.broker_url)) if settings.broker_url else None
        asked = {name: Asked(partial(self._asked, question), every) for name, (question, every) in QUESTIONS.items()}
        self.exposition.before(Outside(self.exposition.registry, Asked(self._pinged, AGAIN), asked, broker).look)
        self._mirror = mirror(settings, now)
        self._watch = Watch(settings.accounts, now)
        #: None until it is open.
        self.database: Database | None = None
        self.lane: Lane | None = None
        self._relay: Relay | None = None

    async def run(self) -> None:
        """Work until cancelled; then finish and settle the batch under way before anything is closed.

        Raises WorkerRunning, DatabaseRefused, SchemaMismatch, TopologyDiffers.
        """
        async with self._opened() as database, self._accounts() as accounts:
            self.database, self.lane = database, Lane(self._inlet, self._pipeline(database), database, told=self._work.batch)
            Gauges(self.exposition.registry, self.lane, self._consumer, accounts, self._now)
            # The inlet outlives the rest: what is under way is settled through it.
            feeding = asyncio.create_task(self._inlet.run())
            working = [asyncio.create_task(duty) for duty in (self.lane.run(), *self._duties(database, accounts))]
            try:
                await asyncio.wait([feeding, *working], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in working:
                    task.cancel()
                await self.lane.finish(self._settings.worker.grace)
                feeding.cancel()
                outcomes = await asyncio.gather(feeding, *working, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
            raise EndedByItself("a part of the worker has ended, and nobody told it to")

    async def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether deliveries are being applied now, with details."""
        if self.database is None or self.lane is None:
            return False, {"database": "not connected yet"}
        ready, details = await worker_readiness(self.database, self.lane, self._consumer, self._watch)
        # Not a reason to be unready: the events wait in their rows.
        return ready, details | {"events": (self._relay and self._relay.away) or "up"}

    async def heard(self, heartbeat: Heartbeat) -> bool:
        """Note that the receiver in this process lives; False while the database is away."""
        if self.database is None:
            return False
        try:
            await note(self.database, [heartbeat], self._now())
        except DatabaseAway:
            return False
        return True

    @property
    def _consumer(self) -> Consumer | None:
        return self._inlet if isinstance(self._inlet, Consumer) else None

    async def _asked(self, question: Question) -> Answer:
        if self.database is None:
            raise DatabaseAway("not connected yet")
        return await question(Moment(self._now(), self._settings.accounts))

    async def _pinged(self) -> Answer:
        if self.database is None:
            raise DatabaseAway("not connected yet")
        await self.database.ping()
        return {}

    def _duties(self, database: Database, accounts: OpenAccounts) -> Iterator[Coroutine[Any, Any, None]]:
        """What a worker does beside its lane, for ever."""
        yield Refresher(database, self._mirror, accounts, self._now).run()
        chores = [(TURN, Retention(database, self._settings.retention, self._now))]
        yield Scheduler(database, self._mirror, accounts, self._now, chores=chores).run()
        yield Clock(database, self._mirror, self._now).run()
        assert self._mirror.followups is not None
        yield Walks(database, self._mirror.followups, self._now).run()
        yield Enroller(database, accounts, self._mirror.followups, self._now).run()
        yield Recorder(database, accounts, self._mirror.followups, self._now, self._mirror.clock_skew).run()
        self._relay = Relay(database, self._settings.broker_url, self._settings.data_dir, self._now)
        yield self._relay.run()

    def _pipeline(self, database: Database) -> Pipeline:
        return Pipeline(database, partial(handle, accounts=self._settings.accounts), self._mirror, self._work.settled, self._tracer)

    @contextlib.asynccontextmanager
    async def _accounts(self) -> AsyncIterator[OpenAccounts]:
        accounts = OpenAccounts(self._settings.accounts, self._now, self._work.called, self._tracer)
        try:
            yield accounts
        finally:
            await accounts.close()

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
                    await readmit(self._pipeline(database))
                    return database
                except DatabaseAway as away:
                    log.error(Log.DATABASE_AWAY, error=str(away))
                    raise
        raise AssertionError("retries without end have ended")


async def readmit(pipeline: Pipeline) -> None:
    """Apply what an older version held and this one can open."""
    for row, batch in await readmitted():
        tally = await pipeline.together(batch.fresh)
        for delivery, reason, detail in batch.dead:
            tally += await pipeline.bury([delivery], reason, detail)
        await HeldEnvelope.filter(id=row).delete()
        log.info(Log.BATCH_APPLIED, **tally, held=row, deliveries=ids(batch.deliveries))


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
