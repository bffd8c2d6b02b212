"""The guard: an hour's room, and what counts against it."""

from datetime import timedelta
from uuid import uuid4

import pytest

from schemas.states import NeedState
from tests.workers.made import NOON
from workers.database import Database
from workers.followups.guard import ENROLLING, UNDOING, Room, room
from workers.followups.moves import HOUR, Move, last_hour, note


@pytest.mark.parametrize(
    ("moved", "left"),
    [
        pytest.param({}, Room(500, 500), id="a quiet hour"),
        pytest.param({ENROLLING: 499, UNDOING: 3}, Room(1, 497), id="each is counted for itself"),
        pytest.param({ENROLLING: 500}, Room(0, 500), id="used up"),
        pytest.param({UNDOING: 700}, Room(500, 0), id="more than that, for a person released them"),
        pytest.param({NeedState.ENROLLED: 900}, Room(500, 500), id="what changes nothing at a vendor"),
    ],
)
def test_what_an_hour_leaves(moved: dict[str, int], left: Room) -> None:
    assert room(500, moved) == left


async def test_the_needs_of_a_rule_that_moved_within_the_hour_are_counted(database: Database) -> None:
    def moves(state: str, minutes: int, rule: str | None = "fire", *, times: int = 1, enrollment: bool = False) -> list[Move]:
        made = Move(state, NOON - timedelta(minutes=minutes), rule=rule)
        return [made._replace(enrollment=uuid4()) if enrollment else made._replace(need=uuid4()) for _ in range(times)]

    async with database.transaction() as connection:
        await note(
            connection,
            database.dialect,
            [
                *moves("planned", 0, times=3),
                *moves("planned", 59, times=2),
                *moves("planned", 60),
                *moves("undone", 10),
                *(one._replace(undoes=False) for one in moves("undone", 10)),
                *(one._replace(undoes=True) for one in moves("valid", 10)),
                *(one._replace(undoes=False) for one in moves("valid", 10)),
                *moves("enrolled", 10),
                *moves("planned", 10, "other"),
                *moves("planned", 10, enrollment=True),
                *moves("planned", 10, None),
            ],
        )
        counted = await last_hour(connection, database.dialect, ["fire", "other", "quiet"], NOON)

    assert counted == {"fire": {"planned": 5, "undone": 2}, "other": {"planned": 1}, "quiet": {}}
    assert timedelta(hours=1) == HOUR
