"""What is kept of somebody is found wherever it stands: where nothing leads to it any more, and in what is about others."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from schemas.delivery import encode, now_utc
from schemas.events import EVENTS, Event, EventType
from schemas.states import DeliveryState, Reason
from tests.workers.followups.mirrored import filled, subscription
from tests.workers.made import DELETE, NOON, delivery, logged, replayed
from tests.workers.operations.lives import ADA, BEA, Life, contents, later, naming, pipeline
from tests.workers.operations.test_erase import erased
from workers.database import Database
from workers.envelopes import wrapped
from workers.followups.tables import Enrollment, Identity, Need
from workers.log import HeldEnvelope, hold
from workers.mirror.tables import ActionSubscription, FormerHolder, ReconcileRun
from workers.outbox import OutboxEvent, append
from workers.schedules import Schedule


def _bodies(life: Life) -> Mapping[str, dict[str, Any]]:
    one = life.subscriptions[0]
    six = {"subscriber_id": life.person, "subscriber_type": "PERSON", "action_id": "act", "subtenant_id": "o", "tenant_id": "p"}
    return {"its id alone": {"action_subscription_id": one}, "six ids": {"action_subscription_id": one, **six}}


@pytest.mark.parametrize("body", ["its id alone", "six ids"])
@pytest.mark.parametrize("quietly", [False, True])
async def test_whose_subscription_a_webhook_deleted_is_found_all_the_same(database: Database, body: str, quietly: bool) -> None:
    for one in (ADA, BEA):
        await one.lived(database)
        await Identity.filter(here=one.person).delete()
        gone = delivery(_bodies(one)[body], DELETE, received_at=later(minutes=1), effects=not quietly)
        await pipeline(database).together([gone])
    before = await contents(database)
    row = await ActionSubscription.get(action_subscription_id="ad-1")
    report = await erased(database)
    after = await contents(database)

    assert row.state == "deleted"
    assert (row.subscriber_code or row.last_certificate_id) is None
    # Nothing leads from iSpring's id to her without an identity.
    assert [one for one in naming(after, ADA) if ADA.employee not in one] == []
    assert naming(after, BEA) == naming(before, BEA)
    counts = ("needs", "need_targets", "enrollments", "followup_moves", "recordings", "certified", "session_enrollments", "course_results")
    assert [report.erased[one] for one in counts] == [1, 2, 2, 3, 1, 1, 1, 1]
    assert not await Need.filter(action_subscription_id="ad-1").exists()
    assert not await Enrollment.filter(learner="ad-1").exists()


async def test_a_subscription_that_is_somebody_elses_now_stays_theirs(database: Database) -> None:
    await subscription("s-1", subscriber_id="p-bea", subscriber_name="Beatrice")
    await FormerHolder.create(
        account="hse", subscriber_id=ADA.person, action_subscription_id="s-1", subscriber_code=ADA.code, last_certificate_id=""
    )
    await erased(database)

    assert (await ActionSubscription.get()).subscriber_id == "p-bea"
    assert naming(await contents(database), ADA) == []


async def test_what_others_are_managed_and_watched_by_does_not_name_them(database: Database) -> None:
    await subscription("ad-1", subscriber_id=ADA.person, subscriber_code=ADA.code, subscriber_name=ADA.name)
    about = {
        "manager": [{"person_id": ADA.person, "name": ADA.name}, {"person_id": "boss"}],
        "assignee": [ADA.person],
        "watcher": {"name": ADA.name},
        "data": {"trainer": {"code": ADA.code}, "room": 17},
    }
    for name in ("s-2", "s-3"):
        await subscription(name, **(about if name == "s-2" else {"manager": ["boss"], "data": {"room": 17}}))
    report = await erased(database)

    row, other = [await ActionSubscription.get(action_subscription_id=one) for one in ("s-2", "s-3")]
    assert (row.manager, row.assignee, row.watcher, row.data) == ([{"person_id": "boss"}], [], None, {"trainer": None, "room": 17})
    assert (other.manager, other.data, row.subscriber_id) == (["boss"], {"room": 17}, "p-s-2")
    assert report.erased == {"action_subscriptions": 2}
    assert naming(await contents(database), ADA) == []


async def test_a_delivery_about_somebody_else_that_names_them_loses_its_body_and_not_its_effect(database: Database) -> None:
    await subscription("ad-1", subscriber_id=ADA.person)
    body = BEA.told()[0].body[:-1] + f', "manager": [{{"id": "{ADA.person}"}}]}}'.encode()
    named, other = delivery(body), BEA.told()[1]
    await pipeline(database).together([named, other])
    await erased(database)

    row = await ActionSubscription.get(action_subscription_id="be-1")
    assert (row.state, row.subscriber_id, row.manager) == ("live", BEA.person, [])
    assert [((await logged(one)).state, (await logged(one)).body is None) for one in (named, other)] == [
        ("applied", True),
        ("applied", False),
    ]
    assert naming(await contents(database), ADA) == []


def _raw(one: Life) -> bytes:
    return f'\xff{{"user": "{one.code}", truncated'.encode("latin-1")


def _glued(one: Life) -> bytes:
    return f"<<{one.person}>>".encode()


@pytest.mark.parametrize("body", [_raw, _glued])
async def test_a_message_that_is_no_delivery_is_searched(database: Database, body: Callable[[Life], bytes]) -> None:
    await subscription("ad-1", subscriber_id=ADA.person, subscriber_code=ADA.code)
    ours, others = wrapped(body(ADA)), wrapped(body(BEA))
    await pipeline(database).bury([ours, others], Reason.UNREADABLE_ENVELOPE, "no JSON")
    report = await erased(database, now=now_utc)

    row, other = await logged(ours), await logged(others)
    assert (row.state, row.reason) == ("ignored", "erased")
    assert not any((row.body, row.detail, row.fingerprint))
    assert (other.state, other.body and bytes(other.body)) == ("dead", body(BEA))
    assert report.erased["deliveries"] == 1


async def test_a_replay_of_what_named_them_keeps_nothing_to_be_compared_with(database: Database) -> None:
    told = {one: one.told()[6] for one in (ADA, BEA)}  # understood by nobody
    for one in told.values():
        await pipeline(database).together([one])
        await pipeline(database).together([replayed(one)])
    await erased(database)

    rows = {one: await logged(replayed(told[one])) for one in told}
    assert (bytes(rows[ADA].fingerprint), rows[ADA].reason, rows[ADA].state) == (b"", "erased", DeliveryState.IGNORED)
    assert bytes(rows[BEA].fingerprint).hex() == told[BEA].fingerprint


async def test_what_is_still_to_be_told_of_others_does_not_name_them(database: Database) -> None:
    await Identity.create(account="ispring", kind="person", here=ADA.person, there=ADA.employee)
    said = {"session_id": "o-1", "employee_id": "apprentice", "version": 1, "withdrawn": False, "status": "PASSED"}
    seen = [EVENTS[EventType.OBSERVATION_RESULT](**said, observer_id=one) for one in (ADA.employee, "boss")]
    async with database.transaction() as connection:
        await append(
            connection, database.dialect, [Event(EventType.OBSERVATION_RESULT, "ispring", "observation/o-1", NOON, one) for one in seen]
        )
    await erased(database)

    told, other = await OutboxEvent.all().order_by("sequence")
    assert (told.data["observer_id"], told.data["employee_id"], told.sequence) == (None, "apprentice", 1)
    assert other.data["observer_id"] == "boss"


async def test_a_message_that_waits_for_a_newer_version_loses_what_is_about_them(database: Database) -> None:
    await subscription("ad-1", subscriber_id=ADA.person, subscriber_code=ADA.code, subscriber_name=ADA.name)
    both = [json.loads(encode(one.told()[2])) for one in (ADA, BEA)]
    message = json.dumps({"version": 9, "kind": "deliveries", "deliveries": both, "note": f"from {ADA.person}"}).encode()
    await hold(database, 9, "deliveries", message)
    await hold(database, 9, "deliveries", b"\xff of somebody else")
    report = await erased(database)
    again = await erased(database)

    bared, other = await HeldEnvelope.all().order_by("id")
    said = json.loads(bytes(bared.message))
    assert (report.erased["held_envelopes"], again.erased) == (1, {})
    assert [base64.urlsafe_b64decode(one["body"]) == b"(erased)" for one in said["deliveries"]] == [True, False]
    assert (said["deliveries"][1]["body"], said["note"]) == (both[1]["body"], "from (erased)")
    assert bytes(other.message) == b"\xff of somebody else"


async def test_of_vendors_words_about_polls_and_reconciles_stays_that_there_were_some(database: Database) -> None:
    await Identity.create(account="ispring", kind="person", here=ADA.person, there=ADA.employee)
    for account, error in (("hse", ADA.name), ("ispring", ADA.name), ("lms", "401"), ("kare", None)):
        await Schedule.create(account=account, name="poll", created_at=NOON, due_at=NOON, failures=1, error=error)
        await filled(account, state="failed" if error else "done", error=error)
    await filled(state="held", error="too many are missing")
    report = await erased(database)

    words = [row.error for row in await Schedule.all().order_by("account")]
    runs = [row.error for row in await ReconcileRun.all().order_by("account", "state")]
    assert words == ["(erased)", "(erased)", None, "401"]
    assert runs == ["(erased)", "too many are missing", "(erased)", None, "401"]
    assert (report.erased["schedules"], report.erased["reconcile_runs"]) == (2, 2)
