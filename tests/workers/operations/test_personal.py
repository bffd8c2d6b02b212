"""The register of personal data knows every table, and what it says is so."""

from typing import Any

import pytest
from tortoise import Tortoise

from workers.database import Database
from workers.erasures import without
from workers.operations.personal import REGISTER, Deleted, Kept, Reworded, Stripped
from workers.operations.whose import Person


def columns() -> dict[str, set[str]]:
    """Every table that there is a model of, with its columns."""
    return {str(model.Meta.table): {*model._meta.fields_db_projection.values()} for model in Tortoise.apps["models"].values()}


async def test_every_table_stands_in_it(database: Database) -> None:
    assert set(REGISTER) == set(columns())


async def test_whatever_it_looks_at_is_there_and_what_it_asks_of_a_person_is_known(database: Database) -> None:
    asked: list[str] = []
    for table, ways in REGISTER.items():
        for way in ways:
            named = set[str]()
            if isinstance(way, Deleted | Stripped):
                named, asked = {way.column}, [*asked, way.ids]
            elif isinstance(way, Reworded):
                named, asked = {*way.columns, *way.searched, *(way.among or ())[:1]}, [*asked, *(way.among or ())[1:]]
            assert named <= columns()[table], table

    assert [one for one in asked if not hasattr(Person, one) and one not in Person.__dataclass_fields__] == []


async def test_whatever_is_kept_says_why_and_is_all_that_becomes_of_its_table() -> None:
    kept = [ways for ways in REGISTER.values() if any(isinstance(way, Kept) for way in ways)]

    assert all(len(ways) == 1 and isinstance(ways[0], Kept) and ways[0].why for ways in kept)


@pytest.mark.parametrize(
    ("value", "left"),
    [
        pytest.param("ada", None, id="themselves"),
        pytest.param("bea", "bea", id="somebody else"),
        pytest.param(["ada", "bea", 17], ["bea", 17], id="one of several"),
        pytest.param({"id": "ada", "name": "A"}, None, id="an object about them"),
        pytest.param([{"id": "ada", "name": "A"}, {"id": "bea"}], [{"id": "bea"}], id="one of several objects"),
        pytest.param({"who": {"id": "ada"}, "since": 3}, {"who": None, "since": 3}, id="within another's object"),
        pytest.param({"ada": "x"}, {"ada": "x"}, id="the name of a field"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_json_about_others_loses_what_is_about_them(value: Any, left: Any) -> None:
    assert without(value, lambda one: one == "ada") == left


def _person(**changed: Any) -> Person:
    nothing: Any = frozenset()
    made: dict[str, Any] = dict.fromkeys(
        ("subscriptions", "certificates", "learners", "shared", "needs", "enrollments", "results", "names"), nothing
    )
    return Person(**({"account": "hse", "subscriber": "p-1"} | made | changed))


def test_a_word_is_found_where_it_stands_by_itself_and_a_short_one_nowhere_but_alone() -> None:
    person = _person(subscriber="person-17", learners=frozenset({("lms", "2024")}), names=frozenset({"Ada Rossi"}))

    assert [person.named_in(one) for one in ("a person-17.", "person-170", "of Ada Rossi", "in 2024", "")] == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert [person.is_named(one) for one in ("2024", 2024, "in 2024", True, None)] == [True, True, False, False, False]
