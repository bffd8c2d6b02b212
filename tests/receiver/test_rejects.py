"""The file of what failed verification: bounded in every way, off the hot path, and nobody's harm when it fails."""

import asyncio
import sqlite3
import stat
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receiver import rejects as module
from receiver.intake import Request
from receiver.rejects import FILE, KEY, QUEUE_BYTES, QUEUE_COUNT, Rejected, Rejects, Standing, forget, kept, key, surplus
from receiver.sources import Source, sources
from schemas.settings import RejectedSettings, Settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
_GIVEN = {"vendor": "4hse", "account": "a", "verify": {"secrets": ["right"]}}
SOURCES = sources(Settings.model_validate({"sources": {"hse": _GIVEN, "other": _GIVEN}}))


def limits(**changed: Any) -> RejectedSettings:
    """Bounds that nothing here reaches, or others."""
    return RejectedSettings.model_validate({"count": 100, "size": "1MiB", "age": "7d"} | changed)


@pytest_asyncio.fixture
async def rejects(tmp_path: Path) -> AsyncIterator[Rejects]:
    """An empty file's owner, at noon."""
    opened = Rejects(tmp_path, limits(), lambda: NOW)
    yield opened
    await opened.close()


def request(body: bytes = b"{}", **changed: Any) -> Request:
    """A request with a wrong token."""
    made = {"event": "E", "headers": {"content-type": "x"}, "query": {"token": "planted"}, "peer": "192.0.2.7", "body": body}
    return Request(**(made | changed))


async def filled(data_dir: Path, *bodies: bytes, source: Source = SOURCES["hse"], at: datetime = NOW, **bounds: Any) -> Standing:
    """Have requests kept, and see how things stand."""
    rejects = Rejects(data_dir, limits(**bounds), lambda: NOW)
    for body in bodies:
        rejects.add(source, request(body), at)
    await rejects.close()
    return rejects.standing


def files(data_dir: Path) -> dict[str, bytes]:
    """Everything on the disk."""
    return {path.name: path.read_bytes() for path in data_dir.iterdir()}


def bodies(data_dir: Path, since: datetime = LONG_AGO) -> list[bytes]:
    """What is kept, oldest first."""
    return [one.request.body for one in kept(data_dir, since)]


async def test_what_is_rejected_is_kept_as_it_came_but_for_its_credentials(rejects: Rejects, tmp_path: Path) -> None:
    rejects.add(SOURCES["hse"], request(b"\xff\x00", event="A\nB"), NOW)
    await rejects.close()
    (one,) = kept(tmp_path, LONG_AGO)

    assert (one.source, one.at, one.request.body, one.request.peer, one.request.event) == ("hse", NOW, b"\xff\x00", "192.0.2.7", "A\\nB")
    assert (one.request.headers, list(one.request.query)) == ({"content-type": "x"}, ["token"])
    assert b"planted" not in b"".join(files(tmp_path).values())


async def test_the_files_are_for_this_user_alone(tmp_path: Path) -> None:
    await filled(tmp_path, b"x")

    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (FILE, KEY)} == {0o600}


async def test_nothing_is_made_where_nothing_was_rejected(rejects: Rejects, tmp_path: Path) -> None:
    assert await rejects.look() == Standing()

    await rejects.close()
    assert files(tmp_path) == {}
    assert list(kept(tmp_path, LONG_AGO)) == []


async def test_where_none_is_to_be_kept_none_is_and_none_is_called_lost(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path, limits(count=0), lambda: NOW)
    rejects.add(SOURCES["hse"], request(), NOW)
    await rejects.close()

    assert (rejects.lost, files(tmp_path)) == (0, {})


async def test_what_was_kept_goes_once_none_is_to_be_kept(tmp_path: Path) -> None:
    await filled(tmp_path, b"x")
    rejects = Rejects(tmp_path, limits(count=0), lambda: NOW)

    assert await rejects.look() == Standing()
    await rejects.close()
    assert bodies(tmp_path) == []


async def test_the_newest_are_kept_up_to_a_number(tmp_path: Path) -> None:
    standing = await filled(tmp_path, *(b"%d" % number for number in range(20)), count=3)

    assert bodies(tmp_path) == [b"17", b"18", b"19"]
    assert standing == Standing(3, NOW)


async def test_the_newest_are_kept_up_to_a_size(tmp_path: Path) -> None:
    await filled(tmp_path, *(b"%d" % number * 1000 for number in range(9)), size="5KiB")

    assert bodies(tmp_path) == [b"%d" % number * 1000 for number in (5, 6, 7, 8)]


async def test_what_is_too_old_goes_by_itself_also_when_nothing_more_comes(tmp_path: Path) -> None:
    await filled(tmp_path, b"old", at=NOW - 6 * DAY)
    await filled(tmp_path, b"new")
    later = Rejects(tmp_path, limits(), lambda: NOW + 2 * DAY)

    assert await later.look() == Standing(1, NOW)
    await later.close()
    assert bodies(tmp_path) == [b"new"]


async def test_what_is_too_old_and_not_yet_deleted_is_not_shown(tmp_path: Path) -> None:
    await filled(tmp_path, b"old", at=NOW - DAY)

    assert bodies(tmp_path, NOW - timedelta(hours=1)) == []


