"""The lane settles what is committed and nothing else, and holds its batch for as long as the database is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from schemas.delivery import Delivery, now_utc
from schemas.heartbeat import Heartbeat
from schemas.states import Reason
from tests.services.postgres import Postgres
from tests.workers.made import created, logged, states, until
from workers.database import Database, close_database, open_database
from workers.handlers import Outcome, handle
from workers.lane import Batch, Held, Lane, Turns
from workers.log import HeldEnvelope, LoggedDelivery
from workers.migrations import migrate
from workers.mirror.tables import ActionSubscription
from workers.pipeline import Pipeline
from workers.receivers import Receiver


class Given:
    """An inlet that hands out what it is given, and remembers what became of it."""

    def __init__(self) -> None:
        self._batches, self._replays = asyncio.Queue[Batch](), asyncio.Queue[Batch]()
        self.settled: list[Batch] = []
        self.told: list[str] = []

    def hand(self, *fresh: Delivery, **rest: object) -> Batch:
        batch = Batch(fresh=fresh, **rest)  # type: ignore[arg-type]
        (self._replays if batch.replays else self._batches).put_nowait(batch)
        return batch

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def take(self) -> Batch:
        return await self._batches.get()

    async def take_replays(self) -> Batch:
        return await self._replays.get()

    async def settle(self, batch: Batch) -> None:
        self.settled.append(batch)

    async def pause(self) -> None:
        self.told.append("pause")

    async def resume(self) -> None:
        self.told.append("resume")


@asynccontextmanager
async def working(lane: Lane) -> AsyncIterator[asyncio.Task[None]]:
    """A lane at work."""
    task = asyncio.create_task(lane.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await lane.finish(20)


def test_replays_have_their_turn_while_no_live_delivery_waits_or_is_worked_off() -> None:
    turns = Turns()
    told = [turns.of_replays]
    for step in (turns.took_replays, turns.took_live, turns.came, turns.idle, turns.took_replays):
        step()
        told.append(turns.of_replays)

    assert told == [True, True, False, False, True, True]


def test_in_a_backlog_of_live_deliveries_replays_have_a_turn_after_eight_batches() -> None:
    turns, taken = Turns(), ""
    while len(taken) < 30:
        turns.took_live()
        taken += "l"
        if turns.of_replays:
            turns.took_replays()
            taken += "r"

    assert taken == "llllllllr" * 3 + "lll"


async def test_whoever_waits_for_a_turn_hears_of_every_move() -> None:
    turns = Turns()
    for step in (turns.idle, turns.took_live, turns.came):
        waiting = asyncio.create_task(turns.move())
        await asyncio.sleep(0)
        step()
        await asyncio.wait_for(waiting, 5)


async def test_a_live_delivery_waits_for_no_replay_that_is_under_way(spoilt_postgres: Database) -> None:
    given, pipeline = Given(), Pipeline(spoilt_postgres)
    await pipeline.together([created("r")])
    async with working(Lane(given, pipeline, spoilt_postgres)):
        async with spoilt_postgres.transaction() as rival:
            await rival.execute_query("SELECT * FROM action_subscriptions WHERE action_subscription_id = 'r' FOR UPDATE")
            replay = given.hand(created("r", replay_of=UUID(int=1)), replays=True)
            await asyncio.sleep(0.2)
            live = given.hand(created("s"))
            await until(lambda: given.settled, "settling")
        await until(lambda: len(given.settled) == 2, "settling the other")

    assert given.settled == [live, replay]


async def test_a_batch_of_heartbeats_alone_is_noted_and_settled_and_told_as_no_batch(database: Database) -> None:
    given, told = Given(), list[int]()
    beat = Heartbeat(name="web-1", at=now_utc(), began_at=now_utc(), every=30, program="0.1.0", spooled=0)
    batch = given.hand(heartbeats=[beat])
    with capture_logs() as logs:
        async with working(Lane(given, Pipeline(database), database, told=lambda size, _: told.append(size))):
            await until(lambda: given.settled, "settling")

    assert (given.settled, told, logs) == ([batch], [], [])
    assert [row.name for row in await Receiver.all()] == ["web-1"]


async def test_everything_in_a_batch_is_applied_and_then_it_is_settled(database: Database) -> None:
    given, fresh, suspect, dead = Given(), created("s1"), created("s2"), created("s3")
    batch = given.hand(fresh, suspects=[suspect], dead=[(dead, Reason.DEAD_LETTERED, "why")], held=[Held(9, "x", b"message")])
    lane = Lane(given, Pipeline(database), database)
    async with working(lane):
        await until(lambda: given.settled, "settling")

    assert given.settled == [batch]
    assert len(batch) == 4
    assert await states(fresh, suspect, dead) == [("applied", None), ("applied", None), ("dead", "dead_lettered")]
    assert [(held.version, held.kind, bytes(held.message)) for held in await HeldEnvelope.all()] == [(9, "x", b"message")]
    assert (lane.tally["applied"], lane.tally["dead"], lane.held_up) == (2, 1, None)


async def test_batches_are_worked_one_after_the_other(database: Database) -> None:
    given = Given()
    batches = [given.hand(created(f"s{number}")) for number in range(5)]
    async with working(Lane(given, Pipeline(database), database)):
        await until(lambda: len(given.settled) == 5, "settling")

    assert given.settled == batches
    assert await ActionSubscription.all().count() == 5


@asynccontextmanager
async def blocked(database: Database) -> AsyncIterator[None]:
    """A database in which nobody else can write for a while."""
    async with database.transaction() as connection:  # on SQLite that is enough
        if database.dialect == "postgres":
            await connection.execute_query("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        yield


async def test_nothing_is_settled_before_its_commit(database: Database) -> None:
    given, one = Given(), created()
    async with working(Lane(given, Pipeline(database), database)):
        async with blocked(database):
            given.hand(one)
            await asyncio.sleep(0.3)
            assert given.settled == []
        await until(lambda: given.settled, "settling")

    assert await states(one) == [("applied", None)]


async def test_a_lane_that_is_stopped_finishes_and_settles_the_batch_under_way_and_takes_no_other(database: Database) -> None:
    given, one, two = Given(), created("s1"), created("s2")
    lane = Lane(given, Pipeline(database), database)
    async with working(lane) as task:
        async with blocked(database):
            given.hand(one)
            given.hand(two)
            await asyncio.sleep(0.1)
            task.cancel()
            finishing = asyncio.create_task(lane.finish(20))
            await asyncio.sleep(0.1)
            assert not finishing.done()
        await finishing

    assert [batch.fresh for batch in given.settled] == [(one,)]
    assert [row.id for row in await LoggedDelivery.all()] == [one.id]


async def test_a_lane_that_has_nothing_under_way_is_finished_at_once(database: Database) -> None:
    async with asyncio.timeout(5):
        await Lane(Given(), Pipeline(database), database).finish(60)


async def test_a_batch_that_takes_longer_than_the_grace_is_left_unsettled(database: Database) -> None:
    given = Given()
    lane = Lane(given, Pipeline(database), database)
    async with working(lane) as task, blocked(database):
        given.hand(created())
        await asyncio.sleep(0.1)
        task.cancel()
        await lane.finish(0.1)

        assert given.settled == []


async def test_an_error_that_is_not_the_databases_ends_the_lane_and_settles_nothing(spoilt_database: Database) -> None:
    given = Given()
    given.hand(created())
    await spoilt_database.connection.execute_query("DROP TABLE deliveries")

    with pytest.raises(Exception, match="deliveries"):
        await Lane(given, Pipeline(spoilt_database), spoilt_database).run()
    assert given.settled == []


async def test_a_deadlock_is_tried_again_and_counts_for_nothing(spoilt_postgres: Database) -> None:
    given, first, second, decided = Given(), created("a"), created("b"), list[UUID]()

    def decide(one: Delivery) -> Outcome:
        decided.append(one.id)
        return handle(one)

    pipeline = Pipeline(spoilt_postgres, decide)
    await pipeline.together([created("a", account="hse"), created("b", account="hse")])
    decided.clear()
    lane = Lane(given, pipeline, spoilt_postgres)
    async with working(lane):
        async with spoilt_postgres.transaction() as rival:
            await rival.execute_query("SET LOCAL deadlock_timeout = '60s'")  # so that it is the lane that loses
            lock = "SELECT * FROM action_subscriptions WHERE action_subscription_id = '{}' FOR UPDATE"
            await rival.execute_query(lock.format("b"))
            given.hand(first, second)
            await until(lambda: decided, "the lane's transaction")
            await asyncio.sleep(0.3)  # the lane holds a and waits for b
            await rival.execute_query(lock.format("a"))
        await until(lambda: given.settled, "settling")

    assert decided == [first.id, second.id] * 2
    assert await states(first, second) == [("applied", None)] * 2
    assert [(await logged(one)).attempts for one in (first, second)] == [1, 1]


@pytest.fixture(scope="module")
def mortal() -> Iterator[Postgres]:
    """A cluster that is this module's to stop and kill."""
    cluster = Postgres()
    cluster.start()
    yield cluster
    cluster.remove()


