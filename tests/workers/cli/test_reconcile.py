"""`muster reconcile` as a real command, against a simulated 4HSE."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.services import commands
from tests.workers.made import until
from tests.workers.vendors.acme import ACTION, KEY, OFFICE, SUBSCRIPTION, populated
from workers.mirror.reconcile import PAGES
from workers.simulators.faults import Faults, Instead, Slow
from workers.simulators.fourhse import Keycloak, Tenancy, simulator
from workers.simulators.server import served

_ACCOUNTS = """
[accounts.hse]
vendor = "4hse"
base_url = "{url}"
insecure = true
access_token_file = "key"
page_size = 2
limits = {{ attempts = 1, timeout = 20, rate = 1000, concurrency = 1 }}
[accounts.lms]
vendor = "anewspring"
base_url = "https://acme.anewspring.com"
api_key_file = "key"
"""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def reports(self) -> list[dict[str, Any]]:
        """What it printed with --json."""
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


@dataclass(frozen=True, slots=True)
class Desk:
    """A directory with settings and an empty database."""

    home: Path
    tenancy: Tenancy
    faults: Faults

    def settings(self, before: str, now: str) -> None:
        """Change a line of the settings."""
        path = self.home / "muster.toml"
        path.write_text(path.read_text().replace(before, now))

    async def muster(self, *arguments: str) -> Done:
        """Run a command to its end."""
        done = await asyncio.to_thread(commands.run, *arguments, cwd=self.home)
        return Done(done.returncode, done.stdout, done.stderr)

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.cli", *arguments),
            cwd=self.home,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3])},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    tenancy = populated()
    _subscribe(tenancy, range(12))
    (tmp_path / "key").write_text(f"{KEY}\n")
    faults = Faults(simulator(tenancy, Keycloak({}, keys={KEY})))
    async with served(faults) as url:
        (tmp_path / "muster.toml").write_text(_ACCOUNTS.format(url=url))
        made = Desk(tmp_path, tenancy, faults)
        assert (await made.muster("init")).code == 0
        yield made


async def test_it_fills_the_mirror_then_reports_drift_by_kind_id_and_field(desk: Desk) -> None:
    first = await desk.muster("reconcile", "--account", "hse")
    desk.tenancy.certify(SUBSCRIPTION, "2024-03-15", "2029-03-15")
    desk.tenancy.delete("action-subscription", "s3")
    second = await desk.muster("reconcile")
    third = await desk.muster("reconcile", "--json")

    assert (first.code, second.code, third.code) == (0, 0, 0), first.err + second.err
    assert "hse: done, 13 of 13 rows filled: missing 13  extra 0  different 0  unreadable 0" in first.out
    assert "drift" not in first.out
    lines = {line.split()[0]: line for line in second.out.splitlines()}
    assert lines["different"].split()[1] == SUBSCRIPTION
    assert "status, last_certificate_id, certificate_date_release, certificate_date_expire" in lines["different"]
    assert lines["extra"].split()[1] == "s3"
    assert "reconciled: missing 0  extra 1  different 1  unreadable 0" in second.out
    assert [(one["account"], one["state"], one["seen"], one["drift"]) for one in third.reports] == [("hse", "done", 12, [])]


async def test_a_dry_run_and_a_filter(desk: Desk) -> None:
    done = await desk.muster("reconcile", "--dry-run", "--office", OFFICE, "--status", "NEW", "--json")

    (report,) = done.reports
    assert (done.code, report["dry_run"], report["seen"], report["calls"]) == (0, True, 13, 7)
    assert json.loads((await desk.muster("subscriptions", "list", "--json")).out) == []


async def test_a_page_that_fails_is_said_in_the_vendors_words_and_the_next_run_goes_on(desk: Desk) -> None:
    desk.faults.on(Instead(path="*/index", status=422, body=b'[{"field": "page", "message": "Page is too tired."}]', skip=2))
    failed = await desk.muster("reconcile")
    again = await desk.muster("reconcile")

    assert (failed.code, again.code) == (1, 0)
    assert "page: Page is too tired." in failed.err
    assert "13 of 13 rows filled" in again.out


async def test_too_many_that_are_missing_wait_for_a_person(desk: Desk) -> None:
    desk.settings("page_size = 2", "max_missing = 0")
    await desk.muster("reconcile")
    desk.tenancy.delete("action-subscription", "s3")
    held = await desk.muster("reconcile")
    accepted = await desk.muster("reconcile", "--accept-missing")

    assert (held.code, accepted.code) == (1, 0)
    assert "--accept-missing" in held.err
    assert "extra 1" in accepted.out


async def test_a_second_one_says_that_another_is_at_it(desk: Desk) -> None:
    desk.faults.on(_slow())
    first = await desk.start("reconcile")
    await until(lambda: desk.faults.count("*/index"), "the first page's request")
    second = await desk.muster("reconcile")
    await first.communicate()

    assert (first.returncode, second.code) == (0, 1)
    assert "hse: This account is being reconciled by another process." in second.err


async def test_a_run_that_was_killed_goes_on_at_its_next_page(desk: Desk) -> None:
    _subscribe(desk.tenancy, range(12, PAGES + 2))
    desk.settings("page_size = 2", "page_size = 1")
    desk.faults.on(_slow(skip=PAGES + 1))
    killed = await desk.start("reconcile")
    with closing(sqlite3.connect(next(desk.home.glob("*/muster.sqlite3")))) as database:
        progress = "SELECT next_page, seen FROM reconcile_runs"
        await until(lambda: database.execute(progress).fetchall() == [(PAGES + 1, PAGES)], "the commit of the first pages")
        killed.send_signal(signal.SIGKILL)
        await killed.communicate()
        desk.faults.off()
        desk.faults.seen.clear()
        database.execute("UPDATE reconcile_runs SET lease_until = NULL")  # it would end by itself in a few seconds
        database.commit()
    done = await desk.muster("reconcile", "--json")

    (report,) = done.reports
    assert (done.code, report["state"], report["seen"], report["missing"]) == (0, "done", PAGES + 3, PAGES + 3)
    assert desk.faults.count("*/index") == 3


async def test_it_says_what_is_wrong_with_how_it_was_called(desk: Desk) -> None:
    nobody = await desk.muster("reconcile", "--account", "nobody")
    other = await desk.muster("reconcile", "--account", "lms")
    helped = await desk.muster("reconcile", "--help")

    assert (nobody.code, other.code, helped.code) == (2, 2, 0)
    assert "no 4HSE account 'lms' is configured" in other.err
    assert "--accept-missing" in helped.out


def _subscribe(tenancy: Tenancy, numbers: range) -> None:
    person = {"first_name": "A", "last_name": "B", "birth_date": "1990-05-01", "project_id": "t"}
    for number in numbers:
        tenancy.create("person", {"person_id": f"p{number}", **person})
        tenancy.subscribe(ACTION, f"p{number}", action_subscription_id=f"s{number}")


def _slow(skip: int = 0) -> Slow:
    return Slow(path="*/index", seconds=6, times=1, skip=skip)
