"""`muster identities` as a real command."""

from pathlib import Path

import pytest_asyncio

from tests.workers.cli.ruled import Desk, ruled
from tests.workers.followups.mirrored import need, rule, subscription


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await ruled(tmp_path)


async def test_who_is_missing_is_imported_and_listed(desk: Desk) -> None:
    await desk.stored(lambda: subscription("a", subscriber_code=None), lambda: need("a", rule()))
    missing = await desk.muster("identities", "missing", "--json")
    (desk.home / "who.csv").write_text("account,kind,here,there\nlms,person,p-a,john\n")

    imported = await desk.muster("identities", "import", "who.csv")

    assert missing.json == [{"account": "lms", "kind": "person", "here": "p-a", "code": None, "needs": 1}]
    assert (imported.code, imported.out) == (0, "1 identities imported\n")
    assert (await desk.muster("identities", "missing", "--json")).json == []
    listed = await desk.muster("identities", "list", "--account", "lms")
    assert listed.out.splitlines()[1].split() == ["lms", "person", "p-a", "john"]


async def test_a_bad_file_is_told_line_by_line_and_nothing_is_imported(desk: Desk) -> None:
    (desk.home / "who.csv").write_text("account,kind,here,there\nlms,person,p-a,john\nlms,office,o,1\nx,person,p,1\n")

    done = await desk.muster("identities", "import", "who.csv")

    assert done.code == 1
    assert "who.csv: line 3: the kind must be person for this account" in done.err
    assert "2 mistakes in who.csv: nothing was imported" in done.err
    assert (await desk.muster("identities", "list", "--json")).json == []
