"""The refresher: nobody's failure is another's, nothing is lost by one, and no mistake passes unseen or ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from schemas.states import RefreshKind
from tests.workers.made import NOON, until
from tests.workers.refreshing import SOON, Scene, refreshing
from tests.workers.vendors.acme import ACTION, staged
from tests.workers.vendors.acme import SUBSCRIPTION as SMITH
from workers.database import Database, DatabaseAway
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Touch
from workers.mirror.tables import ActionSubscription
from workers.refresher import FETCHES, Fetch, Refresher
from workers.refreshes import Claim, Refresh, mark
from workers.simulators.faults import Broken, Instead, TooMany
from workers.vendors.accounts import OpenAccount, OpenAccounts
from workers.vendors.errors import Throttled, Unavailable

KIND = RefreshKind.SUBSCRIBER
#: Long enough ago that a clock which really runs is past it.
LONG_AGO = NOON - timedelta(days=1)


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    """Acme's 4HSE, of which the mirror knows nothing."""
    async with refreshing(database, tmp_path) as staged:
        yield staged


async def touch(database: Database, *subjects: str, account: str = "hse", kind: RefreshKind = KIND, at: datetime = NOON) -> None:
    """Mark things as touched."""
    async with database.transaction() as connection:
        await mark(connection, database.dialect, [Touch(account, kind, one, at) for one in subjects], timedelta(seconds=5))


def fetching(scene: Scene, fetch: Callable[[Sequence[str]], None]) -> Refresher:
    """A refresher whose fetch of subscribers is this."""

    async def fetched(_: Database, __: Mirror, ___: OpenAccount, claims: Sequence[Claim], ____: Callable[[], datetime]) -> None:
        fetch([one.subject for one in claims])

    return Refresher(scene.database, scene.mirror, scene.accounts, scene.now, {KIND: fetched})


async def test_what_the_vendor_refuses_keeps_its_words_and_holds_up_nobody(scene: Scene) -> None:
    (bad,) = [scene.stage.tenancy.subscribe(ACTION, "p1")]
    body = b'[{"field": "id", "message": "Not this one."}]'
    scene.stage.faults.on(Instead(path=f"*/view/{bad}", status=422, body=body, times=None))
    await touch(scene.database, bad, SMITH, kind=RefreshKind.ACTION_SUBSCRIPTION)
    scene.time += SOON
    await scene.look(RefreshKind.ACTION_SUBSCRIPTION)

    row = await Refresh.get()
    assert (row.subject, row.attempts, row.error) == (bad, 1, "422: id: Not this one.")
    assert timedelta(seconds=4) < row.due_at - scene.time < timedelta(seconds=6)
    assert (await scene.row(SMITH)).status == "NEW"


async def test_failures_wait_longer_and_longer_and_an_hour_at_most(scene: Scene) -> None:
    scene.stage.faults.on(Instead(path="*/view/*", status=422, body=b"[]", times=None))
    await touch(scene.database, SMITH, kind=RefreshKind.ACTION_SUBSCRIPTION)
    scene.time += SOON
    waits = []
    for _ in range(8):
        await scene.look(RefreshKind.ACTION_SUBSCRIPTION)
        row = await Refresh.get()
        waits.append((row.due_at - scene.time).total_seconds())
        scene.time = row.due_at

    steps = [5, 15, 60, 300, 900, 3600, 3600, 3600]
    assert [round(wait / step, 1) for wait, step in zip(waits, steps, strict=True)] == [pytest.approx(1, abs=0.11)] * 8


async def test_a_throttled_account_is_left_alone_as_long_as_it_asks(database: Database, tmp_path: Path) -> None:
    async with refreshing(database, tmp_path, concurrency=1) as scene:
        scene.stage.faults.on(TooMany(retry_after="120", times=None))
        await touch(database, *(f"s{n}" for n in range(20)), kind=RefreshKind.ACTION_SUBSCRIPTION)
        scene.time += SOON
        pause = await scene.look(RefreshKind.ACTION_SUBSCRIPTION)

        assert pause == pytest.approx(120, abs=1)
        assert scene.calls() == 1
        assert {(row.attempts, row.due_at - scene.time) for row in await Refresh.all()} == {(0, timedelta(seconds=pause))}


async def test_an_open_breaker_pauses_the_account_and_blames_no_row(database: Database, tmp_path: Path) -> None:
    async with refreshing(database, tmp_path, breaker_failures=2, breaker_pause=60, attempts=1, concurrency=1) as scene:
        scene.stage.faults.on(Broken(times=None))
        await touch(database, *(f"s{n}" for n in range(20)), kind=RefreshKind.ACTION_SUBSCRIPTION)
        scene.time += SOON
        pause = await scene.look(RefreshKind.ACTION_SUBSCRIPTION)

        assert 50 < pause <= 60
        assert scene.calls() == 2
        assert sorted(row.attempts for row in await Refresh.all()) == [0] * 18 + [1] * 2
        assert all(row.error for row in await Refresh.all())


