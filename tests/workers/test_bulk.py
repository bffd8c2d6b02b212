"""One statement for many rows: inserted, updated where the condition holds, left alone where it does not."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tortoise.exceptions import IntegrityError

from workers.bulk import Upsert
from workers.database import Database

NOTES = Upsert(
    "notes",
    {"id": "text", "rank": "integer", "at": "timestamptz", "day": "date", "flag": "boolean", "raw": "bytea", "content": "jsonb"},
    key=("id",),
    update=("rank", "at", "day", "flag", "raw", "content"),
    when="(new.rank, new.at) > (old.rank, old.at)",
)
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def note(name: str = "a", **changed: Any) -> dict[str, Any]:
    """A row."""
    return {"id": name, "rank": 1, "at": AT, "day": date(2026, 3, 1), "flag": True, "raw": b"\0\xff", "content": {"a": [1]}} | changed


@pytest_asyncio.fixture
async def notes(database: Database) -> AsyncIterator[Database]:
    """A database with a table that has a column of every type; the key is text, for the order of keys."""
    if database.dialect == "postgres":
        columns = "id TEXT PRIMARY KEY, rank INT NOT NULL, at TIMESTAMPTZ, day DATE, flag BOOL, raw BYTEA, content JSONB"
    else:
        columns = "id TEXT PRIMARY KEY, rank INT NOT NULL, at TIMESTAMP, day DATE, flag INT, raw BLOB, content JSON"
    await database.connection.execute_query(f"CREATE TABLE notes ({columns})")
    yield database
    await database.connection.execute_query("DROP TABLE notes")


async def write(database: Database, *rows: dict[str, Any]) -> None:
    """Write rows in a transaction."""
    async with database.transaction() as connection:
        await NOTES.execute(connection, database.dialect, rows)


async def read(database: Database) -> list[dict[str, Any]]:
    """Read every row, with what the dialects return differently made equal."""
    rows = await database.connection.execute_query_dict("SELECT * FROM notes ORDER BY id")
    return [dict(row) | {"content": _content(row["content"])} for row in rows]


def _content(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


async def test_rows_are_inserted_with_every_type(notes: Database) -> None:
    await write(notes, note("a"), note("b", rank=2, flag=False, content=None, day=None, raw=None))

    stored = await read(notes)
    assert [(row["id"], row["rank"], row["flag"], row["content"]) for row in stored] == [("a", 1, True, {"a": [1]}), ("b", 2, False, None)]
    assert [row["raw"] if row["raw"] is None else bytes(row["raw"]) for row in stored] == [b"\0\xff", None]
    assert [str(row["day"]) for row in stored] == ["2026-03-01", "None"]
    assert str(stored[0]["at"]).startswith("2026-03-01 12:00:00")


async def test_writing_no_rows_is_nothing(notes: Database) -> None:
    await write(notes)

    assert await read(notes) == []


@pytest.mark.parametrize(
    ("change", "written"),
    [
        pytest.param({"rank": 2}, True, id="greater"),
        pytest.param({"rank": 2, "at": AT - timedelta(days=1)}, True, id="greater in the first place"),
        pytest.param({"at": AT + timedelta(microseconds=1)}, True, id="greater in the last place by a microsecond"),
        pytest.param({"at": (AT + timedelta(hours=1)).astimezone(timezone(timedelta(hours=-5)))}, True, id="later, told in another zone"),
        pytest.param({}, False, id="equal"),
        pytest.param({"rank": 0, "at": AT + timedelta(days=1)}, False, id="less in the first place"),
        pytest.param({"at": AT.replace(year=999)}, False, id="a year of three digits"),
        pytest.param({"at": (AT - timedelta(hours=1)).astimezone(timezone(timedelta(hours=9)))}, False, id="earlier, told in another zone"),
    ],
)
async def test_a_conflict_is_written_only_where_the_condition_holds(notes: Database, change: dict[str, Any], written: bool) -> None:
    await write(notes, note())
    await write(notes, note(**change, content="second"))

    assert [row["content"] for row in await read(notes)] == ["second" if written else {"a": [1]}]


async def test_the_keys_of_what_was_written_are_given_where_they_are_asked_for(notes: Database) -> None:
    await write(notes, note("a"), note("b"))
    rows = [note("a"), note("b", rank=2), note("c")]
    async with notes.transaction() as connection:
        assert await NOTES.execute(connection, notes.dialect, rows, noting=True) == [("b",), ("c",)]
        assert await NOTES.execute(connection, notes.dialect, [note("d")]) == []
        assert await NOTES.execute(connection, notes.dialect, [], noting=True) == []

    assert [row["id"] for row in await read(notes)] == ["a", "b", "c", "d"]


async def test_a_failing_row_takes_the_others_with_it(notes: Database) -> None:
    with pytest.raises(IntegrityError):
        await write(notes, note("a"), note("b", rank=None), note("c"))

    assert await read(notes) == []


_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
#: PostgreSQL's JSON numbers have no negative zero, which JSON does not tell from zero.
_scalars = st.none() | st.booleans() | st.integers() | st.floats(-1e6, 1e6).map(lambda number: number + 0.0) | _text
_structures = st.recursive(
    st.lists(_scalars, max_size=3) | st.dictionaries(_text, _scalars, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
#: SQLite's JSON columns take a lone number for a number, of 64 bits.
_lone = st.booleans() | st.integers(-(2**63), 2**63 - 1) | _text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=_structures | _lone)
async def test_json_of_every_shape_comes_back_to_the_digit(notes: Database, content: Any) -> None:
    await notes.connection.execute_query("DELETE FROM notes")
    await write(notes, note(content=content))

    (row,) = await read(notes)
    assert json.dumps(row["content"], sort_keys=True) == json.dumps(content, sort_keys=True)


async def test_no_content_is_null_and_not_a_json_null(notes: Database) -> None:
    await write(notes, note(content=None))

    assert await notes.connection.execute_query_dict("SELECT id FROM notes WHERE content IS NULL") == [{"id": "a"}]
