"""The outbox: numbers without a gap whoever writes, of each subject the oldest first, and nothing that was rolled back."""

import asyncio
import random
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta

import pytest

from schemas.delivery import now_utc
from schemas.events import DriftFound, Event, EventType
from schemas.states import DriftKind
from tests.workers.made import NOON, until
from workers import outbox
from workers.database import Database
from workers.outbox import LEASE, OFTEN, EventSequence, OutboxEvent, Waiting, afresh, append, claim, drop, settle
from workers.statements import run


def drift(subject: str, *differing: str, account: str = "hse") -> Event:
    """An event about a subscription."""
    data = DriftFound(action_subscription_id=subject, kind=DriftKind.DIFFERENT, differing=list(differing))
    return Event(EventType.DRIFT_FOUND, account, subject, NOON, data)


async def keep(database: Database, *events: Event) -> None:
    """Append in a transaction of its own."""
    async with database.transaction() as connection:
        await append(connection, database.dialect, events)


async def numbers() -> dict[str, list[int]]:
    """What is kept, by subject, in the order in which it was."""
    found = defaultdict(list)
    for row in await OutboxEvent.all().order_by("id"):
        found[row.subject].append(row.sequence)
    return dict(found)


def about(waiting: list[Waiting]) -> list[tuple[str, int]]:
    """Subject and number of each."""
    return sorted((one.told["subject"], int(one.told["sequence"])) for one in waiting)


async def test_each_subject_counts_from_one_and_on(database: Database) -> None:
    await keep(database, drift("b"), drift("a"), drift("b"))
    await keep(database, drift("b"), drift("b", account="other"))

    assert await numbers() == {"hse/b": [1, 2, 3], "hse/a": [1], "other/b": [1]}


async def test_nothing_to_keep_is_no_error(database: Database) -> None:
    await keep(database)

    assert await numbers() == {}


async def test_what_is_rolled_back_leaves_neither_event_nor_gap(database: Database) -> None:
    await keep(database, drift("a"))
    with suppress(ZeroDivisionError):
        async with database.transaction() as connection:
            await append(connection, database.dialect, [drift("a"), drift("b")])
            raise ZeroDivisionError
    await keep(database, drift("a"), drift("b"))

    assert await numbers() == {"hse/a": [1, 2], "hse/b": [1]}


async def test_workers_at_once_leave_no_gap_and_each_ones_events_stay_in_its_order(database: Database) -> None:
    rounds, subjects = 25, [f"s{number}" for number in range(8)]

    async def worker(name: str) -> None:
        dice = random.Random(name)
        for turn in range(rounds):
            events = [drift(subject, f"{name}{turn:03}") for subject in dice.choices(subjects, k=5)]
            async with database.transaction() as connection:
                await append(connection, database.dialect, events)
                await asyncio.sleep(dice.random() / 200)

    await asyncio.gather(*(worker(name) for name in "abc"))

    rows = await OutboxEvent.all().order_by("subject", "sequence")
    assert len(rows) == 3 * rounds * 5
    assert all(found == list(range(1, len(found) + 1)) for found in (await numbers()).values())
    for subject in {row.subject for row in rows}:
        told = [row.data["differing"][0] for row in rows if row.subject == subject]  # type: ignore[index]
        for name in "abc":
            own = [one for one in told if one.startswith(name)]
            assert own == sorted(own)
    assert {row.subject: row.number for row in await EventSequence.all()} == {key: len(found) for key, found in (await numbers()).items()}


async def test_a_claim_costs_what_is_claimed_and_not_what_waits(spoilt_postgres: Database) -> None:
    await keep(spoilt_postgres, *(drift(f"s{number}") for number in range(5000)))
    await spoilt_postgres.connection.execute_query("ANALYZE outbox")
    now = now_utc()
    rows = await spoilt_postgres.connection.execute_query_dict(f"EXPLAIN {outbox._CLAIM}", [now, 200, now + LEASE])
    plan = "\n".join(row["QUERY PLAN"] for row in rows)

    assert "Index Scan using idx_outbox_due_at" in plan
    assert "Sort" not in plan


async def test_of_each_subject_only_the_oldest_is_given_out(database: Database) -> None:
    await keep(database, drift("a"), drift("a"), drift("b"), drift("a"))
    first = await claim(database, now_utc(), 10)
    while_under_way = await claim(database, now_utc(), 10)
    await settle(database, first, [], now_utc())
    second = await claim(database, now_utc(), 10)

    assert about(first) == [("hse/a", 1), ("hse/b", 1)]
    assert while_under_way == []
    assert about(second) == [("hse/a", 2)]


async def test_what_was_not_told_is_given_out_again_before_its_next(database: Database) -> None:
    await keep(database, drift("a"), drift("a"))
    (first,) = await claim(database, now_utc(), 10)
    await settle(database, [], [(first, None)], now_utc())
    (again,) = await claim(database, now_utc(), 10)

    assert (again.row, again.id, again.body, again.attempts) == (first.row, first.id, first.body, 2)


