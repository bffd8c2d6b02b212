"""The schema's versions: reviewed SQL per dialect, applied in one transaction under a lock by `muster init`.

Tortoise's own migrations record a step apart from its DDL, take no lock, and rebuild SQLite tables without their unique
constraints; these do not. The schema says which version it is and the oldest version of the program it still serves, so
that old workers may drain during an upgrade.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files

from tortoise import fields
from tortoise.models import Model

from schemas.delivery import now_utc
from workers.database import Connection, Database


class SchemaVersion(Model):
    """A version that was applied here."""

    version = fields.IntField(primary_key=True, generated=False)
    #: The oldest MIGRATIONS[-1].version of a program that may still work on it.
    oldest_served = fields.IntField()
    applied_at = fields.DatetimeField()

    class Meta:
        table = "schema_versions"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: the file `{version:04}.{dialect}.sql` beside this module."""

    version: int
    oldest_served: int
    title: str


MIGRATIONS = (
    Migration(1, 1, "delivery log, held envelopes, action subscriptions"),
    Migration(2, 2, "the vendors' truth: fetched subscriptions, refreshes, reconcile, polled facts"),
    Migration(3, 3, "follow-ups, the compliance clock, the outbox"),
    Migration(4, 3, "operating: replay, dead letters, receivers, retention, erasure, traces"),
    Migration(5, 3, "follow-ups: moves that give a seat back are counted, one open seat; the days of accounts"),
)

CURRENT = MIGRATIONS[-1].version

#: Any number that no other program locks in the same database.
_ADVISORY_LOCK = 0x6D757374


class SchemaMismatch(Exception):
    """The database's schema and this program do not go together."""


async def migrate(database: Database) -> list[Migration]:
    """Apply what is missing, in one transaction that excludes every other migrator; returns what was applied."""
    async with _exclusive(database) as connection:
        applied = await _applied(connection)
        missing = [one for one in MIGRATIONS if one.version > (max(applied) if applied else 0)]
        for migration in missing:
            for statement in _statements(migration, database.dialect):
                await connection.execute_query(statement)
            await SchemaVersion.create(version=migration.version, oldest_served=migration.oldest_served, applied_at=now_utc())
        return missing


async def check_schema(database: Database) -> None:
    """Raise SchemaMismatch, saying what to run, unless this program may work on this schema."""
    applied = await _applied(database.connection)
    if not applied or max(applied) < CURRENT:
        raise SchemaMismatch(
            f"the database is at schema version {max(applied, default=0)}, this program needs {CURRENT}: run `muster init`"
        )
    if applied[max(applied)] > CURRENT:
        raise SchemaMismatch(
            f"the database is at schema version {max(applied)}, which serves programs from {applied[max(applied)]}; "
            f"this one is {CURRENT}: upgrade it"
        )


@asynccontextmanager
async def _exclusive(database: Database) -> AsyncIterator[Connection]:
    async with database.transaction() as connection:  # SQLite: BEGIN IMMEDIATE is the lock
        if database.dialect == "postgres":
            await connection.execute_query(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        yield connection


async def _applied(connection: Connection) -> dict[int, int]:
    """Version to oldest served, of every migration that was applied."""
    catalogue = "information_schema.tables WHERE table_schema = current_schema() AND table_name"
    if connection.capabilities.dialect == "sqlite":
        catalogue = "sqlite_master WHERE name"
    if not await connection.execute_query_dict(f"SELECT 1 FROM {catalogue} = 'schema_versions'"):
        return {}
    rows = await connection.execute_query_dict("SELECT version, oldest_served FROM schema_versions")
    return {row["version"]: row["oldest_served"] for row in rows}


def _statements(migration: Migration, dialect: str) -> list[str]:
    text = files(__name__).joinpath(f"{migration.version:04}.{dialect}.sql").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [statement.strip() for statement in lines.split(";\n") if statement.strip()]
