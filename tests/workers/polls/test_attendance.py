"""Who was at Kare's exercises, over the simulated Kare."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.accounts import KareAccount, Limits
from schemas.delivery import now_utc
from workers.database import Database
from workers.mirror import tables
from workers.mirror.apply import Mirror
from workers.polls import attendance
from workers.simulators.faults import Broken, Faults
from workers.simulators.kare import Register, simulator
from workers.simulators.server import served
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import VendorError
from workers.vendors.kare import Kare

THEN = datetime(2024, 12, 1, 12, 34, 56, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stage:
    """A simulated Kare that is served; pages of two rows."""

    register: Register
    faults: Faults
    settings: dict[str, Any]

    async def poll(self, database: Database) -> None:
        """One poll."""
        settings = KareAccount.model_validate(self.settings)
        client = Kare(settings, now_utc)
        try:
            await attendance.poll(database, Mirror(), OpenAccount("kare", settings, client), now_utc)
        finally:
            await client.close()


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    register = Register("t0ken", "s3ssion", lambda: THEN)
    register.schedule(siteIds=[1])
    faults = Faults(simulator(register))
    for name, text in (("token", "t0ken"), ("session", "s3ssion")):
        (tmp_path / name).write_text(text)
    async with served(faults) as url:
        made = {"vendor": "kare", "insecure": True, "base_url": url, "paging": {"rows": 2}}
        made |= {"token_file": tmp_path / "token", "session_token_file": tmp_path / "session"}
        yield Stage(register, faults, made | {"limits": Limits(rate=1000, timeout=10, attempts=2, breaker_failures=1000)})
    faults.off()


async def versions(user: int) -> list[tuple[int, str | None, bool, bool]]:
    """(version, status, withdrawn, current) of one user at the exercise."""
    rows = await tables.Attendance.filter(account="kare", user_id=user, intervention_id=1).order_by("version")
    return [(row.version, row.status, row.withdrawn, row.superseded_at is None) for row in rows]


async def test_an_attendance_is_kept_once_and_a_corrected_one_as_a_new_version(stage: Stage, database: Database) -> None:
    stage.register.attend(7, 1)
    for status in ("present", "present", "absent"):
        stage.register.attendance[0]["attendanceStatus"] = status
        await stage.poll(database)

    assert await versions(7) == [(1, "present", False, False), (2, "absent", False, True)]
    assert {row.ended_at for row in await tables.Attendance.all()} == {THEN}


async def test_every_page_is_read_and_of_two_rows_for_one_the_later_holds(stage: Stage, database: Database) -> None:
    for user in (1, 2, 3, 4, 5):
        stage.register.attend(user, 1)
    stage.register.attend(5, 1, "absent")
    stage.register.attendance[-1]["updatedAt"] = "2024-12-02T08:00:00.000Z"
    await stage.poll(database)

    assert [(await versions(user))[-1][1] for user in (1, 2, 3, 4, 5)] == ["present"] * 4 + ["absent"]


async def test_what_two_readings_miss_was_withdrawn(stage: Stage, database: Database) -> None:
    for user in (1, 2, 3):
        stage.register.attend(user, 1)
    await stage.poll(database)
    del stage.register.attendance[0]
    await stage.poll(database)

    assert [(await versions(user))[-1][2] for user in (1, 2, 3)] == [True, False, False]


async def test_a_row_that_slipped_over_a_page_border_is_found_by_the_second_reading(stage: Stage, database: Database) -> None:
    for user in (1, 2, 3, 4):
        stage.register.attend(user, 1)
    await stage.poll(database)
    listed, asked = stage.register.attendance, 0

    class Slipping(list[Any]):
        def __iter__(self) -> Any:
            nonlocal asked
            asked += 1
            return iter(listed if asked != 2 else listed[1:])

    stage.register.attendance = Slipping(listed)
    await stage.poll(database)

    assert asked > 3
    assert await tables.Attendance.filter(withdrawn=True).count() == 0


async def test_an_empty_list_and_a_page_that_fails_withdraw_nothing(stage: Stage, database: Database) -> None:
    for user in (1, 2, 3):
        stage.register.attend(user, 1)
    await stage.poll(database)
    kept, stage.register.attendance = stage.register.attendance, []
    await stage.poll(database)
    stage.register.attendance = kept[1:]
    stage.faults.on(Broken(path="*/rs", skip=1, times=None))
    with pytest.raises(VendorError):
        await stage.poll(database)

    assert await tables.Attendance.filter(withdrawn=True).count() == 0


async def test_neither_signatures_nor_pin_codes_nor_names_are_kept(stage: Stage, database: Database) -> None:
    stage.register.users[7] = {"id": 7, "firstName": "Ada", "lastName": "Rossi", "email": "ada@example.com"}
    stage.register.attend(7, 1)
    await stage.poll(database)

    (row,) = await tables.Attendance.all().values()
    assert not {"123456", "Ada", "Rossi", "ada@example.com", "document.pdf"} & {str(value) for value in row.values()}
