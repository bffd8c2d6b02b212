"""`muster audit` as a real command: who said yes or no to what."""

import getpass
from pathlib import Path
from uuid import uuid4

import pytest_asyncio

from tests.workers.cli.ruled import Desk, ruled
from tests.workers.followups.mirrored import need, rule, subscription
from workers.followups.case import GUARD_ENROLLING
from workers.followups.tables import NeedTarget

HELD, LATE = uuid4(), uuid4()


@pytest_asyncio.fixture
async def desk(tmp_path: Path, database_url: str) -> Desk:
    """A rule that is pending, a need that the guard holds, and one that is overdue."""
    made = await ruled(tmp_path, database_url)
    await made.stored(
        lambda: subscription("a"),
        lambda: subscription("b"),
        lambda: need("a", rule(), id=HELD, state="held", reason=GUARD_ENROLLING),
        lambda: need("b", rule(), id=LATE, state="overdue"),
        lambda: NeedTarget.create(need=HELD, step=0, state="held"),
        lambda: NeedTarget.create(need=LATE, step=0, state="planned"),
    )
    return made


async def test_who_applied_released_and_cancelled_is_told_the_newest_first(desk: Desk) -> None:
    nobody = await desk.muster("audit")
    await desk.muster("rules", "apply", "fire", "--yes")
    await desk.muster("followups", "release", str(HELD), "--yes", "--by", "ada")
    await desk.muster("followups", "cancel", str(LATE), "--yes", "--by", "bob", "--reason", "the course is closed")
    shown, found = await desk.muster("audit"), (await desk.muster("audit", "--json")).json

    assert (nobody.code, len(nobody.out.splitlines())) == (0, 1)
    assert [(one["who"], one["verb"], one["subject"], one["reason"]) for one in found] == [
        ("bob", "followups cancel", f"need {LATE}", "the course is closed"),
        ("ada", "followups release", f"need {HELD}", None),
        (getpass.getuser(), "rules apply", "rule fire", None),
    ]
    assert found[0]["details"] == {"account": "hse", "rule": "fire", "state": "overdue"}
    assert found[2]["details"]["digest"] == rule().digest
    assert "the course is closed" in shown.out.splitlines()[1]


async def test_entries_are_found_by_who_what_and_when(desk: Desk) -> None:
    await desk.muster("rules", "apply", "fire", "--yes", "--by", "ada")
    await desk.muster("followups", "cancel", "--rule", "fire", "--yes", "--by", "bob")

    async def count(*arguments: str) -> int:
        return len((await desk.muster("audit", "--json", *arguments)).json)

    assert await count("--who", "bob") == await count("--verb", "followups") == 2
    assert await count("--about", str(LATE)) == await count("--verb", "rules apply") == await count("--limit", "1") == 1
    assert (await count("--since", "1h"), await count("--who", "carol")) == (3, 0)
    assert (await desk.muster("audit", "--since", "soon")).code == 2


async def test_what_changed_nothing_is_not_told(desk: Desk) -> None:
    await desk.muster("followups", "cancel", str(LATE), "--yes")
    await desk.muster("followups", "cancel", str(LATE), "--yes")

    assert len((await desk.muster("audit", "--json")).json) == 1
