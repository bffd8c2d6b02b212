"""People of whom nothing is kept: a mark for each, and what it keeps out.

A mark is made of digests of the ids that name somebody, so that whoever reads the table cannot list whom it is about. The key stands in the
same database, for every worker needs it: who has all of the database can still find out whether a person they think of is among them.

What arrived, or was asked for, before a mark was made is about nobody any more, from wherever it comes: a spool, a queue, a
replay, an answer under way. A mark that blocks keeps out what comes after it, too.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from schemas.delivery import Delivery
from schemas.states import Reason
from workers.database import Connection, Dialect
from workers.handlers.mentioned import mentioned
from workers.handlers.outcomes import Applied, Ignored, Outcome
from workers.mirror.mentions import of_effect
from workers.statements import as_time, run

#: An account, and an id within it.
Key = tuple[str, str]
Thing = TypeVar("Thing")

#: Seconds for which a process may believe that there is no mark: so long whoever makes one waits before erasing anything.
UNKNOWN_FOR = 1.0
#: Where an observation names who observed, and where a subscription may name others than whose it is.
OBSERVERS, PEOPLE = ("observer_id",), ("data", "manager", "assignee", "watcher")


class ErasureKey(Model):
    """What the digests are made with: one row, made with the first mark."""

    id = fields.IntField(primary_key=True, generated=False)
    key = fields.BinaryField()

    class Meta:
        table = "erasure_keys"


class Erasure(Model):
    """Somebody of whom nothing is kept that arrived before `at`, and with `block` nothing that arrives later."""

    id = fields.UUIDField(primary_key=True)
    account = fields.TextField()
    #: The digest of the subscriber's id.
    subscriber = fields.TextField()
    at = fields.DatetimeField()
    block = fields.BooleanField()
    #: schemas.states.ErasureState
    state = fields.TextField()
    #: How far the delivery log is gone through.
    scanned = fields.UUIDField(null=True)
    #: What was erased so far, by table.
    erased = fields.JSONField[dict[str, int]](decoder=json.loads)
    ended_at = fields.DatetimeField(null=True)

    class Meta:
        table = "erasures"
        unique_together = (("account", "subscriber"),)


class ErasureMark(Model):
    """The digest of an id that names somebody of whom nothing is kept."""

    id = fields.BigIntField(primary_key=True)
    digest = fields.TextField()
    erasure = fields.UUIDField()

    class Meta:
        table = "erasure_marks"
        unique_together = (("digest", "erasure"),)
        indexes = (("erasure",),)


class Mark(NamedTuple):
    """What is known of an id that is marked."""

    at: datetime
    block: bool

    def covers(self, observed: datetime) -> bool:
        """Whether what was observed then is kept out."""
        return self.block or observed <= self.at


Marked = Mapping[Key, Mark]


def digest(key: bytes, account: str, id: str) -> str:  # noqa: A002
    """What stands for an id."""
    return hmac.digest(key, f"{account}\0{id}".encode("utf-8", "backslashreplace"), "sha256").hex()


def new_key() -> bytes:
    """A key nobody can guess."""
    return secrets.token_bytes(32)


_MARKED = """
    SELECT m.digest, e.at, e.block FROM erasure_marks AS m JOIN erasures AS e ON e.id = m.erasure
    WHERE m.digest = any($1) ORDER BY e.block, e.at"""


class Marks:
    """The marks as a worker asks for them, again and again: where there are none, next to nothing."""

    def __init__(self, unknown_for: float = UNKNOWN_FOR) -> None:
        self._unknown_for = unknown_for
        self._key: bytes | None = None
        self._none_until = 0.0

    async def among(self, connection: Connection, dialect: Dialect, named: Callable[[], Iterable[Key]]) -> Marked:
        """Which of these ids are marked; `named` is not asked where there is no mark at all."""
        key = await self._known_key(connection, dialect)
        if key is None:
            return {}
        digests = {digest(key, *one): one for one in named()}
        rows = await run(connection, dialect, _MARKED, sorted(digests)) if digests else []
        # Of several marks the last, and one that blocks above all.
        return {digests[row["digest"]]: Mark(as_time(row["at"]), bool(row["block"])) for row in rows}

    async def _known_key(self, connection: Connection, dialect: Dialect) -> bytes | None:
        now = asyncio.get_running_loop().time()
        if self._key is None and now >= self._none_until:
            rows = await run(connection, dialect, "SELECT key FROM erasure_keys")
            self._key = bytes(rows[0]["key"]) if rows else None
            self._none_until = now + self._unknown_for
        return self._key

    async def reduced(self, connection: Connection, dialect: Dialect, decided: Sequence[tuple[Delivery, Outcome]]) -> dict[UUID, Outcome]:
        """Of the deliveries that are about somebody marked, what is left to be done: nothing of theirs, and all of the others'."""
        named: dict[UUID, frozenset[str]] = {}

        def keys() -> Iterable[Key]:
            named.update((one.id, mentioned(one, outcome)) for one, outcome in decided)
            return {(one.account, id_) for one, _ in decided for id_ in named[one.id]}

        marked = await self.among(connection, dialect, keys)
        return {
            one.id: _without(one, outcome, marked)
            for one, outcome in decided
            if marked and _kept_out(marked, one.account, named[one.id], one.received_at)
        }

    async def spared(
        self,
        connection: Connection,
        dialect: Dialect,
        things: Sequence[Thing],
        about: Callable[[Thing], tuple[str, Iterable[str], datetime]],
    ) -> Sequence[Thing]:
        """Those that are about nobody marked; `about` says of each its account, whom it is about, and when it was observed."""

        def keys() -> Iterable[Key]:
            return {(account, id_) for account, ids, _ in map(about, things) for id_ in ids}

        marked = await self.among(connection, dialect, keys)
        return [one for one in things if not _kept_out(marked, *about(one))] if marked else things

    async def unnamed(
        self, connection: Connection, dialect: Dialect, said: Sequence[tuple[str, datetime, Mapping[str, Any]]], columns: Sequence[str]
    ) -> Sequence[Mapping[str, Any]]:
        """What was said of others, each with its account and time, without naming in these columns who is marked."""

        def keys() -> Iterable[Key]:
            return {(account, one) for account, _, content in said for name in columns for one in _texts(content.get(name))}

        marked = await self.among(connection, dialect, keys)
        return [_unnamed(*one, columns, marked) if marked else one[2] for one in said]


