"""What has gone quiet for longer than its setting, and what has not."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.accounts import AnewspringAccount, FourhseAccount
from tests.workers.made import NOON, created
from workers.database import Database
from workers.operations.freshness import freshness
from workers.pipeline import Pipeline
from workers.schedules import Schedule
from workers.subscribers import WebhookSubscriber

HOUR = timedelta(hours=1)
OFF = {"reconcile": "off", "session_enrollments": "off", "sessions": "off"}


def hse(**changed: Any) -> FourhseAccount:
    """An account with one poll, every six hours."""
    made = {"vendor": "4hse", "access_token_file": "key", "polls": OFF | {"actions": "6h"}}
    return FourhseAccount.model_validate(made | changed)


async def polled(success: datetime | None, since: datetime, **changed: Any) -> None:
    """The poll's row."""
    made = {"account": "hse", "name": "actions", "created_at": since, "due_at": since, "last_success": success, "failures": 0}
    await Schedule(**(made | changed)).save()


async def test_a_source_is_quiet_when_its_last_delivery_is_longer_ago_than_its_accounts_setting(database: Database) -> None:
    await Pipeline(database).together([created(received_at=NOON), created(received_at=NOON - HOUR)])
    loud = await freshness(NOON + 26 * HOUR, {"hse": hse()})
    quiet = await freshness(NOON + 26 * HOUR + timedelta(seconds=1), {"hse": hse()})

    assert [(one.account, one.name, one.last_delivery, one.quiet) for one in loud.sources] == [("hse", "hse", NOON, False)]
    assert [one.quiet for one in quiet.sources] == [True]
    assert quiet.quiet == ["source hse of hse: no delivery since 2026-03-01T12:00:00+00:00"]


async def test_a_source_is_never_quiet_where_no_setting_says_when(database: Database) -> None:
    await Pipeline(database).together([created()])
    lms = AnewspringAccount.model_validate({"vendor": "anewspring", "base_url": "https://acme.example", "api_key_file": "key"})

    for accounts in ({}, {"hse": lms}):
        assert not (await freshness(NOON + 1000 * HOUR, accounts)).quiet


@pytest.mark.parametrize(
    ("quiet_after", "success", "hours", "quiet"),
    [
        pytest.param("1h", 0, 12, False, id="within two periods"),
        pytest.param("1h", 0, 13, True, id="longer ago than two periods"),
        pytest.param("26h", 0, 26, False, id="within the setting, which is more"),
        pytest.param("26h", 0, 27, True, id="longer ago than the setting"),
        pytest.param("1h", None, 12, False, id="new"),
        pytest.param("1h", None, 13, True, id="never a success since it is there"),
    ],
)
async def test_a_poll_is_quiet_when_its_last_success_is_too_long_ago(
    database: Database, quiet_after: str, success: int | None, hours: int, quiet: bool
) -> None:
    await polled(None if success is None else NOON, NOON, failures=3, error="503")
    (found,) = (await freshness(NOON + hours * HOUR, {"hse": hse(quiet_after=quiet_after)})).polls

    assert found.quiet is quiet
    assert (found.account, found.name, found.failures, found.error) == ("hse", "actions", 3, "503")


async def test_polls_that_are_off_or_of_no_configured_account_are_not_named(database: Database) -> None:
    await polled(NOON, NOON)

    for accounts in ({}, {"hse": hse(polls=OFF | {"actions": "off"})}):
        assert not (await freshness(NOON + 1000 * HOUR, accounts)).polls


async def test_a_poll_that_never_began_is_named_and_not_quiet(database: Database) -> None:
    (found,) = (await freshness(NOON, {"hse": hse()})).polls

    assert (found.name, found.last_success, found.quiet) == ("actions", None, False)


async def test_a_subscriber_that_is_not_confirmed_is_quiet(database: Database) -> None:
    for name, state in (("muster-a", "confirmed"), ("muster-b", "unconfirmed")):
        await WebhookSubscriber.create(account="ispring", name=name, event="USER_REGISTERED", state=state, state_at=NOON)
    found = await freshness(NOON, {})

    assert [(one.name, one.quiet) for one in found.subscribers] == [("muster-a", False), ("muster-b", True)]
    assert found.quiet == ["subscriber muster-b of ispring: unconfirmed since 2026-03-01T12:00:00+00:00"]
