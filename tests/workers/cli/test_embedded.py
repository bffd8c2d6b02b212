"""The spool as an inlet."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from receiver.spool import Spool, Spooled
from schemas.delivery import Delivery, encode, fingerprint
from schemas.states import Reason
from workers.cli.embedded import SpoolInlet

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


async def test_a_row_that_cannot_be_read_is_dead_verbatim_and_its_neighbours_are_not(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, 2**20, owner=True)
    await spool.append(Spooled("4hse", "hse", b"neither JSON nor a delivery"))
    await spool.append(Spooled("4hse", "hse", encode(ONE)))
    batch = await SpoolInlet(spool, 10).take()
    await spool.close()

    assert list(batch.fresh) == [ONE]
    assert [(one.body, reason) for one, reason, _ in batch.dead] == [(b"neither JSON nor a delivery", Reason.UNREADABLE_ENVELOPE)]


async def test_a_row_is_forgotten_with_the_take_after_its_batch_was_settled(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, 2**20, owner=True)
    inlet = SpoolInlet(spool, 1)
    await spool.append(Spooled("4hse", "hse", encode(ONE)))
    await spool.append(Spooled("4hse", "hse", encode(ONE)))
    first = await inlet.take()
    before = len(await spool.oldest(10))
    await inlet.settle(first)
    await inlet.take()
    after = len(await spool.oldest(10))
    await spool.close()

    assert (before, after) == (2, 1)
