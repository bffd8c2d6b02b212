"""Reconcile against a simulated 4HSE over HTTP: what webhooks did not tell is found, named and healed, and nothing else is touched."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.events import EventType
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import RefreshKind, RunState
from tests.workers.followups.mirrored import rule
from tests.workers.made import NOON
from tests.workers.vendors.acme import ACTION, OFFICE, OTHER_OFFICE, PATIENT, TENANT, Stage, acme, staged
from workers.database import Database
from workers.followups import rule_states
from workers.followups.tables import RuleState
from workers.mirror import reconcile as reconciling
from workers.mirror import runs
from workers.mirror.apply import Mirror
from workers.mirror.evidence import Touch
from workers.mirror.hints import Hint
from workers.mirror.reconcile import Held, reconcile, scheduled
from workers.mirror.runs import Asked, Busy, Lost
from workers.mirror.tables import ActionSubscription, Drift, ReconcileRun, ReconcileSeen
from workers.outbox import OutboxEvent
from workers.simulators.faults import Broken, Instead
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import Unavailable, VendorError
from workers.vendors.fourhse import Fourhse

MIRROR = Mirror(frozenset({"hse"}), timedelta(0))
ROWS = 35
OTHER_ACTION = "0ac71000-0000-4000-8000-000000000002"


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def subject(number: int) -> str:
    """The id of a subscription by its number, in the order of the index."""
    return f"s{number:03}"


@dataclass(frozen=True, slots=True)
class Desk:
    """A mirror, and the 4HSE that it mirrors."""

    database: Database
    stage: Stage
    account: OpenAccount

    async def reconcile(self, asked: Asked = Asked(), **options: Any) -> ReconcileRun:  # noqa: B008 - frozen
        """Run to the end."""
        return await reconcile(self.database, MIRROR, self.account, asked, now, **options)

    async def hint(self, account: str, about: str, *, deleted: bool, at: datetime) -> None:
        """A webhook arrives."""
        fields = dict.fromkeys(SUBSCRIPTION_FIELDS) | {"action_subscription_id": about}
        async with self.database.transaction() as connection:
            await MIRROR.apply(connection, self.database.dialect, [Hint(account, about, deleted, at, b"\x01", fields)])

    async def drift(self, run: ReconcileRun) -> set[tuple[str, str, tuple[str, ...]]]:
        """What a run found: kind, id, fields."""
        return {(one.kind, one.subject, tuple(one.differing)) for one in await Drift.filter(run=run.id)}

    async def states(self) -> dict[str, str]:
        """The mirror's rows that are not live."""
        return {row.action_subscription_id: row.state for row in await ActionSubscription.exclude(state="live")}

    def settings(self, **changed: Any) -> OpenAccount:
        """The account with other settings."""
        return OpenAccount("hse", self.account.settings.model_copy(update=changed), self.account.client)

    def subscribe(self, number: int, action: str = ACTION) -> str:
        """Somebody new on the schedule."""
        person = self.stage.tenancy.create("person", _person(number))["person_id"]
        return self.stage.tenancy.subscribe(action, person, action_subscription_id=subject(number))

    def delete(self, *numbers: int) -> None:
        """Delete at the vendor, and nobody tells."""
        for number in numbers:
            self.stage.tenancy.delete("action-subscription", subject(number))

    def meanwhile(self, page: int, act: Callable[[], None]) -> None:
        """Do something just before a page of the walk is served."""
        served, app = iter(range(1, 10_000)), self.stage.faults.app

        async def interrupted(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"].endswith("/action-subscription/index") and next(served) == page:
                act()
            await app(scope, receive, send)

        self.stage.faults.app = interrupted


def _person(number: int) -> dict[str, Any]:
    name = {"first_name": "Ada", "last_name": f"No {number}", "birth_date": "1990-05-01"}
    return {"person_id": f"p{number:03}", **name, "project_id": TENANT}


@asynccontextmanager
async def _opened(database: Database, directory: Path) -> AsyncIterator[Desk]:
    async with staged(directory, acme()) as stage:
        # Two requests at once make one page after the other: its order is what these tests are about.
        settings = stage.account(PATIENT.model_copy(update={"concurrency": 2, "attempts": 1}), page_size=5)
        desk = Desk(database, stage, OpenAccount("hse", settings, Fourhse(settings, now)))
        other = {"action_type": "TRAINING", "name": "Ladders", "subtenant_id": OTHER_OFFICE, "tenant_id": TENANT}
        stage.tenancy.create("action", {"action_id": OTHER_ACTION, **other})
        for number in range(ROWS):
            desk.subscribe(number, OTHER_ACTION if number >= 30 else ACTION)
        try:
            yield desk
        finally:
            await desk.account.client.close()


@pytest_asyncio.fixture
async def empty(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    """A mirror that holds nothing yet."""
    async with _opened(database, tmp_path) as desk:
        yield desk


@pytest_asyncio.fixture
async def desk(empty: Desk) -> Desk:
    """A mirror that says what the vendor says."""
    await empty.reconcile()
    return empty


async def test_the_first_run_fills_the_mirror_and_is_no_evidence_of_lost_webhooks(empty: Desk) -> None:
    run = await empty.reconcile()

    assert (run.state, run.backfill, run.missing, run.seen, run.total) == ("done", True, ROWS, ROWS, ROWS)
    assert await ActionSubscription.filter(state="live").count() == ROWS
    row = await ActionSubscription.get(action_subscription_id=subject(31))
    assert (row.subscriber_name, row.office_name, row.status, row.owned_active) == ("No 31 Ada", "Milan", "NEW", True)
    assert await Drift.all().count() == 0


async def test_a_mirror_that_says_what_the_vendor_says_is_left_alone(desk: Desk) -> None:
    before = await ActionSubscription.all().order_by("id").values()
    run = await desk.reconcile()

    assert (run.state, run.backfill, run.seen, run.missing, run.extra, run.different) == ("done", False, ROWS, 0, 0, 0)
    assert await ActionSubscription.all().order_by("id").values() == before
    assert run.calls == ROWS // 5


async def test_what_no_webhook_told_is_found_named_and_healed(desk: Desk) -> None:
    new = desk.subscribe(99)
    desk.stage.tenancy.certify(subject(7), "2026-01-01", "2031-01-01")
    desk.delete(3)
    run = await desk.reconcile()

    assert await desk.drift(run) == {
        ("missing", new, ()),
        ("extra", subject(3), ()),
        ("different", subject(7), ("status", "last_certificate_id", "certificate_date_release", "certificate_date_expire")),
    }
    assert (run.missing, run.extra, run.different) == (1, 1, 1)
    assert await desk.states() == {subject(3): "deleted"}
    assert (await ActionSubscription.get(action_subscription_id=subject(7))).status == "VALID"
    assert (await desk.reconcile()).seen == ROWS
    assert await Drift.all().count() == 3


async def test_a_row_that_the_mirror_believed_deleted_comes_back(desk: Desk) -> None:
    await ActionSubscription.filter(action_subscription_id=subject(1)).update(state="deleted")
    run = await desk.reconcile()

    assert await desk.drift(run) == {("missing", subject(1), ())}
    assert await desk.states() == {}


async def test_historicized_is_not_extra_but_shown_as_what_it_is(desk: Desk) -> None:
    desk.stage.tenancy.historicize(subject(2))
    run = await desk.reconcile()

    assert await desk.drift(run) == {("different", subject(2), ("owned_active",))}
    assert await desk.states() == {}


async def test_a_dry_run_reports_and_writes_nothing_into_the_mirror(desk: Desk) -> None:
    desk.delete(3)
    desk.subscribe(99)
    before = await ActionSubscription.all().order_by("id").values()
    run = await desk.reconcile(dry_run=True)

    assert (run.dry_run, run.missing, run.extra) == (True, 1, 1)
    assert await ActionSubscription.all().order_by("id").values() == before


async def test_drift_is_told_after_the_change_that_heals_it_and_by_no_dry_run(desk: Desk) -> None:
    desk.stage.tenancy.certify(subject(7), "2026-01-01", "2031-01-01")
    desk.delete(3)
    told = OutboxEvent.exclude(type=EventType.SUBSCRIPTION_CREATED).order_by("id")
    await desk.reconcile(dry_run=True)
    before = await told.count()
    run = await desk.reconcile()

    assert before == 0
    rows = [(row.subject, row.type.split(".", 1)[1], row.sequence) for row in await told]
    assert sorted(rows) == [
        ("hse/s003", "drift.found.v1", 3),
        ("hse/s003", "subscription.deleted.v1", 2),
        ("hse/s007", "drift.found.v1", 4),
        ("hse/s007", "subscription.changed.v1", 2),
        ("hse/s007", "subscription.status_changed.v1", 3),
    ]
    assert {row.data["run"] for row in await told.filter(type=EventType.DRIFT_FOUND)} == {str(run.id)}


async def test_only_what_is_asked_for_is_judged(desk: Desk) -> None:
    desk.delete(1, 31)
    run = await desk.reconcile(Asked(office=OTHER_OFFICE))

    assert await desk.drift(run) == {("extra", subject(31), ())}
    assert run.seen == 4


async def test_absence_from_what_a_status_shows_only_means_that_the_status_changed(desk: Desk) -> None:
    for number in range(10):
        desk.stage.tenancy.certify(subject(number), "2026-01-01", "2031-01-01")
    few = Desk(desk.database, desk.stage, desk.settings(max_missing=2))
    run = await few.reconcile(Asked(status="NEW"))

    assert (run.state, run.different, run.extra) == ("done", 10, 0)
    assert await desk.states() == {}
    assert await ActionSubscription.filter(status="VALID").count() == 10


async def test_rights_withdrawn_for_an_office_delete_nothing(desk: Desk) -> None:
    desk.stage.tenancy.withdraw(OTHER_OFFICE)
    run = await desk.reconcile()

    assert (run.state, run.extra) == ("done", 5)
    assert await desk.states() == {subject(number): "missing" for number in range(30, ROWS)}
    assert (await desk.reconcile()).extra == 0
    desk.stage.tenancy.restore(OTHER_OFFICE)
    assert (await desk.reconcile()).missing == 5
    assert await desk.states() == {}


async def test_too_many_that_are_not_shown_wait_for_a_person(desk: Desk) -> None:
    careful = Desk(desk.database, desk.stage, desk.settings(max_missing=4))
    desk.stage.tenancy.withdraw(OTHER_OFFICE)
    desk.stage.tenancy.certify(subject(7), "2026-01-01", "2031-01-01")
    run = await careful.reconcile()

    assert (run.state, run.extra, run.different) == ("held", 0, 1)
    assert "--accept-missing" in (run.error or "")
    assert await desk.states() == {}


async def test_accepted_as_missing_they_are_deleted_and_not_a_page_is_read_again(desk: Desk) -> None:
    careful = Desk(desk.database, desk.stage, desk.settings(max_missing=4))
    desk.stage.tenancy.withdraw(OTHER_OFFICE)
    held = await careful.reconcile()
    desk.stage.faults.seen.clear()
    run = await careful.reconcile(accept_missing=True)

    assert (run.id, run.state, run.extra) == (held.id, "done", 5)
    assert await desk.states() == {subject(number): "deleted" for number in range(30, ROWS)}
    assert desk.stage.faults.count("*/view/*") == 5


async def test_a_held_run_by_itself_asks_the_vendor_nothing_more_and_one_by_hand_looks_anew(desk: Desk) -> None:
    careful = desk.settings(max_missing=4)
    desk.stage.tenancy.withdraw(OTHER_OFFICE)
    with pytest.raises(Held):
        await scheduled(desk.database, MIRROR, careful, now)
    desk.stage.faults.seen.clear()
    with pytest.raises(Held):
        await scheduled(desk.database, MIRROR, careful, now)
    assert not desk.stage.faults.seen

    desk.stage.tenancy.restore(OTHER_OFFICE)
    assert (await Desk(desk.database, desk.stage, careful).reconcile()).state == "done"
    await scheduled(desk.database, MIRROR, careful, now)


async def test_what_a_webhook_has_told_of_is_no_drift_but_healed(desk: Desk) -> None:
    desk.stage.tenancy.certify(subject(7), "2026-01-01", "2031-01-01")
    touch = Touch("hse", RefreshKind.ACTION_SUBSCRIPTION, subject(7), now())
    async with desk.database.transaction() as connection:
        await MIRROR.apply(connection, desk.database.dialect, [touch])
    run = await desk.reconcile()

    assert await desk.drift(run) == set()
    assert (await ActionSubscription.get(action_subscription_id=subject(7))).status == "VALID"


async def test_a_webhook_that_overtakes_the_walk_is_not_undone(desk: Desk) -> None:
    await desk.hint("hse", subject(7), deleted=True, at=now() + timedelta(minutes=1))
    run = await desk.reconcile()

    assert await desk.drift(run) == set()
    assert await desk.states() == {subject(7): "deleted"}


async def test_a_page_that_fails_fails_the_run_and_the_next_takes_it_up_there(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "PAGES", 2)
    desk.delete(3)
    desk.stage.faults.on(Instead(path="*/index", status=500, body=b"maintenance", skip=5, times=1))
    with pytest.raises(VendorError):
        await desk.reconcile()
    failed = await ReconcileRun.all().order_by("-began_at").first()
    assert failed is not None
    assert (failed.state, failed.next_page, failed.error) == ("failed", 5, "POST /v2/action-subscription/index: 500")
    assert await desk.states() == {}

    desk.stage.faults.seen.clear()
    run = await desk.reconcile()
    assert (run.id, run.state, run.seen) == (failed.id, "done", ROWS - 1)
    assert run.error is None
    assert desk.stage.faults.count("*/index") == 3 + 2  # the rest of the pages, and once more for the one that is not shown
    assert await desk.drift(run) == {("extra", subject(3), ())}


async def test_another_filter_or_another_day_is_another_run(desk: Desk) -> None:
    desk.stage.faults.on(Broken(path="*/index", times=2))
    with pytest.raises(Unavailable):
        await desk.reconcile()
    with pytest.raises(Unavailable):
        await desk.reconcile(Asked(office=OFFICE))
    await ReconcileRun.filter(state="failed").update(began_at=now() - timedelta(days=2))

    assert (await desk.reconcile(Asked(office=OFFICE))).seen == 30
    assert await ReconcileRun.filter(state="failed").count() == 2


async def test_a_run_that_another_came_after_is_not_taken_up_for_what_it_saw_is_forgotten(desk: Desk) -> None:
    desk.stage.faults.on(Broken(path="*/index", skip=4))
    with pytest.raises(Unavailable):
        await desk.reconcile()
    await desk.reconcile(dry_run=True)
    run = await desk.reconcile()

    assert (run.state, run.seen, run.extra) == ("done", ROWS, 0)
    assert await ReconcileRun.filter(state="failed").count() == 1


async def test_a_killed_run_is_taken_up_when_its_lease_has_ended(empty: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "PAGES", 1)
    killed = asyncio.Event()

    def die(run: ReconcileRun) -> None:
        if run.next_page == 4:
            killed.set()
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await empty.reconcile(told=die)
    empty.stage.faults.seen.clear()
    run = await empty.reconcile()

    assert (run.state, run.seen, run.missing, run.backfill) == ("done", ROWS, ROWS, True)
    assert empty.stage.faults.count("*/index") == 4
    assert await ReconcileRun.all().count() == 1


async def test_rows_that_slip_over_a_page_border_are_not_missed(desk: Desk) -> None:
    desk.meanwhile(4, lambda: desk.delete(0, 1))
    await ActionSubscription.filter(action_subscription_id__in=[subject(15), subject(16)]).delete()
    run = await desk.reconcile()

    assert (run.state, run.walk) == ("done", 1)
    assert await desk.drift(run) == {("missing", subject(15), ()), ("missing", subject(16), ())}


async def test_rows_that_come_behind_the_walk_are_found_by_another(desk: Desk) -> None:
    def come() -> None:
        for number in (-2, -1):
            desk.subscribe(number)

    desk.meanwhile(4, come)
    run = await desk.reconcile()

    assert (run.state, run.walk, run.seen) == ("done", 2, ROWS + 2)
    assert await desk.drift(run) == {("missing", subject(-2), ()), ("missing", subject(-1), ())}


async def test_a_row_that_slips_while_another_comes_is_asked_for_again_before_it_is_called_extra(desk: Desk) -> None:
    def swap() -> None:
        desk.delete(0)
        desk.subscribe(99)

    desk.meanwhile(4, swap)
    run = await desk.reconcile()

    assert (run.state, run.walk) == ("done", 1)
    assert await desk.drift(run) == {("missing", subject(99), ())}
    assert desk.stage.faults.count(f"*/view/{subject(15)}") == 1
    assert await desk.states() == {}


async def test_a_row_that_cannot_be_read_is_counted_and_holds_up_nothing(desk: Desk) -> None:
    table = desk.stage.tenancy.tables["action-subscription"]
    table[subject(4)]["data"] = "a\0b"
    table[subject(5)]["data"] = {"a": ["\0"]}
    desk.stage.tenancy.certify(subject(7), "2026-01-01", "2031-01-01")
    run = await desk.reconcile()

    assert (run.state, run.unreadable, run.different, run.extra) == ("done", 2, 1, 0)
    assert await desk.states() == {}


async def test_two_at_once_are_one_and_one_that_is_told_so(desk: Desk) -> None:
    first = await runs.take(desk.database, "hse", Asked(), now(), dry_run=False, held=False)
    with pytest.raises(Busy, match="by another process"):
        await desk.reconcile(dry_run=True)
    outcomes = await asyncio.gather(
        *(runs.take(desk.database, "lms", Asked(), now(), dry_run=False, held=False) for _ in range(5)), return_exceptions=True
    )

    assert sorted(type(one).__name__ for one in outcomes) == ["Busy"] * 4 + ["ReconcileRun"]
    later = now() + runs.LEASE * 2
    assert (await runs.take(desk.database, "hse", Asked(), later, dry_run=False, held=False)).id == first.id
    with pytest.raises(Lost):
        async with desk.database.transaction() as connection:
            await runs.save(connection, first, now(), seen=1)


async def test_a_run_renews_its_lease_while_it_waits_and_gives_it_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BEAT", 0.01)
    run = await runs.take(desk.database, "hse", Asked(), now(), dry_run=False, held=False)
    async with runs.kept(desk.database, run, now):
        await asyncio.sleep(0.2)
        renewed = await ReconcileRun.get(id=run.id)
        assert renewed.lease_until is not None
        assert run.lease_until is not None
        assert renewed.lease_until > run.lease_until
    assert run.lease_until is None
    assert (await ReconcileRun.get(id=run.id)).lease_until is None


async def test_what_a_finished_run_saw_is_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await ReconcileSeen.all().count() == 0
    careful = Desk(desk.database, desk.stage, desk.settings(max_missing=0))
    desk.delete(3)
    assert (await careful.reconcile()).state == RunState.HELD
    (seen,) = await ReconcileSeen.all()
    assert len(seen.subjects) == ROWS - 1
    assert (await desk.reconcile()).state == RunState.DONE
    assert await ReconcileSeen.all().count() == 0


async def test_another_account_is_not_looked_at(desk: Desk) -> None:
    await desk.hint("other", subject(99), deleted=False, at=NOON)
    run = await desk.reconcile()

    assert run.extra == 0
    assert (await ActionSubscription.get(account="other")).state == "live"


async def test_the_first_whole_run_has_the_rules_walked_that_were_applied_before(desk: Desk) -> None:
    async def walked() -> bool:
        return (await RuleState.get()).walked is not None

    await ReconcileRun.all().delete()
    async with desk.database.transaction() as connection:
        await rule_states.apply(connection, desk.database.dialect, [rule(when={"action_code": "another"})], NOON)
    await RuleState.all().update(walked="as it is")
    await desk.reconcile(Asked(status="NEW"))
    await desk.reconcile(dry_run=True)
    assert await walked()

    await desk.reconcile()
    assert not await walked()
    await RuleState.all().update(walked="as it is")
    await desk.reconcile()
    assert await walked()
