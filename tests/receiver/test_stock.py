"""What stands in the spool, seen from outside."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from receiver.spool import FILE, REPLAYS, Spool, Spooled
from receiver.stock import stock


async def spooled(data_dir: Path, file: str, *what: tuple[str, bytes]) -> None:
    """Append deliveries of sources."""
    spool = Spool.open(data_dir, 2**20, owner=False, file=file)
    for source, delivery in what:
        await spool.append(Spooled("4hse", source, delivery))
    await spool.close()


async def test_what_waits_is_counted_by_lane_and_source_while_the_owner_runs(tmp_path: Path) -> None:
    owner = Spool.open(tmp_path, 2**20, owner=True)
    await spooled(tmp_path, FILE, ("b", b"123"), ("a", b"1"), ("b", b"4567"))
    await spooled(tmp_path, REPLAYS, ("a", b"12345"))
    found, now = stock(tmp_path), datetime.now(UTC)
    await owner.close()

    assert [(one.lane, one.source, one.deliveries, one.bytes) for one in found] == [
        ("live", "a", 1, 1),
        ("live", "b", 2, 7),
        ("replays", "a", 1, 5),
    ]
    assert all(timedelta() <= now - one.oldest < timedelta(minutes=1) for one in found)


async def test_where_nothing_waits_there_is_nothing(tmp_path: Path) -> None:
    assert stock(tmp_path / "absent") == []

    await spooled(tmp_path, FILE)
    assert stock(tmp_path) == []
