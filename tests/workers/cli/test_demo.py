"""`muster demo`: the story in its order, each step shown by what changed since, in a pipe and in a terminal."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.workers.cli.test_commands import bare
from workers.cli.demo import proven, staged, tell
from workers.cli.story import STEPS
from workers.cli.story.scene import Scene
from workers.simulators.faults import Broken

#: What is known after each step.
OUTCOMES = (
    "fire-safety: applied",
    "live, NEW: Fire Safety Training Medium Risk, JS001",
    "need enrolled; seat in the course until ",
    "applied",
    "live",
    "dead",
    "course result: grade 67.0, completed True",
    "live, VALID: Fire Safety Training Medium Risk, JS001",
    "need valid; course completed",
    "observation: status PASSED, result 60.0",
    "attendance: status present",
    "mirrored, and enrolled",
    "live, EXPIRING: Fire Safety Training Medium Risk, JS001",
    "need enrolled; seat in the course until ",
    "deleted",
    "need undone; no seat in the course",
    "deleted",
)


def test_once_it_tells_every_step_in_its_order_with_its_outcome_and_its_reason_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = bare(tmp_path, "demo", "--once", TMPDIR=str(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    head, *rows = done.stdout.split("\n\n")[0].splitlines()
    places = [head.index(name) for name in ("how muster knows", "what it knows then", "why")]
    assert [row[: places[0]].rstrip() for row in rows] == [step.story for step in STEPS]
    assert [row[places[0] : places[1]].strip() for row in rows] == [step.how for step in STEPS]
    for row, outcome in zip(rows, OUTCOMES, strict=True):
        assert row[places[1] : places[2]].strip().startswith(outcome.strip())
    reasons = [row[places[2] :].strip() for row in rows]
    assert all(reasons)
    assert {"rules apply, by the operator", "missing_field: subscriber_id", "the subscription is deleted"} <= set(reasons)
    assert "17 things happened, 17 of them muster knows." in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_in_a_terminal_it_grows_while_one_watches_and_goes_on_until_ctrl_c(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm", "COLUMNS": "250", "LINES": "60"}
    process = subprocess.Popen([sys.executable, "-m", "workers.cli", "demo"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        seen = read_until(ours, b"Ctrl-C ends it.")
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    finally:
        process.kill()
        process.wait()
        os.close(ours)

    assert code == 0
    assert b"17 things happened, 17 of them muster knows." in seen
    assert seen.count(STEPS[0].story.encode()) >= len(STEPS)  # painted anew with each step
    assert list(tmp_path.iterdir()) == []


def read_until(terminal: int, text: bytes) -> bytes:
    """What is printed up to a text."""
    seen, deadline = b"", time.monotonic() + 120
    while text not in seen:
        assert time.monotonic() < deadline, seen[-2000:]
        seen += os.read(terminal, 65536)
    return seen


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[tuple[Scene, "asyncio.Task[None]", asyncio.Event]]:
    """The scene, muster that runs, and what stops it."""
    stop = asyncio.Event()
    async with staged(stop) as (scene, running):
        yield scene, running, stop
    assert running.exception() is None


async def test_no_step_would_show_if_nothing_had_happened(stage: tuple[Scene, "asyncio.Task[None]", asyncio.Event]) -> None:
    scene, _, _ = stage
    before = await scene.look()
    for step in STEPS:
        if step.play is not None:
            before = await scene.look()
            await step.play(scene)
        assert step.proof(before, before) is None, step.story
        assert await proven(scene, step, before) is not None, step.story
        after = await scene.look()
        assert step.proof(after, after) is None, step.story


async def test_it_ends_at_the_step_that_does_not_show(
    stage: tuple[Scene, "asyncio.Task[None]", asyncio.Event], capsys: pytest.CaptureFixture[str]
) -> None:
    scene, running, stop = stage
    scene.acme.faults["lms"].on(Broken())

    assert not await tell(scene, stop, running, patience=3)
    assert "does not show within 3 s" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "url"), [(0.5, None), (6.0, "http://127.0.0.1:1")], ids=["at once", "after a step that it failed"])
async def test_it_ends_when_a_part_of_muster_fails(
    seconds: float, url: str | None, stage: tuple[Scene, "asyncio.Task[None]", asyncio.Event], capsys: pytest.CaptureFixture[str]
) -> None:
    scene, _, stop = stage

    async def failing() -> None:
        await asyncio.sleep(seconds)
        raise ZeroDivisionError

    failed = asyncio.create_task(failing())
    async with asyncio.timeout(25):
        await tell(replace(scene, url=url or scene.url), stop, failed)
    assert isinstance(failed.exception(), ZeroDivisionError)
    assert "17 things" not in capsys.readouterr().out
