"""Outcomes that trainers enter reach the mirror by polling: each once, corrected ones as new versions, over the simulated 4HSE."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.delivery import now_utc
from tests.workers.vendors.acme import ACTION, ENROLLMENT, OFFICE, OTHER_OFFICE, PERSON, SESSION, SUBSCRIPTION, TENANT, Stage, staged
from workers.database import Database
from workers.erasures import Marks
from workers.mirror.apply import Mirror
from workers.mirror.reconcile import reconcile
from workers.mirror.runs import Asked
from workers.mirror.tables import SessionEnrollment
from workers.operations.erase import Whom, erase
from workers.polls import session_enrollments
from workers.refreshes import Refresh
from workers.simulators.faults import Broken
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import VendorError

Poll = Callable[[], Awaitable[None]]
PATH = "action-session-subscription"


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


@pytest_asyncio.fixture
async def poll(stage: Stage, database: Database) -> AsyncIterator[Poll]:
    async with stage.client() as client:
        account = OpenAccount("hse", stage.account(), client)

        async def polled() -> None:
            await session_enrollments.poll(database, Mirror(accounts=frozenset({"hse"})), account, now_utc)

        yield polled


async def versions(enrollment: str = ENROLLMENT) -> list[tuple[int, int | None, bool, bool]]:
    """(version, done, withdrawn, current) of one enrollment."""
    rows = await SessionEnrollment.filter(account="hse", action_session_subscription_id=enrollment).order_by("version")
    return [(row.version, row.done, row.withdrawn, row.superseded_at is None) for row in rows]


def more(stage: Stage, count: int) -> list[str]:
    """So many people more, subscribed and enrolled."""
    made = []
    for number in range(count):
        person = {"person_id": f"p{number}", "first_name": "Ada", "last_name": "Rossi", "birth_date": "1990-05-01", "project_id": TENANT}
        stage.tenancy.create("person", person)
        made.append(stage.tenancy.enroll(SESSION, stage.tenancy.subscribe(ACTION, f"p{number}")))
    return made


async def test_an_outcome_is_kept_once_and_a_corrected_one_as_a_new_version(stage: Stage, poll: Poll) -> None:
    for done in (-1, 1, 1, 0):
        stage.tenancy.record(ENROLLMENT, done)
        await poll()

    assert await versions() == [(1, -1, False, False), (2, 1, False, False), (3, 0, False, True)]


async def test_everything_that_the_index_says_is_kept(stage: Stage, poll: Poll) -> None:
    dates = {"date_begin": "2024-03-15", "date_expire": "2029-03-15T00:00:00Z"}
    stage.tenancy.record(ENROLLMENT, 1, certificate_id="c1", warning=1, **dates)
    await poll()

    row = await SessionEnrollment.get()
    assert (row.account, row.action_session_id, row.action_subscription_id) == ("hse", SESSION, SUBSCRIPTION)
    assert (row.certificate_id, row.warning, row.validity, row.validity_unit) == ("c1", 1, 5, "YEAR")
    assert (row.date_begin, row.date_expire, row.session_date_begin) == (date(2024, 3, 15), date(2029, 3, 15), date(2024, 3, 15))
    assert (row.subtenant_id, row.tenant_id) == (OFFICE, TENANT)


async def test_a_changed_outcome_has_its_subscription_fetched_and_the_first_walk_has_none(stage: Stage, poll: Poll) -> None:
    stage.tenancy.record(ENROLLMENT, 0)
    await poll()
    assert await Refresh.all().count() == 0

    await poll()
    assert await Refresh.all().count() == 0

    stage.tenancy.record(ENROLLMENT, 1)
    await poll()
    row = await Refresh.get()
    assert (row.account, row.kind, row.subject) == ("hse", "action-subscription", SUBSCRIPTION)


async def test_somebody_who_came_and_passed_between_two_polls_has_a_subscription_fetched_too(stage: Stage, poll: Poll) -> None:
    await poll()
    pending, passed = more(stage, 2)
    stage.tenancy.record(passed, 1)
    await poll()

    subscription = stage.tenancy.tables[PATH][passed]["action_subscription_id"]
    assert await Refresh.all().values_list("subject", flat=True) == [subscription]
    assert await versions(pending) == [(1, -1, False, True)]


async def test_every_page_is_read(stage: Stage, poll: Poll) -> None:
    more(stage, 250)
    await poll()

    assert await SessionEnrollment.all().count() == 251


async def test_a_seat_that_was_taken_away_is_withdrawn_and_one_that_was_given_again_is_back(stage: Stage, poll: Poll) -> None:
    gone, _ = more(stage, 2)
    row = dict(stage.tenancy.tables[PATH][gone])
    await poll()
    stage.tenancy.delete(PATH, gone)
    for _ in range(2):
        await poll()
    assert await versions(gone) == [(1, -1, False, False), (2, -1, True, True)]

    stage.tenancy.create(PATH, row)
    await poll()
    assert (await versions(gone))[-1] == (3, -1, False, True)


async def test_the_last_seat_of_an_office_is_withdrawn_if_something_else_of_the_office_is_still_visible(stage: Stage, poll: Poll) -> None:
    await poll()
    stage.tenancy.delete(PATH, ENROLLMENT)
    await poll()

    assert (await versions())[-1] == (2, -1, True, True)


@pytest.mark.parametrize("status", [403, 404])
async def test_rights_withdrawn_for_an_office_withdraw_nothing(stage: Stage, poll: Poll, status: int) -> None:
    await poll()
    stage.tenancy.withdraw(OFFICE, status)
    await poll()

    assert await versions() == [(1, -1, False, True)]


async def test_a_walk_with_a_page_that_fails_withdraws_nothing_and_keeps_what_it_read(stage: Stage, poll: Poll) -> None:
    await poll()
    more(stage, 150)
    stage.tenancy.delete(PATH, ENROLLMENT)
    stage.faults.on(Broken(path=f"*/{PATH}/index", skip=1, times=None))
    with pytest.raises(VendorError):
        await poll()

    assert await versions() == [(1, -1, False, True)]
    assert await SessionEnrollment.all().count() == 101


async def test_a_row_that_cannot_be_read_is_told_stays_as_it_was_and_hides_no_other(
    stage: Stage, poll: Poll, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = more(stage, 2)
    await poll()
    stage.tenancy.tables[PATH][one]["done"] = "perhaps"
    stage.tenancy.record(other, 1)
    stage.tenancy.delete(PATH, ENROLLMENT)
    await poll()

    assert [(await versions(each))[-1][1:3] for each in (one, other, ENROLLMENT)] == [(-1, False), (1, False), (-1, True)]
    told = capsys.readouterr().out
    assert "poll.rows_unreadable" in told
    assert "rows=1" in told
    assert "perhaps" not in told


async def test_an_index_that_shows_fewer_rows_than_the_vendor_counts_withdraws_nothing(stage: Stage, poll: Poll) -> None:
    more(stage, 1)
    await poll()
    stage.tenancy.delete(PATH, ENROLLMENT)
    listed = stage.tenancy.ids
    stage.tenancy.ids = lambda path, query: Counted(listed(path, query)) if path == PATH else listed(path, query)  # type: ignore[method-assign]
    await poll()

    assert await versions() == [(1, -1, False, True)]


async def test_a_row_without_its_id_lets_nothing_be_withdrawn(stage: Stage, poll: Poll) -> None:
    more(stage, 1)
    await poll()
    stage.tenancy.delete(PATH, ENROLLMENT)
    stage.tenancy.tables[PATH] = Nameless(stage.tenancy.tables[PATH])
    await poll()

    assert await SessionEnrollment.filter(withdrawn=True).count() == 0


class Nameless(dict[str, dict[str, Any]]):
    """Rows whose ids are left out when they are looked up."""

    def __getitem__(self, key: str) -> dict[str, Any]:
        return super().__getitem__(key) | {"action_session_subscription_id": None}


class Counted(list[str]):
    """More than there is."""

    def __len__(self) -> int:
        return super().__len__() + 1


async def test_a_row_that_slipped_over_a_page_border_is_asked_for_again_and_is_not_withdrawn(stage: Stage, poll: Poll) -> None:
    made = more(stage, 150)
    await poll()
    first, slips, table = ENROLLMENT, made[99], stage.tenancy.tables[PATH]
    listed = stage.tenancy.ids

    def shifting(path: str, query: Any) -> list[str]:
        ids = listed(path, query)
        if path == PATH and query["page"] == 2:  # the first page lost a row, another came at the end
            return [*ids[:1], *ids[2:], ids[1]] if first in ids else ids
        return ids

    stage.tenancy.ids = shifting  # type: ignore[method-assign]
    assert slips in table
    before = stage.faults.count(f"*/{PATH}/view/*")
    await poll()

    assert await SessionEnrollment.filter(withdrawn=True).count() == 0
    assert stage.faults.count(f"*/{PATH}/view/*") == before + 1


async def test_values_of_odd_types_and_ids_that_are_no_uuids_are_read(stage: Stage, poll: Poll) -> None:
    await poll()
    odd = {"done": "1", "warning": "", "certificate_id": "", "date_begin": "2024-03-15T10:00:00+01:00", "subtenant_id": OTHER_OFFICE}
    stage.tenancy.tables[PATH][ENROLLMENT] |= odd
    await poll()

    row = await SessionEnrollment.get(superseded_at=None)
    assert (row.done, row.date_begin) == (1, date(2024, 3, 15))
    assert [row.warning, row.certificate_id] == [None] * 2


async def test_who_is_kept_out_is_not_fetched_again_and_again(stage: Stage, database: Database) -> None:
    whom = Whom(database, {"hse": stage.account()}, "hse", PERSON)
    stage.tenancy.record(ENROLLMENT, 1)
    more(stage, 1)
    async with stage.client() as client:
        account = OpenAccount("hse", stage.account(), client)
        mirror = Mirror(accounts=frozenset({"hse"}), marks=Marks(unknown_for=0))
        await reconcile(database, mirror, account, Asked(), now_utc)
        await erase(whom, by="root", reason=None, block=True, now=now_utc, unknown_for=0)
        for _ in range(3):
            await session_enrollments.poll(database, mirror, account, now_utc)

    assert await SessionEnrollment.filter(action_subscription_id=SUBSCRIPTION).count() == 0
    assert await SessionEnrollment.all().count() == 1
    assert await Refresh.all().count() == 0
