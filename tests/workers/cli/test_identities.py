"""`muster identities` as a real command."""

import asyncio
from pathlib import Path

import pytest_asyncio

from tests.services.muster import Muster
from tests.workers.cli.ruled import Desk, ruled
from tests.workers.followups.mirrored import need, rule, subscription
from tests.workers.made import until
from workers.database import close_database, open_database
from workers.followups.tables import Need, NeedTarget

OFF = 'polls = { reconcile = "off", session_enrollments = "off", actions = "off", sessions = "off" }'
AWAY = 'base_url = "http://127.0.0.1:9"\ninsecure = true'
ACCOUNTS = f"""
[accounts.hse]
vendor = "4hse"
access_token_file = "key"
{AWAY}
{OFF}
[accounts.lms]
vendor = "anewspring"
api_key_file = "key"
learner = "{{subscriber_code}}"
{AWAY}
"""


@pytest_asyncio.fixture
async def desk(tmp_path: Path, database_url: str) -> Desk:
    return await ruled(tmp_path, database_url)


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


async def test_whom_another_template_finds_goes_once_a_worker_begins(tmp_path: Path, database_url: str) -> None:
    muster = Muster(tmp_path, tables=ACCOUNTS, database=database_url)
    try:
        await asyncio.to_thread(muster.run, "init")
        await open_database(database_url)
        await subscription("a")
        await NeedTarget.create(need=(await need("a", rule())).id, step=0, state="unmatched")
        await asyncio.to_thread(muster.start, "serve")
        await until(lambda: Need.filter(state="planned").count(), "its planning")
    finally:
        await asyncio.to_thread(muster.close)
        await close_database()
