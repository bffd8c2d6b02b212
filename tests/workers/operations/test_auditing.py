"""Finding entries of the audit log."""

from datetime import timedelta

from schemas.delivery import now_utc
from workers.audit import Deed, record_each
from workers.database import Database
from workers.operations.auditing import find


async def test_entries_are_found_by_person_command_subject_and_time_the_newest_first(database: Database) -> None:
    deeds = [
        Deed("ada", "rules apply", "rule fire"),
        Deed("ada", "dead drop", "delivery d1", "a test"),
        Deed("bob", "dead replay", "enrollment e1"),
        Deed("bob", "deadline", "rule fired"),
    ]
    before = now_utc()
    async with database.transaction() as connection:
        await record_each(connection, database.dialect, deeds)

    async def subjects(**asked: object) -> list[str]:
        return [one.subject for one in await find(**asked)]  # type: ignore[arg-type]

    assert await subjects() == ["rule fired", "enrollment e1", "delivery d1", "rule fire"]
    assert await subjects(limit=1) == ["rule fired"]
    assert await subjects(who="ada") == ["delivery d1", "rule fire"]
    assert await subjects(verb="dead") == ["enrollment e1", "delivery d1"]
    assert await subjects(verb="dead drop") == ["delivery d1"]
    assert await subjects(subject="fire") == await subjects(subject="rule fire") == ["rule fire"]
    assert await subjects(since=before) == await subjects()
    assert await subjects(since=now_utc() + timedelta(hours=1)) == []
