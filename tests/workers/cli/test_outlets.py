"""The spool of the replays, as a command hands out to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from receiver.spool import REPLAYS, Spool, in_use
from schemas.delivery import decode
from tests.workers.made import created, delivery
from workers.cli.outlets import SpoolOutlet
from workers.replay_lane import LaneAway

_SMALL = 128 * 1024


@pytest_asyncio.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """A small one, of which this process is no owner."""
    opened = Spool.open(tmp_path, _SMALL, owner=False, file=REPLAYS)
    yield opened
    await opened.close()


async def test_what_is_put_is_on_disk_in_its_order(spool: Spool, tmp_path: Path) -> None:
    made = [created(f"s{number}") for number in range(3)]
    await SpoolOutlet(spool, tmp_path).put(made)

    assert [decode(row.spooled.delivery) for row in await spool.oldest(10)] == made
    assert await SpoolOutlet(spool, tmp_path).held() == {one.id for one in made}


async def test_a_full_spool_is_a_lane_that_is_away(spool: Spool, tmp_path: Path) -> None:
    outlet = SpoolOutlet(spool, tmp_path)
    with pytest.raises(LaneAway, match=r"the replays' spool is full \(worker.replays_max\)"):
        await outlet.put([delivery(b"x" * _SMALL)])

    await outlet.put([created()])
    assert spool.depth == 1


async def test_it_is_unattended_until_somebody_owns_it(spool: Spool, tmp_path: Path) -> None:
    outlet = SpoolOutlet(spool, tmp_path)
    assert not in_use(tmp_path / "nowhere", REPLAYS)
    before = await outlet.unattended()
    owner = Spool.open(tmp_path, _SMALL, owner=True, file=REPLAYS)
    owned = await outlet.unattended()
    await owner.close()

    assert (before, owned) == ("`muster serve` does not run", None)
    assert await outlet.unattended() == before
