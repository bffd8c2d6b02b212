"""What a scrape asks of the database is counted right, in bounded label sets, and not more often than is good for it."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from schemas import metrics
from schemas.accounts import Account, FourhseAccount
from schemas.delivery import now_utc
from schemas.heartbeat import Heartbeat
from schemas.metrics import Metric, Samples
from schemas.states import NeedState, Reason, RefreshKind
from tests.services import free_port
from tests.workers.made import NOON, created, delivery, replayed
from workers import receivers
from workers.consumer import declare_at
from workers.database import Database, DatabaseAway
from workers.followups.tables import Enrollment, Need, Recording
from workers.freshness import SourceFreshness
from workers.log import LoggedDelivery, begin_attempt, hold
from workers.mirror.tables import Drift, ReconcileRun
from workers.operations.figures import QUESTIONS, Answer, Asked, Moment, from_broker
from workers.operations.health import status
from workers.outbox import OutboxEvent
from workers.pipeline import Pipeline
from workers.refreshes import Refresh
from workers.replays import ReplayItem, ReplayRun
from workers.schedules import Schedule

MINUTE = timedelta(minutes=1)
OFF = {"reconcile": "off", "session_enrollments": "off", "sessions": "off"}
HSE = FourhseAccount.model_validate({"vendor": "4hse", "access_token_file": "key", "polls": OFF | {"actions": "6h"}})


def some(samples: Samples) -> dict[tuple[str, ...], float]:
    """Those that are not at nought."""
    return {labels: value for labels, value in samples.items() if value}


async def asked(*of: Metric) -> tuple[Samples, ...]:
    """What the database says at five past twelve."""
    found = await everything(NOON + 5 * MINUTE, {"hse": HSE})
    return tuple(found[one] for one in of)


async def everything(now: datetime, accounts: Mapping[str, Account]) -> dict[Metric, Samples]:
    """The answers to all questions."""
    answers = [await question(Moment(now, accounts)) for question, _ in QUESTIONS.values()]
    return {metric: samples for answer in answers for metric, samples in answer.items()}


async def test_an_empty_database_has_an_answer_to_everything(database: Database) -> None:
    found = await everything(NOON, {})

    assert found.keys() == set(metrics.OF_DATABASE)
    assert not any(some(samples) for samples in found.values())
    assert {labels for (labels,) in found[metrics.FOLLOWUPS]} == set(NeedState)


async def test_deliveries_that_wait_and_dead_ones_are_counted(database: Database) -> None:
    await Pipeline(database).together([created(), delivery(b"no JSON")])
    await Pipeline(database).bury([created("s2")], Reason.DEAD_LETTERED)
    for one in (created("s3"), created("s4"), replayed(created("s5")), replayed(created("s6"))):
        await begin_attempt(database, one)
    await LoggedDelivery.filter(subject=None, state="received").update(state_at=NOON - MINUTE)
    await hold(database, 2, "deliveries", b"from the future")

    found = await asked(metrics.WAITING, metrics.WAITING_AGE, metrics.DEAD, metrics.HELD)
    assert found == ({(): 2}, {(): 360}, {(): 2}, {(): 1})


async def test_neither_a_replay_nor_an_import_that_is_tried_alone_is_old(database: Database) -> None:
    old = NOON - timedelta(days=300)
    await begin_attempt(database, replayed(created("s1", received_at=old)))
    await begin_attempt(database, created("s2", received_at=old, effects=False))
    now = now_utc() + MINUTE
    found = await everything(now, {})

    assert found[metrics.WAITING] == {(): 1}
    assert 60 <= found[metrics.WAITING_AGE][()] < 120
    assert (await status(now, {})).oldest_waiting == now - timedelta(seconds=found[metrics.WAITING_AGE][()])


async def test_what_is_touched_and_not_fetched_is_counted(database: Database) -> None:
    for number, attempts in enumerate((0, 3)):
        since = NOON + number * MINUTE
        times = {"since": since, "marked_at": since, "due_at": since}
        kind = RefreshKind.ACTION_SUBSCRIPTION.value
        await Refresh(account="hse", kind=kind, subject=f"s{number}", scope="", attempts=attempts, **times).save()

    found = await asked(metrics.REFRESHES, metrics.REFRESHES_FAILING, metrics.REFRESHES_AGE)
    assert found == ({(): 2}, {(): 1}, {(): 300})


async def test_followups_enrollments_and_recordings_are_counted_by_state(database: Database) -> None:
    times: dict[str, Any] = dict.fromkeys(("state_at", "opened_at", "created_at"), NOON)
    rule: dict[str, Any] = {"rule": "fire", "cycle": "initial", "digest": "d", "plan": {}, "attempt": 1, "approvals": []}
    late: dict[str, Any] = {"due_at": NOON, "alarm": "it was due"}
    for number, state in enumerate(("enrolled", "overdue", "overdue", "held")):
        kept = late if state == "held" else {}
        await Need(id=uuid4(), account="hse", action_subscription_id=f"s{number}", state=state, **rule, **times, **kept).save()
    seat: dict[str, Any] = {"account": "lms", "kind": "course", "learner": "l", "target": "c", "attempts": 0, "terms": {}}
    await Enrollment(id=uuid4(), round=1, state="enrolled", state_at=NOON, **seat).save()
    step: dict[str, Any] = {"need": uuid4(), "account": "hse", "step": "certificate", "body": {}, "remote": "", "attempts": 0}
    await Recording(id=uuid4(), state="dead", state_at=NOON, **step).save()

    needs, enrollments, recordings = await asked(metrics.FOLLOWUPS, metrics.ENROLLMENTS, metrics.RECORDINGS)
    assert some(needs) == {("enrolled",): 1, ("overdue",): 2, ("held",): 1}
    assert await asked(metrics.OVERDUE, metrics.ALARMS) == ({(): 3}, {(): 1})
    assert some(enrollments) == {("enrolled",): 1}
    assert some(recordings) == {("dead",): 1}


async def test_events_that_are_not_told_are_counted(database: Database) -> None:
    for number in range(2):
        about: dict[str, Any] = {"type": "t", "account": "hse", "subject": "s", "sequence": number, "data": {}, "attempts": 0}
        await OutboxEvent(event=uuid4(), at=NOON + number * MINUTE, due_at=NOON, **about).save()

    assert await asked(metrics.OUTBOX, metrics.OUTBOX_AGE) == ({(): 2}, {(): 300})


async def ran(at: int, state: str, *, dry_run: bool = False, backfill: bool = False, missing: int = 0) -> None:
    """A run of reconcile."""
    counts = dict.fromkeys(("walk", "next_page", "seen", "calls", "extra", "different", "unreadable"), 0)
    told: dict[str, Any] = {"asked": {}, "dry_run": dry_run, "backfill": backfill, "state": state, "missing": missing, "holder": uuid4()}
    await ReconcileRun(id=uuid4(), account="hse", began_at=NOON + at * MINUTE, step_at=NOON, **counts, **told).save()


async def test_drift_is_of_the_last_run_that_was_finished_and_no_trial(database: Database) -> None:
    await ran(0, "done", missing=9)
    await ran(1, "done", missing=2)
    await ran(2, "done", missing=50, dry_run=True)
    await ran(3, "done", missing=50, backfill=True)
    await ran(4, "held", missing=50)
    for days in (0, 2):
        about: dict[str, Any] = {"account": "hse", "subject": "s1", "kind": "status", "differing": ["status"], "run": uuid4()}
        await Drift(found_at=NOON - timedelta(days=days), **about).save()

    drift, held = await asked(metrics.DRIFT, metrics.RECONCILE_HELD)
    assert drift == {("hse", "missing"): 2, ("hse", "extra"): 0, ("hse", "different"): 0, ("hse", "status"): 1}
    assert held == {("hse",): 1}


async def test_who_was_last_heard_of_when_is_told_and_who_is_quiet(database: Database) -> None:
    await Pipeline(database).together([created(received_at=NOON - timedelta(days=3))])
    made = {"created_at": NOON - timedelta(days=9), "due_at": NOON, "last_success": NOON, "failures": 4}
    await Schedule(account="hse", name="actions", **made).save()
    beat = {"name": "host", "every": 30.0, "program": "1", "spooled": 0, "spooled_since": None, "spool_full": False}
    beat |= {"rejected": 0, "rejected_last": None, "rejected_lost": 0, "stopping": False}
    await receivers.note(database, [Heartbeat.model_validate(beat | {"at": NOON, "began_at": NOON})], NOON)

    found = await asked(metrics.LAST_DELIVERY, metrics.LAST_SUCCESS, metrics.FAILURES, metrics.LAST_HEARTBEAT, metrics.QUIET)
    assert found == (
        {("hse", "hse"): (NOON - timedelta(days=3)).timestamp()},
        {("hse", "actions"): NOON.timestamp()},
        {("hse", "actions"): 4},
        {("host",): NOON.timestamp()},
        {("source", "hse", "hse"): True, ("poll", "hse", "actions"): False, ("receiver", "", "host"): True},
    )


async def test_replays_that_are_not_done_are_counted(database: Database) -> None:
    run, done = uuid4(), uuid4()
    counts = dict.fromkeys(("selected", "bodiless", "applied", "unchanged", "dead", "gone"), 0)
    await ReplayRun(id=run, who="ada", asked={}, state="running", began_at=NOON, **counts).save()
    await ReplayRun(id=done, who="ada", asked={}, state="done", began_at=NOON, ended_at=NOON, **counts).save()
    for of, outcome in ((run, None), (run, None), (run, "applied"), (done, "dead")):
        await ReplayItem(replay=uuid4(), run=of, original=uuid4(), outcome=outcome).save()

    assert await asked(metrics.REPLAY_RUNS, metrics.REPLAYS) == ({(): 1}, {(): 2})


async def test_sources_beyond_the_bound_share_a_name(database: Database) -> None:
    for number in range(103):
        received_at = NOON - timedelta(days=3) + number * MINUTE
        await SourceFreshness(account="hse", source=f"s{number:03}", received_at=received_at).save()

    last, quiet = await asked(metrics.LAST_DELIVERY, metrics.QUIET)
    assert len(last) == 101
    assert last["other", "other"] == (NOON - timedelta(days=3) + 102 * MINUTE).timestamp()
    assert quiet["source", "other", "other"] == 1


async def test_the_broker_tells_of_every_queue(broker_url: str) -> None:
    await declare_at(broker_url)
    found = await from_broker(broker_url)

    assert found[metrics.QUEUE] == found[metrics.CONSUMERS]
    assert found[metrics.QUEUE]["muster.deliveries",] == 0


class Counting:
    """Somebody who is asked."""

    def __init__(self, *, error: Exception | None = None, seconds: float = 0) -> None:
        self.times, self._error, self._seconds = 0, error, seconds

    async def __call__(self) -> Answer:
        self.times += 1
        await asyncio.sleep(self._seconds)
        if self._error:
            raise self._error
        return {metrics.DEAD: {(): self.times}}


async def test_an_answer_is_good_for_a_while_and_asked_for_once_however_many_look() -> None:
    somebody = Counting(seconds=0.05)
    asked_of = Asked(somebody, every=60)
    answers = await asyncio.gather(*(asked_of.look() for _ in range(5)))

    assert answers == [{metrics.DEAD: {(): 1}}] * 5
    assert await Asked(somebody, every=0).look() == {metrics.DEAD: {(): 2}}


@pytest.mark.parametrize(
    "somebody",
    [Counting(error=DatabaseAway("OSError")), Counting(error=ConnectionRefusedError()), Counting(seconds=60)],
    ids=["the database is away", "the broker is away", "no answer comes"],
)
async def test_whoever_gives_no_answer_is_left_alone_for_a_while_too(somebody: Counting) -> None:
    asked_of = Asked(somebody, every=60, patience=0.05)

    assert [await asked_of.look() for _ in range(3)] == [None] * 3
    assert somebody.times == 1


async def test_a_broker_that_is_away_gives_no_answer() -> None:
    assert await Asked(lambda: from_broker(f"amqp://127.0.0.1:{free_port()}/")).look() is None
