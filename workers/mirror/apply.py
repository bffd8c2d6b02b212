"""Evidence into rows: conditional upserts, so that any order of any duplicates ends in the same rows.

Every row carries the strongest hint, when the last hint arrived, and when the fetch that decided last began
(`workers/mirror/evidence.py` says what decides over what).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from schemas.delivery import now_utc
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import SubscriptionState
from workers.bulk import Upsert
from workers.database import Connection, Dialect
from workers.erasures import Marks
from workers.followups.cases import Key, Traces
from workers.followups.plan import Followups
from workers.mirror.calendar import note, outlooks
from workers.mirror.changes import told
from workers.mirror.evidence import Absence, Effect, Sighting, Touch
from workers.mirror.facts import OBSERVATION, Fact, FactKind, observe
from workers.mirror.hints import Hint, fold
from workers.mirror.mentions import of_fact, of_sighting
from workers.mirror.status import Calendar
from workers.mirror.versions import Version
from workers.refreshes import mark

_TYPES = {
    "data": "jsonb",
    "certificate_date_release": "date",
    "certificate_date_expire": "date",
    "owned_active": "boolean",
    "parent_active": "boolean",
    "last_session_date": "date",
    "certificate_action_approvals": "jsonb",
    "manager": "jsonb",
    "assignee": "jsonb",
    "watcher": "jsonb",
}
_KEY = ("account", "action_subscription_id")
_IDS = {"account": "text", "action_subscription_id": "text"}
_SHOWN: Mapping[str, str] = {
    **{name: _TYPES.get(name, "text") for name in SUBSCRIPTION_FIELDS if name not in _IDS},
    "state": "text",
    "flags": "jsonb",
}
_HINT = {"hint_deleted": "boolean", "hint_received_at": "timestamptz", "hint_fingerprint": "bytea"}
#: Opens the row's first cycle: written with the row, and never again.
_FIRST = {"first_seen_at": "timestamptz"}
_FETCH = {"fetched_at": "timestamptz", "fetch_covers": "timestamptz"}

_STRONGER = (
    "(old.hint_received_at IS NULL OR"
    " (new.hint_deleted, new.hint_received_at, new.hint_fingerprint) > (old.hint_deleted, old.hint_received_at, old.hint_fingerprint))"
)
#: A fetch that covers a hint decides over it. One that does not is out of date; what it read is better than a CREATE's few
#: fields until the next.
_SHOWS = (
    f"({_STRONGER} AND NOT coalesce(old.fetch_covers > new.hint_last_at, FALSE)"
    f" AND (new.hint_deleted OR old.fetched_at IS NULL OR old.state <> '{SubscriptionState.LIVE}'))"
)

_HINTED = Upsert(
    table="action_subscriptions",
    columns={**_IDS, **_SHOWN, **_HINT, "hint_last_at": "timestamptz", **_FIRST},
    key=_KEY,
    update={
        **{name: f"CASE WHEN {_SHOWS} THEN new.{name} ELSE old.{name} END" for name in _SHOWN},
        **{name: f"CASE WHEN {_STRONGER} THEN new.{name} ELSE old.{name} END" for name in _HINT},
        "hint_last_at": "CASE WHEN old.hint_last_at > new.hint_last_at THEN old.hint_last_at ELSE new.hint_last_at END",
        # A hint tells neither status nor dates.
        "changes_at": f"CASE WHEN {_SHOWS} THEN NULL ELSE old.changes_at END",
    },
    when=f"old.hint_last_at IS NULL OR new.hint_last_at > old.hint_last_at OR {_STRONGER}",
)

_DECIDES = (
    "(old.fetched_at IS NULL OR new.fetched_at > old.fetched_at) AND (old.hint_last_at IS NULL OR old.hint_last_at < new.fetch_covers)"
)
_SIGHTED = Upsert(
    table="action_subscriptions",
    columns={**_IDS, **_SHOWN, **_FETCH, "changes_at": "timestamptz", **_FIRST},
    key=_KEY,
    update=(*_SHOWN, *_FETCH, "changes_at"),
    when=_DECIDES,
)
_ABSENT = Upsert(
    table="action_subscriptions",
    columns={**_IDS, "state": "text", "flags": "jsonb", **_FETCH},
    key=_KEY,
    update={**{name: f"new.{name}" for name in ("state", *_FETCH)}, "changes_at": "NULL"},
    when=_DECIDES,
    unless="NOT EXISTS (SELECT 1 FROM action_subscriptions AS s"
    " WHERE s.account = given.account AND s.action_subscription_id = given.action_subscription_id)",
)


@dataclass(frozen=True, slots=True)
class Mirror:
    """How evidence is taken: which accounts have an API to be asked, and how much clocks may differ."""

    accounts: frozenset[str] = frozenset()
    clock_skew: timedelta = timedelta(seconds=5)
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    followups: Followups | None = None
    now: Callable[[], datetime] = now_utc
    #: Whom to keep out of what is fetched; `workers/pipeline.py` does of what is delivered.
    marks: Marks | None = None

    async def apply(
        self, connection: Connection, dialect: Dialect, effects: Iterable[Effect], *, quietly: bool = False, noting: bool = False
    ) -> set[tuple[Any, ...]]:
        """Write what deliveries say, wherever that is stronger than what the mirror holds, and note what they touch.

        `quietly`, nothing follows from it: no event is told, nothing is to be fetched, nobody is planned for. Where `noting`, gives the
        `aim` of what it changed: rows of the mirror, new versions, and things that are to be fetched since.
        """
        given = list(effects)
        hints, facts = fold(one for one in given if isinstance(one, Hint)), [one for one in given if isinstance(one, Fact)]
        changed = await _observed(connection, dialect, facts, quietly=quietly)
        # What results are about is locked together with what hints are about, in one order.
        results = {} if quietly else dict.fromkeys(await self._about(connection, dialect, facts), self.now())
        about = {} if quietly else results | {hint.key: hint.received_at for hint in hints}
        async with told(connection, dialect, about):
            changed |= {*await _HINTED.execute(connection, dialect, [_hinted(hint) for hint in hints], noting=noting)}
        await self._plan(connection, dialect, about, {hint.key: hint.trace for hint in hints})
        # Last, as whoever settles what was fetched: who plans holds what others wait for.
        touches = [one for one in given if isinstance(one, Touch) and one.account in self.accounts and not quietly]
        changed |= {*await mark(connection, dialect, touches, self.clock_skew, noting=noting)}
        return changed

    async def observe(
        self,
        connection: Connection,
        dialect: Dialect,
        kind: FactKind,
        account: str,
        found: Sequence[Fact],
        at: datetime,
        within: Mapping[str, Any] | None = None,
    ) -> list[Version]:
        """Keep what was found of an account (`workers.mirror.facts.observe`), and plan what follows from it."""
        if self.marks is not None:
            found = await self.marks.spared(connection, dialect, found, lambda one: (account, of_fact(one), one.at))
            found = await self.marks.unnamed(connection, dialect, found) if kind is OBSERVATION else found
        new = await observe(connection, dialect, kind, account, found, at, within)
        if new:
            # Also what was withdrawn, which was not found.
            facts = [Fact(kind, account, one.key, one.observed_at, one.content) for one in new]
            await self._plan(connection, dialect, await self._about(connection, dialect, facts))
        return new

    async def sighted(self, connection: Connection, dialect: Dialect, sightings: Sequence[Sighting]) -> None:
        """Write what a fetch found, one sighting a subscription, wherever it decides."""
        if self.marks is not None:
            sightings = await self.marks.spared(connection, dialect, sightings, lambda one: (one.account, of_sighting(one), one.began))
        looks = await outlooks(connection, dialect, self.calendars, sorted(sightings, key=lambda one: (one.account, one.subject)))
        rows = [self._sighted(one.sighting) | {"changes_at": one.changes_at} for one in looks]
        async with told(connection, dialect, {(one.account, one.subject): one.began for one in sightings}):
            await _SIGHTED.execute(connection, dialect, rows)
        await note(connection, dialect, looks)
        await self._plan(connection, dialect, {(one.account, one.subject) for one in sightings})

    async def absent(self, connection: Connection, dialect: Dialect, absences: Sequence[Absence]) -> None:
        """Write what a fetch did not find, wherever it decides; what was known of it stays."""
        rows = [
            {"account": one.account, "action_subscription_id": one.subject, "state": one.state.value, "flags": [], **self._fetch(one)}
            for one in sorted(absences, key=lambda one: (one.account, one.subject))
        ]
        async with told(connection, dialect, {(one.account, one.subject): one.began for one in absences}):
            await _ABSENT.execute(connection, dialect, rows)
        await self._plan(connection, dialect, {(one.account, one.subject) for one in absences})

    async def _about(self, connection: Connection, dialect: Dialect, facts: Sequence[Fact]) -> set[tuple[str, str]]:
        """The subscriptions that results are about."""
        return set() if self.followups is None or not facts else await self.followups.keys_of(connection, dialect, facts)

    async def _plan(self, connection: Connection, dialect: Dialect, keys: Collection[Key], traces: Traces | None = None) -> None:
        if self.followups is not None:
            await self.followups.plan(connection, dialect, keys, self.now(), traces)

    def _sighted(self, one: Sighting) -> dict[str, Any]:
        shown = {"account": one.account, **one.fields, "state": SubscriptionState.LIVE.value, "flags": one.flags}
        # Seen when the answer was there: what was completed while it was under way is older than the row may be.
        return {**shown, **self._fetch(one), "first_seen_at": self.now()}

    def _fetch(self, one: Sighting | Absence) -> dict[str, Any]:
        return {"fetched_at": one.began, "fetch_covers": one.began - self.clock_skew}


async def _observed(connection: Connection, dialect: Dialect, facts: Iterable[Fact], *, quietly: bool) -> set[tuple[Any, ...]]:
    """Facts by table and account, in an order that is the same for every writer; gives the aims of those that were news."""
    changed = set[tuple[Any, ...]]()
    groups: dict[tuple[str, str], list[Fact]] = {}
    for fact in facts:
        groups.setdefault((fact.kind.table, fact.account), []).append(fact)
    for (_, account), group in sorted(groups.items(), key=lambda each: each[0]):
        kind = group[0].kind
        new = await observe(connection, dialect, kind, account, group, group[0].at, quietly=quietly)
        changed |= {(kind.table, account, one.key) for one in new}
    return changed


def _hinted(hint: Hint) -> dict[str, Any]:
    return {
        "account": hint.account,
        **hint.fields,
        "state": (SubscriptionState.DELETED if hint.deleted else SubscriptionState.LIVE).value,
        "flags": hint.flags,
        "hint_deleted": hint.deleted,
        "hint_received_at": hint.received_at,
        "hint_fingerprint": hint.fingerprint,
        "hint_last_at": hint.last_at or hint.received_at,
        "first_seen_at": hint.received_at,
    }
