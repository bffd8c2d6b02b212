"""The migrations make the schema that the models mean, once, and a program knows which schemas it can work on."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tortoise.utils import generate_schema_for_client

from schemas.delivery import now_utc
from schemas.states import DeliveryState
from tests.services.postgres import Postgres
from tests.workers.made import created, until
from workers import log
from workers.bulk import Upsert
from workers.database import Connection, Database, close_database, open_database
from workers.followups.tables import NeedTarget
from workers.log import Entry, LoggedDelivery
from workers.migrations import CURRENT, MIGRATIONS, SchemaMismatch, SchemaVersion, _statements, check_schema, migrate

_POSTGRES_COLUMNS = """
    SELECT table_name AS t, column_name AS name, data_type AS kind, is_nullable = 'NO' AS required FROM information_schema.columns
    JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1, ordinal_position"""
_POSTGRES_INDEXES = """
    SELECT indrelid::regclass::text AS t, indisunique AS is_unique, indisprimary AS is_primary,
        (SELECT string_agg(attname, ',' ORDER BY position) FROM unnest(indkey) WITH ORDINALITY AS k (number, position)
            JOIN pg_attribute ON attrelid = indrelid AND attnum = number) AS columns
    FROM pg_index WHERE indrelid::regclass::text = ANY($1) ORDER BY 1, 4"""


async def shape(database: Database) -> tuple[Any, Any]:
    """Every table's columns in order, with type and nullability, and what its indexes and constraints are over."""
    return await (_postgres_shape if database.dialect == "postgres" else _sqlite_shape)(database.connection)


async def _postgres_shape(connection: Connection) -> tuple[Any, Any]:
    columns = await connection.execute_query_dict(_POSTGRES_COLUMNS)
    return columns, await connection.execute_query_dict(_POSTGRES_INDEXES, [sorted({column["t"] for column in columns})])


