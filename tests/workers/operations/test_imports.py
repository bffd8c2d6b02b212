"""Deliveries that are carried from one log to another."""

import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.delivery import Delivery
from tests.workers.made import created, deleted, delivery, logged, states
from tests.workers.operations.replaying import Unattended, Worked
from workers.database import Database
from workers.log import LoggedDelivery
from workers.mirror.tables import ActionSubscription
from workers.operations import sitting
from workers.operations.exports import Written, exported
from workers.operations.imports import NotAnExport, opened, take_in
from workers.operations.selection import Selection
from workers.operations.sitting import Left
from workers.pipeline import Pipeline
from workers.replay_lane import Outlet


async def carried(database: Database, tmp_path: Path, selection: Selection = Selection(), *, redact: bool = False) -> tuple[Path, Written]:  # noqa: B008 - frozen
    """What the log holds, in a file."""
    path, written = tmp_path / "export.jsonl", Written()
    lines = [line async for line in exported(database, selection, redact=redact, written=written)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path, written


async def taken(database: Database, path: Path, outlet: Outlet, **how: Any) -> tuple[Left | None, Counter[str]]:
    """What is left of a file, and what became of the rest."""
    with opened(path) as export:
        return await take_in(database, export, outlet, **how)


async def emptied() -> None:
    """Another machine."""
    await LoggedDelivery.all().delete()
    await ActionSubscription.all().delete()


async def incident(database: Database) -> list[Delivery]:
    """What stands in the log: applied, ignored, dead."""
    made = [created("a"), deleted("a"), delivery({"person_id": "p", "first_name": "John"}, "PERSON::CREATE"), delivery(b"")]
    await Pipeline(database).together(made)
    return made


async def test_what_was_exported_stands_in_the_other_log_as_it_arrived_and_in_the_mirror(database: Database, tmp_path: Path) -> None:
    made = await incident(database)
    before = [await logged(one) for one in made]
    path, written = await carried(database, tmp_path)
    await emptied()

    left, became = await taken(database, path, Worked(database), effects=False)

    after = [await logged(one) for one in made]
    names = ("source", "account", "vendor", "event", "received_at", "headers", "body", "fingerprint", "state", "reason", "replay_of")
    assert [[getattr(row, name) for name in names] for row in after] == [[getattr(row, name) for name in names] for row in before]
    assert (left, became, written.exported) == (None, {"applied": 2, "ignored": 1, "dead": 1, "known": 0}, 4)
    assert [row.state for row in await ActionSubscription.all()] == ["deleted"]


async def test_an_import_of_what_is_in_the_log_changes_nothing(database: Database, tmp_path: Path) -> None:
    made = await incident(database)
    before, (path, _) = await states(*made), await carried(database, tmp_path)
    await LoggedDelivery.filter(id=made[0].id).delete()
    outlet = Worked(database)

    _, became = await taken(database, path, outlet, effects=True)

    assert outlet.put_so_far == [made[0].id]
    assert became == {"known": 3, "applied": 1}
    assert await states(*made) == before


@pytest.mark.parametrize("effects", [False, True])
async def test_it_is_handed_out_with_effects_or_without(database: Database, tmp_path: Path, effects: bool) -> None:
    await incident(database)
    path, _ = await carried(database, tmp_path)
    await emptied()
    spool = Unattended()

    left, _ = await taken(database, path, spool, effects=effects, stay=False)

    assert left == Left(4, 0, None)
    assert [(one.effects, one.replay_of, one.attempt) for one in spool.kept] == [(effects, None, 0)] * 4


async def test_one_that_was_cut_short_is_typed_again(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "GROUP", 1)
    made = await incident(database)
    path, _ = await carried(database, tmp_path)
    await emptied()
    with pytest.raises(KeyboardInterrupt):
        await taken(database, path, Worked(database, at_most=3), effects=False)

    _, became = await taken(database, path, Worked(database, away=1), effects=False)

    assert became == {"known": 3, "dead": 1}
    assert len(await states(*made)) == 4


async def test_a_delivery_that_stands_twice_in_a_file_is_one(database: Database, tmp_path: Path) -> None:
    await incident(database)
    path, _ = await carried(database, tmp_path, Selection(subscription=("a",)))
    path.write_text(path.read_text() * 2 + "\n")
    await emptied()

    _, became = await taken(database, path, Worked(database), effects=False)

    assert became == {"applied": 2, "known": 2}


async def test_a_redacted_export_names_nobody_and_leaves_out_what_cannot_be_read(database: Database, tmp_path: Path) -> None:
    made = await incident(database)
    await LoggedDelivery.filter(id=made[0].id).update(body=None)

    path, written = await carried(database, tmp_path, redact=True)

    assert (written.exported, written.bodiless, written.unreadable) == (2, 1, 1)
    assert all(json.loads(line)["redacted"] for line in path.read_text().splitlines())
    assert "John" not in path.read_text()


async def test_a_line_that_is_none_is_named(database: Database, tmp_path: Path) -> None:
    await incident(database)
    path, _ = await carried(database, tmp_path)
    path.write_text(path.read_text() + "\n{}\n")

    with pytest.raises(NotAnExport, match=f"line 6 of {path}: redacted: Field required"):
        await taken(database, path, Worked(database), effects=False)


async def test_without_whoever_works_it_off_all_is_queued_that_there_is_room_for_and_typed_again_the_rest(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sitting, "GROUP", 2)
    monkeypatch.setattr(sitting, "WINDOW", 2)
    made = [created(f"s{number}") for number in range(9)]
    await Pipeline(database).together(made)
    path, _ = await carried(database, tmp_path)
    await emptied()
    await Pipeline(database).together(made[8:])
    spool = Unattended(room=6)

    for _ in range(2):
        assert await taken(database, path, spool, effects=False, stay=False) == (Left(6, 2, "the spool is full"), {"known": 1})
    spool.room = 100

    assert await taken(database, path, spool, effects=False, stay=False) == (Left(8, 0, None), {"known": 1})
    assert {one.id for one in spool.kept} == {one.id for one in made[:8]}
    assert len(spool.kept) == 8


async def test_a_pipe_is_read_once_and_all_of_it_is_taken(database: Database, tmp_path: Path) -> None:
    await incident(database)
    path, _ = await carried(database, tmp_path)
    await emptied()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    with opened(pipe) as export:
        writer.join()
        count = sum(1 for _ in export.lines())
        _, became = await take_in(database, export, Worked(database), effects=False)

    assert (count, became) == (4, {"applied": 2, "ignored": 1, "dead": 1, "known": 0})
