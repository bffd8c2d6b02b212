"""A row with a lease: due, taken, renewed, given back, tried again; all with times that are given."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.workers.made import NOON
from workers.database import Database
from workers.schedules import Schedule, Turn

MINUTE, LEASE = timedelta(minutes=1), timedelta(seconds=60)
TURN = Turn("hse", "actions", timedelta(hours=6))


async def test_what_never_ran_is_due_now_and_its_row_stands_however_often_it_is_asked_for(database: Database) -> None:
    assert [await TURN.due_at(NOON), await TURN.due_at(NOON + MINUTE)] == [NOON, NOON]

    assert (await Schedule.get()).created_at == NOON


async def test_only_one_holder_takes_what_is_due(database: Database) -> None:
    await TURN.due_at(NOON)

    assert [await TURN.take(uuid4(), NOON, LEASE) for _ in range(3)] == [True, False, False]
    assert await TURN.due_at(NOON) == NOON + LEASE


async def test_what_is_not_due_is_not_taken(database: Database) -> None:
    await TURN.due_at(NOON)

    assert not await TURN.take(uuid4(), NOON - MINUTE, LEASE)


async def test_a_lease_that_nobody_renews_ends_and_its_holder_has_nothing_more_to_say(database: Database) -> None:
    dead, heir = uuid4(), uuid4()
    await TURN.due_at(NOON)
    await TURN.take(dead, NOON, LEASE)
    await TURN.renew(dead, NOON + 2 * LEASE)

    assert [await TURN.take(heir, NOON + at, LEASE) for at in (LEASE, 2 * LEASE)] == [False, True]
    assert not await TURN.renew(dead, NOON + 9 * LEASE)
    await TURN.succeeded(dead, NOON, NOON)
    await TURN.failed(dead, NOON, "late")
    await TURN.release(dead)
    row = await Schedule.get()
    assert (row.holder, row.lease_until, row.last_success, row.failures) == (heir, NOON + 3 * LEASE, None, 0)


async def test_a_success_is_due_again_a_period_after_it_began_or_a_little_earlier(database: Database) -> None:
    holder = uuid4()
    await TURN.due_at(NOON)
    await TURN.take(holder, NOON, LEASE)
    await TURN.succeeded(holder, NOON, NOON + MINUTE)

    assert NOON + 0.95 * TURN.period <= await TURN.due_at(NOON) <= NOON + TURN.period
    row = await Schedule.get()
    assert (row.last_began, row.last_success) == (NOON, NOON + MINUTE)
    assert [row.holder, row.lease_until, row.error] == [None] * 3


@pytest.mark.parametrize(
    ("period", "waits"),
    [
        pytest.param(timedelta(hours=6), [1, 5, 15, 60, 60], id="by the table"),
        pytest.param(timedelta(minutes=10), [1, 5, 10, 10], id="never later than its period"),
    ],
)
async def test_a_failure_is_tried_again_sooner_and_then_later(database: Database, period: timedelta, waits: list[int]) -> None:
    turn, found = Turn("hse", "actions", period), []
    at = await turn.due_at(NOON)
    for _ in waits:
        holder = uuid4()
        assert await turn.take(holder, at, LEASE)
        await turn.failed(holder, at, "503")
        found.append(await turn.due_at(at) - at)
        at += found[-1]

    assert found == [wait * MINUTE for wait in waits]
    row = await Schedule.get()
    assert (row.failures, row.error, row.last_success) == (len(waits), "503", None)


async def test_a_success_ends_the_failures(database: Database) -> None:
    for at, end in ((NOON, "failed"), (NOON + MINUTE, "succeeded")):
        holder = uuid4()
        await TURN.due_at(NOON)
        assert await TURN.take(holder, at, LEASE)
        await (TURN.failed(holder, at, "503") if end == "failed" else TURN.succeeded(holder, at, at))

    row = await Schedule.get()
    assert (row.failures, row.last_success) == (0, NOON + MINUTE)
    assert row.error is None


async def test_a_period_that_was_made_shorter_counts_at_once(database: Database) -> None:
    holder, often = uuid4(), Turn("hse", "actions", MINUTE)
    await TURN.due_at(NOON)
    await TURN.take(holder, NOON, LEASE)
    await TURN.succeeded(holder, NOON, NOON)

    assert await often.due_at(NOON) == NOON + MINUTE
    assert await often.take(uuid4(), NOON + MINUTE, LEASE)


async def test_a_failure_is_not_tried_at_once_however_long_ago_the_last_success_was(database: Database) -> None:
    holder, again = uuid4(), uuid4()
    await TURN.due_at(NOON)
    await TURN.take(holder, NOON, LEASE)
    await TURN.succeeded(holder, NOON, NOON)
    later = NOON + 2 * TURN.period
    await TURN.take(again, later, LEASE)
    await TURN.failed(again, later, "503")

    assert await TURN.due_at(later) == later + MINUTE
    assert not await TURN.take(uuid4(), later, LEASE)


async def test_what_is_given_back_is_due_as_it_was(database: Database) -> None:
    holder = uuid4()
    await TURN.due_at(NOON)
    await TURN.take(holder, NOON, LEASE)
    await TURN.release(holder)

    assert await TURN.due_at(NOON) == NOON
    assert await TURN.take(uuid4(), NOON, LEASE)
