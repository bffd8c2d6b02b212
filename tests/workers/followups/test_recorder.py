"""Outcomes at 4HSE, each once, whatever goes wrong on the way."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from schemas.states import NeedState, RefreshKind, TargetKind
from tests.workers.followups.enrolling import WRITE_FAULTS, StandIn
from tests.workers.followups.mirrored import ACCOUNTS, filled, rule, subscription
from tests.workers.vendors.acme import ACTION, ENROLLMENT, HASTY, NOON, PERSON, PLACE, SESSION, SUBSCRIPTION, Stage, populated, staged
from workers.database import Connection, Database, Dialect
from workers.followups import case, recordings, rule_states
from workers.followups.cases import Key, Traces
from workers.followups.plan import Followups
from workers.followups.recorder import Recorder, failure
from workers.followups.recording import failure as failed_steps
from workers.followups.recording import steps
from workers.followups.results import Result
from workers.followups.tables import Need, Recording
from workers.mirror.tables import ActionSubscription, CourseResult
from workers.refreshes import Refresh
from workers.simulators.faults import Instead
from workers.vendors.accounts import OpenAccount, OpenAccounts
from workers.vendors.errors import Complaint, Conflict, NotFound, Refused, Throttled, Unavailable, UnknownOutcome, VendorError

#: Longer than any first wait.
LATER = timedelta(minutes=11)
ROW = {"action_id": ACTION, "action_type": "TRAINING", "action_name": "Fire Safety", "subscriber_id": PERSON, **PLACE}
PASSED = Result("course_result/lms/JS001/FIRE//0", TargetKind.COURSE, "JS001", "FIRE", NOON, completed=True)
SEAT = {"action_session_subscription_id": ENROLLMENT, "action_session_id": SESSION, "action_subscription_id": SUBSCRIPTION, **PLACE}
WRITES = {
    "certificate": "/v2/certificate/create",
    "link": "/v2/certificate-action/create",
    "session": "/v2/action-session-subscription/update/*",
}


@dataclass(slots=True)
class Scene:
    """What a test moves and looks at."""

    database: Database
    stage: Stage
    accounts: OpenAccounts
    time: datetime = NOON
    planner: StandIn = field(default_factory=StandIn)

    def now(self) -> datetime:
        return self.time

    @property
    def account(self) -> OpenAccount:
        return self.accounts["hse"]

    def recorder(self, planner: StandIn | None = None) -> Recorder:
        return Recorder(self.database, self.accounts, planner or self.planner, self.now)

    async def passes(
        self,
        cycle: str = "initial",
        *,
        opened: datetime = NOON - timedelta(days=30),
        seated: bool = True,
        known: bool = True,
        terms: Mapping[str, Any] = MappingProxyType({}),
    ) -> case.Need:
        """A need was passed, and its steps are planned, by an action that is known or is not."""
        made = await self.needs(cycle, opened)
        seats = [{**SEAT, "done": -1, "session_date_begin": None, **terms}] if seated else []
        action = {"validity": 5, "validity_unit": "YEAR"} if known else None
        await self.plan(steps(made, case.Subscription("hse", SUBSCRIPTION, ROW), seats, PASSED, self.time, action=action))
        return made

    async def needs(self, cycle: str, opened: datetime) -> case.Need:
        planned, state = rule(f"rule{await Need.all().count()}", record={}), NeedState.PASSED
        made = case.Need(uuid4(), "hse", SUBSCRIPTION, planned, cycle, state, None, self.time, opened, opened, ())
        await Need.create(
            id=made.id,
            account="hse",
            action_subscription_id=SUBSCRIPTION,
            rule=planned.name,
            cycle=cycle,
            digest=planned.digest,
            plan=planned.snapshot(),
            state=state.value,
            state_at=self.time,
            opened_at=opened,
            created_at=opened,
            attempt=1,
            approvals=[],
        )
        return made

    async def plan(self, rows: list[case.Recorded]) -> None:
        for row in rows:
            made: dict[str, Any] = {
                "id": row.id,
                "need": row.need,
                "step": row.step,
                "state": row.state,
                "body": dict(row.body),
                "remote": row.remote,
            }
            await Recording.create(**made, account="hse", due_at=self.time, attempts=0, state_at=self.time)

    async def work(self, most: int = 20) -> None:
        """Let time pass until nothing is to be written any more."""
        for _ in range(most):
            if not await Recording.filter(state="planned").count():
                return
            await self.recorder().round(self.account)
            self.time += LATER
        raise AssertionError(f"still to be written: {await Recording.all().values('step', 'state', 'error')}")

    def written(self, path: str) -> list[dict[str, Any]]:
        return list(self.stage.tenancy.tables[path].values())

    def expect_once(self, releases: str = "2026-03-01") -> None:
        """One certificate, one link to it, and an outcome that names it."""
        (certificate,), (link,), (seat,) = (
            self.written(path) for path in ("certificate", "certificate-action", "action-session-subscription")
        )
        assert certificate["date_release"] == releases
        assert (link["certificate_id"], link["action_id"]) == (certificate["certificate_id"], ACTION)
        assert (seat["done"], seat["certificate_id"]) == (1, certificate["certificate_id"])
        assert self.stage.tenancy.view("action-subscription", SUBSCRIPTION)["status"] == "VALID"


@pytest_asyncio.fixture
async def scene(database: Database, tmp_path: Path) -> AsyncIterator[Scene]:
    async with staged(tmp_path, populated()) as stage:
        accounts = OpenAccounts({"hse": stage.account(HASTY.model_copy(update={"attempts": 1}))}, lambda: datetime.now(UTC))
        try:
            yield Scene(database, stage, accounts)
        finally:
            await accounts.close()


async def test_a_pass_makes_the_subscription_valid(scene: Scene) -> None:
    """Certificate, link, outcome; then the subscription is fetched to see it."""
    await scene.passes()
    await scene.work()

    scene.expect_once()
    (seat,) = scene.written("action-session-subscription")
    assert (seat["date_begin"], seat["date_expire"]) == ("2026-03-01", "2031-03-01")
    assert [(one.kind, one.subject) for one in await Refresh.all()] == [(RefreshKind.ACTION_SUBSCRIPTION.value, SUBSCRIPTION)]
    assert scene.planner.asked == [("hse", SUBSCRIPTION)] * 3


async def test_the_validity_of_an_action_that_the_mirror_does_not_know_is_asked_for(scene: Scene) -> None:
    """In the certificate as in the session's outcome."""
    scene.stage.tenancy.tables["action"][ACTION] |= {"validity": 2, "validity_unit": "YEAR"}
    await scene.passes(known=False)
    await scene.work()

    scene.expect_once()
    (certificate,), (seat,) = (scene.written(path) for path in ("certificate", "action-session-subscription"))
    assert (certificate["validity"], certificate["date_expire"], seat["date_expire"]) == (2, "2028-03-01", "2028-03-01")


