"""The durable queue on disk: fsync, shared commits, order, bound, ownership, and what a crash leaves behind."""

import asyncio
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receiver.spool import FILE, REPLAYS, Row, Spool, Spooled, SpoolFull, SpoolInUse, depth

MEBIBYTE = 2**20

#: Another process: appends what it is told, says so, and waits to be killed.
_APPENDER = """
import asyncio, sys, time
from pathlib import Path
from receiver.spool import Spool, Spooled

async def main():
    spool = Spool.open(Path(sys.argv[1]), 2**20, owner=sys.argv[2] == "owner")
    for text in sys.argv[3:]:
        await spool.append(Spooled("4hse", "hse", text.encode()))
    if sys.argv[2] == "owner":
        await spool.take(100)
    print("kept", flush=True)
    time.sleep(60)

asyncio.run(main())
"""


@pytest_asyncio.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    """An open spool of one mebibyte."""
    opened = Spool.open(tmp_path, MEBIBYTE, owner=True)
    yield opened
    await opened.close()


def one(text: str | bytes, source: str = "hse") -> Spooled:
    """Something to keep."""
    return Spooled("4hse", source, text if isinstance(text, bytes) else text.encode())


def texts(rows: list[Row]) -> list[str]:
    """What rows hold."""
    return [row.spooled.delivery.decode() for row in rows]


async def test_every_commit_is_fsynced_says_the_live_connection_itself(spool: Spool, tmp_path: Path) -> None:
    assert await spool.synchronous() == 2  # FULL
    assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    await spool.append(one("a"))
    with closing(sqlite3.connect(tmp_path / FILE)) as other:
        assert other.execute("SELECT delivery FROM spool").fetchall() == [(b"a",)]


async def test_appends_of_one_moment_share_transactions(spool: Spool) -> None:
    statements: list[str] = []
    spool._connection.set_trace_callback(statements.append)
    await asyncio.gather(*(spool.append(one(str(number))) for number in range(200)))
    spool._connection.set_trace_callback(None)

    assert 1 <= statements.count("COMMIT") <= 5
    assert texts(await spool.oldest(300)) == [str(number) for number in range(200)]


async def test_a_lone_append_is_a_transaction_at_once(spool: Spool) -> None:
    statements: list[str] = []
    spool._connection.set_trace_callback(statements.append)
    for number in range(3):
        await spool.append(one(str(number)))
    spool._connection.set_trace_callback(None)

    assert statements.count("COMMIT") == 3


async def test_what_is_kept_comes_back_in_order_byte_for_byte_with_what_routes_it(spool: Spool) -> None:
    given_ = [Spooled("4hse", "hse", b"\x00\xff"), Spooled("ispring", "i", b""), Spooled("4hse", "hse", b"z" * 5000)]
    for spooled in given_:
        await spool.append(spooled)

    assert [row.spooled for row in await spool.oldest(2)] == given_[:2]
    assert [row.spooled for row in await spool.oldest(9)] == given_
    assert spool.depth == 3


async def test_a_full_spool_refuses_keeps_what_it_has_and_takes_again_once_something_is_forgotten(spool: Spool) -> None:
    with capture_logs() as logged:
        kept = await filled(spool)
    rows = await spool.oldest(100)

    assert 10 <= kept < 25
    assert spool.full
    assert [(line["event"], line["spooled"]) for line in logged] == [("spool.full", kept)]
    assert [row.spooled.delivery[0] for row in rows] == list(range(kept))
    await spool.forget([row.seq for row in rows[:5]])
    assert not spool.full
    await spool.append(one(b"n" * 50_000))
    assert (await spool.oldest(100))[-1].spooled.delivery[:1] == b"n"
    assert spool.depth == kept - 4


async def test_a_full_spool_says_which_deliveries_it_did_not_take(spool: Spool) -> None:
    refused = b'{"id":"0199b3a2-6f00-7000-8000-00000000000a","body":"%s"}' % (b"x" * 2 * MEBIBYTE)
    with capture_logs() as logged, pytest.raises(SpoolFull):
        await spool.append(one(refused))

    assert [line["deliveries"] for line in logged] == [["0199b3a2-6f00-7000-8000-00000000000a"]]


async def test_one_that_does_not_fit_does_not_stay_behind_and_the_next_smaller_one_does(spool: Spool) -> None:
    with pytest.raises(SpoolFull):
        await spool.append(one(b"x" * 2 * MEBIBYTE))
    await spool.append(one("small"))

    assert texts(await spool.oldest(9)) == ["small"]
    assert not spool.full


