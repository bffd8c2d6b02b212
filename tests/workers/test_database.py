"""Transactions survive cancellation, and the database's own faults are told from a delivery's."""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from tortoise.exceptions import DBConnectionError, OperationalError

from schemas.delivery import now_utc
from tests.services import free_port
from tests.services.postgres import Postgres
from tests.workers.made import until
from workers.database import Database, DatabaseAway, DatabaseRefused, close_database, is_transient, open_database, patiently
from workers.log import HeldEnvelope
from workers.migrations import migrate


async def keep(count: int = 1) -> None:
    """Write rows of the table that is nearest at hand."""
    for _ in range(count):
        await HeldEnvelope.create(version=1, kind="any", message=b"", held_at=now_utc())


async def test_a_transaction_commits_at_its_end(database: Database) -> None:
    async with database.transaction():
        await keep(2)

    assert await HeldEnvelope.all().count() == 2


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, GeneratorExit], ids=lambda error: error.__name__)
async def test_a_transaction_that_an_error_ends_leaves_nothing(database: Database, error: type[BaseException]) -> None:
    with contextlib.suppress(error):
        async with database.transaction():
            await keep()
            raise error

    assert await HeldEnvelope.all().count() == 0


async def test_a_statement_that_fails_takes_its_transaction_with_it(database: Database) -> None:
    async def half_right() -> None:
        async with database.transaction() as connection:
            await keep()
            await connection.execute_query("SELECT * FROM nowhere")

    with pytest.raises(OperationalError, match="nowhere"):
        await half_right()

    assert await HeldEnvelope.all().count() == 0


async def test_concurrent_transactions_of_more_tasks_than_connections_all_commit(database: Database) -> None:
    async def write() -> None:
        async with database.transaction():
            await keep()

    await asyncio.gather(*(write() for _ in range(25)))

    assert await HeldEnvelope.all().count() == 25


async def test_what_a_model_asks_outside_any_transaction_fails_by_the_databases_fault_where_that_is_to_blame(
    spoilt_postgres: Database, postgres: Postgres
) -> None:
    async def asking() -> None:
        await HeldEnvelope.raw("SELECT pg_sleep(30)")

    async def cut_off() -> bool:
        return bool(await operator.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))

    asked, operator = asyncio.create_task(asking()), await asyncpg.connect(postgres.url())
    await until(cut_off, "the statement")
    await operator.close()

    with pytest.raises(DatabaseAway, match=r"ConnectionDoesNotExistError|AdminShutdown"):
        await asked


async def test_a_cancellation_whose_rollback_fails_stays_a_cancellation(spoilt_postgres: Database) -> None:
    async def losing_its_connection() -> None:
        async with spoilt_postgres.transaction() as connection:
            try:
                await asyncio.Event().wait()
            finally:
                with contextlib.suppress(OperationalError, DatabaseAway, DBConnectionError):
                    await connection.execute_query_dict("SELECT pg_terminate_backend(pg_backend_pid())")

    task = asyncio.create_task(losing_its_connection())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()


async def test_hundreds_of_cancellations_leave_the_pool_usable_and_every_transaction_whole(database: Database) -> None:
    async def write_two() -> None:
        async with database.transaction():
            await keep(2)

    chance, outcomes = random.Random(2), []
    for _ in range(60):
        tasks = [asyncio.create_task(write_two()) for _ in range(6)]
        await asyncio.sleep(chance.choice((0, 0, 0.0005, 0.001, 0.002, 0.004, 0.008)))
        for task in tasks:
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            task.cancel()
        outcomes += await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(one, asyncio.CancelledError) for one in outcomes) > 100

    before = await HeldEnvelope.all().count()
    async with asyncio.timeout(10):
        await asyncio.gather(*(write_two() for _ in range(12)))

    assert before % 2 == 0
    assert await HeldEnvelope.all().count() == before + 24


async def test_a_deadline_around_a_transaction_gives_its_connection_back(database: Database) -> None:
    for _ in range(10):  # twice the pool's size
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01), database.transaction():
                await asyncio.sleep(1)

    async with asyncio.timeout(10), database.transaction():
        await keep()