@pytest.mark.parametrize(("shown", "state"), [("nothing", "planned"), ("5 WEEK", "dead")])
async def test_nothing_is_written_as_long_as_nobody_says_how_long_an_action_makes_valid(scene: Scene, shown: str, state: str) -> None:
    """Whether 4HSE does not show it, or shows what cannot be counted."""
    if shown == "nothing":
        scene.stage.faults.on(Instead(path="*/action/view/*", status=404, times=None))
    scene.stage.tenancy.tables["action"][ACTION] |= {"validity": 5, "validity_unit": "WEEK"}
    await scene.passes(known=False)
    await scene.recorder().round(scene.account)

    row = await Recording.get(step="certificate")
    assert (row.state, bool(row.error), scene.written("certificate")) == (state, True, [])


async def test_a_step_waits_for_those_before_it(scene: Scene) -> None:
    """One round, one step; and nothing is fetched before the last."""
    await scene.passes()
    await scene.recorder().round(scene.account)

    assert {one.step: one.state for one in await Recording.all()} == {
        "certificate": "done",
        "certificate_action": "planned",
        "session": "planned",
    }
    assert await Refresh.all().count() == 0


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("fault", WRITE_FAULTS)
async def test_a_write_that_goes_wrong_is_done_once(scene: Scene, write: str, fault: str) -> None:
    """Whatever became of the request, and however late it lands."""
    kind, given = WRITE_FAULTS[fault]
    scene.stage.faults.on(kind(path=WRITES[write], **given))
    await scene.passes()
    await scene.work()
    await scene.stage.faults.land()

    scene.expect_once()


@pytest.mark.parametrize("write", WRITES)
async def test_a_request_that_lands_between_two_tries_is_found(scene: Scene, write: str) -> None:
    """The look comes before the second request."""
    kind, given = WRITE_FAULTS["lands late"]
    scene.stage.faults.on(kind(path=WRITES[write], **given))
    await scene.passes()
    for _ in range(4):
        await scene.recorder().round(scene.account)
        await scene.stage.faults.land()
        scene.time += LATER

    scene.expect_once()
    assert scene.stage.faults.count(WRITES[write]) == 1
    assert await Recording.filter(state="done").count() == 3


