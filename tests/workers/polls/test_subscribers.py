"""Whether iSpring still takes its subscribers for confirmed is asked, for no webhook tells it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from schemas.delivery import now_utc
from schemas.states import SubscriberState
from tests.workers.vendors.learn import EVENT, Learn, learning
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.polls.subscribers import poll
from workers.simulators.faults import Broken
from workers.subscribers import WebhookSubscriber, note
from workers.vendors.errors import Unavailable

MINUTE = timedelta(minutes=1)
CONFIRMED, UNCONFIRMED, GONE = SubscriberState.CONFIRMED, SubscriberState.UNCONFIRMED, SubscriberState.GONE
REGISTERED, REQUESTED = SubscriberState.REGISTERED, SubscriberState.CODE_REQUESTED


@pytest_asyncio.fixture
async def learn(tmp_path: Path) -> AsyncIterator[Learn]:
    async with learning(tmp_path) as staged:
        yield staged


async def polled(database: Database, learn: Learn) -> list[tuple[str, str]]:
    """What a poll logs: event and level."""
    with capture_logs() as logs:
        await poll(database, Mirror(), learn.ours, now_utc)
    return [(one["event"], one["log_level"]) for one in logs]


@pytest.mark.parametrize(
    ("held", "stands", "becomes", "logged"),
    [
        pytest.param(CONFIRMED, True, CONFIRMED, None, id="still confirmed"),
        pytest.param(CONFIRMED, False, UNCONFIRMED, "subscriber.unconfirmed", id="confirmed no more"),
        pytest.param(CONFIRMED, None, GONE, "subscriber.gone", id="removed"),
        pytest.param(UNCONFIRMED, False, UNCONFIRMED, None, id="known already"),
        pytest.param(UNCONFIRMED, True, CONFIRMED, None, id="confirmed by hand"),
        pytest.param(GONE, None, GONE, None, id="known to be removed"),
        pytest.param(GONE, False, UNCONFIRMED, "subscriber.unconfirmed", id="made again by hand"),
        pytest.param(REGISTERED, False, REGISTERED, None, id="not confirmed yet"),
        pytest.param(REQUESTED, False, REQUESTED, None, id="its code on the way"),
        pytest.param(REQUESTED, True, CONFIRMED, None, id="confirmed by another worker that died"),
    ],
)
async def test_a_row_becomes_what_ispring_says_and_a_loss_is_an_error_in_the_log_once(
    database: Database, learn: Learn, held: SubscriberState, stands: bool | None, becomes: SubscriberState, logged: str | None
) -> None:
    if stands is not None:
        learn.subscriber("one", asked=False).confirmed = stands
    await note(database, "lms", "one", EVENT, held, now_utc() - MINUTE)
    first, again = await polled(database, learn), await polled(database, learn)
    row = await WebhookSubscriber.get(name="one")

    assert row.state == becomes
    assert (row.state_at < now_utc() - MINUTE) is (held is becomes)
    assert (first, again) == ([(logged, "error")] if logged else [], [])


async def test_a_row_that_changed_while_ispring_was_asked_is_left_alone(database: Database, learn: Learn) -> None:
    learn.subscriber("one", asked=False)
    await note(database, "lms", "one", EVENT, CONFIRMED, now_utc() + MINUTE)

    assert await polled(database, learn) == []
    assert (await WebhookSubscriber.get(name="one")).state == CONFIRMED


async def test_only_the_accounts_own_subscribers_are_asked_about(database: Database, learn: Learn) -> None:
    await note(database, "another", "one", EVENT, CONFIRMED, now_utc() - MINUTE)

    assert await polled(database, learn) == []
    assert learn.faults.count("/webhook/*") == 0


async def test_a_vendor_that_is_down_changes_no_row(database: Database, learn: Learn) -> None:
    learn.subscriber("one", asked=False)
    await note(database, "lms", "one", EVENT, CONFIRMED, now_utc() - MINUTE)
    learn.faults.on(Broken(path="/webhook/*", status=503, times=None))
    with pytest.raises(Unavailable):
        await polled(database, learn)

    assert (await WebhookSubscriber.get(name="one")).state == CONFIRMED
