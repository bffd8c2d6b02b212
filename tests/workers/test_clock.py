"""The calendar's changes: each once, at its time or as soon as somebody is there, in step with what fetches show and actions say."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import SubscriptionState
from tests.workers.made import NOON, until
from tests.workers.vendors.acme import ACTION, staged
from workers.clock import LATER, Clock
from workers.database import Connection, Database, DatabaseAway, Dialect
from workers.followups.tables import Need
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Absence, Sighting
from workers.mirror.hints import Hint
from workers.mirror.status import Calendar
from workers.mirror.tables import AccountCalendar, Action, ActionSubscription, Drift
from workers.outbox import OutboxEvent
from workers.polls import actions
from workers.vendors.accounts import OpenAccount

DAY, UTC_ZONE = timedelta(days=1), ZoneInfo("UTC")
EXPIRE = date(2026, 6, 30)
#: Midnights in Rome: EXPIRING begins, and the certificate has expired.
EXPIRING, EXPIRED = datetime(2026, 5, 30, 22, tzinfo=UTC), datetime(2026, 6, 30, 22, tzinfo=UTC)


@dataclass
class Planner:
    """Notes what it is to plan."""

    planned: list[tuple[str, str]] = field(default_factory=list)
    fails_on: set[str] = field(default_factory=set)

    async def plan(self, connection: Connection, dialect: Dialect, keys: Iterable[tuple[str, str]], now: datetime) -> None:
        """As the follow-ups do it."""
        keys = list(keys)
        if self.fails_on & {subject for _, subject in keys}:
            raise ZeroDivisionError
        self.planned += keys


class World:
    """A mirror, its clock and the time."""

    def __init__(self, database: Database, mirror: Mirror | None = None) -> None:
        self.database, self.mirror, self.time = database, mirror or Mirror(), NOON
        self.clock = Clock(database, self.mirror, lambda: self.time, batch=3)

    async def sighted(self, *subjects: str, at: datetime = NOON, **changed: Any) -> None:
        """A fetch that began then shows these."""
        async with self.database.transaction() as connection:
            await self.mirror.sighted(connection, self.database.dialect, [shown(one, at, **changed) for one in subjects])

    async def sweep(self, time: datetime) -> int:
        """Sweep at that time."""
        self.time = time
        return await self.clock.sweep()

    async def row(self, subject: str = "s1") -> tuple[str | None, datetime | None]:
        """Status and when it changes."""
        row = await ActionSubscription.get(action_subscription_id=subject)
        return row.status, row.changes_at


def shown(subject: str, at: datetime = NOON, **changed: Any) -> Sighting:
    """What a fetch that began then shows of a subscription."""
    fields = {
        "action_subscription_id": subject,
        "action_id": "a1",
        "status": "VALID",
        "last_certificate_id": "c1",
        "certificate_date_release": date(2021, 6, 30),
        "certificate_date_expire": EXPIRE,
    }
    return Sighting("hse", subject, at, dict.fromkeys(SUBSCRIPTION_FIELDS) | fields | changed)


@pytest_asyncio.fixture
async def world(database: Database) -> World:
    await action("a1", 30)
    return World(database)


async def action(action_id: str, interval: int | None) -> None:
    """An action is in the mirror."""
    await Action.create(account="hse", action_id=action_id, expire_interval=interval, gone=False, fetched_at=NOON)


async def events() -> list[tuple[str, str | None, str | None]]:
    """Subject, status before and after, of each change of status by the clock."""
    rows = await OutboxEvent.filter(type__contains="status_changed").order_by("id")
    told = [(row.subject, row.data) for row in rows]
    assert {data["by"] for _, data in told} <= {"clock"}
    return [(subject, data["before"], data["status"]) for subject, data in told]  # type: ignore[misc]


async def test_a_status_changes_at_its_midnights_and_each_change_is_told_once(world: World) -> None:
    await world.sighted("s1")
    assert await world.row() == ("VALID", EXPIRING)

    assert await world.sweep(EXPIRING - timedelta(seconds=1)) == 0
    assert await world.sweep(EXPIRING) == 1
    assert await world.row() == ("EXPIRING", EXPIRED)
    assert await world.sweep(EXPIRED) == 1
    assert await world.row() == ("EXPIRED", None)
    assert await world.sweep(EXPIRED + 999 * DAY) == 0
    assert await events() == [("hse/s1", "VALID", "EXPIRING"), ("hse/s1", "EXPIRING", "EXPIRED")]


async def test_a_sweep_that_was_missed_is_caught_up_whatever_it_takes(world: World) -> None:
    await world.sighted(*(f"s{n}" for n in range(8)))
    await world.sighted("later", certificate_date_expire=date(2030, 1, 1))

    assert await world.sweep(EXPIRED + 10 * DAY) == 8
    assert {(await world.row(f"s{n}")) for n in range(8)} == {("EXPIRED", None)}
    assert (await world.row("later"))[0] == "VALID"


async def test_what_never_changes_is_never_looked_at(world: World) -> None:
    await world.sighted("new", status="NEW", last_certificate_id=None, certificate_date_release=None, certificate_date_expire=None)
    await world.sighted("for ever", certificate_date_expire=None)

    assert [await world.row(one) for one in ("new", "for ever")] == [("NEW", None), ("VALID", None)]


async def test_of_an_unknown_action_the_vendors_word_stands_until_the_expiry(world: World) -> None:
    await world.sighted("s1", action_id="unknown", status="EXPIRING")
    assert await world.row() == ("EXPIRING", EXPIRED)

    await world.sweep(EXPIRED)
    assert await world.row() == ("EXPIRED", None)
    assert await Drift.all().count() == 0


async def test_an_accounts_own_days_count(database: Database) -> None:
    await action("a1", 30)
    world = World(database, Mirror(calendars={"hse": Calendar(ZoneInfo("Asia/Kolkata"), 1)}))
    await world.sighted("s1")
    assert (await world.row())[1] == datetime(2026, 5, 31, 18, 30, tzinfo=UTC)

    await world.sweep(datetime(2026, 6, 30, 18, 30, tzinfo=UTC))
    assert await world.row() == ("EXPIRED", None)


async def test_what_is_missing_or_deleted_keeps_its_status(world: World) -> None:
    await world.sighted("missing", "deleted", "hinted")
    absences = [Absence("hse", one, NOON + DAY, SubscriptionState(one)) for one in ("missing", "deleted")]
    hint = Hint("hse", "hinted", True, NOON + DAY, b"\x01", dict.fromkeys(SUBSCRIPTION_FIELDS) | {"action_subscription_id": "hinted"})
    async with world.database.transaction() as connection:
        await world.mirror.absent(connection, world.database.dialect, absences)
        await world.mirror.apply(connection, world.database.dialect, [hint])

    assert await world.sweep(EXPIRED) == 0
    assert [await world.row(one) for one in ("missing", "deleted", "hinted")] == [("VALID", None), ("VALID", None), (None, None)]


async def test_what_comes_back_is_looked_at_again(world: World) -> None:
    await world.sighted("s1")
    async with world.database.transaction() as connection:
        await world.mirror.absent(connection, world.database.dialect, [Absence("hse", "s1", NOON + DAY, SubscriptionState.MISSING)])
    await world.sighted("s1", at=NOON + 2 * DAY)

    assert await world.row() == ("VALID", EXPIRING)


async def test_a_status_that_the_vendor_reckons_otherwise_is_kept_and_noted_once_a_change(world: World) -> None:
    with capture_logs() as logs:
        for n in range(3):
            await world.sighted("s1", at=NOON + n * DAY, status="EXPIRING")
        await world.sighted("s1", at=NOON + 4 * DAY, status="EXPIRED")
        await world.sighted("s2")

    assert await world.row() == ("EXPIRED", EXPIRING)
    assert [(one.subject, one.kind, one.differing) for one in await Drift.all()] == [("s1", "status", ["status"])] * 2
    assert [(one["kind"], one["shown"], one["computed"]) for one in logs if one["event"] == "drift.found"] == [
        ("status", "EXPIRING", "VALID"),
        ("status", "EXPIRED", "VALID"),
    ]
    assert await OutboxEvent.filter(type="muster.drift.found.v1", subject="hse/s1").count() == 2


async def test_an_answer_from_after_midnight_to_a_question_from_before_is_no_drift(world: World) -> None:
    await world.sighted("s1", at=EXPIRING - timedelta(seconds=5), status="EXPIRING")

    assert await Drift.all().count() == 0


async def test_an_interval_that_changes_lets_the_clock_look_again(database: Database, tmp_path: Path) -> None:
    async with polled(database, tmp_path) as (world, account, tenancy):
        await actions.poll(database, world.mirror, account, lambda: NOON)
        await world.sighted("s1", "other", action_id=ACTION)
        await ActionSubscription.filter(action_subscription_id="other").update(action_id="elsewhere")
        tenancy.update("action", ACTION, {"expire_interval": 150})
        await actions.poll(database, world.mirror, account, lambda: NOON + DAY)
        assert [await world.row(one) for one in ("s1", "other")] == [("VALID", NOON + DAY), ("VALID", EXPIRING)]

        assert await world.sweep(NOON + DAY) == 1
        assert await world.row() == ("EXPIRING", EXPIRED)
        await actions.poll(database, world.mirror, account, lambda: NOON + 2 * DAY)
        assert await world.row() == ("EXPIRING", EXPIRED)


async def test_an_action_that_becomes_known_lets_the_clock_look_again(database: Database, tmp_path: Path) -> None:
    async with polled(database, tmp_path) as (world, account, _):
        await world.sighted("s1", action_id=ACTION)
        assert (await world.row())[1] == EXPIRED
        await actions.poll(database, world.mirror, account, lambda: NOON + DAY)
        await world.sweep(NOON + DAY)

    assert await world.row() == ("VALID", EXPIRING)


async def test_a_sweep_with_nothing_due_leaves_the_vendors_word_alone(world: World) -> None:
    """Whoever had the row looked at; once a day of the calendar has come, the calendar says it."""
    await world.sighted("early", status="EXPIRING")
    await world.sighted("bare", last_certificate_id=None, certificate_date_release=None, certificate_date_expire=None)
    hint = Hint("hse", "hinted", False, NOON, b"\x01", dict.fromkeys(SUBSCRIPTION_FIELDS) | {"action_subscription_id": "hinted"})
    async with world.database.transaction() as connection:
        await world.mirror.apply(connection, world.database.dialect, [hint])
    for day in (NOON, NOON + DAY):
        await ActionSubscription.all().update(changes_at=day)
        assert await world.sweep(day) == 0
    assert await world.row("early") == ("EXPIRING", EXPIRING)
    assert await world.row("bare") == ("VALID", None)
    assert await world.row("hinted") == (None, None)

    assert await world.sweep(EXPIRED) == 1
    assert await world.row("early") == ("EXPIRED", None)


async def test_other_days_of_an_account_let_the_clock_look_again(world: World) -> None:
    """When a worker starts that has them; the first takes down what it finds."""
    await world.sighted("s1", "s2")
    rome, later = Calendar(), Calendar(boundary=1)
    for calendar, changes in ((rome, EXPIRING), (rome, EXPIRING), (later, EXPIRING + DAY), (Calendar(UTC_ZONE), EXPIRING + DAY / 12)):
        clock = Clock(world.database, replace(world.mirror, calendars={"hse": calendar}), lambda: NOON, longest=0.01)
        async with running(clock):
            await until(partial(_reckoned, calendar, changes), f"the change to {changes}", timeout=5)


async def test_two_clocks_change_each_row_once(world: World) -> None:
    await world.sighted(*(f"s{n:02}" for n in range(40)))
    world.time = EXPIRING
    clocks = [Clock(world.database, world.mirror, lambda: EXPIRING, batch=7) for _ in range(4)]

    counts = await asyncio.gather(*(clock.sweep() for clock in clocks))
    assert sum(counts) == 40
    assert sorted(await events()) == [(f"hse/s{n:02}", "VALID", "EXPIRING") for n in range(40)]


async def test_follow_ups_are_planned_for_what_was_due_whether_it_changed_or_not_and_for_nothing_else(database: Database) -> None:
    planner = Planner()
    world = await following(database, planner)
    await world.sighted("s1", "s2")
    await world.sighted("as it was", "not due", action_id="unknown", status="EXPIRED")
    await ActionSubscription.filter(action_subscription_id="as it was").update(changes_at=NOON)
    await ActionSubscription.filter(action_subscription_id="not due").update(changes_at=None)
    await world.sweep(EXPIRED)

    assert planner.planned == [("hse", "as it was"), ("hse", "s1"), ("hse", "s2")]


async def test_a_row_that_the_planner_fails_on_stays_as_it_was_and_holds_up_no_other(database: Database) -> None:
    planner = Planner(fails_on={"s2"})
    world = await following(database, planner)
    await world.sighted("s1", "s2", "s3", "s4", "s5")
    with capture_logs() as logs:
        assert await world.sweep(EXPIRING) == 4

    assert await world.row("s2") == ("VALID", EXPIRING + LATER)
    assert {one["error"] for one in logs if one["event"] == "clock.failed"} == {"ZeroDivisionError"}
    planner.fails_on.clear()
    assert await world.sweep(EXPIRING + LATER) == 1
    assert len(await events()) == len(planner.planned) == 5


async def test_needs_that_are_to_be_looked_at_are_planned_and_not_again_at_once(database: Database) -> None:
    planner = Planner()
    world = await following(database, planner)
    await world.sighted("s1", "s2")
    await need("s1", NOON)
    await need("s1", NOON - DAY)
    await need("s2", NOON + DAY)
    for _ in range(3):
        await world.sweep(NOON)

    assert planner.planned == [("hse", "s1")]
    await world.sweep(NOON + DAY)
    assert sorted(planner.planned[1:]) == [("hse", "s1"), ("hse", "s2")]


async def test_a_sighting_under_way_does_not_miss_an_interval_that_changes(database: Database, tmp_path: Path) -> None:
    async with polled(database, tmp_path) as (world, account, _):
        seen, begun = asyncio.Event(), asyncio.Event()

        async def fetch() -> None:
            async with database.transaction() as connection:
                await world.mirror.sighted(connection, database.dialect, [shown("s1", action_id=ACTION)])
                seen.set()
                await begun.wait()
                await asyncio.sleep(0.2)

        async def poll() -> None:
            await seen.wait()
            begun.set()
            await actions.poll(database, world.mirror, account, lambda: NOON + DAY)

        await asyncio.gather(fetch(), poll())

    assert await world.row() == ("VALID", NOON + DAY)


async def test_it_sweeps_by_itself_as_soon_as_something_is_due(world: World) -> None:
    await world.sighted("s1")
    world.time = EXPIRING - timedelta(seconds=1)
    async with running(world.clock):
        await asyncio.sleep(0.2)
        world.time = EXPIRING
        await until(lambda: _is(world, "EXPIRING"), "the change", timeout=5)


async def test_a_database_that_is_away_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.sighted("s1")
    world.time = EXPIRING
    begin, tries = world.database.transaction, iter([True, True])

    @asynccontextmanager
    async def away() -> AsyncIterator[Connection]:
        if next(tries, False):
            raise DatabaseAway("ConnectionRefusedError")
        async with begin() as connection:
            yield connection

    monkeypatch.setattr(world.database, "transaction", away)
    with capture_logs() as logs:
        async with running(Clock(world.database, world.mirror, lambda: EXPIRING, longest=0.05)):
            await until(lambda: _is(world, "EXPIRING"), "the change", timeout=5)

    assert [one["error"] for one in logs if one["event"] == "database.away"] == ["ConnectionRefusedError"] * 2


async def _reckoned(calendar: Calendar, changes: datetime) -> bool:
    kept = await AccountCalendar.filter(account="hse", time_zone=calendar.zone.key, boundary=calendar.boundary).exists()
    return kept and {one.changes_at for one in await ActionSubscription.all()} == {changes}


async def _is(world: World, status: str) -> bool:
    return (await world.row())[0] == status


@asynccontextmanager
async def running(clock: Clock) -> AsyncIterator[None]:
    """While it runs."""
    task = asyncio.create_task(clock.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def following(database: Database, planner: Planner) -> World:
    """A world whose follow-ups are planned by the test's planner."""
    await action("a1", 30)
    world, mirror = World(database), SimpleNamespace(calendars={}, followups=planner)
    world.clock = Clock(database, cast(Mirror, mirror), lambda: world.time, batch=3)
    return world


async def need(subject: str, look_at: datetime) -> None:
    """A need that is to be looked at."""
    await Need.create(
        id=uuid4(),
        account="hse",
        action_subscription_id=subject,
        rule="r",
        cycle=str(uuid4()),
        digest="d",
        plan={},
        state="enrolled",
        state_at=NOON,
        opened_at=NOON,
        created_at=NOON,
        attempt=1,
        look_at=look_at,
        approvals=[],
    )


@asynccontextmanager
async def polled(database: Database, directory: Path) -> AsyncIterator[tuple[World, OpenAccount, Any]]:
    """A mirror with a simulated 4HSE to poll."""
    async with staged(directory) as stage, stage.client() as client:
        yield World(database), OpenAccount("hse", stage.account(), client), stage.tenancy