async def test_a_certificate_that_4hse_made_is_taken_for_ours(scene: Scene) -> None:
    """The trainer entered the outcome, and 4HSE made a certificate of it."""
    scene.stage.tenancy.generates_certificates = True
    scene.stage.tenancy.record(ENROLLMENT, 1)
    (made,) = scene.written("certificate")
    await scene.passes()
    await scene.work()

    scene.expect_once()
    assert {one.remote for one in await Recording.filter(step="certificate")} == {made["certificate_id"]}


async def test_a_certificate_that_only_the_session_names_is_linked(scene: Scene) -> None:
    """4HSE made it and left the schedule alone; another of that day, for something else, is not it."""
    tenancy = scene.stage.tenancy
    made = {"date_release": "2026-03-01", "action_type": "TRAINING", "resource_id": PERSON, "tenant_id": PLACE["tenant_id"]}
    for id_ in ("another", "named"):
        tenancy.create("certificate", {"certificate_id": id_, "name": id_, **made})
    tenancy.record(ENROLLMENT, 1, certificate_id="named")
    await scene.passes()
    await scene.work()

    (link,) = scene.written("certificate-action")
    assert link["certificate_id"] == "named"
    assert {one["certificate_id"] for one in scene.written("certificate")} == {"another", "named"}


async def test_4hse_makes_no_second_certificate_of_our_outcome(scene: Scene) -> None:
    """The outcome names the certificate that there is."""
    scene.stage.tenancy.generates_certificates = True
    await scene.passes()
    await scene.work()

    scene.expect_once()


async def test_the_certificate_of_the_cycle_before_is_not_taken_for_ours(scene: Scene) -> None:
    """It is the one whose life ends: an old certificate certifies no new cycle."""
    old = scene.stage.tenancy.certify(SUBSCRIPTION, "2021-03-01", "2026-03-01")
    await scene.passes(old, opened=datetime(2021, 3, 1, 23, tzinfo=UTC))
    await scene.work()

    assert len(scene.written("certificate")) == len(scene.written("certificate-action")) == 2
    assert scene.stage.tenancy.view("action-subscription", SUBSCRIPTION)["certificate_date_expire"] == "2031-03-01"


async def test_the_cycles_own_certificate_is_not_taken_for_ours_when_its_date_is_corrected(scene: Scene) -> None:
    """However new it looks."""
    old = scene.stage.tenancy.certify(SUBSCRIPTION, "2026-02-28", "2026-03-05")
    await scene.passes(old, opened=datetime(2021, 3, 1, 23, tzinfo=UTC))
    await scene.work()

    assert len(scene.written("certificate")) == 2


async def test_a_certificate_of_a_pass_before_the_row_was_seen_is_taken_for_ours(scene: Scene) -> None:
    """A rule may accept such a pass, and 4HSE may have certified it."""
    made = scene.stage.tenancy.certify(SUBSCRIPTION, "2026-03-01", "2031-03-01")
    await scene.passes(opened=NOON + timedelta(days=9))
    await scene.work()

    assert [one["certificate_id"] for one in scene.written("certificate")] == [made]


async def test_an_older_certificate_is_not_taken_for_the_first(scene: Scene) -> None:
    """Somebody entered one of long ago meanwhile."""
    scene.stage.tenancy.certify(SUBSCRIPTION, "2019-03-01", "2020-03-01")
    await scene.passes()
    await scene.work()

    assert [one["date_release"] for one in scene.written("certificate")] == ["2019-03-01", "2026-03-01"]


async def test_a_certificate_for_another_action_is_not_taken_for_ours(scene: Scene) -> None:
    """It is of the same person, and new."""
    other = {"action_type": "TRAINING", "name": "First Aid", "action_id": "other", **PLACE}
    scene.stage.tenancy.create("action", other)
    scene.stage.tenancy.certify(scene.stage.tenancy.subscribe("other", PERSON), "2026-03-01")
    await scene.passes()
    await scene.work()

    assert len(scene.written("certificate")) == 2
    assert scene.stage.tenancy.view("action-subscription", SUBSCRIPTION)["status"] == "VALID"


async def test_two_rules_that_pass_make_one_certificate(scene: Scene) -> None:
    """The second finds the first's."""
    await scene.passes()
    await scene.work()
    await scene.passes()
    await scene.work()

    scene.expect_once()


