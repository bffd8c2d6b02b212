"""The receiver's parts put together from its settings: for receive, serve and demo."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from receiver import app
from receiver.endpoints import Hook, Readiness
from receiver.heartbeat import Heart, Tell
from receiver.metrics import Answers, Gauges
from receiver.publisher import Keeper, Publisher, SpoolKeeper
from receiver.recent import Recent
from receiver.rejects import Rejects
from receiver.sources import Source, sources
from receiver.spool import Spool
from schemas.delivery import now_utc
from schemas.logs import Log
from schemas.settings import ReceiverSettings, Settings
from schemas.traces import OFF, Tracer
from workers.cli.exposition import Exposition
from workers.cli.process import Site

log = structlog.get_logger()


@dataclass(slots=True)
class ReceiverSide:
    """A receiver that is ready to be served."""

    spool: Spool
    publisher: Publisher | None
    recent: Recent
    rejects: Rejects
    heart: Heart
    #: What its local port shows to Prometheus; embedded, the workers' part of it too.
    exposition: Exposition
    sites: tuple[Site, ...] = ()
    #: Embedded: the workers' readiness, told beside the receiver's own.
    workers: Readiness | None = None

    async def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether a delivery can be made durable now, with details."""
        broker = "embedded" if self.publisher is None else self.publisher.away or "up"
        details: dict[str, object] = {
            "broker": broker,
            "spooled": self.spool.depth,
            "spool_full": self.spool.full,
            "rejected": {"kept": self.rejects.standing.kept, "lost": self.rejects.lost},
            "answers": {str(status): times for status, times in self.recent.statuses.items()},
        }
        if self.workers is not None:
            details["workers"] = (await self.workers())[1]
        return not self.spool.full or broker == "up", details

    async def run(self, tell: Tell, carrier: Coroutine[Any, Any, None]) -> None:
        """Beat beside what carries the beats on, which ends last, for the last beat needs it too; until cancelled."""
        carrying, beating = asyncio.create_task(carrier), asyncio.create_task(self.heart.run(tell))
        outcomes: list[BaseException | None] = []
        try:
            await asyncio.wait([carrying, beating], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (beating, carrying):
                task.cancel()
                outcomes += await asyncio.gather(task, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


@contextlib.asynccontextmanager
async def receiver_side(settings: Settings, now: Callable[[], datetime] = now_utc, tracer: Tracer = OFF) -> AsyncIterator[ReceiverSide]:
    """Open the spool and build both applications; raises SpoolInUse."""
    spool = Spool.open(settings.data_dir, settings.receiver.spool_max, owner=True)
    rejects = Rejects(settings.data_dir, settings.receiver.rejected, now)
    try:
        deadline = settings.receiver.publish_deadline
        publisher = Publisher(settings.broker_url, spool, deadline, tracer) if settings.broker_url else None
        keeper: Keeper = publisher or SpoolKeeper(spool)
        configured, recent = sources(settings), Recent()
        _warn(configured)
        heart = Heart(receiver_name(settings.receiver), settings.receiver.heartbeat, spool, rejects, now)
        side = ReceiverSide(spool, publisher, recent, rejects, heart, exposition := Exposition())
        told = Answers(exposition.registry, configured).told
        hook = Hook(settings.receiver, configured, keeper, recent, now, told, rejected=rejects.add, tracer=tracer)
        exposition.before(Gauges(exposition.registry, hook, spool, settings.receiver.spool_max, publisher, rejects).look)
        side.sites = (
            Site(app.public(hook, side.readiness), settings.receiver.host, settings.receiver.port, "receiver.port"),
            Site(app.local(recent, side.readiness, exposition), settings.local.host, settings.local.receiver_port, "local.receiver_port"),
        )
        yield side
    finally:
        await rejects.close()
        await spool.close()


def receiver_name(settings: ReceiverSettings) -> str:
    """Two receivers on one host have ports of their own."""
    default = ReceiverSettings.model_fields["port"].default
    return settings.name or socket.gethostname() + (f":{settings.port}" if settings.port != default else "")


def _warn(configured: Mapping[str, Source]) -> None:
    if not configured:
        log.warning(Log.NO_SOURCES, remedy="run `muster init`, or add [sources.NAME]")
    for source in configured.values():
        if source.unverified:
            log.warning(Log.UNVERIFIED_SOURCE, source=source.name, remedy="anybody who knows the address is believed")
