"""iSpring's on-the-job sessions: whole lists, compared, over the simulated iSpring."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.accounts import IspringAccount, Limits
from schemas.delivery import now_utc
from workers.database import Database
from workers.mirror import tables
from workers.mirror.apply import Mirror
from workers.polls import observations
from workers.simulators.faults import Broken, Faults
from workers.simulators.ispring import Account, simulator
from workers.simulators.server import served
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import VendorError
from workers.vendors.ispring import Ispring

FLOOR, KITCHEN = "3fa85f64-5717-4562-b3fc-2c963f66afa6", "00000000-5717-4562-b3fc-2c963f66afa6"
SUMMER = datetime(2024, 8, 5, 21, 57, 49, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stage:
    """A simulated iSpring that is served."""

    account: Account
    faults: Faults
    settings: dict[str, Any]

    async def poll(self, database: Database, **changed: Any) -> None:
        """One poll, with what `changed` makes of the account."""
        settings = IspringAccount.model_validate(self.settings | changed)
        client = Ispring(settings, now_utc)
        try:
            await observations.poll(database, Mirror(), OpenAccount("ispring", settings, client), now_utc)
        finally:
            await client.close()


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    account = Account("id", "s3cret", lambda: SUMMER, zone="Europe/Rome")
    (tmp_path / "secret").write_text("s3cret")
    faults = Faults(simulator(account))
    async with served(faults) as url:
        made = {"vendor": "ispring", "insecure": True, "base_url": url, "client_id": "id", "client_secret_file": tmp_path / "secret"}
        made |= {"account_url": "https://acme.ispringlearn.com", "dates": {"zone": "Europe/Rome"}}
        made |= {"limits": Limits(rate=1000, timeout=10, attempts=2, breaker_failures=1000)}
        yield Stage(account, faults, made)
    faults.off()
    await account.close()


async def versions(session: str) -> list[tuple[int, str, float | None, bool, bool]]:
    """(version, status, result, withdrawn, current) of one session."""
    rows = await tables.Observation.filter(account="ispring", session_id=session).order_by("version")
    return [(row.version, row.status, row.result, row.withdrawn, row.superseded_at is None) for row in rows]


async def test_a_result_is_kept_once_and_a_corrected_one_as_a_new_version(stage: Stage, database: Database) -> None:
    session = stage.account.observe("employee", "observer", FLOOR).id
    for result in (None, 60.0, 60.0, 55.5):
        stage.account.observe("employee", "observer", FLOOR, result=result, session=session)
        await stage.poll(database)

    assert await versions(session) == [
        (1, "NOT_STARTED", None, False, False),
        (2, "PASSED", 60.0, False, False),
        (3, "PASSED", 55.5, False, True),
    ]


async def test_day_first_local_times_are_kept_in_utc(stage: Stage, database: Database) -> None:
    stage.account.observe("employee", "observer", FLOOR, result=60.0, session="s1")
    await stage.poll(database)

    row = await tables.Observation.get()
    assert (row.planned_at, row.started_at, row.completed_at) == (SUMMER, SUMMER, SUMMER)
    assert (row.checklist_id, row.checklist_title, row.employee_id, row.observer_id) == (
        FLOOR,
        "Floor Sales Representative",
        "employee",
        "observer",
    )
    assert (row.total_points, row.points) == (30.0, 18.0)


async def test_what_is_not_in_the_whole_list_any_more_was_withdrawn(stage: Stage, database: Database) -> None:
    for session in ("s1", "s2"):
        stage.account.observe("employee", "observer", FLOOR, result=60.0, session=session)
    await stage.poll(database)
    del stage.account.sessions["s1"]
    await stage.poll(database)

    assert [(await versions(one))[-1][2:] for one in ("s1", "s2")] == [(60.0, True, True), (60.0, False, True)]


async def test_each_configured_checklist_is_compared_by_itself(stage: Stage, database: Database) -> None:
    for session, checklist in (("s1", FLOOR), ("s2", FLOOR), ("s3", KITCHEN), ("s4", "unasked")):
        stage.account.observe("employee", "observer", checklist, session=session)
    await stage.poll(database)
    for session in ("s1", "s3", "s4"):
        del stage.account.sessions[session]
    await stage.poll(database, checklists=(FLOOR, KITCHEN))

    withdrawn = {one: (await versions(one))[-1][3] for one in ("s1", "s2", "s3", "s4")}
    assert withdrawn == {"s1": True, "s2": False, "s3": False, "s4": False}


async def test_an_empty_list_withdraws_nothing(stage: Stage, database: Database) -> None:
    stage.account.observe("employee", "observer", FLOOR, session="s1")
    await stage.poll(database)
    stage.account.sessions.clear()
    await stage.poll(database)

    assert [row[3] for row in await versions("s1")] == [False]


async def test_a_list_that_fails_withdraws_nothing_and_the_one_before_it_is_kept(stage: Stage, database: Database) -> None:
    for session, checklist in (("s1", FLOOR), ("s2", KITCHEN)):
        stage.account.observe("employee", "observer", checklist, session=session)
    await stage.poll(database)
    stage.account.observe("employee", "observer", FLOOR, result=60.0, session="s1")
    del stage.account.sessions["s2"]
    stage.faults.on(Broken(path="*/result/list", skip=1, times=None))
    with pytest.raises(VendorError):
        await stage.poll(database, checklists=(FLOOR, KITCHEN))

    assert [(await versions(one))[-1][1:4] for one in ("s1", "s2")] == [("PASSED", 60.0, False), ("NOT_STARTED", None, False)]
