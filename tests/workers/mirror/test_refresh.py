"""What 4HSE says of what was touched: the mirror says the same, and calls nothing deleted that it is not sure of."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.states import RefreshKind
from tests.workers.made import NOON
from tests.workers.refreshing import SOON, Scene, refreshing
from tests.workers.vendors.acme import ACTION, OFFICE, PERSON, PLACE
from tests.workers.vendors.acme import SUBSCRIPTION as SMITH
from workers.database import Database
from workers.mirror.evidence import Touch
from workers.mirror.tables import ActionSubscription
from workers.refreshes import Refresh
from workers.simulators.exchange import Exchange
from workers.simulators.faults import Broken, Fault, Instead, Late
from workers.simulators.fourhse import Tenancy

JSON = {"content-type": "application/json"}


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    """Acme's 4HSE with one subscription, of which the mirror knows nothing."""
    async with refreshing(database, tmp_path) as staged:
        yield staged


def subscribed(scene: Scene, many: int = 1, **fields: str) -> list[str]:
    """More people on the schedule; gives the subscriptions' ids."""
    tenancy = scene.stage.tenancy
    return [tenancy.subscribe(ACTION, f"p{n:05}", **fields) for n in range(len(scene.rows), len(scene.rows) + many)]


async def states(*ids: str) -> list[str]:
    """How they stand in the mirror."""
    rows = {row.action_subscription_id: row.state for row in await ActionSubscription.filter(action_subscription_id__in=ids)}
    return [rows[one] for one in ids]


async def test_a_webhook_brings_every_field_that_the_index_has(scene: Scene) -> None:
    scene.stage.tenancy.certify(SMITH, "2026-01-15", "2031-01-15")
    await scene.created(SMITH)
    await scene.catch_up()

    row = await scene.row(SMITH)
    assert (row.action_name, row.subscriber_name, row.office_name) == ("Fire Safety Training Medium Risk", "Smith John", "Rome North Site")
    assert (row.status, row.certificate_date_release, row.certificate_date_expire) == ("VALID", date(2026, 1, 15), date(2031, 1, 15))
    assert (row.project_type, row.project_subscription_status, row.certificate_action_approvals) == ("safety", "PAID", 0)
    assert (row.owned_active, row.parent_active, row.last_session_date) == (True, True, date(2024, 3, 15))
    assert (row.fetched_at, row.fetch_covers) == (scene.time, scene.time - timedelta(seconds=5))


async def test_touches_of_one_entity_cost_one_call(scene: Scene) -> None:
    for _ in range(5):
        await scene.created(SMITH)
        scene.time += timedelta(seconds=1)
    await scene.catch_up()

    assert scene.calls() == 1


async def test_a_fetch_that_began_before_the_last_webhook_is_repeated(scene: Scene) -> None:
    await scene.created(SMITH)
    scene.time += SOON - timedelta(seconds=1)
    await scene.created(SMITH)
    scene.time += timedelta(seconds=1)
    await scene.look()
    undecided = await scene.row(SMITH)
    await scene.catch_up()

    assert undecided.status is None
    assert ((await scene.row(SMITH)).status, scene.calls()) == ("NEW", 2)


# Absent from view.


async def test_what_is_gone_after_a_delete_webhook_is_deleted(scene: Scene) -> None:
    await scene.created(SMITH)
    await scene.catch_up()
    scene.stage.tenancy.delete("action-subscription", SMITH)
    await scene.deleted(SMITH)
    await scene.catch_up()

    row = await scene.row(SMITH)
    assert (row.state, row.fetched_at, scene.calls("*/index")) == ("deleted", scene.time, 1)


async def test_a_delete_webhook_of_what_is_still_there_is_not_believed(scene: Scene) -> None:
    await scene.deleted(SMITH)
    before = await states(SMITH)
    await scene.catch_up()

    assert (before, await states(SMITH)) == (["deleted"], ["live"])


async def test_a_delete_webhook_that_a_fetch_has_disproved_deletes_nothing_later(scene: Scene) -> None:
    await scene.deleted(SMITH)
    await scene.catch_up()
    scene.stage.tenancy.withdraw(OFFICE)
    await scene.tell("PERSON::UPDATE", {"person_id": PERSON})
    await scene.catch_up()

    assert await states(SMITH) == ["missing"]