async def test_the_file_stays_within_its_bound(spool: Spool, tmp_path: Path) -> None:
    await filled(spool)

    spool._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / FILE).stat().st_size <= MEBIBYTE


async def test_what_was_taken_and_not_forgotten_is_suspect_and_comes_alone_after_reopening(tmp_path: Path) -> None:
    first = Spool.open(tmp_path, MEBIBYTE, owner=True)
    for text in "abcd":
        await first.append(one(text))
    taken = await first.take(3)
    await first.take(0, forget=[taken[0].seq])
    await first.close()
    again = Spool.open(tmp_path, MEBIBYTE, owner=True)
    suspects = await again.take(10)
    rest = await again.take(10, forget=[row.seq for row in suspects])
    await again.close()

    assert (texts(taken), [row.suspect for row in taken]) == (["a", "b", "c"], [False] * 3)
    assert (texts(suspects), [row.suspect for row in suspects]) == (["b", "c"], [True] * 2)
    assert (texts(rest), [row.suspect for row in rest]) == (["d"], [False])
    assert again.depth == 1


async def test_looking_at_the_oldest_makes_nothing_suspect(spool: Spool) -> None:
    await spool.append(one("a"))
    await spool.oldest(5)

    assert [row.suspect for row in await spool.take(5)] == [False]


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.just("forget"), st.integers(1, 4)),
        st.tuples(st.just("reopen"), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=25)
