"""Servers stopped, killed, blocked and started under load: nobody is refused, nothing is lost, all heals by itself."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from schemas.logs import Log
from tests.faults.load import Load
from tests.faults.trial import HEARTBEAT, Figures, Ground, Trial, percentile, trial
from tests.services.rabbitmq import RabbitMQ
from workers.lane import PATIENCE

#: Seconds of undisturbed load before and after each outage.
_CALM = 0.7
#: Longer than a worker holds its batch before it leaves the broker.
_LONG = PATIENCE + 1.0


@dataclass(frozen=True, slots=True)
class Outage:
    """One way in which a broker is not there."""

    name: str
    strike: Callable[[RabbitMQ], object]
    mend: Callable[[RabbitMQ], object]
    #: Seconds from the one to the other.
    lasts: float


_OUTAGES = (
    Outage("stopped in good order", RabbitMQ.stop, RabbitMQ.start, 0.0),
    Outage("killed", RabbitMQ.kill, RabbitMQ.start, 0.0),
    Outage("all connections closed", lambda node: node.ctl("close_all_connections", "--global", "a fault"), lambda _: None, 0.5),
    # Longer than three missed heartbeats, so that muster gives the connection up.
    Outage("frozen", lambda node: node.freeze(frozen=True), lambda node: node.freeze(frozen=False), 3 * (HEARTBEAT + 1) + 2.0),
)
_ALARM = Outage("memory alarm", lambda node: node.alarm(raised=True), lambda node: node.alarm(raised=False), 4.0)


async def broker(ground: Ground) -> Figures:
    """RabbitMQ stopped, killed, rid of its connections, frozen, in turns."""
    return await _broker(ground, "broker", _OUTAGES * max(1, ground.kills // 10))


async def alarm(ground: Ground) -> Figures:
    """RabbitMQ blocked by its memory alarm."""
    return await _broker(ground, "alarm", (_ALARM,) * max(1, ground.kills // 10))


async def database(ground: Ground) -> Figures:
    """PostgreSQL crashed and started: once for so long that the worker leaves the broker, else for moments."""
    async with trial(ground, "database") as one:
        async with one.load(pause=0.05) as load:
            for number in range(max(3, ground.kills // 5)):
                await load.flows()
                await _without_database(one, load, one.rng.uniform(0.3, 1.5) if number else _LONG)
        _expect_answers(load, one.figures)
        return one.close(load, await one.settled())


async def _broker(ground: Ground, name: str, outages: tuple[Outage, ...]) -> Figures:
    async with trial(ground, name) as one:
        async with one.load(pause=0.03) as load:
            for outage in outages:
                await load.flows()
                await _endure(one, load, outage)
        _expect_answers(load, one.figures)
        return one.close(load, await one.settled())


async def _endure(one: Trial, load: Load, outage: Outage) -> None:
    """One outage from calm to calm; it hits if the receiver had to do without the broker."""
    missed, moments = len(one.told("receive", Log.BROKER_AWAY)), [time.monotonic()]
    await asyncio.sleep(_CALM)
    moments.append(time.monotonic())
    await asyncio.to_thread(outage.strike, one.ground.rabbitmq)
    await asyncio.sleep(outage.lasts)
    await asyncio.to_thread(outage.mend, one.ground.rabbitmq)
    await one.drained()
    moments.append(time.monotonic())
    await asyncio.sleep(_CALM)
    moments.append(time.monotonic())
    hit = len(one.told("receive", Log.BROKER_AWAY)) > missed
    one.figures.faults, one.figures.hit = one.figures.faults + 1, one.figures.hit + hit
    one.figures.notes.append(f"{outage.name}: {load.connections} connections, " + _phases(load, moments))
    if not hit:
        one.figures.problems.append(f"{outage.name}: the receiver never noticed")


async def _without_database(one: Trial, load: Load, lasts: float) -> None:
    """PostgreSQL gone for a while; it hits if the worker says so, and while it does the receiver answers."""
    moments = [time.monotonic()]
    await asyncio.sleep(_CALM)
    moments.append(time.monotonic())
    await asyncio.to_thread(one.ground.postgres.stop, "immediate")
    await asyncio.sleep(lasts)
    status, said = await one.readiness(one.muster.worker_port)
    await load.flows()
    await asyncio.to_thread(one.ground.postgres.start)
    hit = status == 503 and said["database"] != "up"
    one.figures.faults, one.figures.hit = one.figures.faults + 1, one.figures.hit + hit
    if not hit:
        one.figures.problems.append(f"the worker's readiness without a database: {status} {said}")
    await one.ready(one.muster.worker_port)
    moments.append(time.monotonic())
    await asyncio.sleep(_CALM)
    moments.append(time.monotonic())
    one.figures.notes.append(f"database away for {lasts:.1f} s: {load.connections} connections, " + _phases(load, moments))


def _phases(load: Load, moments: list[float]) -> str:
    told = []
    for name, since, until in zip(("before", "during", "after"), moments, moments[1:], strict=False):
        took = load.latencies(since, until)
        p50, p99, most = percentile(took, 50), percentile(took, 99), 1000 * max(took, default=0.0)
        told.append(f"{name} {len(took) / (until - since):.0f}/s p50 {p50:.0f} p99 {p99:.0f} max {most:.0f} ms")
    return f"{', '.join(told)}, healed {moments[2] - moments[1]:.1f} s after it began"


def _expect_answers(load: Load, figures: Figures) -> None:
    if load.unanswered:
        figures.problems.append(f"{len(load.unanswered)} requests were never answered")
