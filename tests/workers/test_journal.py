"""The file of events: whole lines, put aside at its size, and followed over that."""

import json
import stat
from pathlib import Path

import pytest

from workers.journal import Follower, Journal, blank


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


def test_what_is_about_somebody_is_made_blank_in_place_while_it_is_written_and_followed(path: Path) -> None:
    journal = Journal(path, limit=60)
    journal.write([{"who": "ada", "n": 1}, {"who": "bea", "n": 2}, {"who": "adalgisa", "n": 3}])
    journal.write([{"who": "bea", "n": 4}, {"who": "ada", "n": 5}])
    old, size = path.with_name("events.jsonl.1"), path.stat().st_size
    follower = Follower(path)
    with path.open("ab") as writing:
        done = [blank(path, lambda line, event: event["who"] == "ada" and "ada" in line) for _ in range(2)]
        writing.write(b'{"who":"ada","n":6}\n{"who":"cut')

    assert done == [2, 0]
    assert [json.loads(line) for one in (old, path) for line in one.read_text().splitlines() if line.strip().endswith("}")] == [
        {"who": "bea", "n": 2},
        {"who": "adalgisa", "n": 3},
        {"who": "bea", "n": 4},
        {"who": "ada", "n": 6},
    ]
    assert path.read_bytes()[:size].count(b"\n") == 2
    assert list(follower.read()) == [{"who": "ada", "n": 6}]
    follower.close()


def test_where_no_events_were_told_nothing_is_made_blank(path: Path) -> None:
    assert blank(path, lambda _line, _event: True) == 0
