"""The audit log: what is done by hand is written with it, or not at all."""

from contextlib import suppress

from workers.audit import AuditEntry, Deed, record, record_each
from workers.database import Database


async def test_a_deed_is_kept_with_who_when_what_and_why(database: Database) -> None:
    async with database.transaction() as connection:
        await record(connection, database.dialect, "ada", "dead drop", "delivery 1", "a test", {"about": "CREATE", "count": 2})
    (kept,) = await AuditEntry.all()

    assert (kept.who, kept.verb, kept.subject, kept.reason, kept.details) == (
        *("ada", "dead drop", "delivery 1", "a test"),
        {"about": "CREATE", "count": 2},
    )
    assert kept.at.tzinfo is not None


async def test_what_is_rolled_back_was_not_done(database: Database) -> None:
    with suppress(ZeroDivisionError):
        async with database.transaction() as connection:
            await record(connection, database.dialect, "ada", "rules apply", "rule fire")
            raise ZeroDivisionError

    assert await AuditEntry.all().count() == 0


async def test_many_are_kept_in_their_order_and_none_is_no_error(database: Database) -> None:
    async with database.transaction() as connection:
        await record_each(connection, database.dialect, [])
        await record_each(connection, database.dialect, [Deed("ada", "dead replay", f"event {number}") for number in range(300)])
    kept = await AuditEntry.all().order_by("id")

    assert [one.subject for one in kept] == [f"event {number}" for number in range(300)]
    assert not any(one.reason or one.details for one in kept)
