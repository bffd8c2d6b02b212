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
from tests.workers.made import handed
from workers.cli.embedded import REPLAYS_AT_ONCE, SpoolInlet, spool_inlet
from workers.lane import Batch

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


async def test_a_row_that_cannot_be_read_is_dead_verbatim_and_its_neighbours_are_not(spools: tuple[Spool, Spool]) -> None:
    for spool in spools:
        await spool.append(Spooled("4hse", "hse", b"neither JSON nor a delivery"))
        await fill(spool, 1)
    for batch in await handed(SpoolInlet(*spools, 10), 2):
        assert list(batch.fresh) == [ONE]
        assert [(one.body, reason) for one, reason, _ in batch.dead] == [(b"neither JSON nor a delivery", Reason.UNREADABLE_ENVELOPE)]


async def test_a_row_is_forgotten_with_the_take_after_its_batch_was_settled(spools: tuple[Spool, Spool]) -> None:
    for number, spool in enumerate(spools):
        inlet = SpoolInlet(*spools, 10)
        take = (inlet.take, inlet.take_replays)[number]
        await fill(spool, 1)
        first = await take()
        before = len(await spool.oldest(10))
        await inlet.settle(first)
        await fill(spool, 2)
        await take()

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


async def test_what_is_settled_is_forgotten_also_where_the_next_take_is_cancelled(spools: tuple[Spool, Spool]) -> None:
    inlet = SpoolInlet(*spools, 10)
    await fill(spools[0], 1)
    await inlet.settle(await inlet.take())
    for one in (asyncio.create_task(inlet.take()), asyncio.create_task(inlet.run())):
        await asyncio.sleep(0)
        one.cancel()
        with suppress(asyncio.CancelledError):
            await one

    assert spools[0].depth == 0


async def test_replays_are_taken_when_nothing_live_waits_or_is_worked_off(spools: tuple[Spool, Spool]) -> None:
    live, replays = spools
    inlet = SpoolInlet(live, replays, 10)
    await fill(live, 1, 2)
    batch = await inlet.take()
    await fill(replays, *range(100, 103))
    taking = asyncio.create_task(inlet.take_replays())
    await asyncio.sleep(1.2)
    before = taking.done()
    await inlet.settle(batch)
    idle = asyncio.create_task(inlet.take())

    assert (before, numbers(await asyncio.wait_for(taking, 5))) == (False, [100, 101, 102])
    await fill(live, 3)
    assert numbers(await asyncio.wait_for(idle, 5)) == [3]


async def test_replays_have_a_small_share_and_small_batches_behind_a_backlog_of_live_deliveries(spools: tuple[Spool, Spool]) -> None:
    live, replays = spools
    inlet = SpoolInlet(live, replays, 1)
    await fill(live, *range(1, 21))
    inlet._turns.took_live()
    await fill(replays, *range(100, 100 + 2 * REPLAYS_AT_ONCE))
    batches = await handed(inlet, 17)

    assert [batch.replays for batch in batches] == [*[False] * 7, True, *[False] * 8, True]
    assert {len(batch) for batch in batches if batch.replays} == {REPLAYS_AT_ONCE}


async def test_replays_that_were_handed_out_and_not_settled_come_again_as_suspects(spools: tuple[Spool, Spool]) -> None:
    await fill(spools[1], 1, 2)
    assert [len(batch.fresh) for batch in [await SpoolInlet(*spools, 10).take_replays()]] == [2]
    again = await SpoolInlet(*spools, 10).take_replays()

    assert (numbers(again), len(again.suspects), again.replays) == ([1, 2], 2, True)


async def test_replays_that_another_process_appends_are_found(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path})
    live = Spool.open(tmp_path, 2**20, owner=True)
    async with spool_inlet(live, settings) as inlet:
        taking = asyncio.create_task(inlet.take_replays())
        await asyncio.sleep(0.1)
        other = Spool.open(tmp_path, settings.worker.replays_max, owner=False, file=REPLAYS)
        await fill(other, 1)
        await other.close()

        assert numbers(await asyncio.wait_for(taking, 10)) == [1]
    await live.close()
