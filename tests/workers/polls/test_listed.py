"""Actions and planned sessions follow 4HSE's indexes: written, changed, gone, back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.delivery import now_utc
from tests.workers.vendors.acme import ACTION, OFFICE, OTHER_OFFICE, PLACE, SESSION, TENANT, Stage, staged
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.tables import Action, ActionSession
from workers.polls import POLLS, actions, sessions
from workers.simulators.faults import Broken
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import VendorError

CHECK = {"action_id": "check", "action_type": "CHECK", "name": "Extinguishers", "validity": "6", "validity_unit": "MONTH"}


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        stage.tenancy.create("action", CHECK | PLACE)
        yield stage


@asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[OpenAccount]:
    """The staged account."""
    async with stage.client() as client:
        yield OpenAccount("hse", stage.account(), client)


async def poll(name: str, stage: Stage, database: Database) -> None:
    """One poll by its name."""
    async with opened(stage) as account:
        await POLLS["4hse", name](database, Mirror(), account, now_utc)


async def shown(table: Any, key: str) -> dict[str, bool]:
    """Id to whether it is gone."""
    return dict(await table.filter(account="hse").values_list(key, "gone"))


async def test_an_actions_validity_and_when_expiring_begins_are_kept_and_followed(stage: Stage, database: Database) -> None:
    await poll("actions", stage, database)
    before = await Action.get(action_id="check")
    stage.tenancy.update("action", "check", {"expire_interval": 60, "name": "Fire extinguishers"})
    await poll("actions", stage, database)
    after = await Action.get(action_id="check")

    assert (before.validity, before.validity_unit, before.expire_interval) == (6, "MONTH", 30)
    assert (after.name, after.expire_interval, after.action_type) == ("Fire extinguishers", 60, "CHECK")
    assert (after.account, after.subtenant_id, after.tenant_id, after.gone) == ("hse", OFFICE, TENANT, False)
    assert after.fetched_at > before.fetched_at


async def test_a_planned_session_is_kept_with_its_dates(stage: Stage, database: Database) -> None:
    stage.tenancy.update("action-session", SESSION, {"date_end": "2024-03-16T18:00:00Z", "validity": 2, "validity_unit": "YEAR"})
    await poll("sessions", stage, database)

    row = await ActionSession.get()
    assert (row.action_session_id, row.action_id, row.validity, row.validity_unit) == (SESSION, ACTION, 2, "YEAR")
    assert (row.date_begin, row.date_end) == (date(2024, 3, 15), date(2024, 3, 16))


async def test_what_is_deleted_is_gone_and_what_comes_back_is_not(stage: Stage, database: Database) -> None:
    await poll("actions", stage, database)
    stage.tenancy.delete("action", "check")
    await poll("actions", stage, database)
    assert await shown(Action, "action_id") == {ACTION: False, "check": True}

    stage.tenancy.create("action", CHECK | PLACE)
    await poll("actions", stage, database)
    assert await shown(Action, "action_id") == {ACTION: False, "check": False}


async def test_what_is_historicized_left_the_index_and_is_not_gone(stage: Stage, database: Database) -> None:
    await poll("actions", stage, database)
    stage.tenancy.historicize("check")
    stage.tenancy.update("action", "check", {"expire_interval": 7})
    await poll("actions", stage, database)

    row = await Action.get(action_id="check")
    assert (row.gone, row.expire_interval) == (False, 7)


async def test_rights_withdrawn_for_an_office_make_nothing_gone(stage: Stage, database: Database) -> None:
    elsewhere = CHECK | {"action_id": "milan", "subtenant_id": OTHER_OFFICE, "tenant_id": TENANT}
    stage.tenancy.create("action", elsewhere)
    await poll("actions", stage, database)
    stage.tenancy.withdraw(OTHER_OFFICE)
    await poll("actions", stage, database)

    assert not (await shown(Action, "action_id"))["milan"]


async def test_a_walk_with_a_page_that_fails_makes_nothing_gone(stage: Stage, database: Database) -> None:
    await poll("sessions", stage, database)
    for number in range(120):
        stage.tenancy.create("action-session", {"action_session_id": f"s{number:03}", "action_id": ACTION, **PLACE})
    stage.tenancy.delete("action-session", SESSION)
    stage.faults.on(Broken(path="*/action-session/index", skip=1, times=None))
    with pytest.raises(VendorError):
        await poll("sessions", stage, database)

    assert await ActionSession.filter(gone=False).count() == 101


async def test_an_older_answer_changes_nothing(stage: Stage, database: Database) -> None:
    began = now_utc()
    await poll("actions", stage, database)
    stage.tenancy.update("action", "check", {"expire_interval": 60})
    async with opened(stage) as account:
        await actions.poll(database, Mirror(), account, lambda: began)

    assert (await Action.get(action_id="check")).expire_interval == 30


async def test_texts_and_numbers_that_no_database_keeps_are_kept_as_near_as_can_be(stage: Stage, database: Database) -> None:
    stage.tenancy.tables["action"]["check"] |= {"name": "a\0b", "validity": 10**12}
    stage.tenancy.create("action-session", {"action_session_id": "\0", "action_id": ACTION, **PLACE})
    await poll("actions", stage, database)
    async with opened(stage) as account:
        await sessions.poll(database, Mirror(), account, now_utc)

    row = await Action.get(action_id="check")
    assert (row.name, row.validity) == ("a\\x00b", 2**31 - 1)
    assert await ActionSession.all().count() == 2
