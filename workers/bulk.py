"""One statement for many rows: insert, or update under a condition, in the dialect of the database.

Tortoise's own bulk upsert has no WHERE on its update, which "only if newer" needs. PostgreSQL gets one array per column
(`unnest`), SQLite one execution per row of a prepared statement.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from workers.database import Connection, Dialect

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Upsert:
    """An insert of `columns` (name to PostgreSQL type) that updates on a conflict of `key` where `when` holds.

    `when`, and the values of `update`, speak of `new.…` and `old.…`; `unless` of `given.…`, rows for which it holds are left out.
    All of it is SQL that both dialects read.
    """

    table: str
    columns: Mapping[str, str]
    key: tuple[str, ...]
    #: The columns that an update changes, or each with the SQL of its value; none: what is there already stays as it is.
    update: tuple[str, ...] | Mapping[str, str] = ()
    when: str = "TRUE"
    unless: str | None = None

    async def execute(
        self, connection: Connection, dialect: Dialect, rows: Sequence[Row], *, noting: bool = False
    ) -> list[tuple[Any, ...]]:
        """Write the rows in the order given, which must be the order of their keys wherever two writers may meet.

        Where `noting`, gives the keys of those that it inserted or updated; SQLite then has a statement more for each.
        """
        if not rows:
            return []
        query = _query(self, dialect, noting=noting)
        written: list[dict[str, Any]] = []
        if dialect == "postgres":
            arrays = [[_POSTGRES.get(kind, _same)(row[name]) for row in rows] for name, kind in self.columns.items()]
            written = await connection.execute_query_dict(query, arrays)
        else:
            values = [[_SQLITE.get(kind, sqlite_value)(row[name]) for name, kind in self.columns.items()] for row in rows]
            if noting:
                written = [one for each in values for one in await connection.execute_query_dict(query, each)]
            else:
                await connection.execute_many(query, values)
        return [tuple(row[name] for name in self.key) for row in written]

    def query(self, dialect: Dialect) -> str:
        """The statement, without what it is to give."""
        return self._postgres() if dialect == "postgres" else self._sqlite()

    def _postgres(self) -> str:
        arrays = ", ".join(f"${n}::{_ARRAY.get(kind, kind)}[]" for n, kind in enumerate(self.columns.values(), 1))
        picked = ", ".join(f"{name}::{kind}" if kind in _ARRAY else name for name, kind in self.columns.items())
        names = ", ".join(self.columns)
        given = f"SELECT {picked} FROM unnest({arrays}) AS given ({names}) WHERE {self._kept()}"
        return f"INSERT INTO {self.table} AS old ({names}) {given} {self._conflict()}"

    def _sqlite(self) -> str:
        names, marks = ", ".join(self.columns), ", ".join(f"? AS {name}" for name in self.columns)
        given = f"SELECT {names} FROM (SELECT {marks}) AS given WHERE {self._kept()}"
        return f"INSERT INTO {self.table} AS old ({names}) {given} {self._conflict()}"

    def _kept(self) -> str:
        return f"NOT ({self.unless})" if self.unless else "TRUE"

    def _conflict(self) -> str:
        values = self.update if isinstance(self.update, Mapping) else {name: f"new.{name}" for name in self.update}
        updates = ", ".join(f"{name} = {value}" for name, value in values.items())
        action = f"UPDATE SET {updates} WHERE {self.when}" if updates else "NOTHING"
        return re.sub(r"\bnew\.", "excluded.", f"ON CONFLICT ({', '.join(self.key)}) DO {action}")


@cache
def _query(upsert: Upsert, dialect: Dialect, *, noting: bool) -> str:
    return upsert.query(dialect) + (f" RETURNING {', '.join(upsert.key)}" if noting else "")


def _same(value: Any) -> Any:
    return value


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


#: Types whose values travel in arrays of another type, and how each value is made ready for it.
_ARRAY = {"jsonb": "text"}
_POSTGRES: Mapping[str, Callable[[Any], Any]] = {"jsonb": _json}


def sqlite_value(value: Any) -> Any:
    """A value as SQLite keeps it, and as Tortoise reads it back; times of one width, so that text order is time's order."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(" ", "microseconds")
    if isinstance(value, date):
        return value.isoformat()
    return value if value is None or isinstance(value, (int, float, str, bytes)) else str(value)


#: The type decides on JSON, which a text or a number of its own may be.
_SQLITE: Mapping[str, Callable[[Any], Any]] = {"jsonb": _json}
