"""Reading the delivery log: the newest first, by what one asks for."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from schemas.delivery import Delivery
from tests.workers.made import created, deleted, delivery
from workers.database import Database
from workers.operations.deliveries import find, one
from workers.pipeline import Pipeline


async def written(database: Database) -> Sequence[Delivery]:
    """An applied create and delete, an ignored one of another source, a dead one."""
    made = [created(), deleted(), delivery(b"{}", "PERSON::CREATE", source="other"), delivery(b"")]
    await Pipeline(database).together(made)
    return made


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param({}, [3, 2, 1, 0], id="everything"),
        pytest.param({"state": "applied"}, [1, 0], id="by state"),
        pytest.param({"source": "other"}, [2], id="by source"),
        pytest.param({"event": "ACTION_SUBSCRIPTION::CREATE"}, [3, 0], id="by event"),
        pytest.param({"state": "dead", "event": "ACTION_SUBSCRIPTION::CREATE"}, [3], id="by two of them"),
        pytest.param({"state": "settled"}, [], id="by what there is none of"),
        pytest.param({"limit": 2}, [3, 2], id="the newest few"),
    ],
)
async def test_deliveries_are_found_newest_first(database: Database, wanted: dict[str, str], found: list[int]) -> None:
    made = await written(database)

    assert [row.id for row in await find(**wanted)] == [made[number].id for number in found]  # type: ignore[arg-type]


async def test_one_delivery_is_found_by_its_id(database: Database) -> None:
    made = await written(database)
    found = await one(made[3].id)

    assert found is not None
    assert (found.state, found.reason) == ("dead", "unparsable")
    assert await one(UUID(int=1)) is None
