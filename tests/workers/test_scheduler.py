"""Polls that run whenever they are due: one worker at a time, taken over from the dead, each vendor by itself."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from schemas.accounts import FourhseAccount, KareAccount
from schemas.delivery import now_utc
from tests.services.postgres import Postgres
from tests.workers.made import until
from workers.database import Database, DatabaseAway, close_database, open_database
from workers.migrations import migrate
from workers.mirror.apply import Mirror
from workers.polls import POLLS
from workers.scheduler import Scheduler
from workers.schedules import OURS, Schedule, Turn
from workers.vendors.accounts import CLIENTS, OpenAccount, OpenAccounts
from workers.vendors.errors import Complaint, Refused

OFF = {"reconcile": "off", "session_enrollments": "off", "actions": "off", "sessions": "off"}
HSE = FourhseAccount.model_validate({"vendor": "4hse", "access_token_file": "key", "polls": OFF | {"actions": "1s"}})
KARE = KareAccount.model_validate(
    {"vendor": "kare", "base_url": "https://kare.example", "token_file": "t", "session_token_file": "s", "polls": {"attendance": "1s"}}
)


@dataclass
class Recorded:
    """A poll that says when it ran and with whom beside it, and does what the test wants."""

    seconds: float = 0.0
    error: Exception | None = None
    began: list[datetime] = field(default_factory=list)
    cut_short: int = 0
    running: int = 0
    most: int = 0

    async def __call__(self, database: Database, mirror: Mirror, account: OpenAccount, now: Any) -> None:
        self.began.append(now())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
            if self.error:
                raise self.error
        except asyncio.CancelledError:
            self.cut_short += 1
            raise
        finally:
            self.running -= 1


@asynccontextmanager
async def running(database: Database, poll: Any, *, lease: float = 60, workers: int = 1, accounts: Any = None) -> AsyncIterator[None]:
    """Workers with a scheduler each, for one poll of one account or what is given."""
    polls = poll if isinstance(poll, dict) else {("4hse", "actions"): poll}
    opened = OpenAccounts({"hse": HSE} if accounts is None else accounts, now_utc)
    options: dict[str, Any] = {"polls": polls, "lease": timedelta(seconds=lease), "rest": 0.05}
    tasks = [asyncio.create_task(Scheduler(database, Mirror(), opened, now_utc, **options).run()) for _ in range(workers)]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await opened.close()


async def test_of_several_workers_one_runs_it_every_period(database: Database) -> None:
    poll = Recorded(seconds=0.1)
    async with running(database, poll, workers=3):
        await until(lambda: len(poll.began) == 2, "a second run")

    assert poll.most == 1
    assert poll.began[1] - poll.began[0] >= timedelta(seconds=0.9)


async def test_a_lease_is_renewed_for_as_long_as_a_poll_takes(database: Database) -> None:
    poll = Recorded(seconds=1.5)
    async with running(database, poll, lease=0.6, workers=2):
        await until(lambda: Schedule.exclude(last_success=None).exists(), "an end")

    assert (poll.most, (await Schedule.get()).failures) == (1, 0)


async def test_a_poll_whose_lease_is_lost_is_cut_short_and_says_nothing_of_the_row(database: Database) -> None:
    poll, other = Recorded(seconds=60), uuid4()
    async with running(database, poll, lease=0.6):
        await until(lambda: poll.running, "a run")
        await Schedule.all().update(holder=other, lease_until=now_utc() + timedelta(minutes=1))
        await until(lambda: poll.cut_short, "an end")

    row = await Schedule.get()
    assert (row.holder, row.failures, row.last_success, len(poll.began)) == (other, 0, None, 1)


async def test_a_worker_that_is_stopped_gives_back_what_it_holds(database: Database) -> None:
    poll = Recorded(seconds=60)
    async with running(database, poll):
        await until(lambda: poll.running, "a run")

    row = await Schedule.get()
    assert (row.holder, row.lease_until, row.failures, poll.cut_short) == (None, None, 0, 1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(Refused(422, (Complaint("page", "too large"),)), "422: page: too large", id="the vendor's words"),
        pytest.param(RuntimeError("a value"), "RuntimeError", id="of an error of ours only the name"),
        pytest.param(DatabaseAway("InterfaceError"), "DatabaseAway", id="a database that went away"),
    ],
)
async def test_a_failure_is_written_down_and_tried_again(database: Database, error: Exception, said: str) -> None:
    poll = Recorded(error=error)
    async with running(database, poll):
        await until(lambda: Schedule.filter(failures__gte=2).exists(), "two failures")

    row = await Schedule.get()
    assert (row.error, row.last_success, row.holder) == (said, None, None)


async def test_what_is_off_does_not_run_and_rows_that_are_not_configured_are_left_alone(database: Database) -> None:
    await Schedule.create(account="gone", name="actions", created_at=now_utc(), due_at=now_utc(), failures=0)
    poll = Recorded()
    async with running(database, poll, accounts={"hse": HSE.model_copy(update={"polls": HSE.polls.model_copy(update={"actions": None})})}):
        await asyncio.sleep(0.3)

    assert poll.began == []
    assert await Schedule.all().values_list("account", "last_began") == [("gone", None)]


async def test_a_vendor_that_does_not_answer_holds_up_no_other(database: Database) -> None:
    hanging, quick = Recorded(seconds=60), Recorded()
    polls = {("4hse", "actions"): hanging, ("kare", "attendance"): quick}
    async with running(database, polls, accounts={"hse": HSE, "kare": KARE}):
        await until(lambda: len(quick.began) == 2, "the other's second run")

    assert len(hanging.began) == 1


_WORKER = """
import asyncio, sys
from datetime import timedelta
from schemas.delivery import now_utc
from tests.workers.test_scheduler import Recorded, running
from workers.database import open_database

