"""Reconcile: walk the vendor's index, history included, compare every row with the mirror, heal what differs, and find what the mirror
has and the vendor does not show. A lost webhook leaves no other trace.

    take ▶ walk: pages ▶ compare ▶ one transaction a few pages: heal + drift + what was seen ▶ ask again for what was not seen ▶ done
                                     │ killed: the next run goes on at the next page             └ too many: held
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from schemas.accounts import FourhseAccount, zone_of
from schemas.events import DriftFound, Event, EventType
from schemas.logs import Log
from schemas.states import DriftKind, RunState, SubscriptionState
from workers.bulk import Upsert
from workers.database import Connection, Database
from workers.followups.rule_states import look_again
from workers.mirror import runs
from workers.mirror.apply import Mirror
from workers.mirror.drift import Disagreement, agrees, disagreement, seen_to, touches
from workers.mirror.drift import Held as HeldRow
from workers.mirror.evidence import Absence, Sighting
from workers.mirror.holdings import Suspects, count_seen, read, shown, stored, waiting
from workers.mirror.mentions import of_subscription
from workers.mirror.refresh import ask_again
from workers.mirror.runs import Asked
from workers.mirror.sightings import Unreadable, sighting
from workers.mirror.tables import ActionSubscription, Drift, ReconcileRun, ReconcileSeen
from workers.mirror.walk import Turned, walk
from workers.outbox import append
from workers.vendors.accounts import OpenAccount
from workers.vendors.errors import VendorError
from workers.vendors.fourhse import Fourhse, Page

log = structlog.get_logger()

#: Pages that are committed together, or fewer when that many seconds are over.
PAGES, SECONDS = 50, 5.0
#: Suspects that are asked for at once.
_SUSPECTS = 20
_SHOWN = 500
#: What is evidence of lost webhooks, which a status that the vendor reckons otherwise is not.
_COUNTED = (DriftKind.MISSING, DriftKind.EXTRA, DriftKind.DIFFERENT)

_DRIFTS = Upsert(
    "drifts",
    {
        "account": "text",
        "subject": "text",
        "kind": "text",
        "differing": "jsonb",
        "run": "uuid",
        "found_at": "timestamptz",
    },
    key=("run", "subject"),
)


#: What the mirror holds, what the vendor shows, and how they disagree.
_Suspected = tuple[HeldRow | None, Sighting, Disagreement]
Row = Mapping[str, Any]


class Held(Exception):
    """So much of the mirror is not shown by the vendor that a person has to accept it: see `muster reconcile --accept-missing`."""


def nobody(_: ReconcileRun) -> None:
    """Is told how far a run is, and does nothing."""


async def scheduled(database: Database, mirror: Mirror, account: OpenAccount, now: Callable[[], datetime]) -> None:
    """Reconcile everything, as the workers do by themselves; raises Busy, Held, VendorError. The first run fills the mirror."""
    run = await reconcile(database, mirror, account, Asked(), now, held=True)
    if run.state == RunState.HELD:
        raise Held(Held.__doc__)


async def reconcile(
    database: Database,
    mirror: Mirror,
    account: OpenAccount,
    asked: Asked,
    now: Callable[[], datetime],
    *,
    dry_run: bool = False,
    accept_missing: bool = False,
    held: bool = False,
    told: Callable[[ReconcileRun], None] = nobody,
) -> ReconcileRun:
    """Run to the end, from where the last one was cut short; a `held` one counts as that, too. `told` hears how far it is.

    Raises Busy, Lost, and what the vendor failed with: the run can then be taken up again.
    """
    run = await runs.take(database, account.name, asked, now(), dry_run=dry_run, held=held or accept_missing)
    async with runs.kept(database, run, now):
        await runs.forget(database, account.name, but=run)
        work = _Reconcile(database, mirror, account, run, now, told)
        try:
            await work.walk()
            await work.ask(accepted=accept_missing)
        except VendorError as error:
            await work.end(RunState.FAILED, str(error)[:_SHOWN])
            raise
    return run


@dataclass(slots=True)
class _Found:
    """What is to be written together."""

    sightings: list[Sighting] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)
    drifts: list[Disagreement] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {kind.value: sum(one.kind == kind for one in self.drifts) for kind in _COUNTED}


class _Reconcile:
    """One run."""

    def __init__(
        self,
        database: Database,
        mirror: Mirror,
        account: OpenAccount,
        run: ReconcileRun,
        now: Callable[[], datetime],
        told: Callable[[ReconcileRun], None],
    ) -> None:
        assert isinstance(account.settings, FourhseAccount)
        assert isinstance(account.client, Fourhse)
        self._database, self._mirror, self._account, self._run = database, mirror, account, run
        self._now, self._told = now, told
        self._settings, self._http = account.settings, account.client.http
        self._index, self._sent = account.client.resources["action-subscription"], account.client.http.sent

    async def walk(self) -> None:
        """See every page; once more from the first if rows slipped through between two."""
        while self._run.next_page:
            await self._pages()
            async with self._database.transaction() as connection:
                seen = await count_seen(connection, self._database.dialect, self._run)
                again = self._run.walk == 1 and seen < (self._run.total or 0)
                changed = {"walk": 2, "next_page": 1, "total": None, "unreadable": 0} if again else {"next_page": 0, "seen": seen}
                await self._save(connection, **changed)

    async def ask(self, *, accepted: bool) -> None:
        """Ask again for each row that the walk did not see, and make of it what its own answer says, unless that harms too many."""
        suspects, limit = Suspects(self._database, self._run, self._mirror.clock_skew), await self._limit()
        # Absence from what a status shows says that the status changed, not that the row is gone.
        if not accepted and "status" not in self._run.asked and (count := await suspects.count()) > limit:
            return await self._hold(count, limit)
        gone = _Found()
        async for rows in suspects.batches(_SUSPECTS):
            found = _judged(rows, await self._asked_again(rows), accepted=accepted)
            if not accepted:
                gone.absences += found.absences
                gone.drifts += [one for one in found.drifts if one.kind == DriftKind.EXTRA]
                found = _Found(found.sightings, [], [one for one in found.drifts if one.kind != DriftKind.EXTRA])
            if len(gone.absences) > limit:
                return await self._hold(len(gone.absences), limit)
            await self._write(found)
        await self._write(gone)
        return await self.end(RunState.DONE)

    async def end(self, state: RunState, error: str | None = None) -> None:
        """Write down how it ended."""
        async with self._database.transaction() as connection:
            counted = {} if self._run.backfill else await self._counted(connection)
            first = not await runs.filled(self._run.account, connection)
            await self._save(connection, state=state.value, error=error, ended_at=self._now(), **counted)
            if first and await runs.filled(self._run.account, connection):
                await look_again(connection, self._run.account, self._now())
        run = self._run
        self._told(run)
        counts = {"missing": run.missing, "extra": run.extra, "different": run.different, "unreadable": run.unreadable}
        about = {"account": run.account, "run": str(run.id), "backfill": run.backfill, "dry_run": run.dry_run, "seen": run.seen}
        if not run.backfill and (run.missing or run.extra or run.different):
            log.warning(Log.DRIFT_FOUND, **about, **counts)
        if state == RunState.DONE:
            await runs.forget(self._database, run.account)
            log.info(Log.RECONCILED, **about, **counts, calls=run.calls)
        else:
            # Why it failed is in its row: the vendor's words may name somebody.
            log.error(Log.RECONCILE_HELD if state == RunState.HELD else Log.RECONCILE_FAILED, **about)

    # Pages.

    async def _pages(self) -> None:
        run, group, since = self._run, list[Turned](), time.monotonic()
        writing: asyncio.Future[None] = asyncio.ensure_future(asyncio.sleep(0))
        # Half of what the account may have under way: the refresher asks, too.
        at_once = max(1, self._settings.limits.concurrency // 2)
        try:
            async with aclosing(walk(self._fetch, run.next_page, run.total, at_once)) as turned:
                async for one in turned:
                    group.append(one)
                    if len(group) == PAGES or time.monotonic() - since > SECONDS:
                        await writing  # the pages before; these are compared while the next are fetched
                        writing = asyncio.ensure_future(self._take(group))
                        group, since = [], time.monotonic()
        finally:
            await writing
        if group:
            await self._take(group)

    async def _fetch(self, number: int) -> tuple[Page, datetime]:
        began = self._now()
        page = await self._index.page(number, filter=self._run.asked, sort="action_subscription_id", history=True)
        return page, began

    async def _take(self, group: Sequence[Turned]) -> None:
        """Compare a few pages, and write what comes of it in one transaction."""
        if not self._run.seen:
            self._run.backfill = await runs.is_backfill(self._run.account, group[0].page.total)
        shown, nameless = _by_id(group)
        found, unreadable = await self._compared(shown)
        progress = {
            "backfill": self._run.backfill,
            "next_page": group[-1].next,
            "total": group[-1].page.total,
            "seen": self._run.seen + len(shown),
            "unreadable": self._run.unreadable + unreadable + nameless,
        }
        await self._write(found, list(shown), **progress)

    async def _compared(self, shown: Mapping[str, tuple[Row, datetime]]) -> tuple[_Found, int]:
        """What differs, and how many rows that cannot be read."""
        shown = await self._spared(shown)
        known = await stored(self._database, self._account.name, list(shown))
        suspected, unreadable = list[_Suspected](), 0
        for subject, (row, began) in shown.items():
            held = known.get(subject)
            if held is not None and agrees(held, row):
                continue
            try:
                suspected += _suspected(
                    read(held) if held else None, sighting(self._account.name, row, began, zone_of(self._account.settings))
                )
            except Unreadable:
                unreadable += 1
        told = {touch for held, one, _ in suspected for touch in touches(held, one)} if not self._run.backfill else set()
        due = await waiting(self._database, self._account.name, told)
        skew = self._mirror.clock_skew
        drifts = [drift for held, one, drift in suspected if not seen_to(held, one, one.began - skew, due)]
        return _Found([one for _, one, _ in suspected], [], drifts), unreadable

    async def _spared(self, shown: Mapping[str, tuple[Row, datetime]]) -> Mapping[str, tuple[Row, datetime]]:
        """Without those of whom nothing is kept: that the mirror has them not is no drift."""
        if self._mirror.marks is None:
            return shown

        def about(one: tuple[str, tuple[Row, datetime]]) -> tuple[str, tuple[str, ...], datetime]:
            subject, (row, began) = one
            return self._account.name, of_subscription(subject, row), began

        return dict(await self._mirror.marks.spared(self._database.connection, self._database.dialect, list(shown.items()), about))

    # What was not seen.

    async def _limit(self) -> int:
        if self._settings.max_missing is not None:
            return self._settings.max_missing
        rows = await ActionSubscription.filter(account=self._account.name).exclude(state=SubscriptionState.DELETED.value).count()
        return max(50, rows // 100)

    async def _asked_again(self, rows: Sequence[ActionSubscription]) -> list[Sighting | Absence | Unreadable]:
        asking = (ask_again(self._account, row, self._now) for row in rows)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Unreadable):
                raise answer
        return [answer for answer in answers if isinstance(answer, Sighting | Absence | Unreadable)]

    async def _hold(self, count: int, limit: int) -> None:
        error = f"{count} rows of the mirror are not shown by the vendor, more than max_missing ({limit}): look, then --accept-missing"
        await self.end(RunState.HELD, error)

    # Writing.

    async def _write(self, found: _Found, subjects: Sequence[str] = (), **progress: Any) -> None:
        run, dialect = self._run, self._database.dialect
        drifts = [one for one in found.drifts if not (run.backfill and one.kind == DriftKind.MISSING)]
        counts = {name: getattr(run, name) + count for name, count in found.counts().items()}
        async with self._database.transaction() as connection:
            if not run.dry_run:
                await self._mirror.sighted(connection, dialect, found.sightings)
                await self._mirror.absent(connection, dialect, found.absences)
                await append(connection, dialect, [self._event(one) for one in drifts])
            await _DRIFTS.execute(connection, dialect, [self._drift(one) for one in sorted(drifts, key=lambda one: one.subject)])
            if subjects:
                await ReconcileSeen.create(run=run.id, subjects=subjects, using_db=connection)
            await self._save(connection, **counts, **progress)
        self._told(run)

    def _drift(self, one: Disagreement) -> dict[str, Any]:
        about = {"account": self._run.account, "run": self._run.id, "found_at": self._now()}
        return {**about, "subject": one.subject, "kind": one.kind.value, "differing": list(one.fields)}

    def _event(self, one: Disagreement) -> Event:
        data = DriftFound(action_subscription_id=one.subject, kind=one.kind, differing=list(one.fields), run=self._run.id)
        return Event(EventType.DRIFT_FOUND, self._run.account, one.subject, self._now(), data)

    async def _save(self, connection: Connection, **changed: Any) -> None:
        sent, self._sent = self._http.sent - self._sent, self._http.sent
        await runs.save(connection, self._run, self._now(), calls=self._run.calls + sent, **changed)

    async def _counted(self, connection: Connection) -> dict[str, int]:
        """Drift by kind: a row that was found twice counts once."""
        found = Drift.filter(run=self._run.id).using_db(connection)
        return {kind.value: await found.filter(kind=kind.value).count() for kind in _COUNTED}


def _by_id(group: Sequence[Turned]) -> tuple[dict[str, tuple[Row, datetime]], int]:
    """The rows of a few pages, of one that is on two pages the last; and how many have no id."""
    shown: dict[str, tuple[Row, datetime]] = {}
    nameless = 0
    for turned in group:
        for row in turned.page.rows:
            subject = row.get("action_subscription_id")
            if isinstance(subject, str) and subject and "\0" not in subject:
                shown[subject] = row, turned.began
            else:
                nameless += 1
    return shown, nameless


def _suspected(held: HeldRow | None, one: Sighting) -> list[_Suspected]:
    drift = disagreement(held, one)
    return [(held, one, drift)] if drift else []


def _judged(rows: Sequence[ActionSubscription], answers: Sequence[Sighting | Absence | Unreadable], *, accepted: bool) -> _Found:
    """What the answers for single rows make of them. A row that was missing and still is, is no news; one that cannot be read stays."""
    found = _Found()
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, Sighting):
            drift = disagreement(shown(row), answer)
            found.sightings += [answer] if drift else []
            found.drifts += [drift] if drift else []
        if not isinstance(answer, Absence):
            continue
        state = SubscriptionState.DELETED if accepted else answer.state
        found.absences.append(Absence(answer.account, answer.subject, answer.began, state))
        found.drifts += [Disagreement(answer.subject, DriftKind.EXTRA)] if row.state != state else []
    return found
