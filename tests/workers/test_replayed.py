"""A replay is a delivery with an id of its own that names its original: it is logged and applied like any other, settles what was dead,
and leaves the mirror as the original would have.
"""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas import samples
from schemas.accounts import FourhseAccount
from schemas.delivery import Delivery
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import Reason
from tests.workers.followups.mirrored import ACCOUNTS, filled, rule, subscription
from tests.workers.made import CREATE, DELETE, NOON, RUN, created, delivery, logged, replayed, states
from tests.workers.said import Said, anything_said, expected
from workers.database import Database
from workers.followups import rule_states
from workers.followups.plan import Followups
from workers.followups.tables import Need
from workers.freshness import SourceFreshness
from workers.handlers import Dead, Outcome, handle
from workers.log import LoggedDelivery, begin_attempt
from workers.mirror.apply import Mirror
from workers.mirror.tables import ActionSubscription, CourseResult
from workers.outbox import OutboxEvent
from workers.pipeline import ATTEMPTS, Pipeline
from workers.refreshes import Refresh
from workers.replays import ReplayItem

ANOTHER_RUN = UUID(int=2)
COMPLETED, REGISTERED = "COURSE_COMPLETED_SUCCESSFULLY", "USER_REGISTERED"
HSE = FourhseAccount.model_validate({"vendor": "4hse", "access_token_file": "key"})
FETCHING = Mirror(frozenset({"hse"}))


def completed(**changed: Any) -> Delivery:
    """iSpring's word that a learner has completed a course."""
    return delivery(samples.SAMPLES["ispring", COMPLETED], COMPLETED, vendor="ispring", account="lms", **changed)


def unhandled() -> Delivery:
    """What muster knows and does nothing with."""
    return delivery(samples.SAMPLES["ispring", REGISTERED], REGISTERED, vendor="ispring", account="lms")


async def given_up(database: Database, *deliveries: Delivery) -> None:
    """Deliveries that are dead."""
    await Pipeline(database).bury(deliveries, Reason.HANDLER_FAILED, "ValueError")


async def awaited(*replays: Delivery) -> None:
    """A run knows of these replays, and of no outcome yet."""
    for one in replays:
        assert one.replay_of is not None
        await ReplayItem.create(replay=one.id, run=RUN, original=one.replay_of)


async def outcomes(*replays: Delivery) -> list[str | None]:
    """What became of each, as its run knows it."""
    return [(await ReplayItem.get(replay=one.id)).outcome for one in replays]


# In the log.


async def test_a_replay_is_logged_under_its_own_id_with_its_evidence_and_its_original_keeps_what_it_says(database: Database) -> None:
    one = created(received_at=NOON - timedelta(days=20))
    await Pipeline(database).together([one])
    await Pipeline(database).together([replayed(one)])

    row, original = await logged(replayed(one)), await logged(one)
    assert (row.state, row.replay_of, row.repeat_of, row.received_at) == ("applied", one.id, one.id, one.received_at)
    assert (row.headers, row.body, bytes(row.fingerprint).hex()) == ({}, None, one.fingerprint)
    assert (original.state, original.headers, bytes(original.body or b"")) == ("applied", one.headers, one.body)


async def test_a_replay_that_comes_again_is_recognised_and_changes_nothing(database: Database) -> None:
    one, pipeline = created(), Pipeline(database)
    await pipeline.together([one, replayed(one)])
    before = await LoggedDelivery.all().order_by("id").values()

    assert await pipeline.together([replayed(one)]) == await pipeline.one_by_one([replayed(one)]) == {"suppressed": 1}
    assert await pipeline.bury([replayed(one)], Reason.DEAD_LETTERED) == {"suppressed": 1}
    assert await LoggedDelivery.all().order_by("id").values() == before


async def test_another_runs_replay_is_another_delivery(database: Database) -> None:
    one = created()

    assert await Pipeline(database).together([one, replayed(one), replayed(one, ANOTHER_RUN)]) == {"applied": 3}


async def test_attempts_at_a_replay_are_counted_under_its_own_id_and_kept_without_a_body(database: Database) -> None:
    one = created()
    await Pipeline(database).together([one])

    assert [await begin_attempt(database, replayed(one)) for _ in range(2)] == [1, 2]
    assert ((await logged(replayed(one))).body, (await logged(one)).attempts) == (None, 1)


