"""Which deliveries a selection means, and the walk through a log that is larger than a step."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from schemas.delivery import Delivery, now_utc
from tests.workers.made import NOON, created, deleted, delivery
from workers.database import Database
from workers.log import LoggedDelivery
from workers.operations import selection
from workers.operations.selection import START, Selection, step
from workers.pipeline import Pipeline

HOUR = timedelta(hours=1)


async def written(database: Database) -> list[Delivery]:
    """An applied create, an applied delete, an ignored one of another source, a dead one, in the order of their arrival."""
    made = [
        created(),
        deleted("s2", received_at=NOON + HOUR),
        delivery(b"{}", "PERSON::CREATE", source="other", account="other", received_at=NOON + 2 * HOUR),
        delivery(b"", received_at=NOON + 3 * HOUR),
    ]
    await Pipeline(database).together(made)
    return made


async def walked(database: Database, wanted: Selection, steps: int = 100) -> tuple[list[UUID], int]:
    """What a walk finds in all, and how many without a body."""
    found: list[UUID] = []
    bodiless, place = 0, START
    for _ in range(steps):
        one = await step(database.connection, database.dialect, wanted, place, now_utc())
        if one is None:
            return found, bodiless
        found += one.found
        bodiless, place = bodiless + one.bodiless, one.place
    raise AssertionError("the walk has no end")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param({}, [0, 1, 2, 3], id="everything"),
        pytest.param({"source": ("other",)}, [2], id="a source"),
        pytest.param({"source": ("other", "hse")}, [0, 1, 2, 3], id="one of two sources"),
        pytest.param({"account": ("other",)}, [2], id="an account"),
        pytest.param({"vendor": ("ispring",)}, [], id="a vendor that sent nothing"),
        pytest.param({"event": ("ACTION_SUBSCRIPTION::CREATE",)}, [0, 3], id="an event"),
        pytest.param({"state": ("dead", "ignored")}, [2, 3], id="two states"),
        pytest.param({"reason": ("unparsable",)}, [3], id="a reason"),
        pytest.param({"subscription": ("s2",)}, [1], id="a subscription"),
        pytest.param({"since": NOON + HOUR}, [1, 2, 3], id="since then, that moment too"),
        pytest.param({"until": NOON + HOUR}, [0], id="until then, that moment no more"),
        pytest.param({"since": NOON + HOUR, "until": NOON + 3 * HOUR, "state": ("applied",)}, [1], id="all of it together"),
        pytest.param(
            dict.fromkeys(("source", "account", "vendor", "event", "subscription"), ("x",))
            | {"state": ("dead",), "reason": ("unparsable",)},
            [],
            id="every filter at once",
        ),
    ],
)
async def test_deliveries_are_selected_in_the_order_of_their_arrival(database: Database, wanted: dict[str, Any], found: list[int]) -> None:
    made = await written(database)

    assert await walked(database, Selection(**wanted)) == ([made[number].id for number in found], 0)


async def test_ids_are_selected_however_many_states_there_are_and_further_filters_hold(database: Database) -> None:
    made = await written(database)
    ids = (made[3].id, made[0].id, UUID(int=5))

    assert (await walked(database, Selection(id=ids)))[0] == [made[0].id, made[3].id]
    assert (await walked(database, Selection(id=ids, state=("dead",))))[0] == [made[3].id]


async def test_a_replay_is_never_selected_and_its_id_means_its_original(database: Database) -> None:
    made = await written(database)
    replay = created(replay_of=made[0].id)
    await Pipeline(database).together([replay])

    assert (await walked(database, Selection(event=("ACTION_SUBSCRIPTION::CREATE",))))[0] == [made[0].id, made[3].id]
    assert (await walked(database, Selection(id=(replay.id,))))[0] == [made[0].id]


async def test_what_has_no_body_any_more_is_counted_and_not_found(database: Database) -> None:
    made = await written(database)
    await LoggedDelivery.filter(id=made[1].id).update(body=None)

    assert await walked(database, Selection(state=("applied",))) == ([made[0].id], 1)


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_steps_of_any_size_lead_through_all_of_it_also_where_all_arrived_at_once(
    database: Database, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_IN_ORDER", f"ORDER BY received_at, id LIMIT {size}")
    made = [created(f"s{number}") for number in range(4)] + [delivery(b"") for _ in range(3)]
    await Pipeline(database).together(made)

    assert (await walked(database, Selection()))[0] == sorted(one.id for one in made)
    assert (await walked(database, Selection(state=("dead",))))[0] == sorted(one.id for one in made[4:])
    assert (await walked(database, Selection(id=tuple(one.id for one in made))))[0] == sorted(one.id for one in made)


async def test_what_arrives_after_the_walk_began_is_not_selected(database: Database) -> None:
    await written(database)

    found = await step(database.connection, database.dialect, Selection(), START, NOON + HOUR)

    assert found is not None
    assert len(found.found) == 1


def test_a_selection_is_kept_as_json_and_read_back() -> None:
    wanted = Selection(id=(UUID(int=1),), state=("dead",), since=NOON, limit=3)

    assert wanted.asked == {"id": [str(UUID(int=1))], "state": ["dead"], "since": "2026-03-01T12:00:00Z", "limit": 3}
    assert Selection.model_validate(wanted.asked) == wanted
