"""What is kept of somebody is erased, all of it and nothing of anybody else, whatever cuts it short and whatever arrives later."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from schemas.accounts import Account
from schemas.delivery import now_utc
from schemas.states import EnrollmentState
from tests.services.postgres import Postgres
from tests.workers.followups.mirrored import ACCOUNTS, subscription
from tests.workers.made import NOON, logged
from tests.workers.operations.lives import ADA, BEA, Life, completed, contents, fresh, later, naming, pipeline
from workers.audit import AuditEntry
from workers.database import Database, close_database, open_database
from workers.erasures import Erasure, ErasureMark, Marks
from workers.followups import claims, outcomes
from workers.followups.claims import Placed
from workers.followups.plan import Followups
from workers.followups.tables import Enrollment, Identity
from workers.log import LoggedDelivery
from workers.migrations import migrate
from workers.mirror.tables import ActionSubscription, CourseResult, Observation
from workers.operations.erase import Report, Unsettled, Whom, erase, erasures, preview, unblock
from workers.outbox import EventSequence, OutboxEvent, claim
from workers.replays import ReplayRun

#: When they are erased.
THEN = later(hours=1)


async def erased(
    database: Database, who: Life = ADA, *, accounts: dict[str, Account] = ACCOUNTS, block: bool = False, **how: Any
) -> Report:
    """Somebody is erased, an hour after noon."""
    options: dict[str, Any] = {"by": "root", "reason": "asked for", "now": lambda: THEN, "unknown_for": 0.0} | how
    return await erase(Whom(database, accounts, "hse", who.person), block=block, **options)


@pytest_asyncio.fixture
async def lives(database: Database) -> Database:
    """Ada and Bea, of whom everything is kept that there is."""
    await _lived(database)
    return database


async def _lived(database: Database) -> None:
    for one in (ADA, BEA):
        await one.lived(database)
        await pipeline(database).together(one.told())


async def test_nothing_names_them_any_more_and_of_others_all_is_as_it_was(lives: Database) -> None:
    before = await contents(lives)
    report = await erased(lives)
    after = await contents(lives)

    assert naming(before, ADA)
    assert naming(after, ADA) == []
    assert naming(after, BEA) == naming(before, BEA)
    assert report.erased == {
        "action_subscriptions": 3,
        "certified": 1,
        "course_results": 1,
        "deliveries": 11,
        "drifts": 1,
        "enrollments": 2,
        "event_sequences": 1,
        "followup_moves": 3,
        "former_holders": 1,
        "identities": 1,
        "need_targets": 2,
        "needs": 1,
        "observations": 2,
        "outbox": 6,
        "recordings": 1,
        "refreshes": 7,
        "replay_runs": 1,
        "session_enrollments": 1,
    }


async def test_a_dry_run_counts_the_same_and_changes_nothing(lives: Database) -> None:
    before = await contents(lives)
    expected, person = await preview(Whom(lives, ACCOUNTS, "hse", ADA.person), lambda: THEN)
    between = await contents(lives)
    report = await erased(lives)

    assert before == between
    assert expected.erased == report.erased
    assert (expected.shared, expected.elsewhere, report.elsewhere) == ([], ["ispring", "lms"], ["ispring", "lms"])
    assert person.words == {*ADA.known_as}


async def test_a_subscription_leaves_a_bare_tombstone_whose_end_is_told_without_a_gap(lives: Database) -> None:
    sequence = (await EventSequence.get(subject="hse/ad-1")).number
    await erased(lives)

    row = await ActionSubscription.get(action_subscription_id="ad-1")
    assert (row.state, row.hint_received_at, row.first_seen_at) == ("deleted", NOON, THEN)
    shown = {"id", "account", "action_subscription_id", "state", "flags", "first_seen_at", "hint_deleted", "hint_received_at"}
    (values,) = await ActionSubscription.filter(id=row.id).values()
    assert {name for name, value in values.items() if value is not None} <= {*shown, "hint_fingerprint", "hint_last_at"}
    events = await OutboxEvent.filter(subject="hse/ad-1").order_by("sequence")
    assert [one.sequence for one in events] == list(range(sequence - len(events) + 2, sequence + 2))
    assert (events[-1].type, events[-1].data["state"]) == ("muster.subscription.deleted.v1", "deleted")
    assert len(await claim(lives, now_utc(), 100)) > 0


async def test_of_deliveries_stays_that_they_came_and_what_was_dead_is_ignored(lives: Database) -> None:
    before = {row.id: row for row in await LoggedDelivery.all()}
    await erased(lives)

    moved = {"dead": "ignored"}
    for row in await LoggedDelivery.filter(reason="erased"):
        old = before[row.id]
        assert not any((row.body, row.headers, row.subject, row.detail, row.fingerprint))
        assert (row.state, row.received_at, row.event) == (moved.get(old.state, old.state), old.received_at, old.event)
    assert {row.state for row in before.values()} == {"applied", "ignored", "dead"}


async def test_who_did_it_and_why_is_kept_and_of_whom_is_not(lives: Database) -> None:
    await erased(lives)

    begun, ended = await AuditEntry.all().order_by("id")
    assert (begun.who, begun.verb, begun.reason, begun.details) == ("root", "erase", "asked for", {"account": "hse", "block": False})
    assert (ended.verb, ended.subject, ended.details["deliveries"]) == ("erased", begun.subject, 11)


@pytest.mark.parametrize("block", [False, True])
async def test_what_arrived_before_and_comes_late_changes_nothing(lives: Database, block: bool) -> None:
    await erased(lives, block=block)
    before = [row for row in await contents(lives) if not row.startswith(("deliveries", "source_freshness"))]
    late = [*fresh(ADA.told()), *fresh(ADA.told(), replay_of=ADA.told()[0].id)]
    tally = await pipeline(lives).together(late)
    tally += await pipeline(lives).one_by_one(list(fresh(ADA.told())))
    after = await contents(lives)

    assert tally == {"ignored": len(late) + 11}
    assert naming(after, ADA) == []
    assert [row for row in after if not row.startswith(("deliveries", "source_freshness"))] == before
    row = await logged(late[0])
    assert (row.state, row.reason, row.body, row.headers, row.event) == ("ignored", "erased", None, {}, "ACTION_SUBSCRIPTION::CREATE")


async def test_what_arrives_after_it_counts_unless_it_is_blocked(lives: Database) -> None:
    await erased(lives)
    first = ADA.told(received_at=later(hours=2))
    await pipeline(lives).together(first)
    back = await ActionSubscription.get(action_subscription_id="ad-1")
    await erased(lives, block=True, now=lambda: later(hours=3))
    await pipeline(lives).together([*fresh(first, received_at=later(hours=4))])

    assert (back.state, back.subscriber_id) == ("live", ADA.person)
    assert naming(await contents(lives), ADA) == []


async def test_who_was_blocked_is_let_in_again(lives: Database) -> None:
    await erased(lives, block=True)
    let_in = await unblock(lives, ("hse", ADA.person), by="root", reason="hired again")
    again = await unblock(lives, ("hse", ADA.person), by="root", reason=None)
    nobody = await unblock(lives, ("hse", "nobody"), by="root", reason=None)
    await pipeline(lives).together(ADA.told(received_at=later(hours=2))[:1])

    assert (let_in, again, nobody) == (True, False, False)
    assert (await ActionSubscription.get(action_subscription_id="ad-1")).state == "live"
    assert (await AuditEntry.all().order_by("-id").first()).verb == "erase --unblock"  # type: ignore[union-attr]


async def test_a_block_stays_when_they_are_erased_once_more_without(lives: Database) -> None:
    await erased(lives, block=True)
    report = await erased(lives)

    (only,) = await erasures()
    assert (report.block, only.block, only.state, report.erased) == (True, True, "done", {})


async def test_a_delivery_about_several_keeps_what_it_says_of_the_others(lives: Database) -> None:
    both, others = completed(ADA, BEA), completed(BEA)
    await pipeline(lives).together([both, others])
    await erased(lives)
    late = completed(ADA, BEA, received_at=later(minutes=1))
    await pipeline(lives).together([late])

    rows = [await logged(one) for one in (both, others, late)]
    assert [(row.state, row.reason, row.body is None) for row in rows] == [
        ("applied", "erased", True),
        ("applied", None, False),
        ("applied", "erased", True),
    ]
    (result,) = await CourseResult.filter(account="ispring", superseded_at=None)
    assert (result.learner, result.observed_at) == (BEA.employee, later(minutes=1))


async def test_who_shares_an_id_with_somebody_else_keeps_what_stands_under_it(lives: Database) -> None:
    await subscription("cy-1", subscriber_id="p-cy", subscriber_code=ADA.code)
    report = await erased(lives)

    assert report.shared == ["lms"]
    assert await CourseResult.filter(learner=ADA.code).count() == 1
    assert await Enrollment.filter(learner=ADA.code).count() == 1
    assert await CourseResult.filter(learner=ADA.employee).count() == 0
    assert not await Identity.filter(here=ADA.person).exists()


async def test_an_identity_that_two_have_is_shared_too(lives: Database) -> None:
    await Identity.create(account="ispring", kind="person", here="p-cy", there=ADA.employee)

    assert (await erased(lives)).shared == ["ispring"]
    assert await Observation.filter(employee_id=ADA.employee).exists()


async def test_of_what_they_observed_of_others_stays_all_but_their_name(lives: Database) -> None:
    await erased(lives)

    row = await Observation.get(session_id="ad-seen")
    assert (row.employee_id, row.observer_id) == ("apprentice", "")


async def test_of_somebody_unknown_there_is_a_mark_for_what_may_still_arrive(database: Database) -> None:
    report = await erased(database)
    await pipeline(database).together(ADA.told()[:4])

    assert report.erased == {}
    assert naming(await contents(database), ADA) == []


async def test_a_run_of_replays_that_asked_for_them_asks_for_nobody(lives: Database) -> None:
    await erased(lives)
    asked = [row.asked for row in await ReplayRun.all()]

    assert {"subscription": ["another", "(erased)"], "state": ["dead"]} in asked
    assert any(BEA.person in one["subscription"] for one in asked)  # type: ignore[operator]


class _Cut(Exception):
    """The process has died."""


def _cut(_: int) -> None:
    raise _Cut


async def test_what_was_cut_short_goes_on_though_nobody_knows_any_more_who_it_was(lives: Database) -> None:
    with pytest.raises(_Cut):
        await erased(lives, looked=_cut)
    (half,) = await erasures()
    between = await contents(lives)
    await pipeline(lives).together([*fresh(BEA.told())])
    report = await erased(lives)

    assert half.state == "running"
    assert not [row for row in naming(between, ADA) if not row.startswith("deliveries")]
    assert naming(await contents(lives), ADA) == []
    assert report.erased["deliveries"] == 11
    assert report.erased["needs"] == 1
    assert (await Erasure.get()).state == "done"


async def test_a_log_of_many_pages_is_gone_through_and_gone_on_with(lives: Database) -> None:
    seen: list[int] = []
    with pytest.raises(_Cut):
        await erased(lives, page=3, looked=lambda count: seen.append(count) if count < 9 else _cut(count))
    report = await erased(lives, page=3, looked=seen.append)

    assert naming(await contents(lives), ADA) == []
    assert report.erased["deliveries"] == 11
    assert seen == [3, 6, 3, 6, 9, 12, 13]


async def test_the_digests_tell_nobody_who_it_was(lives: Database) -> None:
    await erased(lives)
    marks = await ErasureMark.all().values_list("digest", flat=True)

    assert all(len(str(one)) == 64 for one in marks)
    assert len(marks) == 7  # the person, two learners' ids, three subscriptions, a certificate


async def test_a_worker_that_does_not_know_of_the_mark_yet_leaves_nothing_behind(lives: Database) -> None:
    ignorant = pipeline(lives, Marks(unknown_for=1.0))
    await ignorant.together(BEA.told()[:1])
    erasing = asyncio.create_task(erased(lives, unknown_for=1.5))
    while not await _marked(lives):  # noqa: ASYNC110 - in another task
        await asyncio.sleep(0.01)
    await ignorant.together([*fresh(ADA.told())])
    between = await contents(lives)
    await erasing

    assert len([row for row in naming(between, ADA) if row.startswith("deliveries")]) == 22
    assert naming(await contents(lives), ADA) == []


async def _marked(database: Database) -> bool:
    return bool(await database.connection.execute_query_dict("SELECT id FROM erasures"))


@pytest_asyncio.fixture
async def other(spoilt_postgres: Database, postgres: Postgres) -> Any:
    """A connection of somebody else's to the same database."""
    (row,) = await spoilt_postgres.connection.execute_query_dict("SELECT current_database() AS name")
    url = postgres.create("anything").rsplit("/", 1)[0]
    connection = await asyncpg.connect(f"{url}/{row['name']}")
    yield connection
    await connection.close()