def without(value: Any, named: Callable[[Any], bool]) -> Any:
    """What is left of JSON without the things that name somebody: an object of which one value does is about them."""
    if isinstance(value, list):
        return [without(one, named) for one in value if not _about(one, named)]
    if _about(value, named):
        return None
    return {name: without(one, named) for name, one in value.items()} if isinstance(value, dict) else value


def _about(value: Any, named: Callable[[Any], bool]) -> bool:
    parts = value.values() if isinstance(value, dict) else [value]
    return any(named(one) for one in parts if not isinstance(one, dict | list))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
    elif value is not None:
        yield str(value)


def _unnamed(account: str, at: datetime, content: Mapping[str, Any], columns: Sequence[str], marked: Marked) -> Mapping[str, Any]:
    left = {name: without(content[name], lambda one: _kept_out(marked, account, (str(one),), at)) for name in columns if name in content}
    # An observer's column has no null.
    return {**content, **{name: "" if one is None and name in OBSERVERS else one for name, one in left.items()}}


def _without(delivery: Delivery, outcome: Outcome, marked: Marked) -> Outcome:
    effects = () if isinstance(outcome, Ignored) else outcome.effects
    left = tuple(one for one in effects if not _kept_out(marked, delivery.account, of_effect(one), delivery.received_at))
    return Applied(outcome.event or "", left) if left else Ignored(outcome.event, Reason.ERASED)


def _kept_out(marked: Marked, account: str, ids: Iterable[str], at: datetime) -> bool:
    return any(mark.covers(at) for mark in (marked.get((account, id_)) for id_ in ids) if mark is not None)