@pytest.mark.parametrize("recorders", [1, 3])
async def test_two_rules_that_pass_at_once_make_one_certificate(scene: Scene, recorders: int) -> None:
    """The second waits until the first's certificate is linked, and finds it."""
    await scene.passes()
    await scene.passes()
    for _ in range(9):
        await asyncio.gather(*(scene.recorder().round(scene.account) for _ in range(recorders)))
        scene.time += LATER

    scene.expect_once()
    assert {one.state for one in await Recording.all()} == {"done"}


@pytest.mark.parametrize("first", ["held", "undone", "dead"])
async def test_a_rule_whose_certificate_is_not_written_holds_up_no_other(scene: Scene, first: str) -> None:
    made = await scene.passes()
    if first == "dead":
        await Recording.filter(step="certificate").update(state="dead", due_at=None, error="not now")
    else:
        await Need.all().update(state=first)
    await scene.passes()
    for _ in range(3):
        await scene.recorder().round(scene.account)

    scene.expect_once()
    assert await Recording.filter(need=made.id, state="done").count() == 0


async def test_an_index_that_ignores_its_filter_shows_nothing_of_ours(scene: Scene) -> None:
    """Another person's certificate, linked to the action, and the link of another certificate."""
    tenancy = scene.stage.tenancy
    other = {"certificate_id": "x", "date_release": "2026-03-01", "resource_id": "somebody", "name": "x"}
    link = {"certificate_action_id": "y", "certificate_id": "x", "action_id": ACTION}
    for path, row in (("certificate", other), ("certificate-action", link)):
        scene.stage.faults.on(Instead(path=f"*/{path}/index", status=200, body=json.dumps([row]).encode(), times=None))
    await scene.passes()
    await scene.work()

    scene.expect_once()
    assert {row["resource_id"] for row in tenancy.tables["certificate"].values()} == {PERSON}


async def test_a_session_enrollment_that_is_gone_is_no_failure(scene: Scene) -> None:
    """The certificate stands, the subscription is fetched once it is linked, and nothing is given up."""
    await scene.passes()
    scene.stage.tenancy.delete("action-session-subscription", ENROLLMENT)
    for _ in range(2):
        await scene.recorder().round(scene.account)
    assert [one.subject for one in await Refresh.all()] == [SUBSCRIPTION]
    await scene.recorder().round(scene.account)

    row = await Recording.get(step="session")
    assert (row.state, row.error, row.due_at) == ("dropped", "its session enrollment is not there any more", None)
    assert scene.stage.tenancy.view("action-subscription", SUBSCRIPTION)["status"] == "VALID"


async def test_a_session_enrollment_that_is_hidden_is_looked_for_again(scene: Scene) -> None:
    """With the subscription: the login may not see their office."""
    for path in ("action-session-subscription", "action-subscription"):
        scene.stage.faults.on(Instead(path=f"*/{path}/view/*", status=404, times=1))
    await scene.passes()
    await scene.work()

    scene.expect_once()


async def test_a_session_whose_validity_cannot_be_counted_is_refused_as_an_action_is(scene: Scene) -> None:
    """It stands above the action's, which is not taken in its place; once it is put right it is read."""
    weeks = {"validity": 5, "validity_unit": "WEEK"}
    scene.stage.tenancy.tables["action-session"][SESSION] |= weeks
    await scene.passes(terms=weeks)
    await scene.recorder().round(scene.account)
    row = await Recording.get(step="certificate")
    assert (row.state, row.error) == ("dead", "0: validity: the session's 5 WEEK is nothing that can be counted")

    scene.stage.tenancy.tables["action-session"][SESSION] |= {"validity_unit": "MONTH"}
    await Recording.filter(state="dead").update(state="planned", due_at=scene.time)
    await scene.work()
    assert [one["date_expire"] for one in scene.written("certificate")] == ["2026-08-01"]


async def test_two_recorders_write_once(scene: Scene) -> None:
    """What one has claimed, the other leaves alone."""
    await scene.passes()
    for _ in range(3):
        await asyncio.gather(*(scene.recorder().round(scene.account) for _ in range(4)))

    scene.expect_once()
    assert [scene.stage.faults.count(path) for path in WRITES.values()] == [1, 1, 1]


