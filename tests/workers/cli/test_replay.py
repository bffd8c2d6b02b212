"""`muster replay` as a real command, on every transport and database."""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from receiver.spool import REPLAYS, depth
from schemas import topology
from schemas.delivery import now_utc
from tests.services.muster import Muster
from tests.workers.cli.logged import buried, understood, within
from tests.workers.made import NOON, created, delivery, until
from workers.log import LoggedDelivery
from workers.operations.health import queue_depths


@pytest.fixture
def idle(tmp_path: Path, database_url: str) -> Iterator[Muster]:
    """muster set up and embedded, on each database, with nothing running."""
    muster = Muster(tmp_path, database=database_url)
    muster.run("init")
    yield muster
    muster.close()


def said(muster: Muster, *arguments: str) -> Any:
    """What a command prints with --json."""
    return json.loads(muster.run(*arguments, "--json").stdout)


def states(muster: Muster) -> list[tuple[str, str | None]]:
    """State and reason of every delivery, replays too."""
    return sorted((one["state"], one["reason"]) for one in said(muster, "deliveries", "list", "--limit", "1000"))


async def test_what_was_dead_is_applied_and_the_run_is_kept(muster: Muster) -> None:
    await buried(muster, [created(f"s{number}") for number in range(120)])

    done = muster.run("replay", "--state", "dead", "--reason", "handler_failed", "--yes", "--by", "ada")

    assert "120 replayed: applied 120  unchanged 0  dead 0" in done.stdout
    assert states(muster) == [("applied", None)] * 120 + [("settled", "handler_failed")] * 120
    assert len(said(muster, "subscriptions", "list", "--limit", "1000")) == 120
    (run,) = said(muster, "replay", "--list")
    assert (run["who"], run["state"], run["selected"], run["applied"]) == ("ada", "done", 120, 120)
    assert run["asked"] == {"state": ["dead"], "reason": ["handler_failed"]}
    assert "state dead, reason handler_failed" in muster.run("replay", "--list").stdout
    assert "nothing to replay" in muster.run("replay", "--state", "dead", "--yes").stderr

    await understood(muster, [delivery(b"")])
    again = muster.run("replay", "--state", "dead", "--yes", check=False)

    assert (again.returncode, "1 replayed: applied 0  unchanged 0  dead 1" in again.stdout) == (1, True)


async def test_a_dry_run_says_what_would_become_of_what_and_does_nothing(idle: Muster) -> None:
    await buried(idle, [created("a"), created("b")])
    await understood(idle, [delivery(b"", event="PERSON::CREATE", source="other")])

    shown = idle.run("replay", "--dry-run")
    found = said(idle, "replay", "--dry-run", "--source", "hse")

    assert "3 would be replayed. Nothing was done." in shown.stdout
    assert next(line.split()[2:] for line in shown.stdout.splitlines() if "handler_failed" in line) == [
        "dead:",
        "handler_failed",
        "applied",
        "2",
    ]
    assert found["groups"] == [
        {"vendor": "4hse", "event": "ACTION_SUBSCRIPTION::CREATE", "is": "dead: handler_failed", "would_be": "applied", "deliveries": 2}
    ]
    assert (found["selected"], len(found["sample"])) == (2, 2)
    assert said(idle, "replay", "--list") == []
    assert len(states(idle)) == 3


async def test_nobody_who_says_no_has_anything_replayed(idle: Muster) -> None:
    await buried(idle, [created("a")])

    for answer in ("n\n", ""):
        refused = idle.run("replay", "--state", "dead", check=False, answer=answer)
        assert (refused.returncode, "Replay 1 delivery?" in refused.stderr) == (1, True)

    assert said(idle, "replay", "--list") == []
    assert states(idle) == [("dead", "handler_failed")]


