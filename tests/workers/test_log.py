"""The delivery log keeps every delivery verbatim, whatever it holds, and what was applied stays applied."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.delivery import Delivery
from schemas.states import EXPLANATIONS, DeliveryState, Reason
from tests.workers.made import NOON, created, deleted, delivery, logged, replayed
from workers.database import Database
from workers.log import (
    Entry,
    HeldEnvelope,
    LoggedDelivery,
    already_applied,
    begin_attempt,
    disown,
    drop,
    first_with_same_content,
    hold,
    record,
    settle,
)

FINAL = {DeliveryState.APPLIED, DeliveryState.SETTLED}


async def write(database: Database, *entries: Entry) -> None:
    """Record entries in a transaction."""
    async with database.transaction() as connection:
        await record(connection, database.dialect, entries)


def entry(one: Delivery, state: DeliveryState = DeliveryState.DEAD, **said: Any) -> Entry:
    """An entry that says little."""
    return Entry(one, state, said.pop("event", one.event), **said)


async def test_an_entry_is_written_as_it_is(database: Database) -> None:
    one, first = created(), UUID(int=8)
    await write(database, entry(one, reason=Reason.MISSING_FIELD, detail="why", subject="s1", attempts=3, repeat_of=first))

    row = await logged(one)
    assert (row.source, row.account, row.vendor, row.event) == ("hse", "hse", "4hse", one.event)
    assert (row.received_at, row.headers, bytes(row.body or b""), bytes(row.fingerprint).hex()) == (
        NOON,
        one.headers,
        one.body,
        one.fingerprint,
    )
    assert (row.state, row.reason, row.detail, row.subject) == ("dead", "missing_field", "why", "s1")
    assert (row.attempts, row.replay_of, row.repeat_of) == (3, None, first)
    assert abs(datetime.now(UTC) - row.state_at) < timedelta(minutes=1)


async def test_of_a_replay_the_log_keeps_whose_it_is_and_leaves_its_content_to_the_original(database: Database) -> None:
    one = created()
    await write(database, entry(one), entry(replayed(one)))

    original, replay = await logged(one), await logged(replayed(one))
    assert (original.headers, bytes(original.body or b""), original.replay_of) == (one.headers, one.body, None)
    assert (replay.headers, replay.body, replay.replay_of, replay.fingerprint) == ({}, None, one.id, original.fingerprint)


async def test_replayed_to_a_good_end_only_what_is_dead_or_in_doubt_is_settled(database: Database) -> None:
    before = [(created(f"s{number}"), state) for number, state in enumerate(DeliveryState)]
    untouched = created()
    await write(database, *(entry(one, state, reason=Reason.UNPARSABLE) for one, state in before), entry(untouched))
    async with database.transaction() as connection:
        await settle(connection, database.dialect, {one.id for one, _ in before})
        await settle(connection, database.dialect, set())

    settled = {DeliveryState.DEAD, DeliveryState.RECEIVED}
    expected = [("settled" if state in settled else state, "unparsable") for _, state in before]
    assert [((row := await logged(one)).state, row.reason) for one, _ in before] == expected
    assert (await logged(untouched)).state == "dead"


_any_text = st.text(st.characters(codec="utf-8"), max_size=20)
_any_delivery = st.builds(
    delivery,
    st.binary(max_size=200),
    st.none() | _any_text,
    source=_any_text,
    account=_any_text,
    vendor=_any_text,
    headers=st.dictionaries(_any_text, _any_text, max_size=3),
    received_at=st.datetimes(timezones=st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))),
)


def without_nul(text: str | None) -> str | None:
    """U+0000 as the log spells it out."""
    return None if text is None else text.replace("\0", "\\x00")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=_any_delivery, detail=st.none() | _any_text, reason=st.sampled_from(Reason))
@example(one=created(received_at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))), detail=None, reason=Reason.DEAD_LETTERED)
@example(one=created(received_at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))), detail=None, reason=Reason.DEAD_LETTERED)
@example(one=delivery(b"\0" * 2_000_000, "\0", account="a\0b", headers={"\0": "\0" * 100_000}), detail="\0", reason=Reason.UNPARSABLE)
async def test_nothing_that_a_delivery_holds_keeps_it_out_of_the_log(
    database: Database, one: Delivery, detail: str | None, reason: Reason
) -> None:
    async with database.transaction() as connection:
        await first_with_same_content(connection, database.dialect, [one])
    await begin_attempt(database, one)
    await write(database, entry(one, reason=reason, detail=detail))

    row = await logged(one)
    assert bytes(row.body or b"") == one.body
    assert bytes(row.fingerprint).hex() == one.fingerprint
    assert [row.source, row.account, row.vendor, row.event] == [*map(without_nul, (one.source, one.account, one.vendor, one.event))]
    assert row.headers == {without_nul(name): without_nul(value) for name, value in one.headers.items()}
    assert (row.state, row.reason, row.detail) == ("dead", reason, without_nul(detail))
    if one.received_at.year not in {1, 9999}:
        assert row.received_at == one.received_at


async def test_no_entries_are_nothing_to_write(database: Database) -> None:
    await write(database)

    assert await LoggedDelivery.all().count() == 0


async def test_one_id_is_one_row_with_the_latest_word_and_the_first_content(database: Database) -> None:
    one = created()
    await write(database, entry(one, reason=Reason.UNKNOWN_EVENT, detail="first"))
    await write(database, entry(one, DeliveryState.IGNORED, reason=Reason.NOT_HANDLED, attempts=2))

    (row,) = await LoggedDelivery.all()
    assert (row.state, row.reason, row.detail or "", row.attempts) == ("ignored", "not_handled", "", 2)


@pytest.mark.parametrize("before", DeliveryState)
@pytest.mark.parametrize("after", DeliveryState)
async def test_only_what_was_applied_or_settled_is_final(database: Database, before: DeliveryState, after: DeliveryState) -> None:
    one = created()
    await write(database, entry(one, before))
    await write(database, entry(one, after))

    assert (await logged(one)).state == (before if before in FINAL else after)
    async with database.transaction() as connection:
        applied = await already_applied(connection, database.dialect, [one.id, UUID(int=1)])
    assert applied == ({one.id} if {before, after} & FINAL else set())


async def test_asking_for_no_ids_finds_none(database: Database) -> None:
    async with database.transaction() as connection:
        assert await already_applied(connection, database.dialect, []) == set()
        assert await first_with_same_content(connection, database.dialect, []) == {}


async def test_the_first_with_the_same_content_is_told_per_account_and_fingerprint(database: Database) -> None:
    first, second, elsewhere, other = created(), created(), created(account="b"), deleted()
    await write(database, *map(entry, (second, first, elsewhere, other)))

    async with database.transaction() as connection:
        found = await first_with_same_content(connection, database.dialect, [created(), created(account="c"), deleted()])
    assert found[("hse", first.fingerprint)] == min(first.id, second.id)
    assert found[("hse", other.fingerprint)] == other.id
    assert ("c", first.fingerprint) not in found


@pytest.mark.parametrize(
    ("ago", "known"),
    [
        pytest.param(timedelta(0), True, id="at once"),
        pytest.param(timedelta(days=7), True, id="a week ago"),
        pytest.param(timedelta(days=-7), False, id="a week later"),
        pytest.param(timedelta(days=14), False, id="too long ago to be looked for"),
    ],
)
async def test_the_same_content_is_looked_for_in_its_own_week_and_the_one_before(database: Database, ago: timedelta, known: bool) -> None:
    first = created(received_at=NOON - ago)
    await write(database, entry(first))

    async with database.transaction() as connection:
        found = await first_with_same_content(connection, database.dialect, [created()])
    assert found == ({("hse", first.fingerprint): first.id} if known else {})


async def test_attempts_are_counted_and_committed_before_they_begin(database: Database) -> None:
    one = created()

    assert [await begin_attempt(database, one) for _ in range(3)] == [1, 2, 3]
    row = await logged(one)
    assert (row.state, row.attempts, bytes(row.body or b"")) == ("received", 3, one.body)


async def test_no_attempt_begins_at_what_was_applied(database: Database) -> None:
    one = created()
    await write(database, entry(one, DeliveryState.APPLIED))

    assert await begin_attempt(database, one) is None
    assert (await logged(one)).state == "applied"


async def test_attempts_that_came_to_an_end_are_not_held_against_the_next_handing_out(database: Database) -> None:
    one = created()
    await write(database, entry(one, DeliveryState.IGNORED, reason=Reason.NOT_HANDLED, attempts=5))

    assert await begin_attempt(database, one) == 1


async def test_attempts_that_killed_the_worker_are_held_against_the_next_handing_out(database: Database) -> None:
    one = created()
    await write(database, entry(one, reason=Reason.WORKER_KILLED, attempts=5))

    assert await begin_attempt(database, one) == 6


@pytest.mark.parametrize(
    ("version", "kind"),
    [(2, "deliveries"), (1, "parcels"), (2**70, "k"), (-(2**70), ""), (3, "a\0b"), (3, "x" * 100_000)],
    ids=["version", "kind", "a huge version", "a negative version", "U+0000 in the kind", "a long kind"],
)
async def test_an_envelope_is_held_verbatim_whatever_it_calls_itself(database: Database, version: int, kind: str) -> None:
    await hold(database, version, kind, b"\0\xff")

    (held,) = await HeldEnvelope.all()
    assert bytes(held.message) == b"\0\xff"


async def test_an_envelope_that_comes_again_is_held_once(database: Database) -> None:
    for message in (b"one", b"two", b"one"):
        await hold(database, 2, "deliveries", message)

    assert [bytes(held.message) for held in await HeldEnvelope.all().order_by("id")] == [b"one", b"two"]


def test_every_reason_is_explained_to_a_person() -> None:
    assert set(EXPLANATIONS) == set(Reason)
    assert all(len(text) > 20 for text in EXPLANATIONS.values())


async def test_only_what_was_applied_then_about_the_unknown_subject_is_ignored(database: Database) -> None:
    applied, minute = DeliveryState.APPLIED, timedelta(minutes=1)
    about = {"l/c": NOON, "l/c/a": NOON + minute, "L/c": NOON, "l/c2": NOON, "x": NOON + minute, "l": NOON}
    matching = [entry(created(received_at=at), applied, subject=subject) for subject, at in about.items()]
    early, late = (entry(created(received_at=at), applied, subject="l/c") for at in (NOON - minute, NOON + 2 * minute))
    others = [early, late, entry(created(account="b"), applied, subject="l/c"), entry(created(), DeliveryState.DEAD, subject="l/c")]
    await write(database, *matching, *others)
    async with database.transaction() as connection:
        await disown(connection, database.dialect, "hse", "l/c", NOON, NOON + minute)

    rows = await LoggedDelivery.filter(state="ignored").order_by("received_at")
    assert [(row.subject, row.reason, row.account, row.received_at) for row in rows] == [
        ("l/c", "unknown_subject", "hse", NOON),
        ("l/c/a", "unknown_subject", "hse", NOON + minute),
    ]


async def test_only_what_is_dead_is_dropped_with_what_it_was_and_why(database: Database) -> None:
    dead, said, applied = created(), created(), created()
    states = [entry(dead, reason=Reason.UNPARSABLE), entry(said, detail="KeyError"), entry(applied, DeliveryState.APPLIED)]
    await write(database, *states)
    async with database.transaction() as connection:
        dropped = await drop(connection, database.dialect, [dead.id, said.id, applied.id], "a te\0st")

    rows = [await logged(one) for one in (dead, said, applied)]
    assert dropped == {dead.id, said.id}
    assert [(row.state, row.reason, row.detail) for row in rows] == [
        ("settled", "unparsable", "dropped: a te\\x00st"),
        ("settled", None, "KeyError; dropped: a te\\x00st"),
        ("applied", None, None),
    ]
