"""The database: opening it, transactions that survive cancellation, and which of its errors pass by themselves.

Tortoise ORM gives models, pools and reads. Its own `in_transaction()` leaks the connection when a task is cancelled on
entering (tortoise-orm #1152), and begins DEFERRED on SQLite, which fails under two writers; `transaction` here does neither.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

import asyncpg
import stamina
from tortoise import Tortoise
from tortoise.backends.asyncpg.client import AsyncpgDBClient
from tortoise.backends.asyncpg.client import TransactionWrapper as PostgresTransaction
from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.backends.base.config_generator import expand_db_url
from tortoise.backends.sqlite.client import SqliteClient
from tortoise.backends.sqlite.client import SqliteTransactionWrapper as SqliteTransaction
from tortoise.connection import get_connections
from tortoise.exceptions import DBConnectionError

from schemas.cancellation import cancellation_kept
from workers.tls import NotSecured, distrust, secured

Dialect = Literal["postgres", "sqlite"]
Connection = BaseDBAsyncClient
Done = TypeVar("Done")

#: Where the tables stand, each beside the noun that owns it.
MODELS = (
    "workers.log",
    "workers.mirror.tables",
    "workers.refreshes",
    "workers.schedules",
    "workers.freshness",
    "workers.receivers",
    "workers.subscribers",
    "workers.followups.tables",
    "workers.outbox",
    "workers.erasures",
    "workers.replays",
    "workers.audit",
    "workers.migrations",
)

_SQLITE_PRAGMAS = {"journal_mode": "WAL", "synchronous": "FULL", "busy_timeout": "10000", "foreign_keys": "ON"}
#: A black-holed server must not hold a worker for ever: seconds for connecting, and for one statement.
_CONNECT_TIMEOUT, _STATEMENT_TIMEOUT = 10, 60


class _Stateless(asyncpg.Connection):  # type: ignore[misc]
    """A connection that nothing outlives a transaction on: what asyncpg asks of the server before it is given back has nothing to undo."""

    def get_reset_query(self) -> str:
        return ""


_POSTGRES_CREDENTIALS = {
    "connection_class": _Stateless,
    # Above asyncpg's default of 15 KB a statement is parsed anew each time; the mirror's is longer.
    "max_cacheable_statement_size": 64 * 1024,
    "timeout": _CONNECT_TIMEOUT,
    "command_timeout": _STATEMENT_TIMEOUT,
    # A plan kept from when a table was nearly empty reads all of it, once per delivery, until statistics are next gathered.
    "server_settings": {"plan_cache_mode": "force_custom_plan"},
}

_TRANSIENT_POSTGRES = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
    # A plan from before a migration; the connection forgets it with this error.
    asyncpg.InvalidCachedStatementError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
#: What a server, or a file that is no database, says when it will not have us.
_REFUSALS = (asyncpg.PostgresError, sqlite3.DatabaseError)
_TRANSIENT_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)


class DatabaseAway(Exception):
    """The database is away, busy or broken: it is to blame and not the delivery, so holding and trying again is right.

    The message is the driver's error's name: its text may hold values.
    """


class DatabaseRefused(Exception):
    """The database is there and will not have us, or its certificate is not believed: a wrong user, password, name or authority."""


class Database:
    """An open database, and its transactions. Whatever is asked of it, also by models, raises DatabaseAway where it is to blame."""

    def __init__(self, client: BaseDBAsyncClient, dialect: Dialect) -> None:
        self._client, self.dialect = client, dialect

    @property
    def connection(self) -> Connection:
        """The connection outside any transaction: each statement stands alone."""
        return self._client

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed at the end, rolled back on any error or cancellation, the connection always given back.

        Statements and models inside it run on the connection it yields. BEGIN IMMEDIATE on SQLite. Raises DatabaseAway.
        """
        begin = _sqlite_transaction if self.dialect == "sqlite" else _postgres_transaction
        with told_apart():
            async with begin(self._client) as wrapper:
                token = get_connections().set(self._client.connection_name, wrapper)
                try:
                    yield wrapper
                finally:
                    get_connections().reset(token)

    async def ping(self) -> None:
        """Ask the database for a sign of life; raises DatabaseAway."""
        with told_apart():
            async with asyncio.timeout(5):
                await self._client.execute_query("SELECT 1")


class _ToldApart:
    """A client of Tortoise's whose every statement outside a transaction tells the database's faults apart."""

    def acquire_connection(self) -> Any:
        return _acquired(super().acquire_connection())  # type: ignore[misc]