@given(_steps)
async def test_it_is_a_queue_whatever_the_order_of_steps(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool, queue, next_, handed_out = Spool.open(Path(folder), MEBIBYTE, owner=True), list[int](), 0, -1
        for step, number in steps:
            if step == "append":
                await asyncio.gather(*(spool.append(one(str(next_ + more))) for more in range(number)))
                queue, next_ = queue + list(range(next_, next_ + number)), next_ + number
            elif step == "take":
                suspects = [row for row in queue[:number] if row <= handed_out]
                expected = suspects or queue[:number]
                rows = await spool.take(number)
                handed_out = max([handed_out, *expected])
                assert (texts(rows), {row.suspect for row in rows}) == (list(map(str, expected)), {bool(suspects)} if rows else set())
            elif step == "forget":
                await spool.forget([row.seq for row in await spool.oldest(number)])
                queue = queue[number:]
            else:
                await spool.close()
                spool = Spool.open(Path(folder), MEBIBYTE, owner=True)
            assert spool.depth == len(queue)
        assert texts(await spool.oldest(1000)) == list(map(str, queue))
        await spool.close()


async def test_a_second_owner_is_refused_and_let_in_once_the_first_is_gone(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(SpoolInUse, match=r"^$"):
        Spool.open(tmp_path, MEBIBYTE, owner=True)
    elsewhere = Spool.open(tmp_path / "other", MEBIBYTE, owner=True)
    await elsewhere.close()

    await Spool.open(tmp_path / "other", MEBIBYTE, owner=True).close()


async def test_others_may_append_beside_the_owner_which_sees_it(spool: Spool, tmp_path: Path) -> None:
    other = Spool.open(tmp_path, MEBIBYTE, owner=False)
    await asyncio.gather(*(which.append(one(str(number))) for number in range(50) for which in (spool, other)))
    await other.close()

    assert sorted(texts(await spool.oldest(200))) == sorted([str(number) for number in range(50)] * 2)
    assert (spool.depth, depth(tmp_path)) == (100, 100)


async def test_another_process_may_append_beside_the_owner(spool: Spool, tmp_path: Path) -> None:
    with appender(tmp_path, "guest", "from", "outside") as process:
        await spool.append(one("mine"))
        killed(process)

    assert set(texts(await spool.oldest(9))) == {"from", "outside", "mine"}


async def test_an_owner_that_is_killed_leaves_everything_it_acknowledged_and_the_lock(tmp_path: Path) -> None:
    with appender(tmp_path, "owner", "a", "b") as process:
        with pytest.raises(SpoolInUse):
            Spool.open(tmp_path, MEBIBYTE, owner=True)
        killed(process)
    spool = Spool.open(tmp_path, MEBIBYTE, owner=True)
    rows = await spool.take(9)
    await spool.close()

    assert (texts(rows), [row.suspect for row in rows]) == (["a", "b"], [True, True])


async def test_a_cancelled_append_harms_no_other_and_is_kept_all_the_same_or_never_was(spool: Spool) -> None:
    tasks = [asyncio.create_task(spool.append(one(str(number)))) for number in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await spool.append(one("after"))
    kept = texts(await spool.oldest(100))

    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert outcomes[1::2] == [None] * 20
    assert [text for text in kept if text != "after" and int(text) % 2] == [str(number) for number in range(1, 40, 2)]
    assert len(kept) == len(set(kept))
    assert spool.depth == len(kept)


async def test_a_failed_commit_fails_each_that_shared_it_but_the_cancelled(spool: Spool) -> None:
    tasks = [asyncio.create_task(spool.append(one(b"x" * 900_000))) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes[1:]].count(SpoolFull) >= 1
    assert spool.depth == sum(outcome is None for outcome in outcomes[1:]) == len(await spool.oldest(9))


async def test_closing_finishes_what_waits_and_refuses_what_comes_later(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, MEBIBYTE, owner=True)
    waiting = [asyncio.create_task(spool.append(one(str(number)))) for number in range(20)]
    await asyncio.sleep(0)
    await spool.close()
    await asyncio.gather(*waiting)
    with pytest.raises(SpoolFull):
        await asyncio.wait_for(spool.append(one("late")), 5)

    assert depth(tmp_path) == 20


async def test_growth_is_noticed_at_once_and_its_absence_after_the_timeout(spool: Spool) -> None:
    waiting = asyncio.create_task(spool.grown(60))
    await asyncio.sleep(0)
    await spool.append(one("a"))
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(spool.grown(60), 5)  # something waits already
    await spool.forget([row.seq for row in await spool.oldest(1)])

    await asyncio.wait_for(spool.grown(0.01), 5)
    assert spool.depth == 0


async def test_the_age_of_the_oldest_is_known(spool: Spool) -> None:
    assert await spool.oldest_age() is None

    await spool.append(one("a"))
    age = await spool.oldest_age()
    assert age is not None
    assert 0 <= age < 60


def test_a_data_dir_without_a_spool_has_nothing_waiting(tmp_path: Path) -> None:
    assert depth(tmp_path / "absent") == depth(tmp_path / "absent", REPLAYS) == 0


async def test_replays_have_a_spool_of_their_own_whose_fill_leaves_the_other_one_its_room(spool: Spool, tmp_path: Path) -> None:
    replays = Spool.open(tmp_path, MEBIBYTE, owner=True, file=REPLAYS)
    kept = await filled(replays)
    assert replays.full
    assert not spool.full

    assert abs(await filled(spool) - kept) <= 1
    assert (depth(tmp_path), depth(tmp_path, REPLAYS)) == (spool.depth, kept)
    await replays.close()


async def test_each_spool_has_an_owner_of_its_own(spool: Spool, tmp_path: Path) -> None:
    replays = Spool.open(tmp_path, MEBIBYTE, owner=True, file=REPLAYS)
    with pytest.raises(SpoolInUse):
        Spool.open(tmp_path, MEBIBYTE, owner=True, file=REPLAYS)
    other = Spool.open(tmp_path, MEBIBYTE, owner=False, file=REPLAYS)
    await other.append(one("from the command line"))
    await other.close()

    assert texts(await replays.take(9)) == ["from the command line"]
    assert texts(await spool.take(9)) == []
    await replays.close()


async def test_the_data_dir_is_made_for_this_user_alone(tmp_path: Path) -> None:
    await Spool.open(tmp_path / "a" / "b", MEBIBYTE, owner=True).close()

    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


async def filled(spool: Spool) -> int:
    """Append until there is no room; how many were kept."""
    for kept in range(1000):
        try:
            await spool.append(one(bytes([kept % 256]) * 50_000))
        except SpoolFull:
            return kept
    raise AssertionError("there is no bound")


def appender(data_dir: Path, kind: str, *what: str) -> subprocess.Popen[str]:
    """Another process that has appended and taken, and still runs."""
    process = subprocess.Popen([sys.executable, "-c", _APPENDER, str(data_dir), kind, *what], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "kept\n"
    return process


def killed(process: subprocess.Popen[str]) -> None:
    """kill -9."""
    process.send_signal(signal.SIGKILL)
    process.wait(10)


async def test_being_cancelled_at_the_moment_that_something_grows_is_being_cancelled(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, MEBIBYTE, owner=True)
    waiting = asyncio.create_task(spool.grown(5))
    await asyncio.sleep(0.01)
    spool._grown.set()
    waiting.cancel()
    await asyncio.wait([waiting])
    await spool.close()

    assert waiting.cancelled()