async def test_what_repeats_a_replayed_delivery_still_repeats_the_first_that_said_it(database: Database) -> None:
    one = created()
    lower = replayed(one, id=UUID(int=1))  # whatever a run makes of its id
    await Pipeline(database).together([one])
    await Pipeline(database).together([lower])
    again = created()
    await Pipeline(database).together([again])

    assert (await logged(again)).repeat_of == one.id


# Its original.


async def test_an_original_that_was_dead_is_settled_by_a_replay_that_is_applied_or_ignored_and_keeps_its_reason(database: Database) -> None:
    one, other = created(), unhandled()
    await given_up(database, one, other)
    await Pipeline(database).together([replayed(one), replayed(other)])

    assert await states(one, other) == [("settled", "handler_failed")] * 2
    assert await states(replayed(one), replayed(other)) == [("applied", None), ("ignored", "not_handled")]


async def test_an_original_whose_replay_is_dead_too_stays_dead(database: Database) -> None:
    one = delivery(b"no JSON")
    await Pipeline(database).together([one])
    await Pipeline(database).together([replayed(one)])

    assert await states(one, replayed(one)) == [("dead", "unparsable")] * 2


@pytest.mark.parametrize("one", [created(), unhandled()], ids=["applied", "ignored"])
async def test_an_original_that_was_not_dead_stays_as_it_is(database: Database, one: Delivery) -> None:
    await Pipeline(database).together([one])
    before = await LoggedDelivery.get(id=one.id).values()
    await Pipeline(database).together([replayed(one)])

    assert await LoggedDelivery.get(id=one.id).values() == before


async def test_an_original_that_was_settled_is_settled_for_good_whatever_comes_again(database: Database) -> None:
    one = created()
    await given_up(database, one)
    await Pipeline(database).together([replayed(one)])

    assert await Pipeline(database).bury([one], Reason.DEAD_LETTERED) == {"suppressed": 1}
    assert await states(one) == [("settled", "handler_failed")]


async def test_an_original_whose_attempt_was_cut_short_is_settled_too(database: Database) -> None:
    one = created()
    await begin_attempt(database, one)
    await Pipeline(database).together([replayed(one)])

    assert await Pipeline(database).one_by_one([one]) == {"suppressed": 1}
    assert await states(one) == [("settled", None)]


async def test_a_replay_whose_original_the_log_holds_no_more_is_applied(database: Database) -> None:
    assert await Pipeline(database).together([replayed(created())]) == {"applied": 1}