class _Postgres(_ToldApart, AsyncpgDBClient):
    pass


class _Sqlite(_ToldApart, SqliteClient):
    pass


def get_client_class(info: Mapping[str, Any]) -> type[BaseDBAsyncClient]:
    """Tells Tortoise, for which this module is an engine, which client serves a connection."""
    return _Sqlite if "file_path" in info["credentials"] else _Postgres


@asynccontextmanager
async def _acquired(acquiring: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    with told_apart():
        async with acquiring as connection:
            yield connection


async def open_database(url: str) -> Database:
    """Connect to `postgres://…` or `sqlite://path`; raises DatabaseAway or DatabaseRefused."""
    dialect: Dialect = "sqlite" if urlsplit(url).scheme == "sqlite" else "postgres"
    entry: dict[str, Any] = expand_db_url(url.replace("postgres://", "asyncpg://", 1))
    entry["engine"] = __name__
    try:
        entry["credentials"] = secured(entry["credentials"])
    except NotSecured as error:
        raise DatabaseRefused(f"the database's URL: {error}: correct `database`") from None
    entry["credentials"] |= _SQLITE_PRAGMAS if dialect == "sqlite" else _POSTGRES_CREDENTIALS
    # The connection's name is the dialect: Tortoise caches SQL by it.
    await Tortoise.init(
        config={
            "connections": {dialect: entry},
            "apps": {"models": {"models": list(MODELS), "default_connection": dialect}},
            "use_tz": True,
            "timezone": "UTC",
        },
        _enable_global_fallback=True,
    )
    database = Database(get_connections().get(dialect), dialect)
    try:
        with told_apart():
            await database._client.create_connection(with_db=True)
            await database.ping()
    except BaseException as error:
        await close_database()
        if doubts := [*filter(None, map(distrust, _chain(error)))]:
            raise DatabaseRefused(
                f"the database's certificate is not trusted ({doubts[0]}): name its authority's with ?sslrootcert=FILE in `database`"
            ) from None
        refusals = [one for one in _chain(error) if isinstance(one, _REFUSALS) and not _is_transient(one)]
        if refusals:
            raise DatabaseRefused(f"the database refuses the connection ({type(refusals[0]).__name__}): correct `database`") from None
        raise
    return database


async def close_database() -> None:
    """Close every connection; an open SQLite connection would keep the process alive."""
    await Tortoise.close_connections()


@contextmanager
def told_apart() -> Iterator[None]:
    """Raise DatabaseAway for what is the database's fault; everything else passes as it is."""
    with cancellation_kept():
        try:
            yield
        except DatabaseAway:
            raise
        except Exception as error:
            if is_transient(error):
                raise DatabaseAway(type(error).__name__) from error
            raise


async def patiently(work: Callable[[], Awaitable[Done]]) -> Done:
    """Do something with the database, however long it stays away."""
    async for attempt in stamina.retry_context(DatabaseAway, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0):
        with attempt:
            return await work()
    raise AssertionError("retries without end have ended")


def is_transient(error: BaseException) -> bool:
    """Whether the database, not the delivery, is to blame, so that holding and trying again is right."""
    return any(map(_is_transient, _chain(error)))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _TRANSIENT_SQLITE
    return isinstance(error, (*_TRANSIENT_POSTGRES, DatabaseAway, DBConnectionError, OSError, TimeoutError))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error with what caused it; Tortoise carries the driver's error as cause or as its first argument."""
    while error is not None:
        yield error
        inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
        error = error.__cause__ or inner


@asynccontextmanager
async def _postgres_transaction(client: BaseDBAsyncClient) -> AsyncIterator[Connection]:
    parent = cast(AsyncpgDBClient, client)
    if parent._pool is None:
        raise DBConnectionError("the connection pool is closed")
    async with parent._pool.acquire(timeout=_CONNECT_TIMEOUT) as connection, connection.transaction():
        wrapper = PostgresTransaction(parent)
        wrapper._connection = connection
        yield wrapper


@asynccontextmanager
async def _sqlite_transaction(client: BaseDBAsyncClient) -> AsyncIterator[Connection]:
    parent = cast(SqliteClient, client)
    async with parent._lock:
        connection = parent._connection
        if connection is None:
            raise DBConnectionError("the database is closed")
        wrapper = SqliteTransaction(parent)
        try:
            await connection.execute("BEGIN IMMEDIATE")
            yield wrapper
            await connection.commit()
        except BaseException:
            # A cancelled statement still runs in the driver's thread; the rollback queues behind it.
            await asyncio.shield(connection.rollback())
            raise
