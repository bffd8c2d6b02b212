"""A mark keeps out what it covers wherever it comes from, and where there is none it costs nothing."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from schemas.delivery import now_utc
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import Reason
from tests.workers.followups.mirrored import ACCOUNTS
from tests.workers.made import NOON, created, logged
from tests.workers.operations.lives import pipeline
from tests.workers.vendors.acme import ACTION, PERSON, SUBSCRIPTION, populated, staged
from workers.database import Database
from workers.erasures import Erasure, ErasureKey, ErasureMark, Mark, Marks, digest
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Sighting
from workers.mirror.facts import COURSE_RESULT, OBSERVATION, Fact
from workers.mirror.hints import Hint
from workers.mirror.reconcile import reconcile
from workers.mirror.runs import Asked
from workers.mirror.tables import ActionSubscription, CourseResult, Drift, Observation
from workers.operations.erase import Whom, erase
from workers.vendors.accounts import OpenAccount

KEY = b"k" * 32


def later(seconds: float) -> datetime:
    """A while after noon."""
    return NOON + timedelta(seconds=seconds)


async def marked(*ids: tuple[str, str], at: datetime = NOON, block: bool = False) -> None:
    """A mark of an erasure, by these ids."""
    await ErasureKey.get_or_create({"key": KEY}, id=1)
    made = await Erasure.create(id=uuid4(), account="hse", subscriber=str(uuid4()), at=at, block=block, state="done", erased={})
    for one in ids:
        await ErasureMark.create(digest=digest(KEY, *one), erasure=made.id)


async def test_without_any_mark_nobody_is_asked_for(database: Database) -> None:
    marks = Marks(unknown_for=60)

    def never() -> Any:
        raise AssertionError("nobody needs to know")

    assert await marks.among(database.connection, database.dialect, never) == {}
    # Not even the database is, for a while.
    assert await marks.among(None, database.dialect, never) == {}  # type: ignore[arg-type]


async def test_a_new_mark_is_known_as_soon_as_the_ignorance_is_over(database: Database) -> None:
    marks = Marks(unknown_for=0)
    before = await marks.among(database.connection, database.dialect, lambda: [("hse", "p")])
    await marked(("hse", "p"))
    after = await marks.among(database.connection, database.dialect, lambda: [("hse", "p"), ("lms", "p"), ("hse", "q")])
    await marked(("lms", "p"), at=later(1))
    both = await marks.among(database.connection, database.dialect, lambda: [("hse", "p"), ("lms", "p")])

    assert (before, after) == ({}, {("hse", "p"): Mark(NOON, block=False)})
    assert both == {("hse", "p"): Mark(NOON, block=False), ("lms", "p"): Mark(later(1), block=False)}


async def test_of_several_marks_the_last_holds_and_one_that_blocks_above_all(database: Database) -> None:
    for at, block in ((2, False), (1, True), (3, False)):
        await marked(("hse", "p"), ("hse", f"only {at}"), at=later(at), block=block)
    await marked(("hse", "q"), at=later(5))
    await marked(("hse", "q"), at=later(4))
    found = await Marks().among(database.connection, database.dialect, lambda: [("hse", "p"), ("hse", "q")])

    assert found == {("hse", "p"): Mark(later(1), block=True), ("hse", "q"): Mark(later(5), block=False)}


@pytest.mark.parametrize(
    ("seconds", "block", "kept_out"),
    [
        pytest.param(-1, False, True, id="before the mark"),
        pytest.param(0, False, True, id="at its moment"),
        pytest.param(1, False, False, id="after it"),
        pytest.param(1, True, True, id="after one that blocks"),
    ],
)
async def test_a_delivery_is_stripped_by_when_it_arrived(database: Database, seconds: float, block: bool, kept_out: bool) -> None:
    await marked(("hse", "s1"), block=block)
    one, other = created("s1", received_at=later(seconds)), created("s2", received_at=later(seconds))
    await pipeline(database).together([one, other])

    row = await logged(one)
    expected = ("ignored", "erased", None, {}) if kept_out else ("applied", None, one.body, one.headers)
    assert (row.state, row.reason, row.body and bytes(row.body), row.headers) == expected
    assert (await logged(other)).state == "applied"
    assert await ActionSubscription.filter(action_subscription_id="s1").exists() is not kept_out


async def test_an_attempt_that_was_cut_short_loses_what_it_kept(database: Database) -> None:
    one = created("s1")
    ignorant = pipeline(database, Marks(unknown_for=60))
    await ignorant.bury([one], Reason.WORKER_KILLED, "why")
    await marked(("hse", "s1"))
    await pipeline(database).one_by_one([one])

    row = await logged(one)
    assert (row.state, row.reason, any((row.body, row.headers, row.fingerprint, row.detail))) == ("ignored", "erased", False)


def _graded(learner: str, seconds: float = 0) -> Fact:
    return Fact(COURSE_RESULT, "lms", (learner, "c", "", 0), later(seconds), {"completed": True})


def _observed(session: str, employee: str, observer: str, seconds: float = 0) -> Fact:
    content = {"checklist_id": "c", "employee_id": employee, "observer_id": observer, "status": "PASSED"}
    return Fact(OBSERVATION, "lms", (session,), later(seconds), content)


async def test_what_a_poll_finds_leaves_them_out(database: Database) -> None:
    await marked(("lms", "ada"))
    mirror = Mirror(frozenset({"lms"}), marks=Marks())
    async with database.transaction() as connection:
        for found in ([_graded("ada"), _graded("bea")], [_graded("ada", 1), _graded("bea", 1)]):
            await mirror.observe(connection, database.dialect, COURSE_RESULT, "lms", found, found[0].at, {})
            seen = sorted({row.learner for row in await CourseResult.filter(superseded_at=None).using_db(connection)})
            assert seen == (["bea"] if found[0].at == NOON else ["ada", "bea"])


async def test_nor_does_it_name_them_where_they_observed_others(database: Database) -> None:
    await marked(("lms", "ada"), block=True)
    mirror = Mirror(frozenset({"lms"}), marks=Marks())
    found = [_observed("o1", "ada", "boss", 9), _observed("o2", "bea", "ada", 9), _observed("o3", "bea", "boss", 9)]
    async with database.transaction() as connection:
        await mirror.observe(connection, database.dialect, OBSERVATION, "lms", found, later(9), {})

    rows = await Observation.all().order_by("session_id").values_list("session_id", "employee_id", "observer_id")
    assert [tuple(row) for row in rows] == [("o2", "bea", ""), ("o3", "bea", "boss")]


@pytest.mark.parametrize("fetched", [False, True])
async def test_nor_as_who_manages_or_watches_something_of_others(database: Database, fetched: bool) -> None:
    await marked(("hse", "ada"), block=True)
    shown = {"action_subscription_id": "s1", "subscriber_id": "bea", "manager": [{"id": "ada"}, {"id": "boss"}], "data": {"for": "ada"}}
    fields = dict.fromkeys(SUBSCRIPTION_FIELDS) | shown
    mirror = Mirror(frozenset({"hse"}), marks=Marks())
    async with database.transaction() as connection:
        if fetched:
            await mirror.sighted(connection, database.dialect, [Sighting("hse", "s1", later(9), fields)])
        else:
            await mirror.apply(connection, database.dialect, [Hint("hse", "s1", False, later(9), b"", fields)])

    row = await ActionSubscription.get()
    assert (row.subscriber_id, row.manager, row.data, row.watcher) == ("bea", [{"id": "boss"}], None, None)


@pytest.mark.parametrize("block", [False, True])
async def test_reconcile_brings_them_back_unless_they_are_blocked(database: Database, tmp_path: Path, block: bool) -> None:
    async with staged(tmp_path, populated()) as stage, stage.client() as client:
        stage.tenancy.subscribe(ACTION, _hired(stage.tenancy), action_subscription_id="bea's")
        account = OpenAccount("hse", stage.account(), client)
        mirror = Mirror(frozenset({"hse"}), timedelta(0), marks=Marks(unknown_for=0))
        await reconcile(database, mirror, account, Asked(), now_utc)
        whom = Whom(database, {**ACCOUNTS, "hse": account.settings}, "hse", PERSON)
        await erase(whom, by="root", reason=None, block=block, now=now_utc, unknown_for=0)
        run = await reconcile(database, mirror, account, Asked(), now_utc)
        again = await reconcile(database, mirror, account, Asked(), now_utc)

    row, other = [await ActionSubscription.get(action_subscription_id=one) for one in (SUBSCRIPTION, "bea's")]
    assert (row.state, row.subscriber_id) == (("deleted", None) if block else ("live", PERSON))
    assert (other.state, other.subscriber_id) == ("live", "bea")
    assert (run.state, run.seen, run.missing, run.different, run.extra) == ("done", 2, 0 if block else 1, 0, 0)
    assert (again.missing, await Drift.filter(run=run.id).count()) == (0, 0 if block else 1)


def _hired(tenancy: Any) -> str:
    about = {"first_name": "Bea", "last_name": "B", "birth_date": "1980-02-29", "project_id": next(iter(tenancy.projects))}
    return str(tenancy.create("person", {"person_id": "bea", **about})["person_id"])
