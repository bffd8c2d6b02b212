"""The file of events: whole lines, put aside at its size, and followed over that."""

import stat
from pathlib import Path

import pytest

from workers.journal import Follower, Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be."""
    return tmp_path / "events.jsonl"


def test_only_its_owner_reads_it(path: Path) -> None:
    Journal(path).write([{"n": 1}])

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_put_aside_at_its_size_and_one_old_one_is_kept(path: Path) -> None:
    journal = Journal(path, limit=10)
    for number in range(4):
        journal.write([{"number": number}])

    assert path.read_text() == '{"number":3}\n'
    assert [one.read_text() for one in path.parent.iterdir() if one != path] == ['{"number":2}\n']


def test_a_line_that_a_killed_writer_did_not_finish_spoils_no_other(path: Path) -> None:
    path.write_text('{"n":1}\n{"n":')
    follower = Follower(path)
    Journal(path).write([{"n": 2}, {"n": "è\n"}])

    assert list(follower.read()) == [{"n": 2}, {"n": "è\n"}]
    assert path.read_bytes().count(b"\n") == 4
    follower.close()


def test_a_follower_begins_at_the_end_and_sees_each_event_once_also_over_a_rotation(path: Path) -> None:
    journal = Journal(path, limit=20)
    journal.write([{"n": 0}])
    follower, seen = Follower(path), []
    for number in range(1, 12):
        journal.write([{"n": number}])
        if number % 3:
            seen += list(follower.read())
    seen += list(follower.read())
    follower.close()

    assert seen == [{"n": number} for number in range(1, 12)]


def test_a_follower_waits_for_a_file_that_is_not_there_yet(path: Path) -> None:
    follower = Follower(path)
    assert list(follower.read()) == []
    Journal(path).write([{"n": 1}])

    assert list(follower.read()) == [{"n": 1}]
    follower.close()