async def test_a_recorder_that_is_slower_than_its_lease_does_no_harm(scene: Scene) -> None:
    """Another has written it by then; both wrote under one id, and the row is written once."""
    await scene.passes()
    slow = await recordings.claim(scene.database, "hse", scene.time, 10)
    scene.time += LATER
    await scene.work()
    await recordings.written(scene.database, slow[0], "another", scene.planner, scene.time, timedelta())
    await recordings.given_up(scene.database, slow[0], "too late", scene.planner, scene.time)

    scene.expect_once()
    assert await Recording.filter(state="done").count() == 3
    assert await Recording.filter(remote="another").count() == 0


async def test_a_crash_between_the_call_and_the_row_writes_nothing_twice(scene: Scene) -> None:
    """Each step's second transaction is lost once."""

    class Crashing(StandIn):
        async def plan(
            self, connection: Connection, dialect: Dialect, keys: list[Key], now: datetime, traces: Traces | None = None
        ) -> None:
            raise asyncio.CancelledError

    await scene.passes()
    for _ in range(3):
        with pytest.raises(asyncio.CancelledError):
            await scene.recorder(Crashing()).round(scene.account)
        assert await Recording.filter(state="done").count() == len(scene.planner.asked)
        scene.time += LATER
        await scene.recorder().round(scene.account)

    scene.expect_once()
    assert [scene.stage.faults.count(path) for path in WRITES.values()] == [1, 1, 1]


async def test_what_4hse_refuses_is_dead_in_its_words(scene: Scene) -> None:
    """And what comes after it is not written."""
    scene.stage.faults.on(Instead(path="*/certificate/create", status=422, body=b'[{"field":"name","message":"Name is too long."}]'))
    await scene.passes()
    await scene.recorder().round(scene.account)
    scene.time += LATER
    await scene.recorder().round(scene.account)

    dead = await Recording.get(state="dead")
    assert (dead.step, dead.error, dead.due_at) == ("certificate", "422: name: Name is too long.", None)
    assert scene.written("certificate-action") == []
    assert scene.planner.asked == [("hse", SUBSCRIPTION)]


async def test_a_mistake_of_ours_holds_up_nothing_for_ever(scene: Scene) -> None:
    """Its row says so, and it is tried again."""

    class Mistaken(StandIn):
        async def plan(
            self, connection: Connection, dialect: Dialect, keys: list[Key], now: datetime, traces: Traces | None = None
        ) -> None:
            raise ZeroDivisionError

    await scene.passes()
    await scene.recorder(Mistaken()).round(scene.account)
    assert [one.error for one in await Recording.filter(attempts=1)] == ["ZeroDivisionError"]

    await scene.work()
    scene.expect_once()


@pytest.mark.parametrize("attempts", [0, 100])
async def test_a_mistake_about_what_is_given_up_ends_nothing(scene: Scene, attempts: int) -> None:
    """It is refused for good, and planning fails: it is tried again."""

    class Mistaken(StandIn):
        async def plan(
            self, connection: Connection, dialect: Dialect, keys: list[Key], now: datetime, traces: Traces | None = None
        ) -> None:
            raise ZeroDivisionError

    scene.stage.faults.on(Instead(path="*/certificate/create", status=422, body=b'[{"field":"name","message":"x"}]'))
    await scene.passes()
    await Recording.all().update(attempts=attempts)
    await scene.recorder(Mistaken()).round(scene.account)
    row = await Recording.get(step="certificate")
    assert (row.state, row.error, row.attempts) == ("planned", "ZeroDivisionError", attempts + 1)

    scene.time += timedelta(days=2)
    await scene.work()
    scene.expect_once()


@pytest.mark.parametrize("write", ["certificate", "link"])
async def test_a_conflict_about_something_else_is_no_success(scene: Scene, write: str) -> None:
    """What is not there under our id was not written, and is tried again."""
    scene.stage.faults.on(Instead(path=WRITES[write], status=409))
    await scene.passes()
    await scene.work()

    scene.expect_once()


async def test_nothing_is_written_for_what_is_undone(scene: Scene) -> None:
    """The subscription was deleted meanwhile."""
    await scene.passes()
    await Need.all().update(state=NeedState.UNDONE.value)
    await scene.recorder().round(scene.account)

    assert scene.written("certificate") == []


async def test_nothing_is_written_for_what_a_person_has_to_say_yes_to_first(scene: Scene) -> None:
    """What it was passed by was corrected."""
    await scene.passes()
    await Need.all().update(state=NeedState.HELD.value)
    await scene.recorder().round(scene.account)
    assert scene.written("certificate") == []

    await Need.all().update(state=NeedState.PASSED.value)
    await scene.work()
    assert len(scene.written("certificate")) == 1