async def test_an_original_is_settled_in_the_transaction_that_applies_its_replay_or_not_at_all(spoilt_database: Database) -> None:
    one = created()
    await given_up(spoilt_database, one)
    if spoilt_database.dialect == "postgres":
        await spoilt_database.connection.execute_query("ALTER TABLE action_subscriptions ADD CONSTRAINT refused CHECK (FALSE)")
    else:
        await spoilt_database.connection.execute_query(
            "CREATE TRIGGER refused BEFORE INSERT ON action_subscriptions BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    await Pipeline(spoilt_database).together([replayed(one)])

    assert await states(one, replayed(one)) == [("dead", "handler_failed")] * 2


# What its run is told.


async def test_a_replay_that_adds_to_the_mirror_was_applied_and_one_that_does_not_changed_nothing(database: Database) -> None:
    lost, known, newer = created("s1"), created("s2"), created("s3")
    await Pipeline(database).together([known, created("s3", received_at=NOON + timedelta(hours=1))])
    replays = [replayed(one) for one in (lost, known, newer)]
    await awaited(*replays)
    await Pipeline(database).together(replays)

    assert await outcomes(*replays) == ["applied", "unchanged", "unchanged"]


async def test_a_replay_that_is_ignored_changed_nothing_and_one_that_fails_again_is_dead(database: Database) -> None:
    replays = [replayed(unhandled()), replayed(delivery(b"no JSON"))]
    await awaited(*replays)
    await Pipeline(database).together(replays)

    assert await outcomes(*replays) == ["unchanged", "dead"]


async def test_a_result_that_the_mirror_did_not_hold_was_applied_and_one_that_it_held_changed_nothing(database: Database) -> None:
    one = completed()
    replays = [replayed(one), replayed(one, ANOTHER_RUN)]
    await awaited(*replays)
    for each in replays:
        await Pipeline(database).together([each])

    assert await outcomes(*replays) == ["applied", "unchanged"]


async def test_what_is_to_be_fetched_for_a_replays_sake_counts_as_applied_unless_it_was_to_be_fetched_anyhow(database: Database) -> None:
    one = delivery(samples.body("4hse", "PERSON::UPDATE") or b"", "PERSON::UPDATE")
    replays = [replayed(one), replayed(one, ANOTHER_RUN)]
    await awaited(*replays)
    for each in replays:
        await Pipeline(database, partial(handle, accounts={"hse": HSE}), FETCHING).together([each])

    assert await outcomes(*replays) == ["applied", "unchanged"]
    assert await Refresh.all().count() == 1


async def test_live_deliveries_in_a_replays_batch_are_none_of_its_doing(database: Database) -> None:
    live, known = created("s1"), created("s2")
    await Pipeline(database).together([known])
    await awaited(replayed(known))
    await Pipeline(database).together([live, replayed(known)])

    assert await outcomes(replayed(known)) == ["unchanged"]


async def test_a_replay_that_is_buried_or_fails_time_and_again_is_told_to_be_dead(database: Database) -> None:
    def fail(one: Delivery) -> Outcome:
        raise ValueError

    buried, failing = replayed(created("s1")), replayed(created("s2"))
    await awaited(buried, failing)
    await Pipeline(database).bury([buried], Reason.DEAD_LETTERED)
    await Pipeline(database, fail).together([failing])

    assert await outcomes(buried, failing) == ["dead", "dead"]
    assert (await logged(failing)).attempts == ATTEMPTS


# Without effects.


async def test_a_delivery_without_effects_is_logged_and_mirrored_and_nothing_follows_from_it(database: Database) -> None:
    deliveries, pipeline = [created(effects=False), completed(effects=False)], Pipeline(database, mirror=FETCHING)
    tally = await pipeline.together(deliveries)

    assert tally == {"applied": 2}
    assert [bytes((await logged(one)).body or b"") for one in deliveries] == [one.body for one in deliveries]
    assert ((await ActionSubscription.get()).state, await CourseResult.all().count()) == ("live", 1)
    followed = (OutboxEvent, Refresh, SourceFreshness)
    assert [await one.all().count() for one in followed] == [0, 0, 0]

    await pipeline.together([created("s2")])
    assert [await one.all().count() for one in followed] == [1, 1, 1]


async def test_nobody_is_planned_for_by_a_delivery_without_effects(database: Database) -> None:
    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, [rule()], NOON)
    await filled()
    await subscription("s1", fetched_at=NOON, fetch_covers=NOON)
    pipeline = Pipeline(database, mirror=Mirror(frozenset(ACCOUNTS), followups=Followups([rule()], ACCOUNTS)))
    needs = []
    for effects in (False, True):
        await pipeline.together([created("s1", effects=effects)])
        needs.append(await Need.all().count())

    assert needs == [0, 1]


async def test_its_neighbours_in_a_batch_have_theirs(database: Database) -> None:
    await Pipeline(database, mirror=FETCHING).together([created("s1", effects=False), created("s2", source="other")])

    assert [row.subject for row in await Refresh.all()] == ["s2"]
    assert [row.data["action_subscription_id"] for row in await OutboxEvent.all()] == ["s2"]
    assert [row.source for row in await SourceFreshness.all()] == ["other"]
    assert await ActionSubscription.all().count() == 2


async def test_a_replay_without_effects_still_tells_its_run_and_settles_its_original(database: Database) -> None:
    one = created()
    await given_up(database, one)
    await awaited(replayed(one))
    await Pipeline(database, mirror=FETCHING).together([replayed(one, effects=False)])

    assert await outcomes(replayed(one)) == ["applied"]
    assert await states(one) == [("settled", "handler_failed")]
    assert await Refresh.all().count() == 0


async def test_a_replay_is_no_proof_that_its_source_still_delivers(database: Database) -> None:
    await Pipeline(database).together([replayed(created())])

    assert await SourceFreshness.all().count() == 0


# Promise 3.

_HINTS = ("state", "flags", "hint_deleted", "hint_received_at", "hint_fingerprint", "hint_last_at")
_RESULTS = ("learner", "course", "activity", "attempt", "observed_at", "withdrawn", "completed", "completed_at")
_accounts = (f"account{number}" for number in itertools.count())


