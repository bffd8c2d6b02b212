"""The ledger: what was sent and acknowledged, held against what the database says afterwards."""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it was sent; its marker stands in its body and in no other's."""

    marker: str
    event: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Logged:
    """One row of the delivery log."""

    id: UUID
    event: str
    state: str
    received_at: datetime
    body: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What the mirror says of one subscription: the strongest evidence, and the marker of the body it came from."""

    state: str
    received_at: datetime
    fingerprint: bytes
    marker: str


@dataclass(frozen=True, slots=True)
class Books:
    """Log and mirror as one transaction sees them."""

    log: tuple[Logged, ...]
    mirror: dict[str, Mirrored]


@dataclass(frozen=True, slots=True)
class Audit:
    """The ledger against the books; balanced if all but the figures are empty."""

    acknowledged: int
    applied: int
    #: Acknowledged, and not applied.
    lost: tuple[UUID, ...]
    #: In the log with other bytes, or another event, than were sent.
    altered: tuple[UUID, ...]
    #: In the log, and never sent.
    strangers: tuple[UUID, ...]
    #: States other than applied, with how often.
    unfinished: dict[str, int]
    #: Subscriptions of which the mirror says something else than the log.
    differing: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """What does not balance, each as a sentence."""
        found = {
            "acknowledged and not applied": self.lost,
            "logged with other content than was sent": self.altered,
            "logged and never sent": self.strangers,
            "mirrored otherwise than the log says": self.differing,
        }
        told = [f"{len(ones)} {what}, e.g. {ones[0]}" for what, ones in found.items() if ones]
        return told + [f"{times} in state {state}" for state, times in self.unfinished.items()]


class Ledger:
    """What was sent, and under which ids it was acknowledged."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.acknowledged: dict[UUID, Sent] = {}
        #: Ids that were given out twice.
        self.twice: list[UUID] = []

    def sends(self, marker: str, event: str, body: bytes) -> Sent:
        """Note a request, before it goes out."""
        self.sent[marker] = Sent(marker, event, body)
        return self.sent[marker]

    def acknowledges(self, delivery: UUID, sent: Sent) -> None:
        """Note that a request was answered with 200 and this id."""
        if delivery in self.acknowledged:
            self.twice.append(delivery)
        self.acknowledged[delivery] = sent

    def audit(self, books: Books) -> Audit:
        """Hold the ledger against the books."""
        logged = {one.id: one for one in books.log}
        applied = [one for one in books.log if one.state == "applied"]
        said = {one.id: self.sent.get(_marker(one.body)) for one in books.log}
        expected = self.acknowledged | {id_: sent for id_, sent in said.items() if sent and id_ not in self.acknowledged}
        model = _model(applied)
        return Audit(
            acknowledged=len(self.acknowledged),
            applied=len(applied),
            lost=tuple(id_ for id_ in self.acknowledged if id_ not in logged or logged[id_].state != "applied") + tuple(self.twice),
            altered=tuple(id_ for id_, sent in expected.items() if id_ in logged and not _same(logged[id_], sent)),
            strangers=tuple(id_ for id_, sent in said.items() if sent is None),
            unfinished=dict(Counter(one.state for one in books.log if one.state != "applied")),
            differing=tuple(sorted(key for key in model.keys() | books.mirror.keys() if model.get(key) != books.mirror.get(key))),
        )


def _same(logged: Logged, sent: Sent) -> bool:
    content = hashlib.sha256(sent.event.encode() + b"\0" + sent.body).digest()
    return (logged.event, logged.body, logged.fingerprint) == (sent.event, sent.body, content)


def _marker(body: bytes) -> str:
    return str(json.loads(body)["action_code"])


def _model(applied: Iterable[Logged]) -> dict[str, Mirrored]:
    """The mirror as promise 3 has it: a DELETE beats a CREATE, within a kind the greater (received_at, fingerprint) wins."""
    strongest: dict[str, tuple[tuple[bool, datetime, bytes], str]] = {}
    for one in applied:
        body = json.loads(one.body)
        strength = (one.event.endswith("DELETE"), one.received_at, one.fingerprint)
        held = strongest.get(body["action_subscription_id"])
        if held is None or strength > held[0]:
            strongest[body["action_subscription_id"]] = strength, body["action_code"]
    return {
        subscription: Mirrored("deleted" if deleted else "live", received_at, fingerprint, marker)
        for subscription, ((deleted, received_at, fingerprint), marker) in strongest.items()
    }


_LOG = "SELECT id, event, state, received_at, body, fingerprint FROM deliveries"
_MIRROR = "SELECT action_subscription_id, state, hint_received_at, hint_fingerprint, action_code FROM action_subscriptions"
_APPLIED = "SELECT count(*) FROM deliveries WHERE state = 'applied'"


async def books(database: str) -> Books:
    """Read log and mirror of a database, `postgres://…` or `sqlite://path`, as of one moment."""
    if urlsplit(database).scheme == "sqlite":
        with closing(sqlite3.connect(_path(database), isolation_level=None)) as file:
            file.execute("BEGIN")
            return _books(file.execute(_LOG), file.execute(_MIRROR))
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return _books(await connection.fetch(_LOG), await connection.fetch(_MIRROR))
    finally:
        await connection.close()


async def applied(database: str) -> int:
    """How many deliveries of a database are applied by now."""
    if urlsplit(database).scheme == "sqlite":
        with closing(sqlite3.connect(_path(database))) as file:
            return int(file.execute(_APPLIED).fetchone()[0])
    connection = await asyncpg.connect(database)
    try:
        return int(await connection.fetchval(_APPLIED))
    finally:
        await connection.close()


def _path(database: str) -> str:
    return database.removeprefix("sqlite://")


def _books(log: Iterable[Any], mirror: Iterable[Any]) -> Books:
    return Books(
        tuple(Logged(UUID(str(id_)), event, state, _time(at), bytes(body), bytes(print_)) for id_, event, state, at, body, print_ in log),
        {subscription: Mirrored(state, _time(at), bytes(print_), marker) for subscription, state, at, print_, marker in mirror},
    )


def _time(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value