@pytest_asyncio.fixture
async def on_mortal(mortal: Postgres) -> AsyncIterator[Database]:
    """A database of it."""
    database = await open_database(mortal.url())
    await migrate(database)
    yield database
    await close_database()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_batch_is_held_while_the_database_is_away_and_applied_once_when_it_is_back(
    mortal: Postgres, on_mortal: Database, mode: str
) -> None:
    given, before, during, suspect, after = Given(), *(created(f"{mode}{number}") for number in range(4))
    lane = Lane(given, Pipeline(on_mortal), on_mortal, patience=0.2)
    async with working(lane):
        given.hand(before)
        await until(lambda: given.settled, "settling")
        await asyncio.to_thread(mortal.stop, mode)
        try:
            given.hand(during, suspects=[suspect])
            await until(lambda: given.told, "pausing the inlet")
            assert lane.held_up is not None
            assert given.told == ["pause"]
            assert len(given.settled) == 1
        finally:
            await asyncio.to_thread(mortal.start)
        given.hand(after)
        await until(lambda: len(given.settled) == 3, "settling")

    assert lane.held_up is None
    assert given.told == ["pause", "resume"]
    assert await states(before, during, suspect, after) == [("applied", None)] * 4
    assert [(await logged(one)).attempts for one in (before, during, suspect, after)] == [1] * 4
    assert lane.tally["applied"] == 4


async def test_connections_cut_in_the_middle_of_the_work_lose_nothing_and_apply_everything_once(
    mortal: Postgres, on_mortal: Database
) -> None:
    given, deliveries, decided = Given(), [created(f"cut{number}") for number in range(400)], list[UUID]()

    def decide(one: Delivery) -> Outcome:
        decided.append(one.id)
        return handle(one)

    butcher = await asyncpg.connect(mortal.url())
    async with working(Lane(given, Pipeline(on_mortal, decide), on_mortal)):
        for start in range(0, 400, 10):
            given.hand(*deliveries[start : start + 10])
        while len(decided) == len(set(decided)) < 400:  # until one batch was begun a second time
            await asyncio.sleep(0.005)
            await butcher.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
            )
        await until(lambda: len(given.settled) == 40, "settling", 60)
    await butcher.close()

    assert len(decided) > 400, "no connection was cut while it worked"
    assert await states(*deliveries) == [("applied", None)] * 400
