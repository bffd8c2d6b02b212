"""The receiver's parts put together from its settings: for receive, serve and demo."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from receiver import app
from receiver.endpoints import Hook, Readiness
from receiver.publisher import Keeper, Publisher, SpoolKeeper
from receiver.recent import Recent
from receiver.sources import Source, sources
from receiver.spool import Spool
from schemas.delivery import now_utc
from schemas.logs import Log
from schemas.settings import Settings
from workers.cli.process import Site

log = structlog.get_logger()


@dataclass(slots=True)
class ReceiverSide:
    """A receiver that is ready to be served."""

    spool: Spool
    publisher: Publisher | None
    recent: Recent
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
            "answers": {str(status): times for status, times in self.recent.statuses.items()},
        }
        if self.workers is not None:
            details["workers"] = (await self.workers())[1]
        return not self.spool.full or broker == "up", details


@contextlib.asynccontextmanager
async def receiver_side(settings: Settings, now: Callable[[], datetime] = now_utc) -> AsyncIterator[ReceiverSide]:
    """Open the spool and build both applications; raises SpoolInUse."""
    spool = Spool.open(settings.data_dir, settings.receiver.spool_max, owner=True)
    try:
        publisher = Publisher(settings.broker_url, spool, settings.receiver.publish_deadline) if settings.broker_url else None
        keeper: Keeper = publisher or SpoolKeeper(spool)
        configured, recent = sources(settings), Recent()
        _warn(configured)
        side = ReceiverSide(spool, publisher, recent)
        hook = Hook(settings.receiver, configured, keeper, recent, now)
        side.sites = (
            Site(app.public(hook, side.readiness), settings.receiver.host, settings.receiver.port, "receiver.port"),
            Site(app.local(recent, side.readiness), settings.local.host, settings.local.receiver_port, "local.receiver_port"),
        )
        yield side
    finally:
        await spool.close()


def _warn(configured: Mapping[str, Source]) -> None:
    if not configured:
        log.warning(Log.NO_SOURCES, remedy="run `muster init`, or add [sources.NAME]")
    for source in configured.values():
        if source.unverified:
            log.warning(Log.UNVERIFIED_SOURCE, source=source.name, remedy="anybody who knows the address is believed")
