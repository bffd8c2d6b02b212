"""Identities in and out, on both databases."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.states import NeedState
from tests.workers.followups.mirrored import ACCOUNTS, NOON, need, rule, subscription
from workers.database import Database
from workers.followups.directory import Entry, known, known_there
from workers.followups.tables import Need, NeedTarget
from workers.operations.identities import BadFile, Missing, find, load, missing

HEAD = "account,kind,here,there\n"
DRILL = {"exercise": {"account": "kare", "rule_id": 7, "start": "+14d 10:00", "length": "1h"}, "enroll": None}


File = Callable[[str | bytes], Path]


@pytest.fixture
def file(tmp_path: Path) -> File:
    """A file with the content."""

    def file_(content: str | bytes) -> Path:
        path = tmp_path / "who.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file_


async def test_a_file_is_imported_and_a_second_one_replaces_what_it_names(database: Database, file: File) -> None:
    assert (
        await load(
            database,
            file(b"\xef\xbb\xbf" + f'{HEAD}kare,office,o1,11\nispring,person,p1,u1\n\nispring,person,p2,"u,2"\n'.encode()),
            ACCOUNTS,
            NOON,
        )
        == 3
    )
    assert await load(database, file(f"{HEAD}ispring,person,p1,other\n"), ACCOUNTS, NOON) == 1

    assert await find() == [
        Entry("ispring", "person", "p1", "other"),
        Entry("ispring", "person", "p2", "u,2"),
        Entry("kare", "office", "o1", "11"),
    ]
    assert await find(kind="office") == [Entry("kare", "office", "o1", "11")]
    found = await known(database.connection, ["ispring", "kare"], ["p1", "o1", "nobody"])
    assert found == {"ispring": {("person", "p1"): "other"}, "kare": {("office", "o1"): "11"}}
    assert await known_there(database.connection, "ispring", "u,2") == {("person", "p2"): "u,2"}


async def test_every_bad_line_is_told_and_nothing_is_imported(database: Database, file: File) -> None:
    lines = (
        "ispring,person,p1,u1",
        "hse,person,p1,u1",
        "nobody,person,p1,u1",
        "ispring,office,o1,u1",
        "kare,office,o1,site",
        "ispring,person,p2",
        "ispring,person,,u1",
        "ispring,person,p3, u1",
        "ispring,person,p1,u2",
    )
    with pytest.raises(BadFile) as bad:
        await load(database, file(HEAD + "\n".join(lines)), ACCOUNTS, NOON)

    assert list(bad.value.mistakes) == [
        "line 3: no account of aNewSpring, iSpring or Kare of this name is configured",
        "line 4: no account of aNewSpring, iSpring or Kare of this name is configured",
        "line 5: the kind must be person for this account",
        "line 6: a Kare site is a number",
        "line 7: 3 columns, not 4",
        "line 8: a value is empty, or begins or ends with a space",
        "line 9: a value is empty, or begins or ends with a space",
        "line 10: line 2 has the same account, kind and here",
    ]
    assert await find() == []


@pytest.mark.parametrize(
    "content", [b"", b"here,there\n", b"account;kind;here;there\n", b"account,kind,here,there\n\xff\n", b'account,kind,here,there\na,"b\n']
)
async def test_what_is_no_such_file_is_refused(database: Database, file: File, content: bytes) -> None:
    with pytest.raises(BadFile):
        await load(database, file(content), ACCOUNTS, NOON)


async def test_who_is_missing_is_told_by_code_with_how_many_wait(database: Database, file: File) -> None:
    await subscription("a", subscriber_id="p1", subscriber_code="JS001", subscriber_name="John Smith")
    await subscription("b", subscriber_id="p1", subscriber_code="JS001")
    await subscription("c", subscriber_id="o9", subscriber_type="OFFICE", subscriber_code=None, office_name="Rome")
    await subscription("d", subscriber_id="p4")
    observed = rule("watch", observe={"account": "ispring", "checklist": "c"}, enroll=None)
    for id_ in ("a", "b"):
        await need(id_, observed)
    await need("c", rule("drill", **DRILL))
    await need("d", observed, state=NeedState.AWAITING.value)

    expected = [Missing("ispring", "person", "p1", "JS001", 2), Missing("kare", "office", "o9", "Rome", 1)]
    assert await missing(database, ACCOUNTS) == expected

    await load(database, file(f"{HEAD}ispring,person,p1,u1\n"), ACCOUNTS, NOON)
    assert await missing(database, ACCOUNTS) == expected[1:]


CHAIN = rule("chain", enroll=[{"account": "lms", "course": "A"}, {"account": "lms", "course": "B"}])


async def waiting(state: str, step: str = "unmatched") -> None:
    """A need of which the second target is as `step` says."""
    made = await need(state, CHAIN, state=state)
    await NeedTarget.create(need=made.id, step=0, state="planned")
    await NeedTarget.create(need=made.id, step=1, state=step)


async def test_what_waited_for_an_identity_is_looked_at_again_at_once_whatever_its_state(database: Database, file: File) -> None:
    for state in ("unmatched", "held", "failed", "dead", "overdue", "valid", "undone"):
        await waiting(state)
    await waiting("enrolled", step="enrolled")

    await load(database, file(f"{HEAD}lms,person,p1,u1\n"), ACCOUNTS, NOON)

    assert {one.state for one in await Need.all() if one.look_at == NOON} == {"unmatched", "held", "failed", "dead", "overdue"}


async def test_who_is_missing_is_told_also_where_another_target_keeps_the_need(database: Database) -> None:
    await subscription("held", subscriber_id="p1", subscriber_code=None)
    await waiting("held")

    assert await missing(database, ACCOUNTS) == [Missing("lms", "person", "p1", None, 1)]