async def _sqlite_shape(connection: Connection) -> tuple[Any, Any]:
    tables = await connection.execute_query_dict("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    columns, indexes = {}, {}
    for table in sorted(row["name"] for row in tables):
        described = await connection.execute_query_dict(f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{table}')")
        columns[table] = [tuple(row.values()) for row in described]
        listed = await connection.execute_query_dict(f"SELECT name, \"unique\" FROM pragma_index_list('{table}')")
        indexes[table] = sorted([(row["unique"], await _indexed(connection, row["name"])) for row in listed])
    return columns, indexes


async def _indexed(connection: Connection, index: str) -> tuple[str, ...]:
    columns = await connection.execute_query_dict(f"SELECT name FROM pragma_index_info('{index}') ORDER BY seqno")
    return tuple(column["name"] for column in columns)


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The address of an empty database of one kind, by name."""
    if request.param == "sqlite":
        return lambda name: f"sqlite://{tmp_path / name}"
    cluster: Postgres = request.getfixturevalue("postgres")
    return cluster.create


async def test_the_migrated_schema_is_the_one_that_the_models_would_generate(new_database: Callable[[str], str]) -> None:
    migrated = await open_database(new_database("migrated"))
    await migrate(migrated)
    from_migrations = await shape(migrated)
    await close_database()
    generated = await open_database(new_database("generated"))
    await generate_schema_for_client(generated.connection, safe=False)
    from_models = await shape(generated)
    await close_database()

    assert from_migrations == from_models
    assert len(from_migrations[0]) > 0


async def test_migrating_again_does_nothing(database: Database) -> None:
    assert await migrate(database) == []


async def test_every_version_is_written_down(database: Database) -> None:
    assert [row.version for row in await SchemaVersion.all().order_by("version")] == [one.version for one in MIGRATIONS]


_MIGRATOR = """
import asyncio, sys
from workers.database import close_database, open_database
from workers.migrations import migrate

async def main():
    database = await open_database(sys.argv[1])
    print("opened", flush=True)
    sys.stdin.readline()
    print(len(await migrate(database)))
    await close_database()

asyncio.run(main())
"""


async def test_processes_that_migrate_at_once_apply_every_version_once(database_url: str) -> None:
    database = await open_database(database_url)
    command = [sys.executable, "-c", _MIGRATOR, database_url]
    racing = [_started(command) for _ in range(3)]
    try:
        with suppress(_Free):
            async with database.transaction() as blocker:  # on SQLite that is enough to let nobody begin
                if database.dialect == "postgres":
                    await blocker.execute_query("CREATE TABLE schema_versions (never INT)")
                for process in racing:
                    assert process.stdout is not None
                    assert await asyncio.to_thread(process.stdout.readline) == "opened\n"
                for process in racing:
                    assert process.stdin is not None
                    process.stdin.write("\n")
                    process.stdin.flush()
                await (until(lambda: _blocked(database), "all three's waiting") if database.dialect == "postgres" else asyncio.sleep(0.5))
                raise _Free
        applied = [(await asyncio.to_thread(process.communicate, None, 30))[0] for process in racing]
    finally:
        await close_database()

    assert sorted(map(int, applied)) == [0, 0, len(MIGRATIONS)]


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class _Free(Exception):
    """Lets the racers go, and leaves nothing of what held them."""


async def _blocked(database: Database) -> bool:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return len(await database.connection.execute_query_dict(waiting)) == 3


async def test_a_migration_that_fails_half_way_leaves_nothing(database_url: str) -> None:
    database = await open_database(database_url)
    try:
        await database.connection.execute_query("CREATE TABLE action_subscriptions (in_the_way INT)")
        before = await shape(database)
        with pytest.raises(Exception, match="already exists"):
            await migrate(database)

        assert await shape(database) == before
    finally:
        await close_database()


async def test_an_empty_database_is_too_old_and_the_command_is_named(database_url: str) -> None:
    database = await open_database(database_url)
    try:
        with pytest.raises(SchemaMismatch, match=f"version 0, this program needs {CURRENT}: run `muster init`"):
            await check_schema(database)
    finally:
        await close_database()


async def test_a_schema_that_is_older_than_the_program_is_refused(spoilt_database: Database) -> None:
    await spoilt_database.connection.execute_query("UPDATE schema_versions SET version = version - 1")

    with pytest.raises(SchemaMismatch, match="run `muster init`"):
        await check_schema(spoilt_database)


async def test_the_programs_own_schema_is_served(database: Database) -> None:
    await check_schema(database)


@pytest.mark.parametrize("oldest_served", [1, CURRENT])
async def test_a_newer_schema_that_still_serves_this_program_is_worked_on(spoilt_database: Database, oldest_served: int) -> None:
    await SchemaVersion.create(version=CURRENT + 1, oldest_served=oldest_served, applied_at=now_utc())

    await check_schema(spoilt_database)
    assert await migrate(spoilt_database) == []


async def test_a_newer_schema_that_does_not_serve_this_program_is_refused(spoilt_database: Database) -> None:
    await SchemaVersion.create(version=CURRENT + 1, oldest_served=CURRENT, applied_at=now_utc())
    await SchemaVersion.create(version=CURRENT + 2, oldest_served=CURRENT + 1, applied_at=now_utc())

    with pytest.raises(SchemaMismatch, match=f"version {CURRENT + 2}, .* programs from {CURRENT + 1}; this one is {CURRENT}: upgrade it"):
        await check_schema(spoilt_database)


async def at_version(opened: Database, version: int) -> None:
    """The schema as it was then."""
    for migration in MIGRATIONS[:version]:
        for statement in _statements(migration, opened.dialect):
            await opened.connection.execute_query(statement)
        await SchemaVersion.create(version=migration.version, oldest_served=migration.oldest_served, applied_at=now_utc())


async def test_the_targets_of_a_need_take_over_its_due_time(database_url: str) -> None:
    opened, need = await open_database(database_url), "6c0e6c63-8b1c-5d8f-9d3e-0a4b3f0f6f10"
    times = ", ".join(["'2026-03-01 12:00:00.000000+00:00'"] * 4)
    try:
        await at_version(opened, 3)
        columns = "id, account, action_subscription_id, rule, cycle, digest, plan, state, attempt, approvals"
        values = f"'{need}', 'hse', 's1', 'fire', 'initial', '', '{{}}', 'enrolled', 1, '[]', {times}"
        await opened.connection.execute_query(f"INSERT INTO needs ({columns}, state_at, opened_at, created_at, due_at) VALUES ({values})")
        await opened.connection.execute_query(f"INSERT INTO need_targets (need, step, state) VALUES ('{need}', 0, 'enrolled')")
        await migrate(opened)
        (target,) = await NeedTarget.all()
    finally:
        await close_database()

    assert target.due_at == datetime(2026, 3, 1, 12, tzinfo=UTC)


_LOGGED = "SELECT * FROM deliveries ORDER BY id"


async def test_the_log_that_was_there_before_is_there_after(database_url: str) -> None:
    opened = await open_database(database_url)
    try:
        await at_version(opened, 3)
        then = Upsert("deliveries", {name: kind for name, kind in log._COLUMNS.items() if name != "effects"}, key=("id",))
        entries = [Entry(created(str(number)), DeliveryState.APPLIED, "E", subject=str(number)) for number in range(3)]
        await then.execute(opened.connection, opened.dialect, [log._row(entry, now_utc()) for entry in entries])
        before = [dict(row) for row in await opened.connection.execute_query_dict(_LOGGED)]
        await migrate(opened)
        await LoggedDelivery.filter(subject="1").update(body=None)
        after = [dict(row) for row in await opened.connection.execute_query_dict(_LOGGED)]
    finally:
        await close_database()

    assert after == [row | {"effects": None} | ({"body": None} if row["subject"] == "1" else {}) for row in before]
