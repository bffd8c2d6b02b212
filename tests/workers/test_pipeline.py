"""A batch becomes one transaction, and any mixture of duplicates, orders, batches and redeliveries the same rows."""

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.delivery import Delivery
from schemas.samples import SUBSCRIPTION
from schemas.states import DeliveryState, Reason
from tests.workers.made import CREATE, DELETE, NOON, created, deleted, delivery, logged, states
from tests.workers.said import Said, anything_said, expected
from workers.database import Database, DatabaseAway
from workers.handlers import Outcome, handle
from workers.log import LoggedDelivery, begin_attempt
from workers.mirror.tables import ActionSubscription
from workers.pipeline import ATTEMPTS, Pipeline

Decide = Callable[[Delivery], Outcome]


async def mirrored(account: str = "hse") -> dict[str, str]:
    """Every mirrored subscription's state by its id."""
    rows = await ActionSubscription.filter(account=account).values_list("action_subscription_id", "state")
    return {str(subject): str(state) for subject, state in rows}


# Promise 3.


@dataclass(frozen=True)
class Handed:
    """One batch that a worker is handed."""

    worker: int
    redelivered: bool
    which: tuple[int, ...]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Said], list[Handed]]:
    """Webhooks, and batches in which every one is handed out at least once, to either of two workers."""
    said = draw(st.lists(anything_said, min_size=1, max_size=6))
    batch = st.lists(st.integers(0, len(said) - 1), min_size=1, max_size=6).map(tuple)
    handed = draw(st.lists(st.builds(Handed, st.integers(0, 1), st.booleans(), batch), max_size=5))
    forgotten = sorted(set(range(len(said))) - {index for one in handed for index in one.which})
    rest = draw(st.permutations(forgotten))
    return said, [*handed, *([Handed(draw(st.integers(0, 1)), draw(st.booleans()), tuple(rest))] if rest else [])]


LATE_CREATE = [Said(0, DELETE, 0, 0), Said(0, CREATE, 2, 1)], [Handed(0, False, (0,)), Handed(1, False, (1,)), Handed(0, True, (1, 0))]
BOTH_AT_ONCE = (
    [Said(subject, event, 0, 0) for subject in (2, 1, 0) for event in (CREATE, DELETE)],
    [Handed(0, False, (0, 1, 2, 3, 4, 5)), Handed(1, False, (5, 4, 3, 2, 1, 0))],
)
_accounts = (f"account{number}" for number in itertools.count())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=histories())
@example(history=LATE_CREATE)
@example(history=BOTH_AT_ONCE)
async def test_any_order_duplication_batching_and_redelivery_ends_in_the_same_rows(
    database: Database, history: tuple[list[Said], list[Handed]]
) -> None:
    said, handed = history
    account = next(_accounts)
    deliveries = [one.sent(account) for one in said]

    async def work(number: int) -> None:
        pipeline = Pipeline(database)
        for batch in [one for one in handed if one.worker == number]:
            await (pipeline.one_by_one if batch.redelivered else pipeline.together)([deliveries[index] for index in batch.which])

    await asyncio.gather(work(0), work(1))

    rows = await ActionSubscription.filter(account=account)
    assert {
        row.action_subscription_id: (row.state, row.data, row.hint_received_at, bytes(row.hint_fingerprint or b"").hex()) for row in rows
    } == expected(deliveries)
    assert [row.state for row in await LoggedDelivery.filter(account=account)] == ["applied"] * len(deliveries)


# One transaction.


async def test_the_log_and_the_mirror_change_together(database: Database) -> None:
    one, two, three = created("s1"), deleted("s2"), delivery(b"{}", "PERSON::CREATE")
    tally = await Pipeline(database).together([one, two, three])

    assert tally == {"applied": 2, "ignored": 1}
    assert await states(one, two, three) == [("applied", None), ("applied", None), ("ignored", "not_handled")]
    assert (await logged(one)).subject == "s1"
    assert await mirrored() == {"s1": "live", "s2": "deleted"}