async def test_a_failed_attempt_is_told_and_a_pass_after_it(scene: Scene) -> None:
    """done 0, then done 1."""
    made = await scene.needs("initial", NOON - timedelta(days=30))
    await scene.plan(failed_steps(made, [{**SEAT, "done": -1, "session_date_begin": date(2026, 2, 20)}], PASSED))
    await scene.work()
    assert [one["done"] for one in scene.written("action-session-subscription")] == [0]

    await scene.passes()
    await scene.work()
    scene.expect_once()


async def test_a_failed_attempt_that_could_not_be_told_holds_up_no_pass(scene: Scene) -> None:
    """What comes after it is written, and then the subscription is fetched."""
    made = await scene.passes()
    await scene.plan(failed_steps(made, [{**SEAT, "done": -1, "session_date_begin": date(2026, 2, 20)}], PASSED))
    await Recording.filter(step="failed 1").update(state="dead", due_at=None, error="not now")
    await scene.work()

    scene.expect_once()
    assert [one.subject for one in await Refresh.all()] == [SUBSCRIPTION]


async def test_a_failed_attempt_is_not_told_after_its_pass(scene: Scene) -> None:
    """However it came to be due again."""
    made = await scene.passes()
    await scene.work()
    await scene.plan(failed_steps(made, [{**SEAT, "done": -1, "session_date_begin": date(2026, 2, 20)}], PASSED))
    await scene.recorder().round(scene.account)

    scene.expect_once()


async def test_a_result_becomes_a_valid_subscription_and_certifies_it_once(scene: Scene) -> None:
    """With the planner behind it: passed, recorded, valid; the same result passes no second cycle."""
    fire, hse = rule(record={}), {**ACCOUNTS, "hse": scene.account.settings}
    followups, key, opened = Followups([fire], hse), ("hse", SUBSCRIPTION), NOON - timedelta(days=9)
    await filled()
    await subscription(SUBSCRIPTION, **{**ROW, "action_name": "Fire", "subscriber_code": "JS001"}, first_seen_at=opened, fetched_at=NOON)
    made: dict[str, Any] = {"learner": "JS001", "course": "FIRE", "activity": "", "attempt": 0, "completed": True, "completed_at": NOON}
    await CourseResult.create(account="lms", version=1, observed_at=NOON, withdrawn=False, **made)

    async def planned(**changed: Any) -> list[str]:
        async with scene.database.transaction() as connection:
            await ActionSubscription.all().using_db(connection).update(**changed)
            await followups.plan(connection, scene.database.dialect, [key], scene.time)
        return [one.state for one in await Need.all().order_by("created_at")]

    async with scene.database.transaction() as connection:
        await rule_states.apply(connection, scene.database.dialect, [fire], NOON)
    assert await planned(fetch_covers=NOON) == ["passed"]
    for _ in range(2):
        await Recorder(scene.database, scene.accounts, followups, scene.now).round(scene.account)
    assert [one.state for one in await Need.all()] == ["recorded"]

    (certificate,) = scene.written("certificate")
    dates = {"last_certificate_id": certificate["certificate_id"], "certificate_date_release": date(2026, 3, 1)}
    assert await planned(status="VALID", **dates) == ["valid"]
    scene.time += timedelta(days=1700)
    assert await planned(status="EXPIRING", certificate_date_release=date(2026, 2, 1)) == ["valid", "planned"]
    assert len(scene.written("certificate")) == 1


REFUSED = Refused(422, (Complaint("name", "is too long"),))


@pytest.mark.parametrize(
    ("error", "attempts", "seconds", "pause"),
    [
        (UnknownOutcome("?"), 0, 60, 0),
        (Unavailable("down"), 0, 5, 0),
        (Unavailable("down", 20.0), 0, 20, 20),
        (Throttled(7.0), 0, 7, 7),
        (Throttled(10_000.0), 0, 3600, 3600),
        (Refused(403, ()), 0, 300, 0),
        (NotFound("it"), 0, 300, 0),
        (Conflict("it"), 0, 5, 0),
        (REFUSED, 0, None, 0),
        (Unavailable("down"), 100, None, 0),
        (Conflict("it"), 3, None, 0),
    ],
)
def test_a_failed_step_waits_by_the_table(error: VendorError, attempts: int, seconds: float | None, pause: float) -> None:
    """By its error, longer each time, and at last no more."""
    failed = failure(error, attempts)

    assert failed.pause == pause
    if seconds is None:
        assert failed.wait is None
    else:
        assert failed.wait is not None
        assert seconds <= failed.wait.total_seconds() <= seconds * 1.2
