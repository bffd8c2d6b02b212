"""The verb: a report however a run ended, and patience with a process that may be dead."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.states import RunState
from tests.workers.vendors.acme import PATIENT, SUBSCRIPTION, Stage, staged
from workers.database import Database
from workers.mirror import runs
from workers.mirror.apply import Mirror
from workers.mirror.runs import Asked, Busy
from workers.operations import reconcile
from workers.simulators.faults import Broken
from workers.vendors.accounts import OpenAccount
from workers.vendors.fourhse import Fourhse


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def account(stage: Stage) -> AsyncIterator[OpenAccount]:
    settings = stage.account(PATIENT.model_copy(update={"attempts": 1}))
    client = Fourhse(settings, now)
    yield OpenAccount("hse", settings, client)
    await client.close()


async def run(database: Database, account: OpenAccount) -> reconcile.Report:
    """Reconcile everything."""
    return await reconcile.run(database, Mirror(frozenset({"hse"})), account, Asked(), now)


async def test_a_report_counts_and_its_drifts_are_listed(database: Database, account: OpenAccount, stage: Stage) -> None:
    first = await run(database, account)
    stage.tenancy.historicize(SUBSCRIPTION)
    second = await run(database, account)

    assert (first.state, first.backfill, first.missing, first.drift, first.calls) == (RunState.DONE, True, 1, 0, 1)
    assert (second.different, second.drift, second.error) == (1, 1, None)
    assert [(one.subject, one.differing) for one in await reconcile.drifts(second.run, 10)] == [(SUBSCRIPTION, ["owned_active"])]


async def test_what_the_vendor_failed_with_is_in_the_report(database: Database, account: OpenAccount, stage: Stage) -> None:
    stage.faults.on(Broken(path="*/index"))
    report = await run(database, account)

    assert (report.state, report.error) == (RunState.FAILED, "POST /v2/action-subscription/index: 500")


@pytest.mark.parametrize("lives", [False, True])
async def test_a_run_of_a_process_that_died_is_taken_over_and_one_that_lives_is_left_to_it(
    database: Database, account: OpenAccount, monkeypatch: pytest.MonkeyPatch, *, lives: bool
) -> None:
    monkeypatch.setattr(runs, "LEASE", timedelta(seconds=0.4))
    monkeypatch.setattr(runs, "BEAT", 0.05 if lives else 60)
    monkeypatch.setattr(reconcile, "_LOOK", 0.1)
    other = await runs.take(database, "hse", Asked(), now(), dry_run=False, held=False)
    async with runs.kept(database, other, now):
        if lives:
            with pytest.raises(Busy):
                await run(database, account)
        else:
            assert (await run(database, account)).run == other.id