async def test_one_process_can_go_from_either_database_to_the_other_and_back(tmp_path: Path, postgres: Postgres) -> None:
    urls = {"sqlite": f"sqlite://{tmp_path / 'one.sqlite3'}", "postgres": postgres.create("switching")}
    for dialect in ("sqlite", "postgres", "sqlite", "postgres"):
        database = await open_database(urls[dialect])
        await migrate(database)
        async with database.transaction():
            await keep()
        kept = await HeldEnvelope.filter(kind="any", version=1).order_by("-id").limit(5)
        await close_database()

        assert database.dialect == dialect
        assert len(kept) in {1, 2}


async def test_sqlite_writes_ahead_and_flushes_every_commit(tmp_path: Path) -> None:
    database = await open_database(f"sqlite://{tmp_path / 'one.sqlite3'}")
    try:
        said = [(await database.connection.execute_query_dict(f"PRAGMA {name}"))[0] for name in ("journal_mode", "synchronous")]
    finally:
        await close_database()

    assert said == [{"journal_mode": "wal"}, {"synchronous": 2}]


async def test_a_second_writer_on_sqlite_waits_for_the_first_instead_of_failing(tmp_path: Path) -> None:
    database = await open_database(f"sqlite://{tmp_path / 'one.sqlite3'}")
    try:
        await migrate(database)
        other = sqlite3.connect(tmp_path / "one.sqlite3", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.3, other.execute, "COMMIT")
        async with database.transaction():  # reads before it writes: begun DEFERRED, it would fail at once
            await HeldEnvelope.all().count()
            await keep()
        other.close()

        assert await HeldEnvelope.all().count() == 1
    finally:
        await close_database()


@pytest.mark.parametrize("wrong", ["user", "name"])
async def test_a_database_that_will_not_have_us_is_refused_and_not_waited_for(postgres: Postgres, wrong: str) -> None:
    url = postgres.url("no_such_database") if wrong == "name" else postgres.url().replace("postgres@", "nobody@")

    with pytest.raises(DatabaseRefused, match="correct `database`"):
        await open_database(url)


async def test_what_is_done_patiently_waits_for_the_database_and_for_nothing_else() -> None:
    errors = iter([DatabaseAway("gone"), DatabaseAway("gone"), None, ValueError("ours")])

    async def work() -> str:
        if error := next(errors):
            raise error
        return "done"

    assert await patiently(work) == "done"
    with pytest.raises(ValueError, match="ours"):
        await patiently(work)


async def test_a_database_that_is_away_is_transient() -> None:
    with pytest.raises(DatabaseAway, match="ConnectionRefusedError") as caught:
        await open_database(f"postgres://postgres@127.0.0.1:{free_port()}/any")

    assert is_transient(caught.value)


Provoke = Callable[[Database], Awaitable[object]]


def statement(text: str, *values: object) -> Provoke:
    """Run one statement."""
    return lambda database: database.connection.execute_query_dict(text, list(values))