async def main():
    database, poll = await open_database(sys.argv[1]), Recorded(seconds=60)
    async with running(database, poll, lease=1.5):
        while not poll.running: await asyncio.sleep(0.01)
        print("running", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_what_a_killed_worker_was_at_is_taken_over_when_its_lease_ends(database_url: str) -> None:
    database = await open_database(database_url)
    try:
        await migrate(database)
        command = [sys.executable, "-c", _WORKER, database_url]
        worker = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert worker.stdout is not None
        assert await asyncio.to_thread(worker.stdout.readline) == "running\n"
        worker.kill()
        await asyncio.to_thread(worker.communicate)
        ends, poll = (await Schedule.get()).lease_until, Recorded()
        async with running(database, poll):
            await until(lambda: poll.began, "a run")
    finally:
        await close_database()

    assert ends is not None
    assert ends <= poll.began[0] < ends + timedelta(seconds=3)


async def test_a_database_that_was_away_is_gone_on_with(spoilt_postgres: Database, postgres: Postgres) -> None:
    (name,) = (await spoilt_postgres.connection.execute_query_dict("SELECT current_database()"))[0].values()
    operator, poll = await asyncpg.connect(postgres.url()), Recorded()
    async with running(spoilt_postgres, poll):
        await until(lambda: poll.began, "a run")
        await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await operator.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await asyncio.sleep(1.5)
        before = len(poll.began)
        await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await until(lambda: len(poll.began) > before, "a run afterwards")
    await operator.close()


def test_every_poll_that_can_be_set_exists() -> None:
    settable = {(vendor, name) for vendor, account in (("4hse", HSE), ("kare", KARE)) for name in type(account.polls).model_fields}

    others = {("anewspring", "course_results"), ("ispring", "observations"), ("ispring", "subscribers")}
    assert set(POLLS) == settable | others
    assert {vendor for vendor, _ in POLLS} <= set(CLIENTS)


async def test_a_chore_of_musters_own_is_done_by_one_worker_like_a_poll(database: Database) -> None:
    began, opened = list[datetime](), OpenAccounts({}, now_utc)

    async def chore() -> int:
        began.append(now_utc())
        return 7

    chores = [(Turn(OURS, "tidying", timedelta(seconds=1)), chore)]
    tasks = [asyncio.create_task(Scheduler(database, Mirror(), opened, now_utc, chores=chores, rest=0.05).run()) for _ in range(3)]
    try:
        await until(lambda: len(began) == 2, "a second time")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    row = await Schedule.get()
    assert (row.account, row.name, row.failures) == ("(muster)", "tidying", 0)
    assert began[1] - began[0] >= timedelta(seconds=0.9)
