"""What is told of a change of the mirror: each once, from what was told before, with what it was and what it is."""

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest

from schemas.events import EventType
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import SubscriptionState
from tests.workers.made import NOON
from tests.workers.mirror.test_apply import hint, write
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.changes import changes, overwritten, told
from workers.mirror.evidence import Absence, Sighting
from workers.mirror.facts import COURSE_RESULT, Fact
from workers.outbox import OutboxEvent

#: A certificate without an end, which is valid whatever the day.
VALID: dict[str, Any] = {"status": "VALID", "last_certificate_id": "c1", "certificate_date_release": date(2024, 3, 15)}
MIRROR = Mirror(frozenset({"hse"}))
LIVE, MISSING, DELETED = SubscriptionState
CREATED, CHANGED, GONE, ABSENT, STATUS = (
    EventType.SUBSCRIPTION_CREATED,
    EventType.SUBSCRIPTION_CHANGED,
    EventType.SUBSCRIPTION_DELETED,
    EventType.SUBSCRIPTION_MISSING,
    EventType.STATUS_CHANGED,
)


def row(state: SubscriptionState = LIVE, **said: Any) -> dict[str, Any]:
    """A row of the mirror."""
    return dict.fromkeys(SUBSCRIPTION_FIELDS) | {"account": "hse", "action_subscription_id": "s1", "state": state} | said


@pytest.mark.parametrize(
    ("before", "after", "types"),
    [
        pytest.param(None, row(status="NEW"), [CREATED], id="first seen"),
        pytest.param(None, row(DELETED), [GONE], id="first heard of by its DELETE"),
        pytest.param(row(), row(), [], id="nothing"),
        pytest.param(row(), row(office_name="x"), [CHANGED], id="a field"),
        pytest.param(row(status="NEW"), row(status="VALID"), [CHANGED, STATUS], id="its status"),
        pytest.param(row(), row(MISSING), [ABSENT], id="not shown"),
        pytest.param(row(MISSING), row(), [CHANGED], id="shown again"),
        pytest.param(row(MISSING, status="NEW"), row(status="VALID"), [CHANGED, STATUS], id="shown again with another status"),
        pytest.param(row(), row(DELETED, status="x"), [GONE], id="deleted, with a DELETE's fields"),
        pytest.param(row(MISSING), row(DELETED), [GONE], id="missing, and accepted as deleted"),
        pytest.param(row(DELETED), row(DELETED, status="x"), [], id="another DELETE"),
        pytest.param(row(DELETED), row(), [CREATED], id="there after all"),
    ],
)
def test_what_is_told(before: dict[str, Any] | None, after: dict[str, Any], types: list[EventType]) -> None:
    assert [event.type for event in changes(before, after, NOON)] == types


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        pytest.param(row(subscriber_id="p", subscriber_code="c"), row(DELETED), True, id="everything"),
        pytest.param(row(subscriber_id="p", subscriber_code="c"), row(DELETED, subscriber_id="p"), True, id="the code"),
        pytest.param(row(subscriber_id="p", last_certificate_id="1"), row(subscriber_id="p", last_certificate_id="2"), True, id="renewed"),
        pytest.param(row(subscriber_id="p", status="NEW"), row(subscriber_id="p", status="VALID"), False, id="nothing that leads to them"),
        pytest.param(row(subscriber_id="p"), row(subscriber_id="p", subscriber_code="c"), False, id="more is known"),
        pytest.param(row(DELETED), row(subscriber_id="p"), False, id="of nobody"),
    ],
)
def test_whose_it_was_is_kept_where_that_is_overwritten(before: dict[str, Any], after: dict[str, Any], kept: bool) -> None:
    assert overwritten(before, after) is kept


def test_a_change_names_the_fields_and_a_status_what_it_was_and_who_changed_it() -> None:
    changed, status = changes(row(status="VALID", subscriber_name="A"), row(status="EXPIRING", subscriber_name="B"), NOON, by="clock")

    assert set(changed.data.model_dump()["changed"]) == {"status", "subscriber_name"}
    assert status.data.model_dump().items() >= {"before": "VALID", "status": "EXPIRING", "by": "clock"}.items()
    assert "subscriber_name" not in changed.data.model_dump() | status.data.model_dump()


async def kept() -> list[tuple[str, str, int]]:
    """Type, subject and number of what is in the outbox."""
    rows = await OutboxEvent.all().order_by("id")
    return [(one.type.removeprefix("muster.").removesuffix(".v1"), one.subject, one.sequence) for one in rows]


async def sight(database: Database, *evidence: Sighting | Absence) -> None:
    """Take what fetches say."""
    async with database.transaction() as connection:
        await MIRROR.sighted(connection, database.dialect, [one for one in evidence if isinstance(one, Sighting)])
        await MIRROR.absent(connection, database.dialect, [one for one in evidence if isinstance(one, Absence)])


def sighted(minutes: int, subject: str = "s1", **said: Any) -> Sighting:
    """What a fetch found so many minutes after noon."""
    fields = dict.fromkeys(SUBSCRIPTION_FIELDS) | {"action_subscription_id": subject} | said
    return Sighting("hse", subject, NOON + timedelta(minutes=minutes), fields)


async def test_a_subscriptions_life_is_told_in_its_order(database: Database) -> None:
    await write(database, hint(status="NEW"))
    await write(database, hint(status="NEW"))
    await sight(database, sighted(1, status="NEW", data={"a": [1, None]}, manager={"x": 1}, owned_active=True))
    await sight(database, sighted(2, status="NEW", data={"a": [1, None]}, manager={"x": 1}, owned_active=True))
    await sight(database, sighted(3, **VALID, data={"a": [1, None]}, manager={"x": 1}, owned_active=True))
    await sight(database, Absence("hse", "s1", NOON + timedelta(minutes=4), MISSING))
    await write(database, hint(deleted=True, at=NOON + timedelta(minutes=5)))

    names = ["subscription.created", "subscription.changed", "subscription.changed", "subscription.status_changed"]
    names += ["subscription.missing", "subscription.deleted"]
    assert await kept() == [(name, "hse/s1", number) for number, name in enumerate(names, 1)]
    first, second = (await OutboxEvent.all().order_by("id"))[:2]
    assert set(second.data["changed"]) == {"data", "manager", "owned_active"}  # type: ignore[call-overload]
    assert (first.at, second.at) == (NOON, NOON + timedelta(minutes=1))


async def test_evidence_that_does_not_decide_tells_nothing(database: Database) -> None:
    await sight(database, sighted(5, **VALID))
    await sight(database, sighted(1, status="NEW"), Absence("hse", "nobody", NOON, DELETED))

    assert await kept() == [("subscription.created", "hse/s1", 1)]


async def test_what_is_rolled_back_is_not_told(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        await _failing(database)

    assert await kept() == []


async def _failing(database: Database) -> None:
    async with database.transaction() as connection:
        await MIRROR.apply(connection, database.dialect, [hint()])
        raise ZeroDivisionError


async def test_writers_at_once_tell_each_change_once_and_from_what_was_told_before(database: Database) -> None:
    subjects, statuses = [f"s{number}" for number in range(6)], ["NEW", "VALID", "EXPIRING", "EXPIRED"]

    async def writer(offset: int) -> None:
        for turn in range(8):
            minute = turn * 5 + offset
            await sight(database, *(sighted(minute, subject, status=statuses[minute % 4]) for subject in subjects))

    await asyncio.gather(*(writer(offset) for offset in range(5)))

    for subject in subjects:
        rows = await OutboxEvent.filter(subject=f"hse/{subject}").order_by("sequence")
        assert [row.type for row in rows if row.type == CREATED] == [rows[0].type]
        moved = [row.data for row in rows if row.type == STATUS]
        seen = [rows[0].data["status"], *(one["status"] for one in moved)]
        assert [one["before"] for one in moved] == seen[:-1]
        assert seen[-1] == statuses[39 % 4]


async def test_any_other_writer_can_have_its_changes_told(database: Database) -> None:
    await sight(database, sighted(1, **VALID))
    async with database.transaction() as connection, told(connection, database.dialect, {("hse", "s1"): NOON}, by="clock"):
        await connection.execute_query("UPDATE action_subscriptions SET status = 'EXPIRING'")

    last = await OutboxEvent.all().order_by("-id").first()
    assert last is not None
    assert last.data.items() >= {"before": "VALID", "status": "EXPIRING", "by": "clock"}.items()


async def test_each_new_version_of_a_result_is_told_and_the_same_again_is_not(database: Database) -> None:
    async def found(minutes: int, **content: Any) -> None:
        at = NOON + timedelta(minutes=minutes)
        fact = Fact(COURSE_RESULT, "lms", ("JS001", "FIRE", "", 0), at, {"name": "Fire", "completed": True, **content})
        async with database.transaction() as connection:
            await Mirror().observe(connection, database.dialect, COURSE_RESULT, "lms", [fact], at)

    await found(0, grade=70.0)
    await found(1, grade=70.0)
    await found(2, grade=81.5)
    async with database.transaction() as connection:
        await Mirror().observe(connection, database.dialect, COURSE_RESULT, "lms", [], NOON + timedelta(minutes=3), {})

    assert await kept() == [("result.course", "lms/course_result/JS001/FIRE//0", number) for number in (1, 2, 3)]
    told_of = [(row.data["version"], row.data["grade"], row.data["withdrawn"]) for row in await OutboxEvent.all().order_by("id")]
    assert told_of == [(1, 70.0, False), (2, 81.5, False), (3, 81.5, True)]