async def terminated(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute_query_dict("SELECT pg_terminate_backend(pg_backend_pid())")


async def read_only(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute_query("SET TRANSACTION READ ONLY")
        await connection.execute_query("CREATE TABLE t (n INT)")


async def too_slow(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute_query("SET LOCAL statement_timeout = 10")
        await connection.execute_query("SELECT pg_sleep(1)")


async def not_to_be_locked(database: Database) -> None:
    async with database.transaction() as first:
        await first.execute_query("LOCK TABLE held_envelopes")
        await asyncio.create_task(_lock_without_waiting(database))


async def _lock_without_waiting(database: Database) -> None:
    async with database.transaction() as second:
        await second.execute_query("LOCK TABLE held_envelopes NOWAIT")


async def changed_under_a_plan(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute_query_dict("SELECT * FROM held_envelopes")
        await connection.execute_query("ALTER TABLE held_envelopes ADD COLUMN more TEXT")
        await connection.execute_query_dict("SELECT * FROM held_envelopes")


async def closed(database: Database) -> None:
    await close_database()
    async with database.transaction():
        pass


@pytest.fixture(scope="module")
def postgres_url(postgres: Postgres) -> str:
    """A database whose schema is this module's to spoil."""
    return postgres.create("faults")


@pytest_asyncio.fixture
async def on_postgres(postgres_url: str) -> AsyncIterator[Database]:
    """PostgreSQL alone."""
    database = await open_database(postgres_url)
    await migrate(database)
    yield database
    await close_database()


@pytest.mark.parametrize(
    ("provoke", "transient"),
    [
        pytest.param(terminated, True, id="backend terminated"),
        pytest.param(read_only, True, id="a standby's read-only"),
        pytest.param(too_slow, True, id="statement timeout"),
        pytest.param(not_to_be_locked, True, id="lock not available"),
        pytest.param(changed_under_a_plan, True, id="plan outlived by a migration"),
        pytest.param(closed, True, id="pool closed"),
        pytest.param(statement("SELEC 1"), False, id="syntax"),
        pytest.param(statement("SELECT * FROM nowhere"), False, id="no such table"),
        pytest.param(statement("SELECT 1 / 0"), False, id="division by zero"),
        pytest.param(statement("SELECT $1::text", "\0"), False, id="U+0000"),
        pytest.param(statement("SELECT $1::int", 2**40), False, id="number out of range"),
        pytest.param(statement("SELECT $1::timestamptz", "yesterday"), False, id="argument of a wrong type"),
        pytest.param(statement("INSERT INTO schema_versions VALUES (1, 1, now())"), False, id="unique"),
        pytest.param(statement("INSERT INTO held_envelopes (version) VALUES (1)"), False, id="not null"),
    ],
)
async def test_postgres_faults_that_pass_by_themselves_are_told_from_the_others(
    on_postgres: Database, provoke: Provoke, transient: bool
) -> None:
    (fault,) = await asyncio.gather(provoke(on_postgres), return_exceptions=True)

    assert isinstance(fault, Exception)
    assert is_transient(fault) is transient


async def locked(database: Database) -> None:
    """Another process holds the write lock for longer than one waits."""
    filename = (await database.connection.execute_query_dict("PRAGMA database_list"))[0]["file"]
    other = sqlite3.connect(filename, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        await database.connection.execute_query("PRAGMA busy_timeout = 10")
        await database.connection.execute_query("DELETE FROM held_envelopes")
    finally:
        other.close()


async def full(database: Database) -> None:
    await database.connection.execute_query("PRAGMA max_page_count = 1")
    for _ in range(100):
        await keep(100)


@pytest.mark.parametrize(
    ("provoke", "transient"),
    [
        pytest.param(locked, True, id="locked"),
        pytest.param(full, True, id="disk full"),
        pytest.param(closed, True, id="closed"),
        pytest.param(statement("SELEC 1"), False, id="syntax"),
        pytest.param(statement("SELECT * FROM nowhere"), False, id="no such table"),
        pytest.param(statement("INSERT INTO schema_versions VALUES (1, 1, '')"), False, id="unique"),
        pytest.param(statement("INSERT INTO held_envelopes (version) VALUES (1)"), False, id="not null"),
        pytest.param(statement("SELECT ?", 2**70), False, id="number out of range"),
    ],
)
async def test_sqlite_faults_that_pass_by_themselves_are_told_from_the_others(tmp_path: Path, provoke: Provoke, transient: bool) -> None:
    database = await open_database(f"sqlite://{tmp_path / 'one.sqlite3'}")
    await migrate(database)
    (fault,) = await asyncio.gather(provoke(database), return_exceptions=True)
    await close_database()

    assert isinstance(fault, Exception)
    assert is_transient(fault) is transient


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        pytest.param(ConnectionResetError(), True, id="connection reset"),
        pytest.param(TimeoutError(), True, id="deadline"),
        pytest.param(asyncpg.DeadlockDetectedError("deadlock detected"), True, id="deadlock"),
        pytest.param(asyncpg.SerializationError("could not serialize"), True, id="serialization"),
        pytest.param(asyncpg.TooManyConnectionsError("sorry"), True, id="too many connections"),
        pytest.param(ValueError("wrong"), False, id="an error of ours"),
        pytest.param(RuntimeError(ConnectionResetError()), True, id="wrapped as an argument"),
    ],
)
def test_errors_are_judged_by_what_caused_them(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient
