"""The table of identities, read and written."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from workers.bulk import Upsert
from workers.database import Connection, Database
from workers.followups.identities import Known
from workers.followups.tables import Identity

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


async def write(database: Database, entries: Sequence[Entry]) -> None:
    """All of them or none."""
    async with database.transaction() as connection:
        await _WRITE.execute(connection, database.dialect, [entry._asdict() for entry in sorted(entries)])
