"""The outcomes of replays, as they are noted."""

from uuid import UUID

from schemas.states import ReplayOutcome
from workers.database import Database
from workers.replays import ReplayItem, note

RUN = UUID(int=99)


async def outcomes(database: Database, *told: dict[UUID, ReplayOutcome | str]) -> list[str | None]:
    """What four items hold after so many notes."""
    for number in range(4):
        await ReplayItem.create(replay=UUID(int=number), run=RUN, original=UUID(int=number + 10))
    for one in told:
        async with database.transaction() as connection:
            await note(connection, database.dialect, one)
    return [item.outcome for item in await ReplayItem.all().order_by("replay")]


async def test_each_item_gets_its_own(database: Database) -> None:
    told: dict[UUID, ReplayOutcome | str] = {UUID(int=0): "applied", UUID(int=1): ReplayOutcome.DEAD, UUID(int=3): "applied"}

    assert await outcomes(database, told) == ["applied", "dead", None, "applied"]


async def test_the_first_word_counts(database: Database) -> None:
    assert await outcomes(database, {UUID(int=0): "applied"}, {UUID(int=0): "unchanged"}) == ["applied", None, None, None]


async def test_a_replay_that_no_run_knows_and_none_at_all_are_nothing(database: Database) -> None:
    assert await outcomes(database, {UUID(int=50): "applied"}, {}) == [None] * 4