async def test_whoever_dies_at_the_question_leaves_no_run(idle: Muster) -> None:
    await buried(idle, [created("a")])
    command = (sys.executable, "-m", "workers.cli", "replay", "--state", "dead")
    process = await asyncio.create_subprocess_exec(*command, env=idle._environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        assert "Replay 1 delivery" in (await process.stderr.readuntil(b"?")).decode()
    process.kill()
    await process.wait()

    assert said(idle, "replay", "--list") == []


async def test_nothing_selected_is_said_and_no_failure(idle: Muster) -> None:
    await buried(idle, [created("a")])
    await within(idle, lambda _: LoggedDelivery.all().update(body=None))

    dropped = idle.run("replay", "--state", "dead")
    none = idle.run("replay", "--id", str(uuid4()))

    assert "nothing to replay: no delivery in the log matches; 1 more cannot be: their bodies were dropped" in dropped.stderr
    assert "nothing to replay" in none.stderr
    assert said(idle, "replay", "--list") == []


async def test_every_filter_is_understood(idle: Muster) -> None:
    old, new = created("a", received_at=NOON), created("b", received_at=now_utc() - timedelta(minutes=90))
    await buried(idle, [old, new])

    def selected(*arguments: str) -> list[str]:
        return [one["id"] for one in said(idle, "replay", "--dry-run", *arguments)["sample"]]

    assert selected("--since", "2h") == [str(new.id)]
    assert selected("--id", str(old.id), "--id", str(new.id), "--limit", "1", "--until", "1h") == [str(old.id)]
    every = ("--source", "hse", "--account", "hse", "--vendor", "4hse", "--event", "ACTION_SUBSCRIPTION::CREATE", "--state", "dead")
    assert selected(*every, "--reason", "handler_failed", "--since", "2026-03-01") == [str(old.id), str(new.id)]
    assert selected(*every, "--subscription", "a") == [str(old.id)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--since", "yesterday"), "'yesterday' is neither a time such as 2026-03-01 14:00 nor", id="no time"),
        pytest.param(("--state", "lost"), "'lost' is not one of", id="no state"),
        pytest.param(("--rate", "0"), "0", id="no rate"),
        pytest.param(("--state", "dead", "--by", " "), "somebody has to be named", id="nobody"),
        pytest.param(("--discard", str(uuid4()), "--rate", "1"), "--list stand alone", id="a run that ends at a rate"),
        pytest.param(("--limit", "0"), "0", id="no limit"),
        pytest.param(("--list", "--state", "dead"), "--discard and --list stand alone", id="a list of some"),
        pytest.param(
            ("--resume", str(uuid4()), "--state", "dead"), "--resume, --discard and --list stand alone", id="a run with another selection"
        ),
    ],
)
def test_misuse_is_told(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = Muster(tmp_path).run("replay", *arguments, check=False)

    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


async def test_embedded_without_serve_its_rows_wait_for_it(idle: Muster) -> None:
    await buried(idle, [created(f"s{number}") for number in range(3)])

    nobodys = idle.run("replay", "--resume", str(uuid4()), check=False)
    waiting = idle.run("replay", "--state", "dead", "--yes")
    (run,) = said(idle, "replay", "--list")

    assert (nobodys.returncode, "there is no run" in nobodys.stderr) == (1, True)
    assert "3 of 3 deliveries wait in the spool for `muster serve`, which does not run" in waiting.stderr
    assert f"muster replay --resume {run['id']}" in waiting.stderr
    assert (run["state"], run["applied"]) == ("running", 0)

    again = idle.run("replay", "--resume", run["id"])
    assert "3 of 3 deliveries wait in the spool" in again.stderr
    assert depth(idle.data_dir, REPLAYS) == 3

    idle.start("serve")
    resumed = said(idle, "replay", "--resume", run["id"])

    assert (resumed["state"], resumed["applied"]) == ("done", 3)
    assert await within(idle, lambda _: LoggedDelivery.filter(replay_of__isnull=False).count()) == 3


async def test_embedded_without_serve_what_finds_no_room_is_said_and_a_failure(tmp_path: Path) -> None:
    muster = Muster(tmp_path, tables="[worker]\nreplays_max = '1MiB'\n")
    muster.run("init")
    await buried(muster, [delivery(b"x" * 5_000) for _ in range(180)])

    done = muster.run("replay", "--state", "dead", "--yes", check=False)
    (run,) = said(muster, "replay", "--list")
    again = muster.run("replay", "--resume", run["id"], "--json", check=False)

    assert done.returncode == again.returncode == 1
    assert "100 of 180 deliveries wait in the spool" in done.stderr
    assert "80 could not be queued: the replays' spool is full (worker.replays_max). Start `muster serve` first." in done.stderr
    assert (json.loads(again.stdout)["waiting"], json.loads(again.stdout)["not_queued"]) == (100, 80)


async def test_a_rate_is_kept_and_shown_with_the_time_left(idle: Muster) -> None:
    await buried(idle, [created(f"s{number}") for number in range(60)])
    nobody = idle.run("replay", "--state", "dead", "--yes", "--rate", "20", check=False)
    (run,) = said(idle, "replay", "--list")
    idle.start("serve")
    began = asyncio.get_running_loop().time()

    code, shown = await _watched(idle, "replay", "--resume", run["id"])

    assert (nobody.returncode, "60 could not be queued: a rate is kept only while somebody works" in nobody.stderr) == (1, True)
    assert (code, run["rate"], asyncio.get_running_loop().time() - began > 2) == (0, 20, True)
    assert re.search(r"\d+/60 +\d+/s +0:00:0\d", shown), shown


async def test_a_run_is_discarded_by_its_id(idle: Muster) -> None:
    await buried(idle, [created("a")])
    idle.run("replay", "--state", "dead", "--yes")
    (run,) = said(idle, "replay", "--list")

    ended = idle.run("replay", "--discard", run["id"], "--by", "ada")
    again = idle.run("replay", "--discard", run["id"], check=False)

    assert f"run {run['id']}: 1 discarded: applied 0  unchanged 0  dead 0" in ended.stdout
    assert (again.returncode, again.stderr) == (1, f"muster: run {run['id']} is over already: discarded\n")
    assert [one["state"] for one in said(idle, "replay", "--list")] == ["discarded"]
    (entry,) = said(idle, "audit")
    assert (entry["who"], entry["verb"], entry["subject"]) == ("ada", "replay discard", f"replay run {run['id']}")


_INTERRUPTED = """
import asyncio, os, signal
from workers.cli import main
from workers.operations import replays

async def interrupted(*_):
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(30)

replays._lock = interrupted
main()
"""


async def test_ctrl_c_while_it_selects_names_the_run(idle: Muster) -> None:
    await buried(idle, [created("a")])
    command = [sys.executable, "-c", _INTERRUPTED, "replay", "--state", "dead", "--yes"]
    done = subprocess.run(command, env=idle._environment, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221 - alone
    (run,) = said(idle, "replay", "--list")

    assert (done.returncode, run["state"]) == (130, "selecting")
    assert f"left where it was. To take it up: muster replay --resume {run['id']}" in done.stderr
    assert "1 of 1 delivery waits" in idle.run("replay", "--resume", run["id"]).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_replay_that_was_cut_short_is_taken_up_and_nothing_is_done_twice(
    number: signal.Signals, tmp_path: Path, broker_url: str, database_url: str
) -> None:
    muster = Muster(tmp_path, broker=broker_url, database=database_url)
    try:
        muster.run("init")
        await buried(muster, [created(f"s{number}") for number in range(150)])
        code, said_last = await _cut_short(muster, broker_url, number)
        (run,) = said(muster, "replay", "--list")
        muster.start("work")
        resumed = muster.run("replay", "--resume", run["id"])
        replays = await within(muster, lambda _: LoggedDelivery.filter(replay_of__isnull=False).count())
    finally:
        muster.close()

    assert (run["state"], run["selected"], run["applied"]) == ("running", 150, 0)
    assert "150 replayed: applied 150  unchanged 0  dead 0" in resumed.stdout
    assert replays == 150
    if number is signal.SIGINT:
        assert (code, f"muster replay --resume {run['id']}" in said_last) == (130, True)


async def _cut_short(muster: Muster, broker_url: str, number: signal.Signals) -> tuple[int | None, str]:
    """Replay with no worker there, and send a signal once something was handed out."""
    command = (sys.executable, "-m", "workers.cli", "replay", "--state", "dead", "--yes")
    process = await asyncio.create_subprocess_exec(*command, env=muster._environment, stderr=subprocess.PIPE)
    try:
        await until(lambda: _handed_out(broker_url), "the first message of the run")
        process.send_signal(number)
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, said.decode()


async def _handed_out(broker_url: str) -> bool:
    return any(one.name == topology.REPLAYS and one.messages for one in await queue_depths(broker_url))


async def _watched(muster: Muster, *arguments: str) -> tuple[int, str]:
    """What a command shows on a terminal."""
    ours, theirs = pty.openpty()
    environment = muster._environment | {"TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "workers.cli", *arguments, env=environment, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while found := await asyncio.to_thread(os.read, ours, 65536):
            shown += found
    os.close(ours)
    return await process.wait(), re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
