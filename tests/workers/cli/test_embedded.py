"""The spools as an inlet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest_asyncio

from receiver.spool import FILE, REPLAYS, Row, Spool, Spooled
from schemas.delivery import Delivery, decode, encode, fingerprint
from schemas.settings import Settings
from schemas.states import Reason
from workers.cli.embedded import SpoolInlet, spool_inlet
from workers.lane import REPLAYS_AT_ONCE, Batch

ONE = Delivery(
    id=UUID(int=1),
    source="hse",
    account="hse",
    vendor="4hse",
    event=None,
    received_at=datetime(2026, 1, 1, tzinfo=UTC),
    headers={},
    body=b"x",
    fingerprint=fingerprint(None, b"x"),
)


@pytest_asyncio.fixture
async def spools(tmp_path: Path) -> AsyncIterator[tuple[Spool, Spool]]:
    """The spool of live deliveries and that of the replays, both ours."""
    live, replays = (Spool.open(tmp_path, 2**20, owner=True, file=file) for file in (FILE, REPLAYS))
    yield live, replays
    await live.close()
    await replays.close()


def numbered(number: int) -> Delivery:
    """A delivery of its own."""
    return ONE.model_copy(update={"id": UUID(int=number)})


async def fill(spool: Spool, *numbers: int) -> None:
    """Append deliveries."""
    for number in numbers:
        await spool.append(Spooled("4hse", "hse", encode(numbered(number))))


def numbers(batch: Batch) -> list[int]:
    """Which deliveries are in a batch."""
    return [one.id.int for one in (*batch.fresh, *batch.suspects)]


def numbers_of(rows: list[Row]) -> list[int]:
    """Which deliveries rows hold."""
    return [decode(row.spooled.delivery).id.int for row in rows]


async def handed(inlet: SpoolInlet, count: int) -> list[Batch]:
    """So many batches, each settled before the next is taken."""
    batches = []
    for _ in range(count):
        batches.append(await asyncio.wait_for(inlet.take(), 5))
        await inlet.settle(batches[-1])
    return batches


async def test_a_row_that_cannot_be_read_is_dead_verbatim_and_its_neighbours_are_not(spools: tuple[Spool, Spool]) -> None:
    for spool in spools:
        await spool.append(Spooled("4hse", "hse", b"neither JSON nor a delivery"))
        await fill(spool, 1)
    for batch in await handed(SpoolInlet(*spools, 10), 2):
        assert list(batch.fresh) == [ONE]
        assert [(one.body, reason) for one, reason, _ in batch.dead] == [(b"neither JSON nor a delivery", Reason.UNREADABLE_ENVELOPE)]


async def test_a_row_is_forgotten_with_the_take_after_its_batch_was_settled(spools: tuple[Spool, Spool]) -> None:
    for spool in spools:
        inlet = SpoolInlet(*spools, 10)
        await fill(spool, 1)
        first = await inlet.take()
        before = len(await spool.oldest(10))
        await inlet.settle(first)
        await fill(spool, 2)
        await inlet.take()

        assert (before, numbers_of(await spool.oldest(10))) == (1, [2])
        await spool.forget([row.seq for row in await spool.oldest(10)])


async def test_what_is_settled_last_is_forgotten_when_the_inlet_ends(spools: tuple[Spool, Spool]) -> None:
    inlet = SpoolInlet(*spools, 10)
    await fill(spools[0], 1)
    await fill(spools[1], 2)
    feeding = asyncio.create_task(inlet.run())
    await handed(inlet, 2)
    feeding.cancel()
    with suppress(asyncio.CancelledError):
        await feeding

    assert [spool.depth for spool in spools] == [0, 0]


async def test_replays_are_taken_when_nothing_live_waits(spools: tuple[Spool, Spool]) -> None:
    live, replays = spools
    await fill(replays, *range(100, 103))
    await fill(live, 1, 2)
    inlet = SpoolInlet(live, replays, 10)
    batches = await handed(inlet, 2)
    await fill(live, 3)
    batches += await handed(inlet, 1)

    assert [(batch.replays, numbers(batch)) for batch in batches] == [(False, [1, 2]), (True, [100, 101, 102]), (False, [3])]


async def test_replays_have_a_small_share_and_small_batches_behind_a_backlog_of_live_deliveries(spools: tuple[Spool, Spool]) -> None:
    live, replays = spools
    await fill(live, *range(1, 21))
    await fill(replays, *range(100, 100 + 2 * REPLAYS_AT_ONCE))
    batches = await handed(SpoolInlet(live, replays, 1), 18)

    assert [batch.replays for batch in batches] == [*[False] * 8, True] * 2
    assert {len(batch) for batch in batches if batch.replays} == {REPLAYS_AT_ONCE}


async def test_replays_that_were_handed_out_and_not_settled_come_again_as_suspects(spools: tuple[Spool, Spool]) -> None:
    await fill(spools[1], 1, 2)
    assert [len(batch.fresh) for batch in [await SpoolInlet(*spools, 10).take()]] == [2]
    again = await SpoolInlet(*spools, 10).take()

    assert (numbers(again), len(again.suspects), again.replays) == ([1, 2], 2, True)


async def test_replays_that_another_process_appends_are_found(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path})
    live = Spool.open(tmp_path, 2**20, owner=True)
    async with spool_inlet(live, settings) as inlet:
        taking = asyncio.create_task(inlet.take())
        await asyncio.sleep(0.1)
        other = Spool.open(tmp_path, settings.worker.replays_max, owner=False, file=REPLAYS)
        await fill(other, 1)
        await other.close()

        assert numbers(await asyncio.wait_for(taking, 10)) == [1]
    await live.close()