async def test_what_waits_for_a_reason_of_its_own_is_given_out_later_each_time_and_its_subject_waits_with_it(database: Database) -> None:
    await keep(database, drift("a"), drift("a"), drift("b"))
    one, other = sorted(await claim(database, now_utc(), 10), key=lambda waiting: str(waiting.told["subject"]))
    now, pauses = now_utc(), list[float]()
    await settle(database, [other], [(one, "a queue is full")], now)
    for _ in range(5):
        row = await OutboxEvent.get(id=one.row)
        assert row.reason == "a queue is full"
        pauses.append((row.due_at - now).total_seconds())
        assert await claim(database, row.due_at - timedelta(milliseconds=1), 10) == []
        now = row.due_at
        (again,) = await claim(database, now, 10)
        await settle(database, [], [(again, "a queue is full")], now)

    assert pauses == pytest.approx([0.5, 2, 10, 60, 300], rel=0.11)


#: What is wrong with a row, and what is said of it; PostgreSQL keeps none but the first.
SPOILT = (
    ("type", "muster.weather.changed.v1", "this version knows no such type"),
    ("event", "x", "it cannot be read (ValueError)"),
    ("at", "yesterday", "it cannot be read (ValueError)"),
    ("data", "{", "it cannot be read (JSONDecodeError)"),
    ("data", '"\\ud800"', "it cannot be read (UnicodeEncodeError)"),
)


async def test_what_cannot_be_read_is_tried_like_any_other_and_holds_up_its_own_subject_alone(database: Database) -> None:
    spoilt = {f"hse/s{number}": row for number, row in enumerate(SPOILT[:1] if database.dialect == "postgres" else SPOILT)}
    await keep(database, drift("a"), *(drift(subject.removeprefix("hse/")) for subject in [*spoilt] * 2))
    for subject, (column, value, _) in spoilt.items():
        await run(
            database.connection, database.dialect, f"UPDATE outbox SET {column} = $2 WHERE subject = $1 AND sequence = 1", subject, value
        )
    now, told = now_utc(), list[tuple[str, int]]()
    for _ in range(OFTEN):
        told += about(await claim(database, now, 10))
        now += timedelta(hours=1)
    rows = await run(database.connection, database.dialect, "SELECT subject, attempts, reason FROM outbox WHERE sequence = 1")

    assert set(told) == {("hse/a", 1)}
    assert {row["subject"]: (row["attempts"], row["reason"]) for row in rows if row["subject"] in spoilt} == {
        subject: (OFTEN, reason) for subject, (_, _, reason) in spoilt.items()
    }


async def test_a_relay_that_was_killed_holds_its_events_no_longer_than_its_lease(database: Database) -> None:
    await keep(database, drift("a"))
    (first,) = await claim(database, now_utc(), 10)

    assert await claim(database, now_utc() + LEASE - timedelta(seconds=1), 10) == []
    assert [one.id for one in await claim(database, now_utc() + LEASE + timedelta(seconds=1), 10)] == [first.id]


async def test_relays_at_once_share_the_subjects_and_no_event_is_given_out_twice(database: Database) -> None:
    await keep(database, *(drift(f"s{number}") for number in range(60)))
    shares = await asyncio.gather(*(claim(database, now_utc(), 15) for _ in range(6)))

    rows = [one.row for share in shares for one in share]
    assert len(rows) == len(set(rows))

    async def rest() -> bool:
        rows.extend(one.row for one in await claim(database, now_utc(), 15))
        return len(rows) == 60

    await until(rest, "the rest's turn")
    assert len(set(rows)) == 60


async def test_an_event_is_told_as_it_was_kept(database: Database) -> None:
    await keep(database, drift("a", "status"))
    (one,) = await claim(database, now_utc(), 10)

    assert one.told["id"] == str(one.id)
    assert (one.told["type"], one.told["subject"], one.told["time"]) == ("muster.drift.found.v1", "hse/a", "2026-03-01T12:00:00Z")
    assert one.told["data"] == {"action_subscription_id": "a", "kind": "different", "differing": ["status"], "run": None}


async def test_only_what_was_tried_often_is_tried_afresh_or_dropped(database: Database) -> None:
    await keep(database, drift("a"), drift("b"), drift("a"))
    in_an_hour = now_utc() + timedelta(hours=1)
    await OutboxEvent.filter(subject="hse/a", sequence=1).update(attempts=OFTEN, due_at=in_an_hour, reason="a queue is full")
    await OutboxEvent.filter(subject="hse/b").update(attempts=OFTEN - 1)
    often, seldom, never = [(await OutboxEvent.get(subject=f"hse/{name}", sequence=n)).event for name, n in (("a", 1), ("b", 1), ("a", 2))]
    async with database.transaction() as connection:
        afresh_ = await afresh(connection, database.dialect, [often, seldom, never])
        too_late = await drop(connection, database.dialect, [often, seldom, never])
    again = await OutboxEvent.get(event=often)
    await OutboxEvent.filter(event=often).update(attempts=OFTEN)
    async with database.transaction() as connection:
        dropped = await drop(connection, database.dialect, [often, seldom, never])

    assert (again.attempts, not again.reason, again.due_at < in_an_hour) == (0, True, True)
    assert (afresh_, too_late, dropped) == ({often}, set(), {often})
    assert await numbers() == {"hse/b": [1], "hse/a": [2]}
