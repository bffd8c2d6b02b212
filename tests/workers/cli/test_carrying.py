"""`muster deliveries export` and `import` as real commands: an incident is carried from one machine to another."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.delivery import Delivery
from tests.services.muster import Muster
from tests.workers.cli.logged import buried, understood
from tests.workers.made import created, delivery

PERSON = {"person_id": "p1", "first_name": "John", "code": "JS001"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Muster]:
    """Where it happened."""
    muster = Muster(tmp_path / "here")
    muster.run("init")
    yield muster
    muster.close()


async def incident(here: Muster) -> list[Delivery]:
    """What stands in its log."""
    made = [created("s1"), delivery(PERSON, "PERSON::CREATE"), delivery(b"Smith")]
    await buried(here, made[:1])
    await understood(here, made[1:])
    return made


async def test_what_is_exported_is_processed_on_another_machine_and_a_second_time_nothing_happens(here: Muster, muster: Muster) -> None:
    made = await incident(here)
    exported = here.run("deliveries", "export", "--source", "hse")
    file = here.home / "incident.jsonl"
    file.write_text(exported.stdout)

    first = json.loads(muster.run("deliveries", "import", str(file), "--json").stdout)
    again = muster.run("deliveries", "import", str(file), "--with-effects", "--yes")

    assert "exported 3" in exported.stderr
    assert (first["read"], first["ended"], first["became"]) == (3, True, {"applied": 1, "ignored": 1, "dead": 1, "known": 0})
    assert "3 read, 3 in the log already: nothing to do" in again.stdout
    listed = json.loads(muster.run("deliveries", "list", "--json").stdout)
    assert {one["id"] for one in listed} == {str(one.id) for one in made}
    assert len(json.loads(muster.run("subscriptions", "list", "--json").stdout)) == 1


@pytest.mark.parametrize("arguments", [["deliveries", "export"], ["status"]], ids=" ".join)
async def test_an_output_for_which_there_is_no_room_says_so(here: Muster, arguments: list[str]) -> None:
    await incident(here)
    command = [sys.executable, "-m", "workers.cli", *arguments]
    buffered = here._environment | {"PYTHONUNBUFFERED": ""}

    full = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(command, env=buffered, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)  # noqa: ASYNC221 - alone
    os.close(full)

    assert done.returncode == 1
    assert done.stderr == "muster: what this prints cannot be written (No space left on device): make room, or send it somewhere else\n"


async def test_a_redacted_export_names_nobody_and_says_what_it_left_out(here: Muster) -> None:
    await incident(here)

    done = here.run("deliveries", "export", "--redact")

    assert "exported 2; left out 1: their bodies cannot be read, so nothing was redacted" in done.stderr
    assert [json.loads(line)["redacted"] for line in done.stdout.splitlines()] == [True, True]
    assert here.run("deliveries", "export", "--state", "settled").stdout == ""


async def test_effects_need_a_yes_and_without_serve_it_waits(here: Muster, tmp_path: Path) -> None:
    await incident(here)
    file = tmp_path / "incident.jsonl"
    file.write_text(here.run("deliveries", "export").stdout)
    there = Muster(tmp_path / "there")
    there.run("init")

    refused = there.run("deliveries", "import", str(file), "--with-effects", check=False, answer="n\n")
    waiting = there.run("deliveries", "import", str(file))

    assert (refused.returncode, "people may be enrolled" in refused.stderr) == (1, True)
    assert (
        "3 of 3 deliveries wait in the spool for `muster serve`, which does not run. To take it up: type the same again" in waiting.stderr
    )


async def test_standard_input_is_a_file_too_and_what_finds_no_room_is_said(here: Muster, tmp_path: Path) -> None:
    await understood(here, [delivery(b"x" * 5_000) for _ in range(180)])
    exported = here.run("deliveries", "export").stdout
    there = Muster(tmp_path / "there", tables="[worker]\nreplays_max = '1MiB'\n")
    there.run("init")
    command = [sys.executable, "-m", "workers.cli", "deliveries", "import", "-"]
    done = subprocess.run(command, env=there._environment, input=exported, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221 - alone

    assert (done.returncode, done.stdout) == (1, "180 read, 0 in the log already: waiting\n")
    assert "100 of 180 deliveries wait in the spool" in done.stderr
    assert "80 could not be queued: the replays' spool is full (worker.replays_max). Start `muster serve` first." in done.stderr


def test_a_file_that_is_no_export_is_told_and_nothing_of_it_is_taken(here: Muster) -> None:
    file = here.home / "notes.txt"
    file.write_text("Smith, John\n")

    done = here.run("deliveries", "import", str(file), check=False)

    assert (done.returncode, done.stderr.startswith(f"muster: line 1 of {file}: the line: Invalid JSON")) == (1, True)
    assert "Smith" not in done.stderr