async def test_a_transaction_from_before_the_mark_is_waited_for(spoilt_postgres: Database, other: Any) -> None:
    await _lived(spoilt_postgres)
    await other.execute("BEGIN; SELECT 1")
    with pytest.raises(Unsettled, match="end it, and repeat"):
        await erased(spoilt_postgres, patience=0.2)
    waiting = asyncio.create_task(erased(spoilt_postgres))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await other.execute("COMMIT")
    await waiting

    assert naming(await contents(spoilt_postgres), ADA) == []


async def test_a_transaction_of_another_role_is_waited_for_too(spoilt_postgres: Database, postgres: Postgres) -> None:
    run, role = spoilt_postgres.connection.execute_query, f"operator{uuid4().hex}"
    (row,) = await spoilt_postgres.connection.execute_query_dict("SELECT current_database() AS name")
    await run(f"CREATE ROLE {role} LOGIN")
    await run(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    await run(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    other = await asyncpg.connect(postgres.url(row["name"]))
    await other.execute("BEGIN; SELECT 1")
    await close_database()
    try:
        operator = await open_database(postgres.url(row["name"]).replace("postgres@", f"{role}@", 1))
        with pytest.raises(Unsettled):
            await erased(operator, patience=0.2)
        await other.execute("COMMIT")
        report = await erased(operator, patience=5)
    finally:
        await other.close()
        await close_database()

    assert report.erased == {}


async def test_not_even_the_file_names_them(tmp_path: Path) -> None:
    database = await open_database(f"sqlite://{tmp_path / 'muster.sqlite3'}")
    try:
        await migrate(database)
        await _lived(database)
        await erased(database)
    finally:
        await close_database()

    content = _files(tmp_path)
    assert [name for name in ADA.known_as if name.encode() in content] == []
    assert BEA.name.encode() in content


def _files(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def test_what_was_under_way_at_a_vendor_ends_without_its_row(lives: Database) -> None:
    wished = await Enrollment.get(learner=ADA.code)
    await Enrollment.filter(id=wished.id).update(state="planned", wish="enroll", due_at=NOON)
    (claimed,) = await claims.claim(lives, "lms", THEN, 10, lambda _: "UTC")
    await erased(lives)
    planner = Followups((), ACCOUNTS)
    await outcomes.enrolled(lives, [(claimed, Placed(found=True))], planner, THEN)
    await outcomes.ended(lives, claimed, EnrollmentState.DEAD, ADA.name, planner, THEN)
    await outcomes.again(lives, claimed, THEN, ADA.name, THEN, blamed=True, doubtful=True)

    assert naming(await contents(lives), ADA) == []
