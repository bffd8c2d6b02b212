"""What was worked off goes when it is old enough, and nothing else does."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from schemas.delivery import now_utc
from schemas.settings import RetentionSettings
from schemas.states import DeliveryState, Reason, ReplayOutcome
from tests.services.muster import Muster
from tests.workers.made import NOON, created, deleted, delivery, logged, until
from workers.database import Connection, Database, close_database, open_database
from workers.log import Entry, LoggedDelivery, record
from workers.mirror.tables import ActionSubscription
from workers.pipeline import Pipeline
from workers.replays import ReplayItem, ReplayRun
from workers.retention import Retention
from workers.schedules import Schedule

KEEP = RetentionSettings.model_validate({"keep_bodies": "30d", "keep_log": "1y"})
OVER = (DeliveryState.APPLIED, DeliveryState.IGNORED, DeliveryState.SETTLED)


def retention(database: Database, keep: RetentionSettings = KEEP, batch: int = 500, **later: float) -> Retention:
    """A pass of some time after noon."""
    return Retention(database, keep, lambda: NOON + timedelta(**later), batch=batch, rest=0)


async def entered(database: Database, *states: DeliveryState, days: float = 0) -> dict[DeliveryState, UUID]:
    """A delivery in each state, which arrived so many days before noon."""
    entries = [
        Entry(created(f"s{number}", received_at=NOON - timedelta(days=days)), state, "E", reason=Reason.UNPARSABLE)
        for number, state in enumerate(states)
    ]
    async with database.transaction() as connection:
        await record(connection, database.dialect, entries)
    return {entry.state: entry.delivery.id for entry in entries}


async def test_bodies_and_headers_of_what_is_over_are_dropped_when_they_are_old_enough(database: Database) -> None:
    old, young = await entered(database, *DeliveryState, days=30), await entered(database, *DeliveryState, days=29)
    done = await retention(database)()

    assert done == {"bodies": 3, "rows": 0, "replays": 0}
    for state in DeliveryState:
        row, other = await logged(old[state]), await logged(young[state])
        assert (row.body is None, row.headers == {}, row.reason) == (state in OVER, state in OVER, Reason.UNPARSABLE)
        assert (other.body is None, other.headers == {}) == (False, False)


async def test_rows_go_after_that_but_never_what_is_dead_or_waits(database: Database) -> None:
    await entered(database, *DeliveryState, days=365)
    young = await entered(database, *DeliveryState, days=364)
    done = await retention(database)()
    again = await retention(database)()

    left = await LoggedDelivery.filter(received_at__lt=NOON - timedelta(days=364.5))
    assert (done, again) == ({"bodies": 3, "rows": 3, "replays": 0}, {"bodies": 0, "rows": 0, "replays": 0})
    assert sorted(row.state for row in left) == ["dead", "received"]
    assert await LoggedDelivery.filter(id__in=list(young.values())).count() == len(DeliveryState)


async def test_a_replay_that_died_goes_with_the_log_and_its_original_stays(database: Database) -> None:
    original = (await entered(database, DeliveryState.DEAD, days=400))[DeliveryState.DEAD]
    again = created("s0", received_at=NOON - timedelta(days=400), replay_of=original)
    async with database.transaction() as connection:
        await record(connection, database.dialect, [Entry(again, DeliveryState.DEAD, "E", reason=Reason.UNPARSABLE)])

    assert await retention(database)() == {"bodies": 0, "rows": 1, "replays": 0}
    assert [row.id for row in await LoggedDelivery.all()] == [original]


async def test_however_small_the_steps_are_all_of_it_is_seen_to(database: Database) -> None:
    for days in range(25, 55):
        await entered(database, DeliveryState.APPLIED, DeliveryState.APPLIED, DeliveryState.DEAD, days=days)

    assert (await retention(database, batch=1)())["bodies"] == 50
    assert await LoggedDelivery.filter(body=None).count() == 50


async def test_with_off_everything_is_kept(database: Database) -> None:
    await entered(database, *DeliveryState, days=20_000)
    off = RetentionSettings.model_validate({"keep_bodies": "off", "keep_log": "off"})

    assert await retention(database, off)() == {"bodies": 0, "rows": 0, "replays": 0}


async def test_a_tombstone_outlives_what_told_of_it(database: Database) -> None:
    create, delete = created("s1"), deleted("s1", received_at=NOON + timedelta(seconds=1))
    pipeline = Pipeline(database)
    await pipeline.together([create, delete])
    done = await retention(database, days=400)()
    late = created("s1", received_at=NOON + timedelta(days=300))
    await pipeline.together([late])

    assert done["rows"] == 2
    assert (await ActionSubscription.get(action_subscription_id="s1")).state == "deleted"


async def test_a_row_that_somebody_else_holds_is_left_to_the_next_pass(spoilt_postgres: Database) -> None:
    old = await entered(spoilt_postgres, *OVER, days=40)
    async with spoilt_postgres.transaction() as connection:
        await connection.execute_query("SELECT 1 FROM deliveries WHERE id = $1 FOR UPDATE", [old[DeliveryState.APPLIED]])
        # In a task of its own, for this one is in a transaction.
        async with asyncio.timeout(10):
            first = await asyncio.create_task(_pass(spoilt_postgres))
    second = await retention(spoilt_postgres)()

    assert (first["bodies"], second["bodies"]) == (2, 1)


async def _pass(database: Database) -> dict[str, int]:
    return dict(await retention(database)())


async def test_runs_of_replays_go_with_their_items_once_they_ended_long_ago(database: Database) -> None:
    old, young, endless = [await _run(days) for days in (365, 364, None)]
    done = await retention(database, batch=2)()

    assert done["replays"] == 1
    assert {row.id for row in await ReplayRun.all()} == {young, endless}
    assert await ReplayItem.filter(run=old).count() == 0
    assert await ReplayItem.all().count() == 6


async def _run(days: int | None) -> UUID:
    counts: dict[str, Any] = dict.fromkeys(("selected", "bodiless", "applied", "unchanged", "dead", "gone"), 0)
    ended = NOON - timedelta(days=days) if days is not None else None
    run = await ReplayRun.create(
        id=uuid4(), who="ada", asked={}, state="done", began_at=NOON - timedelta(days=999), ended_at=ended, **counts
    )
    for _ in range(3):
        await ReplayItem.create(replay=uuid4(), run=run.id, original=uuid4(), outcome=ReplayOutcome.APPLIED.value)
    return run.id


async def test_what_an_unfinished_run_of_replays_still_wants_stays(database: Database) -> None:
    ended, unfinished = [await _run(days) for days in (1, None)]
    one, done, other = [(await entered(database, DeliveryState.APPLIED, days=days))[DeliveryState.APPLIED] for days in (400, 40, 40)]
    for run, original, outcome in ((unfinished, one, None), (unfinished, done, "applied"), (ended, other, None)):
        await ReplayItem.create(replay=uuid4(), run=run, original=original, outcome=outcome)
    first = await retention(database)()
    await ReplayRun.filter(id=unfinished).update(ended_at=NOON)
    second = await retention(database)()

    assert (first["bodies"], first["rows"]) == (2, 0)
    assert (second["bodies"], second["rows"]) == (0, 1)


class _Watched:
    """A database of which it is known what each transaction took, and what somebody else did between them."""

    def __init__(self, database: Database) -> None:
        self.connection, self.dialect, self._database = database.connection, database.dialect, database
        self.took: list[float] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        began = time.monotonic()
        async with self._database.transaction() as connection:
            yield connection
        self.took.append(time.monotonic() - began)


async def _swept(database: Database, batch: int, rest: float) -> tuple[list[float], float, int]:
    """A pass over 600 rows, as so many transactions took it and it took itself, and how often somebody else got to write meanwhile."""
    watched, began, writes = _Watched(database), time.monotonic(), 0
    sweeping = asyncio.create_task(Retention(watched, KEEP, lambda: NOON, batch=batch, rest=rest)())  # type: ignore[arg-type]
    while not sweeping.done():
        async with database.transaction() as connection:
            await connection.execute_query("UPDATE schema_versions SET applied_at = applied_at")
        writes += not sweeping.done()
        await asyncio.sleep(0)
    assert (await sweeping)["bodies"] == 600
    return watched.took, time.monotonic() - began, writes


async def test_who_writes_meanwhile_never_waits_for_more_than_a_batch(database: Database) -> None:
    await _many(database)
    took, _, writes = await _swept(database, 20, 0)

    assert len(took) >= 600 / 20
    assert writes >= 20


async def test_after_each_batch_the_database_is_left_to_others_for_longer_than_it_took(database: Database) -> None:
    await _many(database)
    took, whole, _ = await _swept(database, 100, 3)

    assert whole >= 4 * sum(took) * 0.9


async def _many(database: Database) -> None:
    old = [Entry(created(f"m{n}", received_at=NOON - timedelta(days=40, seconds=n)), DeliveryState.APPLIED, "E") for n in range(600)]
    async with database.transaction() as connection:
        await record(connection, database.dialect, old)


async def test_what_comes_again_after_its_body_was_dropped_does_not_bring_it_back(database: Database) -> None:
    one = delivery(b'{"type": "COURSE_STATUS_CHANGED"}', None, vendor="ispring")
    pipeline = Pipeline(database)
    await pipeline.together([one])
    await retention(database, days=31)()
    await pipeline.together([one])

    row = await logged(one)
    assert (row.state, row.body, row.headers) == ("ignored", None, {})


async def test_every_worker_sees_to_it(tmp_path: Path) -> None:
    muster = Muster(tmp_path, tables='[retention]\nkeep_bodies = "2d"\nkeep_log = "3d"\n')
    await asyncio.to_thread(muster.run, "init")
    database = await open_database(f"sqlite://{muster.data_dir / 'muster.sqlite3'}")
    try:
        old, older = [await entered(database, *DeliveryState, days=_ago(days)) for days in (2.5, 3.5)]
        await asyncio.to_thread(muster.start, "serve")
        await until(lambda: Schedule.filter(name="retention").exclude(last_success=None).exists(), "a pass")
        bodies = {row.state for row in await LoggedDelivery.filter(id__in=list(old.values()), body=None)}
        rows = {row.state for row in await LoggedDelivery.filter(id__in=list(older.values()))}
        status = await asyncio.to_thread(muster.run, "status")
    finally:
        await asyncio.to_thread(muster.close)
        await close_database()

    assert (bodies, rows) == ({*OVER}, {"dead", "received"})
    assert "retention of (muster): last success" in status.stdout


def _ago(days: float) -> float:
    """Days before noon that are so many before now."""
    return days - (now_utc() - NOON) / timedelta(days=1)
