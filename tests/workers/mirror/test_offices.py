"""Bulk imports: an office is walked by pages when it is quiet, once, and nothing that was touched is left out."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.states import RefreshKind
from tests.workers.refreshing import SOON, Scene, refreshing
from tests.workers.vendors.acme import ACTION, OFFICE, OTHER_OFFICE, PLACE
from tests.workers.vendors.acme import SUBSCRIPTION as SMITH
from workers.database import Database
from workers.mirror.tables import ActionSubscription
from workers.refresher import Refresher
from workers.refreshes import Refresh
from workers.simulators.faults import Instead

SECOND = timedelta(seconds=1)


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    """Acme's 4HSE, of which the mirror knows nothing."""
    async with refreshing(database, tmp_path) as staged:
        yield staged


def imported(scene: Scene, many: int) -> list[str]:
    """So many more people on the schedule; gives the subscriptions' ids."""
    return [scene.stage.tenancy.subscribe(ACTION, f"p{n:05}") for n in range(len(scene.rows), len(scene.rows) + many)]


async def unfetched() -> int:
    """Mirrored subscriptions that no fetch has decided on."""
    return await ActionSubscription.filter(status=None).count()


async def test_two_thousand_at_once_cost_their_pages(scene: Scene) -> None:
    await scene.created(*imported(scene, 1_999))
    await scene.catch_up()

    assert (scene.calls("*/index"), scene.calls("*/view/*"), await unfetched()) == (20, 0, 0)


async def test_two_thousand_that_trickle_over_a_minute_cost_no_more(database: Database, tmp_path: Path) -> None:
    async with refreshing(database, tmp_path, rate=20) as scene:
        for _ in range(60):
            await scene.created(*imported(scene, 33))
            scene.time += SECOND
            await scene.look()
        await scene.catch_up()

        assert scene.calls() <= 22
        assert await unfetched() == 0


async def test_a_page_answers_its_neighbours_that_nobody_asked_for(scene: Scene) -> None:
    ids = imported(scene, 50)
    await scene.created(*ids[:10])
    await scene.catch_up()

    assert (scene.calls(), await unfetched(), await ActionSubscription.all().count()) == (1, 0, 51)


async def test_a_walk_is_for_the_sake_of_all_that_was_touched(scene: Scene) -> None:
    await scene.created(*imported(scene, 50)[:10])
    told = {row.deliveries for row in await Refresh.all()}
    scene.time += SECOND * 6
    await scene.look(RefreshKind.ACTION_SUBSCRIPTION)
    (walk,) = await Refresh.filter(kind=RefreshKind.OFFICE)

    assert len(told) == 10
    assert {*(walk.deliveries or "").split()} == told


async def test_few_of_a_large_office_are_viewed(scene: Scene) -> None:
    ids = imported(scene, 999)
    await scene.created(*ids)
    await scene.catch_up()
    await scene.created(*ids[:5])
    await scene.catch_up()

    assert (scene.calls("*/index"), scene.calls("*/view/*")) == (10, 5)


async def test_each_office_is_counted_for_itself(scene: Scene) -> None:
    other = scene.stage.tenancy.create("action", {"action_type": "HEALTH", "name": "Check-up", **PLACE, "subtenant_id": OTHER_OFFICE})
    (lonely,) = [scene.stage.tenancy.subscribe(other["action_id"], "p0")]
    await scene.created(lonely, *imported(scene, 30))
    await scene.catch_up()

    assert (scene.calls("*/index"), scene.calls(f"*/view/{lonely}"), scene.calls("*/view/*")) == (1, 1, 1)


async def test_an_office_that_never_becomes_quiet_is_walked_all_the_same(database: Database, tmp_path: Path) -> None:
    async with refreshing(database, tmp_path, rate=20) as scene:
        for _ in range(27):
            await scene.created(*imported(scene, 110))
            scene.time += 5 * SECOND
            await scene.look()

        row = await Refresh.all().order_by("since").first()
        assert scene.calls("*/index") > 0
        assert row is not None
        assert scene.time - row.since <= timedelta(minutes=2) + 2 * SOON


async def test_what_the_walk_does_not_show_is_viewed_and_once_more_before_it_is_called_deleted(scene: Scene) -> None:
    ids = imported(scene, 30)
    await scene.created(*ids)
    for one in ids[:3]:
        scene.stage.tenancy.delete("action-subscription", one)
    await scene.catch_up()

    assert await ActionSubscription.filter(state="deleted").count() == 3
    assert [scene.calls(f"*/view/{one}") for one in ids[:4]] == [2, 2, 2, 0]


async def test_what_webhooks_call_deleted_is_not_looked_for_in_its_office(scene: Scene) -> None:
    ids = imported(scene, 30)
    await scene.created(*ids)
    for one in ids:
        scene.stage.tenancy.delete("action-subscription", one)
    await scene.deleted(*ids)
    await scene.created(SMITH)
    await scene.catch_up()

    assert await ActionSubscription.filter(state="deleted").count() == 30
    assert (scene.calls("*/view/*"), scene.calls("*/index")) == (31, 30)


async def test_two_workers_walk_an_office_once(scene: Scene) -> None:
    second = Refresher(scene.database, scene.mirror, scene.accounts, scene.now)
    await scene.created(*imported(scene, 250))
    scene.time += SOON
    for _ in range(5):
        for kind in (RefreshKind.ACTION_SUBSCRIPTION, RefreshKind.OFFICE):
            await scene.refresher.round(scene.account, kind)
            await second.round(scene.account, kind)

    assert (scene.calls(), await Refresh.all().count(), await unfetched()) == (3, 0, 0)


async def test_what_is_touched_during_the_walk_is_fetched_again(scene: Scene) -> None:
    ids = imported(scene, 30)
    await scene.created(*ids)
    scene.time += SOON
    await scene.look(RefreshKind.ACTION_SUBSCRIPTION)
    scene.time += SOON
    await scene.created(ids[0])
    await scene.look(RefreshKind.OFFICE)
    left = await Refresh.all().values_list("kind", "subject")
    scene.time += SOON
    await scene.look(RefreshKind.OFFICE, RefreshKind.ACTION_SUBSCRIPTION)

    assert ("action-subscription", ids[0]) in left
    assert await Refresh.all().count() == 0


async def test_an_office_that_cannot_be_walked_is_left_for_views(scene: Scene) -> None:
    scene.stage.faults.on(
        Instead(path="*/index", status=422, body=b'[{"field": "subtenant_id", "message": "No such office."}]', times=None)
    )
    await scene.created(*imported(scene, 30))
    await scene.catch_up(40)

    assert (scene.calls("*/index"), scene.calls("*/view/*"), await unfetched()) == (3, 30, 0)


@pytest.mark.parametrize("withdrawn", [True, False])
async def test_a_walk_through_an_office_without_rights_deletes_nothing(scene: Scene, withdrawn: bool) -> None:
    await scene.created(*imported(scene, 30))
    if withdrawn:
        scene.stage.tenancy.withdraw(OFFICE)
    await scene.catch_up()

    assert await ActionSubscription.filter(state="missing" if withdrawn else "live").count() >= 30
