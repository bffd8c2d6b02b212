"""The table of identities, read and written."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from workers.bulk import Upsert
from workers.database import Connection, Database, Dialect
from workers.followups.identities import Known
from workers.followups.tables import Identity
from workers.statements import as_uuid, run

_PART = 500
_WRITE = Upsert(
    table="identities",
    columns=dict.fromkeys(("account", "kind", "here", "there"), "text"),
    key=("account", "kind", "here"),
    update=("there",),
)


class Entry(NamedTuple):
    """Who something here is in an account."""

    account: str
    kind: str
    here: str
    there: str


async def known(connection: Connection, accounts: Iterable[str], here: Iterable[str]) -> dict[str, Known]:
    """What the table knows of these ids of ours, by account."""
    found: defaultdict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    ids, names = sorted(set(here)), sorted(set(accounts))
    for start in range(0, len(ids), _PART):
        for one in await Identity.filter(account__in=names, here__in=ids[start : start + _PART]).using_db(connection):
            found[one.account][one.kind, one.here] = one.there
    return {name: found[name] for name in names}


async def known_there(connection: Connection, account: str, there: str) -> Known:
    """What the table knows of a learner."""
    return {(one.kind, one.here): one.there for one in await Identity.filter(account=account, there=there).using_db(connection)}


async def write(database: Database, entries: Sequence[Entry], now: datetime) -> None:
    """All of them or none; what waited for want of an identity is looked at again."""
    async with database.transaction() as connection:
        await _WRITE.execute(connection, database.dialect, [entry._asdict() for entry in sorted(entries)])
        await _look_again(connection, database.dialect, now)


#: Needs of which a target has nobody: in whatever state they are, for another of their targets may show another.
_UNMATCHED = """
    SELECT id FROM needs WHERE state NOT IN ('valid', 'undone')
        AND (state = 'unmatched' OR id IN (SELECT need FROM need_targets WHERE state = 'unmatched'))"""
_LOOK_AGAIN = "UPDATE needs SET look_at = $1 WHERE id = any($2)"


async def unmatched(connection: Connection, dialect: Dialect) -> list[UUID]:
    """The needs that wait for want of an identity."""
    return sorted(as_uuid(row["id"]) for row in await run(connection, dialect, _UNMATCHED))


async def look_again(database: Database, now: datetime) -> None:
    """Have the clock look at what waits for want of an identity: the accounts' templates may be others than they were."""
    async with database.transaction() as connection:
        await _look_again(connection, database.dialect, now)


async def _look_again(connection: Connection, dialect: Dialect, now: datetime) -> None:
    await run(connection, dialect, _LOOK_AGAIN, now, [str(one) for one in await unmatched(connection, dialect)])
