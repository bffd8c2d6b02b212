"""What is to be fetched: one row a thing, one worker a row, and no touch is lost."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from schemas.states import RefreshKind
from tests.workers.made import NOON
from workers.causes import MOST, Cause
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Touch
from workers.refreshes import LEASE, Claim, Refresh, answered, claim, mark, postpone, put_off, settle

SKEW = timedelta(seconds=5)
KIND = RefreshKind.SUBSCRIBER
LATER = NOON + timedelta(seconds=6)


def touch(subject: str = "p1", at: datetime = NOON, **changed: object) -> Touch:
    """Something was touched."""
    return Touch("hse", changed.pop("kind", KIND), subject, at, **changed)  # type: ignore[arg-type]


async def touched(database: Database, *touches: Touch) -> None:
    """Mark these."""
    async with database.transaction() as connection:
        await mark(connection, database.dialect, touches, SKEW)


async def claimed(database: Database, now: datetime = LATER, limit: int = 10) -> list[Claim]:
    """Claim what is due."""
    return await claim(database, "hse", [KIND, RefreshKind.CERTIFICATE], now, LEASE, limit)


async def settled(database: Database, claims: Sequence[Claim], began: datetime) -> None:
    """A fetch that began then answered."""
    async with database.transaction() as connection:
        await settle(connection, database.dialect, claims, began, SKEW)


async def test_touches_of_one_thing_are_one_row_that_knows_the_first_and_the_last(database: Database) -> None:
    one, two, three, four = (UUID(int=number) for number in (1, 2, 3, 4))
    await touched(
        database, touch(at=NOON + timedelta(seconds=2), cause=Cause((two,))), touch(cause=Cause((one,))), touch(scope="a1"), touch("p2")
    )
    await touched(
        database, touch(at=NOON + timedelta(seconds=4), cause=Cause((three,))), touch(at=NOON - timedelta(days=1), cause=Cause((two,)))
    )
    await touched(database, touch(at=NOON + timedelta(seconds=5)), touch(at=NOON + timedelta(seconds=1), cause=Cause((four,))))

    row = await Refresh.get(subject="p1", scope="")
    assert (row.since, row.marked_at) == (NOON + timedelta(seconds=2), NOON + timedelta(seconds=5))
    (mine,) = (found for found in await claimed(database, LATER + timedelta(minutes=1)) if (found.subject, found.scope) == ("p1", ""))
    assert mine.cause.deliveries == (one, two, three, four)
    assert await Refresh.all().count() == 3


async def test_what_was_news_is_told_where_it_is_asked_for(database: Database) -> None:
    await touched(database, touch())
    later = NOON + timedelta(seconds=1)
    async with database.transaction() as connection:
        news = await mark(connection, database.dialect, [touch(), touch("p2"), touch("p3", later), touch("p3")], SKEW, noting=True)
        again = await mark(connection, database.dialect, [touch(at=later), touch("p2")], SKEW, noting=True)

    assert (news, again) == ([touch("p2").key, touch("p3").key], [touch().key])


async def test_nothing_is_due_before_a_fetch_could_decide_over_the_touch(database: Database) -> None:
    await touched(database, touch())

    assert await claimed(database, NOON + SKEW) == []
    (one,) = await claimed(database, NOON + SKEW + timedelta(milliseconds=1))
    assert (one.account, one.kind, one.subject, one.scope, one.since, one.marked_at) == ("hse", KIND, "p1", "", NOON, NOON)


async def test_a_claim_is_for_one_account_and_its_kinds_the_longest_due_first(database: Database) -> None:
    mine = [touch(f"p{n}", NOON - timedelta(seconds=n)) for n in range(5)]
    await touched(database, *mine, touch("s1", kind=RefreshKind.ACTION_SUBSCRIPTION), Touch("other", KIND, "p9", NOON))

    assert [one.subject for one in await claimed(database, limit=3)] == ["p4", "p3", "p2"]
    assert [one.subject for one in await claimed(database)] == ["p1", "p0"]
    assert await claimed(database) == []


async def test_workers_at_once_never_claim_the_same_row(database: Database) -> None:
    await touched(database, *(touch(f"p{n:03}") for n in range(200)))
    taken = await asyncio.gather(*(claimed(database, limit=30) for _ in range(8)))

    subjects = [one.subject for claims in taken for one in claims]
    assert sorted(subjects) == [f"p{n:03}" for n in range(200)]


async def test_another_worker_takes_a_row_when_its_lease_has_ended(database: Database) -> None:
    await touched(database, touch())
    (one,) = await claimed(database)

    assert await claimed(database, LATER + LEASE - timedelta(seconds=1)) == []
    assert await claimed(database, LATER + LEASE) == [one]


async def test_a_fetch_later_than_the_touch_settles_it(database: Database) -> None:
    await touched(database, touch(), touch("p2"))
    one, two = await claimed(database)
    await settled(database, [one], LATER)

    assert [row.subject for row in await Refresh.all()] == [two.subject]


async def test_a_touch_during_the_fetch_is_fetched_again_and_counts_as_new(database: Database) -> None:
    await touched(database, touch())
    claims = await claimed(database)
    meanwhile = LATER + timedelta(seconds=1)
    await touched(database, touch(at=meanwhile))
    await settled(database, claims, LATER)

    row = await Refresh.get()
    assert (row.since, row.marked_at, row.attempts, row.error is None) == (meanwhile, meanwhile, 0, True)
    assert await claimed(database, meanwhile + SKEW) == []
    assert len(await claimed(database, meanwhile + SKEW + timedelta(milliseconds=1))) == 1


async def test_a_fetch_that_began_too_soon_after_the_touch_settles_nothing(database: Database) -> None:
    await touched(database, touch())
    await settled(database, await claimed(database), NOON + SKEW)

    assert (await Refresh.get()).marked_at == NOON


async def test_a_failure_keeps_the_vendors_words_and_comes_due_again(database: Database) -> None:
    await touched(database, touch())
    claims, due_at = await claimed(database), LATER + timedelta(minutes=1)
    async with database.transaction() as connection:
        await postpone(connection, database.dialect, claims, due_at, "404: no such office")

    row = await Refresh.get()
    assert (row.since, row.attempts, row.error, row.due_at) == (NOON, 1, "404: no such office", due_at)
    (again,) = await claimed(database, due_at)
    assert again.attempts == 1


async def test_what_is_put_off_has_not_failed(database: Database) -> None:
    await touched(database, touch())
    claims = await claimed(database)
    async with database.transaction() as connection:
        await put_off(connection, database.dialect, claims, LATER + timedelta(minutes=1))

    row = await Refresh.get()
    assert (row.attempts, row.error is None, row.due_at) == (0, True, LATER + timedelta(minutes=1))


async def test_what_a_fetch_shows_beside_what_was_asked_is_answered_too(database: Database) -> None:
    await touched(database, touch("p1"), touch("p2"), touch("p3", LATER), touch("p1", kind=RefreshKind.CERTIFICATE))
    async with database.transaction() as connection:
        await answered(connection, database.dialect, "hse", KIND, ["p1", "p3", "p4"], LATER)

    assert sorted((row.subject, row.kind) for row in await Refresh.all()) == [("p1", "certificate"), ("p2", KIND), ("p3", KIND)]


async def test_a_row_that_is_touched_again_and_again_names_the_last_deliveries(database: Database) -> None:
    ids = [UUID(int=number) for number in range(MOST + 5)]
    for number, one in enumerate(ids):
        await touched(database, touch(at=NOON + timedelta(milliseconds=number), cause=Cause((one,))))

    (claim_,) = await claimed(database)
    assert claim_.cause.deliveries == tuple(ids[5:])


async def test_a_row_goes_on_with_the_trace_of_its_last_touch(database: Database) -> None:
    await touched(database, touch(cause=Cause((), "first")), touch("p2", cause=Cause((), "only")), touch("p3", cause=Cause((), "first")))
    await touched(database, touch(at=NOON + timedelta(seconds=1), cause=Cause((), "last")), touch("p3", NOON + timedelta(seconds=1)))
    await touched(database, touch(at=NOON - timedelta(seconds=1), cause=Cause((), "late")))

    assert {one.subject: one.cause.trace for one in await claimed(database)} == {"p1": "last", "p2": "only", "p3": None}


async def test_an_account_without_api_is_never_to_be_fetched(database: Database) -> None:
    async with database.transaction() as connection:
        await Mirror(accounts=frozenset({"other"})).apply(connection, database.dialect, [touch()])

    assert await Refresh.all().count() == 0