@pytest.mark.parametrize("status", [404, 403])
async def test_rights_withdrawn_for_an_office_delete_nothing(scene: Scene, status: int) -> None:
    ids = [SMITH, *subscribed(scene, 3)]
    await scene.created(*ids)
    await scene.catch_up()
    scene.stage.tenancy.withdraw(OFFICE, status)
    await scene.created(*ids)
    await scene.catch_up()
    withdrawn = await states(*ids)
    scene.stage.tenancy.restore(OFFICE)
    await scene.created(*ids)
    await scene.catch_up()

    assert (withdrawn, await states(*ids)) == (["missing"] * 4, ["live"] * 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored(Fault):
    """The rights for the office come back just before this request."""

    tenancy: Tenancy

    async def play(self, exchange: Exchange, late: Late) -> None:
        self.tenancy.restore(OFFICE)
        await exchange.through()


async def test_rights_that_come_back_between_two_questions_delete_nothing(scene: Scene) -> None:
    ids = [SMITH, *subscribed(scene)]
    await scene.created(*ids)
    await scene.catch_up()
    scene.stage.tenancy.withdraw(OFFICE)
    scene.stage.faults.on(Restored(path="*/index", skip=1, tenancy=scene.stage.tenancy))
    await scene.created(SMITH)
    await scene.catch_up()

    assert await states(*ids) == ["live", "live"]


async def test_what_is_gone_while_its_office_is_seen_is_deleted_without_a_webhook(scene: Scene) -> None:
    (other,) = subscribed(scene)
    await scene.created(SMITH, other)
    await scene.catch_up()
    scene.stage.tenancy.delete("action-subscription", SMITH)
    await scene.tell("PERSON::UPDATE", {"person_id": PERSON})
    await scene.catch_up()

    assert await states(SMITH, other) == ["deleted", "live"]


async def test_what_only_the_index_shows_is_historicized_and_live(scene: Scene) -> None:
    scene.stage.tenancy.historicize(SMITH)
    scene.stage.faults.on(Instead(path="*/view/*", status=404))
    await scene.created(SMITH)
    await scene.catch_up()

    row = await scene.row(SMITH)
    assert (row.state, row.owned_active, row.parent_active, scene.calls("*/index")) == ("live", False, True, 1)


async def test_an_index_that_ignores_its_filter_proves_no_absence(scene: Scene) -> None:
    subscribed(scene)
    await scene.created(SMITH)
    body = b'[{"action_subscription_id": "another"}]'
    scene.stage.faults.on(Instead(path="*/view/*", status=404), Instead(path="*/index", status=200, headers=JSON, body=body))
    scene.time += SOON
    await scene.look()

    row = await Refresh.get()
    assert (await states(SMITH), row.attempts) == (["live"], 1)
    assert row.error == "a row that cannot be read: the index was asked for one action_subscription_id and shows others"


async def test_a_subscription_that_nobody_has_ever_seen_makes_no_row(scene: Scene) -> None:
    touch = Touch("hse", RefreshKind.ACTION_SUBSCRIPTION, "nobody", NOON)
    async with scene.database.transaction() as connection:
        await scene.mirror.apply(connection, scene.database.dialect, [touch])
    await scene.catch_up()

    assert await ActionSubscription.all().count() == 0


# What cannot be read, and who does not answer.


async def test_a_row_that_cannot_be_read_is_its_own_error_and_no_neighbours(scene: Scene) -> None:
    scene.stage.tenancy.resources["odd"] = {"name": "x" * 10_001}
    odd = scene.stage.tenancy.subscribe(ACTION, "odd")
    await scene.created(SMITH, odd)
    for _ in range(3):
        scene.time += SOON
        await scene.look()

    row = await Refresh.get()
    assert (row.subject, row.error) == (odd, "a row that cannot be read: subscriber_name")
    assert (await scene.row(SMITH)).status == "NEW"
    assert (await scene.row(odd)).status is None


async def test_the_mirror_serves_while_the_vendor_is_down_says_how_stale_it_is_and_catches_up(scene: Scene) -> None:
    await scene.created(SMITH)
    await scene.catch_up()
    scene.stage.faults.on(Broken(times=None))
    scene.stage.tenancy.certify(SMITH, "2026-01-15")
    stale_since = scene.time
    await scene.tell("CERTIFICATE_ACTION::CREATE", next(iter(scene.stage.tenancy.tables["certificate-action"].values())))
    await scene.created(SMITH)
    for _ in range(3):
        scene.time += timedelta(minutes=2)
        await scene.look()
    held, waiting = await scene.row(SMITH), await Refresh.get(kind="action-subscription")
    scene.stage.faults.off()
    await scene.catch_up()

    assert (held.state, held.status) == ("live", "NEW")
    assert (waiting.since, waiting.error is not None, waiting.attempts > 1) == (stale_since, True, True)
    assert (await scene.row(SMITH)).status == "VALID"


# Persons and certificates.


async def test_a_persons_webhook_refreshes_all_its_subscriptions_with_one_call(scene: Scene) -> None:
    tenancy = scene.stage.tenancy
    second = tenancy.create("action", {"action_type": "HEALTH", "name": "Check-up", **PLACE})["action_id"]
    ids = [SMITH, tenancy.subscribe(second, PERSON)]
    tenancy.update("person", PERSON, {"last_name": "Jones"})
    await scene.tell("PERSON::UPDATE", {"person_id": PERSON})
    await scene.catch_up()

    assert [(await scene.row(one)).subscriber_name for one in ids] == ["Jones John"] * 2
    assert scene.calls() == 1


async def test_a_link_of_a_certificate_turns_a_subscription_valid(scene: Scene) -> None:
    await scene.created(SMITH)
    await scene.catch_up()
    scene.stage.tenancy.certify(SMITH, "2026-01-15")
    before = scene.calls()
    for link in scene.stage.tenancy.tables["certificate-action"].values():
        await scene.tell("CERTIFICATE_ACTION::CREATE", link)
    await scene.catch_up()

    assert ((await scene.row(SMITH)).status, scene.calls() - before) == ("VALID", 2)


async def test_a_certificate_that_is_gone_touches_what_it_was_the_last_of(scene: Scene) -> None:
    certificate = scene.stage.tenancy.certify(SMITH, "2026-01-15")
    await scene.created(SMITH)
    await scene.catch_up()
    scene.stage.tenancy.delete("certificate", certificate)
    await scene.tell("CERTIFICATE_ACTION::DELETE", {"certificate_id": certificate})
    await scene.catch_up()

    row = await scene.row(SMITH)
    assert row.status == "NEW"
    assert row.last_certificate_id is None


async def test_the_subscriptions_of_a_deleted_person_are_deleted(scene: Scene) -> None:
    (other,) = subscribed(scene)
    await scene.created(SMITH, other)
    await scene.catch_up()
    scene.stage.tenancy.delete("person", PERSON)
    assert SMITH not in scene.rows
    await scene.tell("PERSON::DELETE", {"person_id": PERSON})
    await scene.catch_up()

    assert await states(SMITH, other) == ["deleted", "live"]