async def test_a_mistake_of_ours_is_logged_by_its_name_and_then_found_alone(scene: Scene) -> None:
    tried: list[Sequence[str]] = []

    def fetch(subjects: Sequence[str]) -> None:
        tried.append(subjects)
        if "bad" in subjects:
            raise KeyError("a name that nobody may read")

    refresher = fetching(scene, fetch)
    await touch(scene.database, "bad", "good")
    scene.time += SOON
    with structlog.testing.capture_logs() as logged:
        await refresher.round(scene.account, KIND)
        scene.time += SOON
        await refresher.round(scene.account, KIND)

    assert tried == [["bad", "good"], ["bad"], ["good"]]
    errors = [entry for entry in logged if entry["event"] == "refresh.failed"]
    assert [(entry["error"], entry["log_level"]) for entry in errors] == [("KeyError", "error")] * 2
    assert (await Refresh.get(subject="bad")).error == "KeyError"


@pytest.mark.parametrize(("error", "pause"), [(Throttled(None), 30.0), (Unavailable("down", 1e9), 3600.0), (Unavailable("x"), 0)])
async def test_a_vendor_that_fails_everything_is_left_alone_as_long_as_it_wants(scene: Scene, error: Exception, pause: float) -> None:
    def fetch(_: Sequence[str]) -> None:
        raise error

    await touch(scene.database, "p1")
    scene.time += SOON

    assert await fetching(scene, fetch).round(scene.account, KIND) == pause


async def test_a_database_that_went_away_costs_nothing_but_the_fetch(scene: Scene) -> None:
    def fetch(_: Sequence[str]) -> None:
        raise DatabaseAway("gone")

    await touch(scene.database, "p1")
    scene.time += SOON
    await fetching(scene, fetch).round(scene.account, KIND)

    row = await Refresh.get()
    assert (row.attempts, row.due_at) == (0, scene.time)


async def test_a_claim_waits_for_a_database_that_is_away(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await touch(scene.database, SMITH, kind=RefreshKind.ACTION_SUBSCRIPTION)
    scene.time += SOON
    transaction, failures = scene.database.transaction, iter([True] * 2)

    def away():  # type: ignore[no-untyped-def]
        if next(failures, False):
            raise DatabaseAway("gone")
        return transaction()

    monkeypatch.setattr(scene.database, "transaction", away)
    await scene.look(RefreshKind.ACTION_SUBSCRIPTION)

    assert await Refresh.all().count() == 0


async def test_a_result_that_comes_after_its_lease_does_no_harm(scene: Scene) -> None:
    """Another worker has seen what is newer; the late one neither writes over it nor forgets what was touched since."""
    began = asyncio.Event()
    release = asyncio.Event()

    async def late(database: Database, mirror: Mirror, account: OpenAccount, claims: Sequence[Claim], now: Callable[[], datetime]) -> None:
        frozen = now()
        began.set()
        await release.wait()
        await FETCHES[RefreshKind.ACTION_SUBSCRIPTION](database, mirror, account, claims, lambda: frozen)

    await touch(scene.database, SMITH, kind=RefreshKind.ACTION_SUBSCRIPTION)
    scene.time += SOON
    slow = Refresher(scene.database, scene.mirror, scene.accounts, scene.now, {RefreshKind.ACTION_SUBSCRIPTION: late})
    working = asyncio.create_task(slow.round(scene.account, RefreshKind.ACTION_SUBSCRIPTION))
    await began.wait()
    scene.time += timedelta(minutes=6)
    await scene.look(RefreshKind.ACTION_SUBSCRIPTION)
    newer = (await scene.row(SMITH)).fetched_at
    scene.time += SOON
    await touch(scene.database, SMITH, kind=RefreshKind.ACTION_SUBSCRIPTION, at=scene.time)
    release.set()
    await working

    assert (await scene.row(SMITH)).fetched_at == newer
    assert (await Refresh.get()).marked_at == scene.time


async def test_refreshers_share_the_work_until_they_are_cancelled(scene: Scene) -> None:
    fetched: list[str] = []

    async def fetch(_: Database, __: Mirror, ___: OpenAccount, claims: Sequence[Claim], ____: Callable[[], datetime]) -> None:
        await asyncio.sleep(0.01)
        fetched.extend(one.subject for one in claims)
        async with scene.database.transaction() as connection:
            await Refresh.filter(id__in=[one.id for one in claims]).using_db(connection).delete()

    await touch(scene.database, *(f"p{n:03}" for n in range(500)))
    scene.time += SOON
    fetches: dict[RefreshKind, Fetch] = {KIND: fetch}
    refreshers = [Refresher(scene.database, scene.mirror, scene.accounts, scene.now, fetches) for _ in range(3)]
    tasks = [asyncio.create_task(one.run()) for one in refreshers]
    await until(lambda: len(fetched) >= 500, "everything's being fetched")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert sorted(fetched) == [f"p{n:03}" for n in range(500)]
    assert all(task.cancelled() for task in tasks)


async def test_one_vendor_that_is_down_holds_up_no_other(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with staged(tmp_path / "a") as down, staged(tmp_path / "b") as up:
        down.faults.on(Broken(times=None))
        accounts = OpenAccounts({"down": down.account(), "up": up.account()}, lambda: NOON)
        await touch(database, SMITH, account="down", kind=RefreshKind.ACTION_SUBSCRIPTION, at=LONG_AGO)
        await touch(database, SMITH, account="up", kind=RefreshKind.ACTION_SUBSCRIPTION, at=LONG_AGO)
        running = asyncio.create_task(Refresher(database, Mirror(frozenset({"down", "up"})), accounts, lambda: NOON).run())
        await until(lambda: ActionSubscription.filter(account="up").count(), "the other's fetch")
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await accounts.close()

    assert await ActionSubscription.filter(account="down").count() == 0
    assert [row.account for row in await Refresh.all()] == ["down"]