async def test_what_was_deleted_can_be_read_nowhere_in_the_file(tmp_path: Path) -> None:
    await filled(tmp_path, b"personal" * 1000)
    await filled(tmp_path, b"x", count=1)
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    assert b"personalpersonal" not in (tmp_path / FILE).read_bytes()


async def test_a_flood_fills_the_queue_and_no_more_and_what_it_drops_is_counted(rejects: Rejects, tmp_path: Path) -> None:
    for number in range(10_000):
        rejects.add(SOURCES["hse"], request(b"%d" % number), NOW)

    assert rejects.lost == 10_000 - QUEUE_COUNT
    await rejects.close()
    assert len(bodies(tmp_path)) == 100


@pytest.mark.parametrize(
    "large",
    [
        pytest.param({"body": b"x" * (QUEUE_BYTES // 3)}, id="bodies"),
        pytest.param({"headers": {"x-large": "x" * (QUEUE_BYTES // 3)}}, id="a header"),
        pytest.param({"headers": {f"x{number}": "" for number in range(QUEUE_BYTES // 320)}}, id="many headers"),
        pytest.param({"query": {"q": "x" * (QUEUE_BYTES // 3)}}, id="a query"),
    ],
)
async def test_large_requests_do_not_fill_the_memory(tmp_path: Path, large: dict[str, Any]) -> None:
    rejects = Rejects(tmp_path, limits(size="64MiB"), lambda: NOW)
    for _ in range(20):
        rejects.add(SOURCES["hse"], request(**large), NOW)
    lost = rejects.lost
    await rejects.close()

    assert 17 <= lost <= 18


async def test_one_that_is_larger_than_all_may_be_is_lost_and_drives_nothing_out(tmp_path: Path) -> None:
    await filled(tmp_path, b"small", size="2KiB")
    await filled(tmp_path, b"x" * 3000, size="2KiB")

    assert bodies(tmp_path) == [b"small"]


async def test_a_flood_at_one_source_drives_out_none_of_anothers(tmp_path: Path) -> None:
    await filled(tmp_path, b"precious", source=SOURCES["other"], count=5)
    await filled(tmp_path, *(b"%d" % number for number in range(50)), count=5)

    assert bodies(tmp_path) == [b"precious", b"46", b"47", b"48", b"49"]


_rows = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50)), max_size=30)


@settings(max_examples=200)
@given(_rows, st.integers(0, 10), st.integers(1024, 1100))
def test_what_stays_is_within_bounds_and_the_newest_of_each_source(rows: list[tuple[str, int]], count: int, size: int) -> None:
    numbered = [(f"{number:03}", source, 30 * length) for number, (source, length) in enumerate(rows)]
    gone = list(surplus(numbered, limits(count=count, size=size)))
    stays = [row for row in numbered if row[0] not in gone]

    assert len(gone) == len(set(gone))
    assert len(stays) <= count
    assert sum(length for *_, length in stays) <= size
    for source in "abc":
        of_source = [row for row in numbered if row[1] == source]
        staying = [row for row in of_source if row in stays]
        assert staying == of_source[len(of_source) - len(staying) :]


async def test_a_broken_file_is_told_once_and_harms_nothing_else(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database" * 1000)
    rejects = Rejects(tmp_path, limits(), lambda: NOW)
    with capture_logs() as logs:
        for _ in range(3):
            rejects.add(SOURCES["hse"], request(), NOW)
            await rejects.look()
        await rejects.close()

    assert [line["event"] for line in logs] == ["rejected.lost"]
    assert rejects.lost == 3


async def test_a_reader_beside_it_sees_and_deletes_while_it_writes(rejects: Rejects, tmp_path: Path) -> None:
    rejects.add(SOURCES["hse"], request(b"a"), NOW)
    async with asyncio.timeout(20):
        while not (found := list(kept(tmp_path, LONG_AGO))):  # noqa: ASYNC110 - another connection
            await asyncio.sleep(0.01)
    forget(tmp_path, [one.id for one in found])
    rejects.add(SOURCES["hse"], request(b"b"), NOW)
    await rejects.close()

    assert bodies(tmp_path) == [b"b"]


async def test_the_key_stays_the_same_and_half_a_key_is_made_anew(tmp_path: Path) -> None:
    assert key(tmp_path) == b""

    await filled(tmp_path, b"a")
    first = key(tmp_path)
    await filled(tmp_path, b"b")
    assert (len(first), key(tmp_path)) == (32, first)
    (tmp_path / KEY).write_bytes(b"half")
    await filled(tmp_path, b"c")
    assert len(key(tmp_path)) == 32


async def test_what_is_kept_comes_in_the_order_of_arrival_with_an_id_each(tmp_path: Path) -> None:
    await filled(tmp_path, *(b"%d" % number for number in range(50)))
    found: Sequence[Rejected] = list(kept(tmp_path, LONG_AGO))

    assert [one.request.body for one in found] == [b"%d" % number for number in range(50)]
    assert set(Counter(one.id for one in found).values()) == {1}
    assert module.GROUP < QUEUE_COUNT
