"""Reading the mirror: by id, by account, by state."""

from datetime import timedelta

import pytest

from tests.workers.made import NOON, created, deleted
from workers.database import Database
from workers.operations.subscriptions import by_id, find
from workers.pipeline import Pipeline


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param({}, [("b", "s1"), ("a", "s2"), ("a", "s1")], id="everything, the newest evidence first"),
        pytest.param({"account": "a"}, [("a", "s2"), ("a", "s1")], id="by account"),
        pytest.param({"state": "deleted"}, [("a", "s2")], id="by state"),
        pytest.param({"account": "b", "state": "deleted"}, [], id="by both"),
        pytest.param({"limit": 1}, [("b", "s1")], id="the newest few"),
    ],
)
async def test_subscriptions_are_found(database: Database, wanted: dict[str, str], found: list[tuple[str, str]]) -> None:
    hints = [created("s1", account="a"), deleted("s2", account="a"), created("s1", account="b")]
    timed = [hint.model_copy(update={"received_at": NOON + timedelta(seconds=number)}) for number, hint in enumerate(hints)]
    await Pipeline(database).together(timed)

    assert [(row.account, row.action_subscription_id) for row in await find(**wanted)] == found  # type: ignore[arg-type]


async def test_an_id_is_found_in_every_account_that_has_it(database: Database) -> None:
    await Pipeline(database).together([created("s1", account="b"), created("s1", account="a"), created("s2")])

    assert [row.account for row in await by_id("s1")] == ["a", "b"]
    assert [row.account for row in await by_id("s1", "b")] == ["b"]
    assert list(await by_id("s3")) == []