@pytest.mark.parametrize(
    ("body", "changed", "subject"),
    [
        pytest.param({"action_subscription_id": "s1"}, {}, "s1", id="dead: it lacks the other ids"),
        pytest.param({"action_subscription_id": "s1"}, {"event": "ACTION_SUBSCRIPTION::UPDATE"}, "s1", id="dead: no such event"),
        pytest.param({"action_subscription_id": 7}, {"event": "ACTION_SESSION_SUBSCRIPTION::CREATE"}, "7", id="of an enrollment"),
        pytest.param({"action_subscription_id": "s1"}, {"vendor": "kare"}, None, id="of another vendor"),
        pytest.param({"action_subscription_id": None}, {}, None, id="named and empty"),
        pytest.param({"action_subscription_id": "s" * 256}, {}, None, id="too long for an id"),
        pytest.param({"action_subscription_id": ["s1"]}, {}, None, id="of the wrong type"),
        pytest.param(["s1"], {}, None, id="no object"),
        pytest.param(b"{" * 1000, {}, None, id="nothing that can be read"),
    ],
)
async def test_what_is_not_applied_is_found_by_the_subscription_that_its_body_names(
    database: Database, body: Any, changed: dict[str, Any], subject: str | None
) -> None:
    one = delivery(body, **changed)
    await Pipeline(database).together([one])
    two = delivery(body, **changed)
    await Pipeline(database).bury([two], Reason.DEAD_LETTERED)

    assert [((row := await logged(each)).state == "applied", row.subject) for each in (one, two)] == [(False, subject)] * 2


async def test_an_empty_batch_is_nothing(database: Database) -> None:
    assert await Pipeline(database).together([]) == {}
    assert await Pipeline(database).one_by_one([]) == {}


async def refuse(database: Database, table: str, when: str) -> None:
    """Let the database refuse every row of a table for which a condition holds, with an error that will not pass by itself."""
    if database.dialect == "postgres":
        await database.connection.execute_query(f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK (NOT ({when.replace('NEW.', '')}))")
        return
    for act in ("INSERT", "UPDATE"):
        trigger = f"CREATE TRIGGER on_{act} BEFORE {act} ON {table} WHEN {when} BEGIN SELECT RAISE(ABORT, 'refused'); END"
        await database.connection.execute_query(trigger)


async def test_nothing_is_mirrored_that_the_log_does_not_hold_as_applied(spoilt_database: Database) -> None:
    await refuse(spoilt_database, "deliveries", "NEW.state = 'applied'")
    one, two = created("s1"), delivery(b"{}", "PERSON::CREATE")
    await Pipeline(spoilt_database).together([one, two])

    assert await mirrored() == {}
    assert await states(one, two) == [("dead", "handler_failed"), ("ignored", "not_handled")]


async def test_nothing_is_logged_as_applied_that_the_mirror_does_not_hold(spoilt_database: Database) -> None:
    await refuse(spoilt_database, "action_subscriptions", "NEW.action_subscription_id = 's2'")
    before, poison, after = created("s1"), created("s2"), created("s3")
    await Pipeline(spoilt_database).together([before, poison, after])

    assert await mirrored() == {"s1": "live", "s3": "live"}
    assert await states(before, poison, after) == [("applied", None), ("dead", "handler_failed"), ("applied", None)]


# What came before.


async def test_an_id_that_was_applied_is_suppressed_and_changes_nothing(database: Database) -> None:
    one, pipeline = created(), Pipeline(database)
    await pipeline.together([one])
    first = await logged(one)

    assert await pipeline.together([one]) == {"suppressed": 1}
    assert await pipeline.one_by_one([one]) == {"suppressed": 1}
    assert await pipeline.bury([one], Reason.DEAD_LETTERED) == {"suppressed": 1}
    assert (await logged(one)).state_at == first.state_at


async def test_an_id_that_stands_twice_in_a_batch_is_logged_once(database: Database) -> None:
    one = created()

    assert await Pipeline(database).together([one, one]) == {"applied": 1, "suppressed": 1}
    assert (await logged(one)).repeat_of is None


@pytest.mark.parametrize("batches", [1, 2, 3], ids=["in one batch", "in two batches", "each alone"])
async def test_an_equal_body_under_another_id_is_applied_and_logged_as_a_repeat(database: Database, batches: int) -> None:
    first, second, third = created(), created(received_at=NOON + timedelta(hours=1)), created()
    pipeline = Pipeline(database)
    for batch in {1: [[first, second, third]], 2: [[first], [second, third]], 3: [[first], [second], [third]]}[batches]:
        await pipeline.together(batch)

    rows = [await logged(one) for one in (first, second, third)]
    assert [(row.state, row.repeat_of) for row in rows] == [("applied", None), ("applied", first.id), ("applied", first.id)]
    assert (await ActionSubscription.get()).hint_received_at == second.received_at


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: created("s2"), id="another body"),
        pytest.param(lambda: deleted(), id="another event"),
        pytest.param(lambda: created(account="b"), id="another account"),
    ],
)
async def test_what_differs_is_no_repeat(database: Database, other: Callable[[], Delivery]) -> None:
    second = other()
    await Pipeline(database).together([created(), second])

    assert (await logged(second)).repeat_of is None


