"""Hints into rows: a stronger one replaces every field, a weaker one changes nothing."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import RefreshKind, SubscriptionState
from tests.workers.made import NOON
from workers.database import Database, close_database, open_database
from workers.migrations import migrate
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Absence, Effect, Sighting, Touch, aim
from workers.mirror.hints import Hint
from workers.mirror.tables import ActionSubscription
from workers.outbox import OutboxEvent
from workers.refreshes import Refresh


def hint(subject: str = "s1", *, deleted: bool = False, at: datetime = NOON, fingerprint: bytes = b"\x01", **said: Any) -> Hint:
    """Evidence for one subscription; the fields that are not named are empty."""
    account, flags = said.pop("account", "hse"), said.pop("flags", [])
    fields = dict.fromkeys(SUBSCRIPTION_FIELDS) | {"action_subscription_id": subject} | said
    return Hint(account, subject, deleted, at, fingerprint, fields, flags)


async def write(database: Database, *hints: Hint) -> None:
    """Apply hints in a transaction."""
    async with database.transaction() as connection:
        await Mirror().apply(connection, database.dialect, hints)


async def test_every_field_is_mirrored(database: Database) -> None:
    said: dict[str, Any] = {name: f"the {name}" for name in SUBSCRIPTION_FIELDS if name != "action_subscription_id"}
    said |= {"data": {"note": ["è", 1.5, None]}, "certificate_date_release": date(2020, 1, 15), "certificate_date_expire": date(1, 1, 1)}
    said |= {"owned_active": True, "parent_active": False, "last_session_date": date(2026, 3, 1)}
    await write(database, hint(**said, flags=["odd"]))

    row = await ActionSubscription.get(action_subscription_id="s1")
    assert {name: getattr(row, name) for name in SUBSCRIPTION_FIELDS} == said | {"action_subscription_id": "s1"}
    assert (row.owned_active, row.parent_active) == (True, False)
    assert (row.account, row.state, row.flags) == ("hse", "live", ["odd"])
    assert (row.hint_deleted, row.hint_received_at, bytes(row.hint_fingerprint or b"")) == (False, NOON, b"\x01")


async def test_what_was_changed_is_given_by_its_aim_where_it_is_asked_for(database: Database) -> None:
    await write(database, hint("s1", at=NOON + timedelta(hours=1)), hint("s2"))
    touch = Touch("hse", RefreshKind.SUBSCRIBER, "p1", NOON)
    said: list[Effect] = [hint("s1"), hint("s2", deleted=True), hint("s3"), touch, Touch("unasked", RefreshKind.SUBSCRIBER, "p1", NOON)]
    async with database.transaction() as connection:
        assert await Mirror(frozenset({"hse"})).apply(connection, database.dialect, said, noting=True) == {
            aim(one) for one in (hint("s2"), hint("s3"), touch)
        }
        assert await Mirror(frozenset({"hse"})).apply(connection, database.dialect, said, noting=True) == set()
        assert await Mirror(frozenset({"hse"})).apply(connection, database.dialect, [hint("s4")]) == set()


async def test_what_is_said_quietly_is_mirrored_and_nothing_else(database: Database) -> None:
    said: list[Effect] = [hint(), Touch("hse", RefreshKind.SUBSCRIBER, "p1", NOON)]
    async with database.transaction() as connection:
        changed = await Mirror(frozenset({"hse"})).apply(connection, database.dialect, said, quietly=True, noting=True)

    assert changed == {aim(hint())}
    assert (await ActionSubscription.get()).state == "live"
    assert (await Refresh.all().count(), await OutboxEvent.all().count()) == (0, 0)


async def test_empty_fields_are_null(database: Database) -> None:
    await write(database, hint())

    row = await ActionSubscription.get(action_subscription_id="s1")
    assert {getattr(row, name) for name in SUBSCRIPTION_FIELDS if name != "action_subscription_id"} == {None}


WEAK = hint(at=NOON, action_name="first", fingerprint=b"\x7f")


@pytest.mark.parametrize(
    ("second", "held"),
    [
        pytest.param(hint(at=NOON + timedelta(microseconds=1), action_name="second"), "second", id="a later create wins"),
        pytest.param(hint(at=NOON - timedelta(microseconds=1), action_name="second"), "first", id="an earlier create loses"),
        pytest.param(hint(action_name="second", fingerprint=b"\x80"), "second", id="at one time the greater fingerprint wins, unsigned"),
        pytest.param(hint(action_name="second", fingerprint=b"\x00\xff"), "first", id="at one time the smaller fingerprint loses"),
        pytest.param(hint(action_name="second", fingerprint=b"\x7f"), "first", id="the same evidence changes nothing"),
        pytest.param(hint(deleted=True, at=NOON - timedelta(days=999)), None, id="the earliest delete beats a create"),
        pytest.param(
            hint(at=(NOON + timedelta(hours=1)).astimezone(timezone(timedelta(hours=-9))), action_name="second"),
            "second",
            id="times compare as moments, not as clocks show them",
        ),
    ],
)
async def test_the_stronger_hint_holds_in_either_order(database: Database, second: Hint, held: str | None) -> None:
    await write(database, WEAK)
    await write(database, second)
    forwards = await ActionSubscription.get()
    await ActionSubscription.all().delete()
    await write(database, second)
    await write(database, WEAK)
    backwards = await ActionSubscription.get()

    assert forwards.action_name == held
    if second.strength != WEAK.strength:
        assert backwards.action_name == held
    assert forwards.hint_received_at == backwards.hint_received_at


async def test_a_tombstone_has_the_fields_of_its_delete_and_of_no_create(database: Database) -> None:
    await write(database, hint(action_name="of the create", action_code="c"))
    await write(database, hint(deleted=True, action_name="of the delete"))
    await write(database, hint(at=NOON + timedelta(days=1), action_name="of a later create", action_code="d"))

    row = await ActionSubscription.get()
    assert (row.state, row.action_name) == ("deleted", "of the delete")
    assert row.action_code is None


async def test_a_delete_leaves_a_tombstone_for_a_row_that_was_never_seen(database: Database) -> None:
    await write(database, hint(deleted=True))

    assert (await ActionSubscription.get()).state == "deleted"


async def test_one_id_in_two_accounts_is_two_rows(database: Database) -> None:
    await write(database, hint(account="a"), hint(account="b", deleted=True))

    rows = await ActionSubscription.all().order_by("account")
    assert [(row.account, row.state) for row in rows] == [("a", "live"), ("b", "deleted")]


async def test_hints_of_one_call_are_folded(database: Database) -> None:
    await write(database, hint(action_name="second", at=NOON + timedelta(seconds=1)), hint(action_name="first"), hint("s0"))

    rows = await ActionSubscription.all().order_by("id")
    assert [(row.action_subscription_id, row.action_name) for row in rows] == [("s0", None), ("s1", "second")]


_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_data = st.recursive(
    st.lists(_text | st.integers(), max_size=3),
    lambda inner: st.dictionaries(_text, inner | st.none() | st.booleans() | st.integers(), max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=_data | _text | st.booleans(), at=st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))
async def test_structured_data_and_times_are_read_back_to_the_digit(database: Database, data: Any, at: datetime) -> None:
    await ActionSubscription.all().delete()
    await write(database, hint(data=data, at=at))

    row = await ActionSubscription.get()
    assert (row.data, type(row.data), row.hint_received_at) == (data, type(data), at)


SKEW = timedelta(seconds=5)
MIRROR = Mirror(frozenset({"hse"}), SKEW)
Evidence = Hint | Sighting | Absence

_seconds = st.integers(0, 40).map(lambda n: NOON + timedelta(seconds=n))
_hints = st.builds(
    lambda deleted, at, tag: hint(deleted=deleted, at=at, fingerprint=tag, action_name="hint"), st.booleans(), _seconds, st.binary()
)
_sightings = st.builds(lambda began: sighting(began), _seconds)
_absences = st.builds(
    lambda began, state: Absence("hse", "s1", began, state),
    _seconds,
    st.sampled_from([SubscriptionState.MISSING, SubscriptionState.DELETED]),
)


def sighting(began: datetime) -> Sighting:
    """A fetch that began then saw the subscription, under a name that tells which fetch."""
    fields = dict.fromkeys(SUBSCRIPTION_FIELDS) | {"action_subscription_id": "s1", "action_name": began.isoformat()}
    return Sighting("hse", "s1", began, fields)


async def written(database: Database, evidence: Evidence) -> None:
    """Write one piece of evidence as the pipeline, or the refresher, does."""
    async with database.transaction() as connection:
        match evidence:
            case Hint():
                touch = Touch("hse", RefreshKind.ACTION_SUBSCRIPTION, "s1", evidence.received_at)
                await MIRROR.apply(connection, database.dialect, [evidence, touch])
            case Sighting():
                await MIRROR.sighted(connection, database.dialect, [evidence])
            case Absence():
                await MIRROR.absent(connection, database.dialect, [evidence])


async def shown() -> tuple[str, str | None, datetime | None]:
    """What the mirror says."""
    row = await ActionSubscription.get()
    return row.state, row.action_name, row.fetched_at


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hints=st.lists(_hints, min_size=1, max_size=5),
    fetches=st.lists(_sightings | _absences, min_size=1, max_size=5, unique_by=lambda one: one.began),
    data=st.data(),
)
async def test_the_last_fetch_decides_whatever_order_the_evidence_comes_in(
    database: Database, hints: list[Hint], fetches: list[Sighting | Absence], data: st.DataObject
) -> None:
    await ActionSubscription.all().delete()
    await Refresh.all().delete()
    evidence: list[Evidence] = [*hints, *fetches]
    order = data.draw(st.permutations(evidence + data.draw(st.lists(st.sampled_from(evidence), max_size=3))))
    # What nobody ever told of is not missing: an absence makes no row.
    assume(not isinstance(order[0], Absence))
    for one in order:
        await written(database, one)

    last, told = max(fetches, key=lambda one: one.began), max(one.received_at for one in hints)
    state, name, fetched_at = await shown()
    if last.began - SKEW > told:
        said = ("live", last.began.isoformat()) if isinstance(last, Sighting) else (last.state.value, name)
        assert (state, name, fetched_at) == (*said, last.began)
    else:
        assert (await Refresh.get()).marked_at == told

    final = sighting(NOON + timedelta(minutes=1))
    for one in data.draw(st.permutations([final, *evidence])):
        await written(database, one)
    assert await shown() == ("live", final.began.isoformat(), final.began)


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_webhook_shortly_before_a_fetch_leaves_it_undecided(database: Database, deleted: bool) -> None:
    await written(database, hint(deleted=deleted, action_name="hint"))
    await written(database, sighting(NOON + SKEW))
    undecided = await shown()
    await written(database, sighting(NOON + SKEW + timedelta(microseconds=1)))

    assert undecided == ("deleted" if deleted else "live", "hint", None)
    assert (await shown())[0] == "live"


async def test_a_create_after_a_fetch_takes_none_of_what_the_fetch_saw(database: Database) -> None:
    await written(database, sighting(NOON))
    await written(database, hint(at=NOON + timedelta(hours=1), action_name="hint"))

    assert await shown() == ("live", NOON.isoformat(), NOON)
    assert (await Refresh.get()).since == NOON + timedelta(hours=1)


async def test_a_delete_after_a_fetch_is_believed_until_the_next(database: Database) -> None:
    await written(database, sighting(NOON))
    await written(database, hint(deleted=True, at=NOON + timedelta(hours=1)))

    assert (await shown())[0] == "deleted"


async def test_what_is_absent_keeps_what_was_known_of_it(database: Database) -> None:
    await written(database, sighting(NOON))
    await written(database, Absence("hse", "s1", NOON + timedelta(hours=1), SubscriptionState.MISSING))

    assert await shown() == ("missing", NOON.isoformat(), NOON + timedelta(hours=1))


async def test_a_replay_of_what_a_fetch_has_decided_over_touches_nothing(database: Database) -> None:
    await written(database, sighting(NOON))
    await written(database, hint(at=NOON - timedelta(minutes=1), deleted=True))

    assert await Refresh.all().count() == 0
    assert (await shown())[0] == "live"


_ACCELERATED = """
import asyncio, sys
from workers.database import close_database, open_database
from workers.log import LoggedDelivery
from workers.mirror.tables import ActionSubscription

async def main():
    await open_database(sys.argv[1])
    try:
        print((await ActionSubscription.get()).data, (await ActionSubscription.get()).flags, await LoggedDelivery.all())
    finally:
        await close_database()

asyncio.run(main())
"""


async def test_an_accelerator_that_happens_to_be_installed_changes_no_number(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'muster.sqlite3'}"
    database = await open_database(url)
    await migrate(database)
    await write(database, hint(data={"n": 2**70}, flags=["odd"]))
    await close_database()
    (tmp_path / "orjson.py").write_text("def loads(text): raise ValueError\n\ndumps = loads\n")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    command = [sys.executable, "-c", _ACCELERATED, url]
    said = await asyncio.to_thread(
        subprocess.run, command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=60
    )

    assert said.stdout == f"{{'n': {2**70}}} ['odd'] []\n", said.stderr
