"""Deliveries that are carried from one log to another."""

import json
from pathlib import Path

import pytest

from schemas.delivery import Delivery
from tests.workers.made import created, deleted, delivery, logged, states
from tests.workers.operations.replaying import Unattended, Worked
from workers.database import Database
from workers.log import LoggedDelivery
from workers.mirror.tables import ActionSubscription
from workers.operations import sitting
from workers.operations.exports import Written, exported
from workers.operations.imports import NotAnExport, take_in
from workers.operations.selection import Selection
from workers.pipeline import Pipeline


async def carried(database: Database, tmp_path: Path, selection: Selection = Selection(), *, redact: bool = False) -> tuple[Path, Written]:  # noqa: B008 - frozen
    """What the log holds, in a file."""
    path, written = tmp_path / "export.jsonl", Written()
    lines = [line async for line in exported(database, selection, redact=redact, written=written)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path, written


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

    ended, became = await take_in(database, path, Worked(database), effects=False)

    after = [await logged(one) for one in made]
    names = ("source", "account", "vendor", "event", "received_at", "headers", "body", "fingerprint", "state", "reason", "replay_of")
    assert [[getattr(row, name) for name in names] for row in after] == [[getattr(row, name) for name in names] for row in before]
    assert (ended, became, written.exported) == (True, {"applied": 2, "ignored": 1, "dead": 1, "known": 0}, 4)
    assert [row.state for row in await ActionSubscription.all()] == ["deleted"]


async def test_an_import_of_what_is_in_the_log_changes_nothing(database: Database, tmp_path: Path) -> None:
    made = await incident(database)
    before, (path, _) = await states(*made), await carried(database, tmp_path)
    await LoggedDelivery.filter(id=made[0].id).delete()
    outlet = Worked(database)

    _, became = await take_in(database, path, outlet, effects=True)

    assert outlet.put_so_far == [made[0].id]
    assert became == {"known": 3, "applied": 1}
    assert await states(*made) == before


@pytest.mark.parametrize("effects", [False, True])
async def test_it_is_handed_out_with_effects_or_without(database: Database, tmp_path: Path, effects: bool) -> None:
    await incident(database)
    path, _ = await carried(database, tmp_path)
    await emptied()
    spool = Unattended()

    ended, _ = await take_in(database, path, spool, effects=effects, stay=False)

    assert not ended
    assert [(one.effects, one.replay_of, one.attempt) for one in spool.kept] == [(effects, None, 0)] * 4


async def test_one_that_was_cut_short_is_typed_again(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "GROUP", 1)
    made = await incident(database)
    path, _ = await carried(database, tmp_path)
    await emptied()
    with pytest.raises(KeyboardInterrupt):
        await take_in(database, path, Worked(database, at_most=3), effects=False)

    _, became = await take_in(database, path, Worked(database, away=1), effects=False)

    assert became == {"known": 3, "dead": 1}
    assert len(await states(*made)) == 4


async def test_a_delivery_that_stands_twice_in_a_file_is_one(database: Database, tmp_path: Path) -> None:
    await incident(database)
    path, _ = await carried(database, tmp_path, Selection(subscription=("a",)))
    path.write_text(path.read_text() * 2 + "\n")
    await emptied()

    _, became = await take_in(database, path, Worked(database), effects=False)

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
        await take_in(database, path, Worked(database), effects=False)
