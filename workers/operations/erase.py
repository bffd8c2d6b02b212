"""Erasing what is kept of one person.

    mark, which holds from its commit on ▶ wait until nobody works without it ▶ one transaction: mirror, results, follow-ups, events
                                                                                        ▼
                                                 done ◀ the delivery log, a few hundred rows at a time

Whatever cuts it short, the same command again goes on: the marks know who it is, also when the rows do not any more.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import structlog

from schemas.accounts import Account
from schemas.logs import Log
from workers.database import Connection, Database, DatabaseAway
from workers.erasures import UNKNOWN_FOR, Erasure, ErasureMark, Key, digest, new_key
from workers.followups.plan import hold, hold_seats
from workers.mirror.tables import ActionSubscription
from workers.operations import marking, remains
from workers.operations.marking import NONE, Unsettled, Work, insistently, unblock
from workers.operations.remains import Search, recall
from workers.operations.whose import Person, whose
from workers.receivers import Receiver
from workers.statements import run
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import NotFound
from workers.vendors.fourhse import Fourhse

__all__ = ["Report", "Unsettled", "Whom", "at_vendor", "erase", "erasures", "is_known", "preview", "unblock", "with_rejects"]

log = structlog.get_logger()

#: Seconds for which somebody's transaction from before the mark is waited for.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Report:
    """What was erased, or would be: rows by table."""

    account: str
    at: datetime | None
    block: bool
    erased: Mapping[str, int]
    #: The accounts in which somebody else goes by the same id; that stays.
    shared: Sequence[str]
    #: The accounts that know them by an id, and bring back what they show or send from now on, unless it is blocked.
    elsewhere: Sequence[str]


@dataclass(frozen=True, slots=True)
class Whom:
    """The person, and where to look."""

    database: Database
    accounts: Mapping[str, Account]
    account: str
    subscriber: str

    async def now(self, connection: Connection, recalled: frozenset[Key] = frozenset()) -> Person:
        """What there is of them now."""
        return await whose(connection, self.accounts, self.account, self.subscriber, recalled)

    async def recalled(self, key: bytes) -> frozenset[Key]:
        """The ids by which an earlier erasure knew them, and under which something stands."""
        marked = await self.marked(key)
        connection, dialect = self.database.connection, self.database.dialect
        return await recall(connection, dialect, lambda one: digest(key, *one) in marked) if marked else frozenset()

    async def marked(self, key: bytes) -> frozenset[str]:
        """The digests by which an erasure knows them."""
        erasure = await Erasure.get_or_none(account=self.account, subscriber=digest(key, self.account, self.subscriber))
        marks = await ErasureMark.filter(erasure=erasure.id).values_list("digest", flat=True) if erasure else []
        return frozenset(map(str, marks))


def nobody(_: int) -> None:
    """Is told how many deliveries were looked at, and does nothing."""


async def is_known(account: str) -> bool:
    """Whether the mirror holds anything of an account."""
    return await ActionSubscription.filter(account=account).exists()


async def at_vendor(account: OpenAccount, subscriber: str) -> bool:
    """Whether 4HSE still has somebody, so that the next reconcile would bring them back; raises VendorError."""
    assert isinstance(account.client, Fourhse)
    try:
        await account.client.resources["person"].view(subscriber)
    except NotFound:
        page = await account.client.resources["action-subscription"].page(1, filter={"subscriber_id": subscriber}, history=True, per_page=1)
        return any(row.get("subscriber_id") == subscriber for row in page.rows)
    return True


async def preview(whom: Whom, now: Callable[[], datetime], looked: Callable[[int], None] = nobody) -> tuple[Report, Person]:
    """What would be erased, and of whom: it is done, and undone at once. Raises DatabaseAway."""
    connection, dialect = whom.database.connection, whom.database.dialect
    key, seen = await marking.known_key(connection, dialect) or new_key(), 0
    person, counts = await insistently(partial(_tried, whom, await whom.recalled(key), now()))
    marked = await whom.marked(key) | {digest(key, *one) for one in person.ids}
    search = Search(key, marked, whom.accounts, person)
    async for page in remains.pages(NONE):
        counts["deliveries"] += len(await remains.about(connection, search, page))
        looked(seen := seen + len(page))
    return _report(whom, None, person, counts, block=False), person


async def erase(
    whom: Whom,
    *,
    by: str,
    reason: str | None,
    block: bool,
    now: Callable[[], datetime],
    looked: Callable[[int], None] = nobody,
    page: int = remains.PAGE,
    unknown_for: float = UNKNOWN_FOR,
    patience: float = PATIENCE,
) -> Report:
    """Mark, and erase what there is, or go on with it; raises Unsettled."""
    database, sqlite = whom.database, whom.database.dialect == "sqlite"
    if sqlite:  # so that what is deleted does not stay in the file's free space
        await database.connection.execute_query("PRAGMA secure_delete = ON")
    before = await marking.known_key(database.connection, database.dialect)
    recalled = await whom.recalled(before) if before else frozenset()
    async with database.transaction() as connection:
        who, ids = (whom.account, whom.subscriber), (await whom.now(connection, recalled)).ids
        work = await marking.mark(connection, database.dialect, who, now(), ids, block=block, by=by, reason=reason)
    await asyncio.sleep(unknown_for)
    await marking.settled(database, patience)
    person = await insistently(lambda: _rows(whom, work, recalled, now()))
    await _log(whom, work, person, page, looked)
    async with database.transaction() as connection:
        await marking.end(connection, database.dialect, work, now(), by=by, reason=reason)
    if sqlite:
        await database.connection.execute_query("PRAGMA wal_checkpoint(TRUNCATE)")
    log.info(Log.ERASED, erasure=str(work.id), account=whom.account, block=work.block, **work.erased)
    return _report(whom, work.at, person, work.erased, block=work.block)


async def with_rejects() -> Mapping[str, int]:
    """The receivers that keep requests which failed verification, each on its own host, as their last heartbeats tell."""
    return {one.name: one.rejected for one in await Receiver.filter(rejected__gt=0).order_by("name")}


async def erasures() -> Sequence[Erasure]:
    """Every erasure, the last first."""
    return await Erasure.all().order_by("-at")


async def _rows(whom: Whom, work: Work, recalled: frozenset[Key], now: datetime) -> Person:
    """Everything but the log, in one transaction; gives who it was."""
    dialect = whom.database.dialect
    async with whom.database.transaction() as connection:
        person, counts = await _done(whom, connection, recalled, now)
        await marking.remember(connection, dialect, work, person.ids)
        erased = await marking.save(connection, dialect, work, counts)
    work.erased = erased
    return person


class _Undone(Exception):
    """It was only to be seen what would be done."""


async def _tried(whom: Whom, recalled: frozenset[Key], now: datetime) -> tuple[Person, Counter[str]]:
    with suppress(_Undone):
        async with whom.database.transaction() as connection:
            done = await _done(whom, connection, recalled, now)
            raise _Undone
    return done


async def _done(whom: Whom, connection: Connection, recalled: frozenset[Key], now: datetime) -> tuple[Person, Counter[str]]:
    """Who it is, and what is erased of them; raises DatabaseAway where somebody else is writing of them."""
    dialect = whom.database.dialect
    held = await whom.now(connection, recalled)
    await hold(connection, dialect, held.subscriptions)
    await hold_seats(connection, dialect, {(one.account, one.learner, one.target) for one in held.enrollments})
    person = await whom.now(connection, recalled)
    if person != held:
        raise DatabaseAway("something of theirs has changed meanwhile")
    return person, await remains.erased(connection, dialect, person, now)


async def _log(whom: Whom, work: Work, person: Person, size: int, looked: Callable[[int], None]) -> None:
    """Whatever in the log is about them, a page at a time."""
    search, seen = Search(work.key, await whom.marked(work.key), whom.accounts, person), 0
    async for page in remains.pages(work.scanned, size):
        old = [row for row in page if work.block or row.received_at <= work.at]
        about = await remains.about(whom.database.connection, search, old)
        await insistently(partial(_stripped, whom.database, work, about, page[-1].id))
        looked(seen := seen + len(page))


_SCANNED = "UPDATE erasures SET scanned = $2 WHERE id = $1"


async def _stripped(database: Database, work: Work, about: Sequence[UUID], last: UUID) -> None:
    async with database.transaction() as connection:
        done = await remains.stripped(connection, database.dialect, about)
        await run(connection, database.dialect, _SCANNED, work.id, last)
        erased = await marking.save(connection, database.dialect, work, {"deliveries": done})
    work.erased = erased


def _report(whom: Whom, at: datetime | None, person: Person, counts: Counter[str], *, block: bool) -> Report:
    shared, elsewhere = [sorted({account for account, _ in keys}) for keys in (person.shared, person.learners)]
    return Report(whom.account, at, block, dict(+counts), shared, elsewhere)
