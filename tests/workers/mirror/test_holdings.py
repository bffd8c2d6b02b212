"""What the mirror holds, as reconcile compares it: whatever a vendor's row says, one that agrees with what is stored says the same."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from schemas.fourhse import SUBSCRIPTION_FIELDS
from tests.workers.made import NOON
from workers.database import Database
from workers.mirror.apply import Mirror
from workers.mirror.drift import agrees, disagreement
from workers.mirror.holdings import read, stored
from workers.mirror.sightings import Unreadable, sighting

ROWS: list[dict[str, Any]] = [
    dict.fromkeys(SUBSCRIPTION_FIELDS) | {"action_subscription_id": "s1"},
    dict.fromkeys(SUBSCRIPTION_FIELDS, "1")
    | dict.fromkeys(("certificate_date_release", "certificate_date_expire", "last_session_date"), "2026-01-01")
    | {"owned_active": True, "parent_active": False, "data": {"b": [1, 1.5, None], "a": "è\n"}, "certificate_action_approvals": 1},
    dict.fromkeys(SUBSCRIPTION_FIELDS, "true")
    | {"owned_active": None, "parent_active": None, "manager": [], "data": False, "watcher": -0.0},
]
LATER = NOON + timedelta(hours=1)
ODD: list[Any] = [
    *(None, True, False, 0, 1, 1.0, -0.0, 2**70, 1e300, "", "1", "1.0", "true", "null", "é", "a\0b", "2026-01-01", "2026-01-01T09:00:00Z"),
    *([], {}, [1], {"a": "è\n", "b": [1, 1.5, None]}, {"a": "è\n", "b": [True, 1.5, None]}, {"a": 1}, [None], float("inf")),
]


@pytest.mark.parametrize("row", ROWS, ids=["empty", "full", "words"])
async def test_a_difference_in_any_field_is_never_taken_for_agreement(database: Database, row: dict[str, Any]) -> None:
    before = sighting("hse", row, NOON)
    async with database.transaction() as connection:
        await Mirror().sighted(connection, database.dialect, [before])
    (kept,) = (await stored(database, "hse", [before.subject])).values()

    assert disagreement(read(kept), sighting("hse", row, LATER)) is None
    assert agrees(kept, row) is (before.flags == [])
    assert not agrees(kept, {name: row[name] for name in SUBSCRIPTION_FIELDS[:-1]})
    for name, value in product(SUBSCRIPTION_FIELDS, ODD):
        if not agrees(kept, shown := row | {name: value}):
            continue
        try:
            assert disagreement(read(kept), sighting("hse", shown, LATER)) is None, (name, value)
        except Unreadable:
            pytest.fail(f"{name}: {value!r} cannot be read, and is taken for agreement")