@pytest.mark.parametrize("again", ["together", "one_by_one"])
async def test_what_was_ignored_or_dead_is_decided_again_and_can_become_applied(database: Database, again: str) -> None:
    one = created()
    unhandled = Pipeline(database, lambda delivery: handle(delivery.model_copy(update={"event": "PERSON::CREATE"})))
    for _ in range(ATTEMPTS + 2):  # the broker may hand it out however often: nothing fails here
        await getattr(unhandled, again)([one])
    assert await states(one) == [("ignored", "not_handled")]

    await getattr(Pipeline(database), again)([one])
    assert await states(one) == [("applied", None)]
    assert await mirrored() == {"s1": "live"}


async def test_what_is_buried_is_logged_with_its_reason_and_mirrors_nothing(database: Database) -> None:
    one = created()
    await Pipeline(database).bury([one], Reason.DEAD_LETTERED, "why")

    row = await logged(one)
    assert (row.state, row.reason, row.detail, bytes(row.body or b"")) == ("dead", "dead_lettered", "why", one.body)
    assert await mirrored() == {}


# What nothing can keep out of the log.


def _body(**said: Any) -> bytes:
    return json.dumps(SUBSCRIPTION | said).encode()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=50) | st.builds(_body, data=st.text(max_size=5), action_name=st.text(max_size=5) | st.integers()),
    event=st.none() | st.sampled_from([CREATE, DELETE, "PERSON::CREATE"]) | st.text(st.characters(codec="utf-8"), max_size=5),
    vendor=st.sampled_from(["4hse", "anewspring", "ispring", "kare"]) | st.text(st.characters(codec="utf-8"), max_size=5),
    account=st.just("hse") | st.text(st.characters(codec="utf-8"), max_size=3),
    alone=st.booleans(),
)
@example(body=json.dumps(SUBSCRIPTION).encode(), event=CREATE, vendor="4hse", account="a\0b", alone=False)
@example(body=b'{"action_subscription_id": "\\u0000"}', event=DELETE, vendor="4hse", account="hse", alone=True)
@example(body=b"\0" * 1_000_000, event="\0" * 10_000, vendor="\0", account="\0", alone=False)
async def test_whatever_is_delivered_ends_in_the_log_verbatim(
    database: Database, body: bytes, event: str | None, vendor: str, account: str, alone: bool
) -> None:
    one, pipeline = delivery(body, event, vendor=vendor, account=account), Pipeline(database)
    await (pipeline.one_by_one if alone else pipeline.together)([one])

    row = await logged(one)
    assert bytes(row.body or b"") == body
    assert row.state in set(DeliveryState) - {DeliveryState.RECEIVED}
    assert row.state == "applied" or row.reason in set(Reason)


# Attempts.


def failing_on(poison: Delivery, error: BaseException, calls: list[Delivery]) -> Decide:
    """A handler that has an error of its own on one delivery."""

    def decide(one: Delivery) -> Outcome:
        calls.append(one)
        if one.id == poison.id:
            raise error
        return handle(one)

    return decide