async def webhook_born(account: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What webhooks have said of subscriptions, and the current results that they told of."""
    hinted = ActionSubscription.filter(account=account).order_by("action_subscription_id").values(*SUBSCRIPTION_FIELDS, *_HINTS)
    results = CourseResult.filter(account=account, superseded_at=None).order_by("learner", "course").values(*_RESULTS)
    return list(await hinted), list(await results)


@dataclass(frozen=True)
class Done:
    """One webhook: iSpring's word of a completed course where there is no event of 4HSE's."""

    learner: int
    second: int

    def sent(self, account: str) -> Delivery:
        payload = {"courseId": "c1", "learnerId": f"l{self.learner}", "completionDate": 1_722_902_269 * 10**9 + self.second * 10**9}
        at = NOON + timedelta(seconds=self.second)
        return delivery({"type": COMPLETED, "payloads": [payload]}, COMPLETED, vendor="ispring", account=account, received_at=at)


_webhooks = st.lists(anything_said | st.builds(Done, st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=8)
PATIENTLY = settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@PATIENTLY
@given(webhooks=_webhooks, data=st.data())
async def test_replaying_the_whole_log_into_an_empty_mirror_gives_the_same_webhook_born_columns(
    database: Database, webhooks: list[Said | Done], data: st.DataObject
) -> None:
    account = next(_accounts)
    deliveries = [one.sent(account) for one in webhooks]
    for one in data.draw(st.permutations(deliveries)):
        await Pipeline(database).together([one])
    before = await webhook_born(account)
    await ActionSubscription.filter(account=account).delete()
    await CourseResult.filter(account=account).delete()
    replays = [replayed(one) for one in data.draw(st.permutations(deliveries))]
    size = data.draw(st.integers(1, len(replays)))
    for start in range(0, len(replays), size):
        await Pipeline(database).together(replays[start : start + size])

    assert await webhook_born(account) == before


@dataclass(frozen=True)
class Handed:
    """One batch that a worker is handed: deliveries, or their replays in a run."""

    worker: int
    run: UUID | None
    redelivered: bool
    which: tuple[int, ...]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Said], frozenset[int], list[Handed]]:
    """Webhooks, which of them muster fails on when they are live, and batches of anything after all of them were handed out once."""
    said = draw(st.lists(anything_said, min_size=1, max_size=6))
    indices = st.integers(0, len(said) - 1)
    which = st.lists(indices, min_size=1, max_size=6).map(tuple)
    runs = st.sampled_from([None, RUN, ANOTHER_RUN])
    return said, draw(st.frozensets(indices)), draw(st.lists(st.builds(Handed, st.integers(0, 1), runs, st.booleans(), which), max_size=6))


DELETED_ONCE_REPLAYED = (
    [Said(0, CREATE, 0, 0), Said(0, DELETE, 1, 0)],
    frozenset({1}),
    [Handed(0, RUN, False, (0, 1)), Handed(1, RUN, True, (1, 0)), Handed(0, None, True, (1,)), Handed(1, ANOTHER_RUN, False, (1,))],
)


@PATIENTLY
@given(history=histories())
@example(history=DELETED_ONCE_REPLAYED)
async def test_any_mixture_of_live_deliveries_duplicates_replays_and_redelivery_ends_in_the_same_rows(
    database: Database, history: tuple[list[Said], frozenset[int], list[Handed]]
) -> None:
    said, broken, handed = history
    account = next(_accounts)
    deliveries = [one.sent(account) for one in said]
    failing = {deliveries[index].id for index in broken}

    def decide(one: Delivery) -> Outcome:
        return Dead(one.event, Reason.HANDLER_FAILED) if one.id in failing else handle(one)

    async def work(batches: Sequence[Handed]) -> None:
        pipeline = Pipeline(database, decide)
        for batch in batches:
            them = [deliveries[index] for index in batch.which]
            if batch.run is not None:
                them = [replayed(one, batch.run) for one in them]
            await (pipeline.one_by_one if batch.redelivered else pipeline.together)(them)

    await work([Handed(0, None, False, tuple(range(len(deliveries))))])
    await asyncio.gather(*(work([one for one in handed if one.worker == number]) for number in (0, 1)))

    replays = {(one.run, index) for one in handed if one.run is not None for index in one.which}
    replayed_once = {index for _, index in replays}
    told = [one for index, one in enumerate(deliveries) if index not in broken or index in replayed_once]
    rows = await ActionSubscription.filter(account=account)
    assert {
        row.action_subscription_id: (row.state, row.data, row.hint_received_at, bytes(row.hint_fingerprint or b"").hex()) for row in rows
    } == expected(told)
    assert [state for state, _ in await states(*deliveries)] == [
        "applied" if index not in broken else "settled" if index in replayed_once else "dead" for index in range(len(deliveries))
    ]
    logged_replays = await LoggedDelivery.filter(account=account, replay_of__isnull=False)
    assert [row.state for row in logged_replays] == ["applied"] * len(replays)
