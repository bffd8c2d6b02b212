"""The view `compliance`, a contract with teams that query: the README documents these columns."""

import re
from datetime import timedelta

import pytest
from tortoise.exceptions import OperationalError

from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import RefreshKind
from tests.workers.made import NOON, created, deleted
from workers.database import Database, DatabaseAway
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Sighting, Touch
from workers.pipeline import Pipeline

COLUMNS = (
    *("account", "action_subscription_id", "state", "status", "active"),
    *("action_id", "action_type", "action_code", "action_name"),
    *("subscriber_type", "subscriber_id", "subscriber_code", "subscriber_name"),
    *("office_id", "office_name", "project_id", "project_name", "project_type"),
    *("last_certificate_id", "certificate_date_release", "certificate_date_expire", "last_session_date"),
    *("last_webhook_at", "as_of", "stale_since"),
)
HSE = frozenset({"hse"})
LATER = NOON + timedelta(minutes=1)


async def rows(database: Database, *columns: str) -> list[tuple[object, ...]]:
    """What a team's query finds."""
    query = f"SELECT {', '.join(columns)} FROM compliance ORDER BY account, action_subscription_id"
    return [tuple(row.values()) for row in await database.connection.execute_query_dict(query)]


async def seen(database: Database, *subjects: str, **fields: object) -> None:
    """A fetch shows these subscriptions."""
    said = {"subscriber_id": "p1", "action_id": "a1", "status": "VALID", "owned_active": True, "parent_active": True} | fields
    sightings = [
        Sighting("hse", one, LATER, dict.fromkeys(SUBSCRIPTION_FIELDS) | said | {"action_subscription_id": one}) for one in subjects
    ]
    async with database.transaction() as connection:
        await Mirror(HSE).sighted(connection, database.dialect, sightings)


async def touched(database: Database, kind: RefreshKind, subject: str, scope: str = "") -> None:
    """A webhook says that something has changed."""
    async with database.transaction() as connection:
        await Mirror(HSE).apply(connection, database.dialect, [Touch("hse", kind, subject, LATER + timedelta(hours=1), scope)])


async def test_its_columns_are_the_documented_ones(database: Database) -> None:
    catalogue = "SELECT name FROM pragma_table_info('compliance')"
    if database.dialect == "postgres":
        catalogue = (
            "SELECT attname AS name FROM pg_attribute JOIN pg_description ON objoid = attrelid AND objsubid = attnum"
            " WHERE attrelid = 'compliance'::regclass AND attnum > 0 ORDER BY attnum"
        )

    assert tuple(row["name"] for row in await database.connection.execute_query_dict(catalogue)) == COLUMNS


async def test_it_has_a_row_for_every_subscription_whoever_told_of_it(database: Database) -> None:
    await Pipeline(database).together([created("s1", account="old"), deleted("s2", account="old")])
    await seen(database, "s3")

    assert await rows(database, "account", "action_subscription_id", "state", "status") == [
        ("hse", "s3", "live", "VALID"),
        ("old", "s1", "live", None),
        ("old", "s2", "deleted", None),
    ]
    assert [(webhook is None, as_of is None) for webhook, as_of in await rows(database, "last_webhook_at", "as_of")] == [
        (True, False),
        (False, True),
        (False, True),
    ]


async def test_what_belongs_to_something_historicized_is_not_active(database: Database) -> None:
    await seen(database, "s1")
    await seen(database, "s2", parent_active=False)
    await seen(database, "s3", owned_active=None)

    assert [active if active is None else bool(active) for (active,) in await rows(database, "active")] == [True, False, None]


@pytest.mark.parametrize(
    ("kind", "subject", "scope", "stale"),
    [
        pytest.param(RefreshKind.ACTION_SUBSCRIPTION, "s1", "", {"s1"}, id="it was touched itself"),
        pytest.param(RefreshKind.SUBSCRIBER, "p1", "", {"s1", "s2"}, id="its subscriber was"),
        pytest.param(RefreshKind.SUBSCRIBER, "p1", "a2", {"s2"}, id="its subscriber's certificate for its action was"),
        pytest.param(RefreshKind.CERTIFICATE, "c3", "", {"s3"}, id="its certificate was"),
        pytest.param(RefreshKind.SUBSCRIBER, "p9", "", set(), id="somebody else was"),
    ],
)
async def test_a_row_is_stale_while_what_touched_it_is_not_fetched(
    database: Database, kind: RefreshKind, subject: str, scope: str, stale: set[str]
) -> None:
    await seen(database, "s1", last_certificate_id="c1")
    await seen(database, "s2", action_id="a2")
    await seen(database, "s3", subscriber_id="p3", last_certificate_id="c3")
    await touched(database, kind, subject, scope)
    await touched(database, kind, subject, scope)

    found = await rows(database, "action_subscription_id", "stale_since")
    assert len(found) == 3
    assert {subject for subject, since in found if since is not None} == stale


async def test_it_is_read_only(database: Database) -> None:
    await seen(database, "s1")

    with pytest.raises((DatabaseAway, OperationalError)) as refused:
        await database.connection.execute_query("UPDATE compliance SET state = 'deleted'")

    assert re.search(r"cannot (modify|update)", str(refused.value.__cause__ or refused.value))