@pytest.mark.parametrize("error", [ValueError("secret"), TimeoutError()], ids=["an error of its own", "an error like the database's"])
@pytest.mark.parametrize("redelivered", [False, True], ids=["fresh", "redelivered"])
async def test_what_fails_alone_five_times_is_dead_and_its_neighbours_are_applied(
    database: Database, error: Exception, redelivered: bool
) -> None:
    before, poison, after = created("s1"), created("s2"), created("s3")
    calls: list[Delivery] = []
    pipeline = Pipeline(database, failing_on(poison, error, calls))
    tally = await (pipeline.one_by_one if redelivered else pipeline.together)([before, poison, after])

    assert await states(before, poison, after) == [("applied", None), ("dead", "handler_failed"), ("applied", None)]
    row = await logged(poison)
    assert (row.attempts, row.detail, bytes(row.body or b"")) == (ATTEMPTS, type(error).__name__, poison.body)
    assert calls.count(poison) == ATTEMPTS + (not redelivered)
    assert await mirrored() == {"s1": "live", "s3": "live"}
    assert tally == {"applied": 2, "dead": 1}


async def test_what_fails_at_first_and_then_works_is_applied_with_its_attempts(database: Database) -> None:
    one, failures = created(), iter([True, True, True])

    def decide(delivery: Delivery) -> Outcome:
        if next(failures, False):
            raise ValueError
        return handle(delivery)

    await Pipeline(database, decide).together([one])

    assert await states(one) == [("applied", None)]
    assert (await logged(one)).attempts == 3


async def test_a_handler_that_failed_is_still_to_blame_when_it_is_handed_out_again(database: Database) -> None:
    poison = created()
    for _ in range(2):
        await Pipeline(database, failing_on(poison, ValueError(), [])).one_by_one([poison])

    assert await states(poison) == [("dead", "handler_failed")]


class Killed(BaseException):
    """The end of a process, as far as one can have it and go on."""


async def test_an_attempt_is_in_the_log_before_it_is_made_and_after_five_that_nobody_survived_it_is_dead(database: Database) -> None:
    before, poison, after = created("s1"), created("s2"), created("s3")
    for attempt in range(1, ATTEMPTS + 1):
        with pytest.raises(Killed):
            await Pipeline(database, failing_on(poison, Killed(), [])).one_by_one([before, poison, after])
        assert ((await logged(poison)).state, (await logged(poison)).attempts) == ("received", attempt)
    calls: list[Delivery] = []
    await Pipeline(database, failing_on(poison, Killed(), calls)).one_by_one([before, poison, after])

    assert calls == [after]
    assert await states(before, poison, after) == [("applied", None), ("dead", "worker_killed"), ("applied", None)]
    assert (await logged(poison)).attempts == ATTEMPTS


async def test_what_killed_its_worker_five_times_is_not_tried_again_when_it_is_handed_out_again(database: Database) -> None:
    poison, calls = created(), list[Delivery]()
    for _ in range(ATTEMPTS):
        await begin_attempt(database, poison)
    for _ in range(2):
        await Pipeline(database, failing_on(poison, Killed(), calls)).one_by_one([poison])

    assert calls == []
    assert await states(poison) == [("dead", "worker_killed")]


@pytest.mark.parametrize("redelivered", [False, True], ids=["fresh", "redelivered"])
async def test_the_databases_own_faults_are_raised_and_never_counted(spoilt_postgres: Database, redelivered: bool) -> None:
    connection, one, pipeline = spoilt_postgres.connection, created(), Pipeline(spoilt_postgres)
    await connection.execute_query("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE serialization_failure; END$$")
    await connection.execute_query("CREATE TRIGGER fails BEFORE INSERT ON action_subscriptions FOR EACH ROW EXECUTE FUNCTION fail()")
    for _ in range(ATTEMPTS + 2):
        with pytest.raises(DatabaseAway, match="SerializationError"):
            await (pipeline.one_by_one if redelivered else pipeline.together)([one])
    await connection.execute_query("DROP TRIGGER fails ON action_subscriptions")
    await (pipeline.one_by_one if redelivered else pipeline.together)([one])

    assert await states(one) == [("applied", None)]
    assert (await logged(one)).attempts == 1
    assert await mirrored() == {"s1": "live"}


async def test_postgres_keeps_every_statement_of_a_batch_prepared(spoilt_postgres: Database) -> None:
    await Pipeline(spoilt_postgres).together([created(), created("r", replay_of=UUID(int=1))])
    rows = await spoilt_postgres.connection.execute_query_dict("SELECT statement FROM pg_prepared_statements")
    prepared = {" ".join(row["statement"].split()[:3]) for row in rows}

    assert {"INSERT INTO deliveries", "INSERT INTO action_subscriptions", "UPDATE replay_items SET"} <= prepared
