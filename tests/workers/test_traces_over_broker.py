"""A trace on its way from the receiver's publisher to the worker's consumer, over a real broker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from receiver.publisher import Publisher
from receiver.spool import Spool, Spooled
from schemas.delivery import Delivery, encode
from schemas.traces import OFF, SpanName, Tracer
from tests.services.collector import recording
from tests.workers.made import created, until
from tests.workers.test_consumer import consuming, taken

MEBIBYTE = 2**20
TRACES = ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]


@asynccontextmanager
async def publishing(url: str, data_dir: Path, tracer: Tracer) -> AsyncIterator[Publisher]:
    """A publisher that can publish."""
    spool = Spool.open(data_dir, 256 * MEBIBYTE, owner=True)
    publisher = Publisher(url, spool, 2.0, tracer)
    task = asyncio.create_task(publisher.run())
    try:
        await until(lambda: publisher.away is None, "the connection")
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await spool.close()


async def handed_over(url: str, data_dir: Path, tracer: Tracer, *given: Delivery) -> list[str | None]:
    """The traces with which deliveries that are published together arrive at a worker, in the order in which they were given."""
    found: Sequence[Delivery] = ()
    async with consuming(url) as consumer, publishing(url, data_dir, tracer) as publisher:
        await asyncio.gather(*(publisher.keep(Spooled("4hse", "hse", encode(one))) for one in given))
        while len(found) < len(given):
            batch = await taken(consumer)
            found = [*found, *batch.fresh]
            await consumer.settle(batch)
    assert [one.id for one in found] == [one.id for one in given]
    return [one.trace for one in found]


async def test_a_lone_deliverys_trace_goes_on_from_its_message(broker_url: str, tmp_path: Path) -> None:
    with recording() as (tracer, collector):
        (trace,) = await handed_over(broker_url, tmp_path, tracer, created(trace=TRACES[0]))
        tracer.close()
    span = collector.one(SpanName.PUBLISH)

    assert [span.trace, span.parent] == TRACES[0].split("-")[1:3]
    assert span.goes_on_as(trace)
    assert span.attributes == {"muster.source": "hse", "messaging.system": "rabbitmq", "messaging.batch.message_count": 1}


async def test_of_several_in_a_message_each_goes_on_with_its_own_and_all_are_linked(broker_url: str, tmp_path: Path) -> None:
    with recording() as (tracer, collector):
        traces = await handed_over(broker_url, tmp_path, tracer, created(), *(created(trace=one) for one in TRACES))
        tracer.close()
    span = collector.one(SpanName.PUBLISH)

    assert traces == [None, *TRACES]
    assert (span.trace, span.links) == (TRACES[0].split("-")[1], (TRACES[1].split("-")[1],))


async def test_a_receiver_that_traces_nothing_sends_nothing_and_hands_on_what_there_is(broker_url: str, tmp_path: Path) -> None:
    assert await handed_over(broker_url, tmp_path, OFF, created(), created(trace=TRACES[0])) == [None, TRACES[0]]
