"""What the database holds of one person, erased: table by table as the register says, and the delivery log in pages."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from schemas.accounts import Account
from schemas.states import DeliveryState, Reason
from workers.database import Connection, Dialect
from workers.envelopes import UNREADABLE
from workers.erasures import Key, digest
from workers.handlers import handle
from workers.handlers.mentioned import mentioned
from workers.log import NOTHING, LoggedDelivery
from workers.mirror.changes import told
from workers.operations.deliveries import restored
from workers.operations.personal import NAMED, REGISTER, Deleted, Kept, Paged, Reworded, Stripped, Way, named_by
from workers.operations.whose import Person
from workers.statements import run

#: Log rows that are looked at together.
PAGE = 200

_SUBSCRIPTIONS = "action_subscriptions"


async def erased(connection: Connection, dialect: Dialect, person: Person, now: datetime) -> Counter[str]:
    """Erase them but for the log: of a subscription stays a tombstone, which is told. Gives how many rows, by table."""
    counts = Counter[str]()
    async with told(connection, dialect, dict.fromkeys(sorted(person.subscriptions), now), forgetfully=True):
        for way in REGISTER[_SUBSCRIPTIONS]:
            counts[_SUBSCRIPTIONS] += await _erased(connection, dialect, _SUBSCRIPTIONS, way, person, now)
    for table, ways in REGISTER.items():
        for way in ways if table != _SUBSCRIPTIONS else ():
            counts[table] += await _erased(connection, dialect, table, way, person, now)
    return +counts


async def recall(connection: Connection, dialect: Dialect, known: Callable[[Key], bool]) -> frozenset[Key]:
    """The ids that something stands under and that are `known`, whatever it was that led to them once."""
    found = set[Key]()
    for table, column in NAMED:
        rows = await run(connection, dialect, f"SELECT DISTINCT account, {column} AS id FROM {table}")
        found |= {one for one in ((row["account"], row["id"]) for row in rows) if known(one)}
    return frozenset(found)


async def _erased(connection: Connection, dialect: Dialect, table: str, way: Way, person: Person, now: datetime) -> int:
    match way:
        case Deleted() | Stripped():
            done = 0
            for where, values in _wheres(way, person):
                act = f"DELETE FROM {table}" if isinstance(way, Deleted) else f"UPDATE {table} SET {way.sets}"
                if "$now" in act:
                    values = [*values, now]
                query = f"{act} WHERE {where} RETURNING 1 AS done".replace("$now", f"${len(values)}")
                done += len(await run(connection, dialect, query, *values))
            return done
        case Reworded():
            rewritten = await _rewritten(connection, dialect, table, way, person)
            for id_, new in rewritten.items():
                sets = ", ".join(f"{name} = ${number}" for number, name in enumerate(new, 2))
                await run(connection, dialect, f"UPDATE {table} SET {sets} WHERE id = $1", id_, *new.values())
            return len(rewritten)
        case Paged() | Kept():
            return 0
        case _:
            assert_never(way)


def _wheres(way: Deleted | Stripped, person: Person) -> list[tuple[str, list[Any]]]:
    same = way.same if isinstance(way, Deleted) else {}
    where = "" if isinstance(way, Deleted) else f" AND ({way.where})"
    found = []
    for account, ids in _within(person, way.ids).items():
        within = {**same, **({"account": account} if account is not None else {})}
        equal = "".join(f" AND {name} = ${number}" for number, name in enumerate(within, 2))
        found.append((f"{way.column} = any($1){equal}{where}", [ids, *within.values()]))
    return found


def _within(person: Person, ids: str) -> Mapping[str | None, list[Any]]:
    """A person's ids by account, or by None where they are nobody else's in any."""
    found: defaultdict[str | None, list[Any]] = defaultdict(list)
    for account, one in sorted(getattr(person, ids), key=str):
        found[account].append(one)
    return found


async def _rewritten(connection: Connection, dialect: Dialect, table: str, way: Reworded, person: Person) -> dict[Any, Mapping[str, Any]]:
    """The rows that change, by id, and what they are to say then."""
    where, values = "TRUE", list[Any]()
    if way.among is not None:
        column, ids = way.among
        where, values = f"{column} = any($1)", [[one for _, one in getattr(person, ids)]]
    elif way.searched:
        values = [f"%{_literal(word)}%" for word in sorted(person.words)]
        text = " || ' ' || ".join(f"coalesce(CAST({name} AS TEXT), '')" for name in way.searched)
        where = " OR ".join(rf"{text} LIKE ${number} ESCAPE '\'" for number in range(1, len(values) + 1))
    rows = await run(connection, dialect, f"SELECT id, {', '.join(way.columns)} FROM {table} WHERE {where} ORDER BY id", *values)
    changed = ((row["id"], way.rewritten(row, person)) for row in rows)
    return {id_: new for id_, new in changed if new}


def _literal(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


# The delivery log.


@dataclass(frozen=True, slots=True)
class Search:
    """How somebody is known again in what has arrived: by digests within its account, and by their words wherever those are still known."""

    key: bytes
    marked: Collection[str]
    accounts: Mapping[str, Account]
    person: Person

    def finds(self, row: LoggedDelivery) -> bool:
        """Whether a logged delivery is about them, by what it says, or by what was made of it."""
        named = named_by(row.subject) if row.subject else set[str]()
        if row.body:
            delivery = restored(row)
            named |= mentioned(delivery, handle(delivery, self.accounts))
        # Of a message that is no delivery nobody knows which account it is of.
        names = {self.person.account, *self.accounts} if row.account == UNREADABLE else {row.account}
        if any(digest(self.key, name, one) in self.marked for name in names for one in named):
            return True
        return bool(row.body) and self.person.named_in(bytes(row.body or b"").decode("utf-8", "replace"))


async def about(connection: Connection, search: Search, page: Sequence[LoggedDelivery]) -> list[UUID]:
    """Those of a page that are about them; a replay is about whom its original is about, though it says nothing by itself."""
    rows = [row for row in page if row.reason != Reason.ERASED or row.body is not None]
    wanted = {row.replay_of for row in rows if row.replay_of is not None}
    found = await LoggedDelivery.filter(id__in=wanted).using_db(connection) if wanted else []
    originals = {row.id for row in found if row.reason == Reason.ERASED or search.finds(row)}
    return [row.id for row in rows if row.replay_of in originals or search.finds(row)]


async def pages(after: UUID, size: int = PAGE) -> AsyncIterator[Sequence[LoggedDelivery]]:
    """The log from there on, in the order of the ids."""
    while page := await _page(after, size):
        yield page
        after = page[-1].id


async def _page(after: UUID, size: int) -> list[LoggedDelivery]:
    return await LoggedDelivery.filter(id__gt=after).order_by("id").limit(size)


#: What was dead of it cannot be replayed any more, so it is ignored.
_STRIP = f"""
    WITH about AS (SELECT id FROM deliveries WHERE id = any($1) ORDER BY id FOR UPDATE)
    UPDATE deliveries SET headers = '{{}}', body = NULL, fingerprint = $2, subject = NULL, detail = NULL, reason = '{Reason.ERASED}',
        state = CASE WHEN state IN ('{DeliveryState.DEAD}', '{DeliveryState.RECEIVED}') THEN '{DeliveryState.IGNORED}' ELSE state END
    WHERE id IN (SELECT id FROM about) RETURNING 1 AS done"""


async def stripped(connection: Connection, dialect: Dialect, about: Sequence[UUID]) -> int:
    """Leave of these deliveries in the log that they came, when and from where; gives how many."""
    return len(await run(connection, dialect, _STRIP, [*about], NOTHING)) if about else 0
