"""A worker that a delivery kills: run over and over, as a supervisor would, until everything is in the log.

`python killed.py DATABASE INLET COUNT`: a broker's URL or a data directory with a spool; the body `poison` kills.
"""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

from receiver.spool import FILE, REPLAYS, Spool
from schemas.delivery import Delivery
from schemas.settings import WorkerSettings
from workers.cli.embedded import SpoolInlet
from workers.consumer import Consumer
from workers.database import close_database, open_database
from workers.handlers import Outcome, handle
from workers.lane import Inlet, Lane
from workers.log import LoggedDelivery
from workers.pipeline import Pipeline

KILLED = 77


def decide(delivery: Delivery) -> Outcome:
    """Handle a delivery, or die of it."""
    if delivery.body == b"poison":
        os._exit(KILLED)
    return handle(delivery)


async def work(url: str, inlet: Inlet, count: int) -> None:
    """Work until the log holds `count` deliveries that are done with."""
    database = await open_database(url)
    lane = Lane(inlet, Pipeline(database, decide), database)
    feeding, working = asyncio.create_task(inlet.run()), asyncio.create_task(lane.run())
    try:
        async with asyncio.timeout(60):
            while await LoggedDelivery.exclude(state="received").count() < count:  # noqa: ASYNC110 - the database does not call back
                await asyncio.sleep(0.02)
    finally:
        working.cancel()
        await lane.finish(60)
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
        await close_database()


async def main(url: str, source: str, count: str) -> None:
    """From a broker or from a spool."""
    if source.startswith("amqp:"):
        await work(url, Consumer(source, WorkerSettings()), int(count))
        return
    spool, replays = (Spool.open(Path(source), 2**24, owner=True, file=file) for file in (FILE, REPLAYS))
    try:
        await work(url, SpoolInlet(spool, replays, 100), int(count))
    finally:
        await spool.close()
        await replays.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
