"""Mirror tables that follow one of 4HSE's indexes: a row each, `gone` when the vendor has it no more."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from workers.bulk import Upsert
from workers.database import Connection, Database, Dialect
from workers.mirror.tables import Action, ActionSession
from workers.mirror.versions import fitted
from workers.polls.walk import Walk
from workers.vendors.accounts import OpenAccount


@dataclass(frozen=True, slots=True)
class Listed:
    """An index and its table."""

    path: str
    shape: type[BaseModel]
    table: type[Action] | type[ActionSession]
    #: The columns that both have, with their PostgreSQL types; the first is the id.
    columns: Mapping[str, str]
    #: Is told in the same transaction what is about to be written.
    before: Callable[[Connection, Dialect, str, datetime, Sequence[Mapping[str, Any]]], Awaitable[None]] | None = None

    async def poll(self, database: Database, account: OpenAccount, now: Callable[[], datetime]) -> None:
        """Walk the index; what is gone is marked, and what came back is not."""
        walk = Walk(account, self.path, self.shape, now)
        async for at, rows in walk.pages():
            await self._write(database, account.name, at, rows)
        if not walk.complete:
            return
        key = next(iter(self.columns))
        unseen = await self.table.filter(account=account.name, gone=False, fetched_at__lt=walk.began).values_list(key, "subtenant_id")
        async for id, at, found in walk.again(unseen):  # noqa: A001
            if found is not None:
                await self._write(database, account.name, at, [found])
            else:
                mine = self.table.filter(**{"account": account.name, key: id, "fetched_at__lt": at})
                await mine.update(gone=True, fetched_at=at)

    async def _write(self, database: Database, account: str, at: datetime, rows: Iterable[BaseModel]) -> None:
        about = {"account": account, "gone": False, "fetched_at": at}
        given = [about | {name: fitted(kind, getattr(row, name)) for name, kind in self.columns.items()} for row in rows]
        async with database.transaction() as connection:
            if self.before is not None:
                await self.before(connection, database.dialect, account, at, given)
            await self._upsert.execute(connection, database.dialect, given)

    @property
    def _upsert(self) -> Upsert:
        key, *others = self.columns
        columns = {"account": "text", **self.columns, "gone": "boolean", "fetched_at": "timestamptz"}
        return Upsert(
            self.table.Meta.table,
            columns,
            key=("account", key),
            update=(*others, "gone", "fetched_at"),
            when="new.fetched_at >= old.fetched_at",
        )
