"""Acme's 4HSE and muster's mirror of it, with everything between them in a test's hands: what becomes of each webhook, when muster fetches,
what changes while it does, and the time.

What muster was shown is noted on the wire, apart from what it makes of it.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from schemas.accounts import FourhseAccount
from schemas.delivery import Delivery
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import RefreshKind
from tests.workers.made import NOON, delivery, replayed
from tests.workers.vendors.acme import ACTION, KEY, OTHER_OFFICE, PATIENT, PERSON, TENANT, acme
from workers.database import Database
from workers.handlers import handle
from workers.mirror.apply import Mirror
from workers.mirror.reconcile import reconcile
from workers.mirror.runs import Asked
from workers.mirror.tables import ActionSubscription, Drift, ReconcileRun
from workers.pipeline import Pipeline
from workers.refresher import Refresher
from workers.refreshes import Refresh
from workers.simulators.fourhse import Keycloak, Tenancy, simulator
from workers.simulators.server import served
from workers.vendors.accounts import OpenAccount, OpenAccounts
from workers.vendors.fourhse import Fourhse

#: What becomes of a webhook: it arrives and is handled, it arrives and waits in the queue, it arrives later, it comes twice, or never.
Fate = Literal["handled", "queued", "late", "doubled", "lost"]
KINDS = (RefreshKind.CERTIFICATE, RefreshKind.SUBSCRIBER, RefreshKind.ACTION_SUBSCRIPTION, RefreshKind.OFFICE)
SECOND_ACTION, HOME = "c4d5e6f7-0000-4000-8000-000000000002", "action-subscription"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happens at the vendor, to the `one`th of what there is, and what becomes of its webhooks in turn."""

    verb: str
    one: int
    other: int
    fates: tuple[Fate, ...] = ("lost",)


@dataclass(frozen=True, slots=True)
class Webhook:
    """What the vendor told, and what became of it."""

    event: str
    body: Mapping[str, Any]
    fate: Fate

    def tells_of(self, subscription: Mapping[str, Any]) -> bool:
        """Whether it names the subscription or its subscriber."""
        noun = self.event.partition("::")[0]
        name, field = {"PERSON": ("person_id", "subscriber_id"), "CERTIFICATE": ("resource_id", "subscriber_id")}.get(noun, (_ID, _ID))
        return bool(self.body.get(name) == subscription[field])


_ID = "action_subscription_id"


class Clock:
    """The time, for everybody."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


class World:
    """One tenancy, its mirror, and what is on its way between them."""

    def __init__(self, database: Database, account: OpenAccount) -> None:
        self.clock, self.account = Clock(), account
        #: How much the receiver's clock is ahead.
        self.skew = 0
        self._database, self._mirror = database, Mirror(frozenset({account.name}))
        self._pipeline = Pipeline(database, partial(handle, accounts={account.name: account.settings}), self._mirror)
        self._refresher = Refresher(database, self._mirror, OpenAccounts({}, self.clock), self.clock)
        self.tenancy = _tenancy(self.clock, self._tell)
        self._app, self._made = simulator(self.tenancy, Keycloak({}, keys={KEY})), 0
        self._told: list[tuple[str, Mapping[str, Any]]] = []
        self._late: list[tuple[str, Mapping[str, Any]]] = []
        self._queued: list[Delivery] = []
        self._handled: list[Delivery] = []
        #: What changes while the next requests are answered.
        self.meanwhile: list[Change] = []
        #: Every subscription as muster was last shown it, and what was told of it that muster was not shown since.
        self.known: dict[str, Mapping[str, Any]] = {}
        self.unshown: dict[str, list[Webhook]] = {}

    # What happens.

    async def change(self, change: Change) -> None:
        """Let something happen at the vendor."""
        before = self.shows()
        CHANGES[change.verb](self, change.one, change.other)
        await self.tenancy.webhooks.quiet()
        told, self._told = self._told, []
        webhooks = [Webhook(event, body, change.fates[n % len(change.fates)]) for n, (event, body) in enumerate(told)]
        after = self.shows()
        for subject in before.keys() | after.keys():
            if before.get(subject) != after.get(subject):
                self.unshown.setdefault(subject, []).extend(webhooks)
        for webhook in webhooks:
            await self._send(webhook)

    async def arrive(self, number: int) -> None:
        """Let a webhook arrive that was held up."""
        if self._late:
            await self._handle(self._received(*self._late.pop(number % len(self._late))))

    async def dequeue(self, number: int) -> None:
        """Handle a delivery that waits, whichever came first."""
        if self._queued:
            await self._handle(self._queued.pop(number % len(self._queued)))

    async def repeat(self, number: int) -> None:
        """Handle a delivery again: even numbers as the broker hands it out again, odd ones as a replay."""
        if self._handled:
            one = self._handled[number % len(self._handled)]
            await self._pipeline.together([one if number % 2 == 0 else replayed(one)])

    async def fetch(self) -> None:
        """What is due is fetched."""
        for kind in KINDS:
            await self._refresher.round(self.account, kind)

    async def settle(self) -> None:
        """What is still to happen happens, and what is on its way arrives and is fetched."""
        while self.meanwhile:
            await self.change(self.meanwhile.pop(0))
        for patience in range(1, 30):
            while self._late or self._queued:
                await self.arrive(0)
                await self.dequeue(-1)
            self.clock.go_on(6 * patience)
            await self.fetch()
            if not (self._late or self._queued or await Refresh.filter(account=self.account.name).exists()):
                return
        raise AssertionError([(row.kind, row.subject, row.error) for row in await Refresh.filter(account=self.account.name)])

    async def reconcile(self, **how: Any) -> ReconcileRun:
        """One run over everything."""
        self.clock.go_on(60)
        return await reconcile(self._database, self._mirror, self.account, Asked(), self.clock, **how)

    # What is seen.

    def shows(self) -> dict[str, Mapping[str, Any]]:
        """What the vendor shows, historicized rows included."""
        rows = self.tenancy.tables[HOME]
        return {id_: self.tenancy.view(HOME, id_) for id_, row in rows.items() if not self.tenancy.hidden(row)}

    async def mirrored(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """What the mirror holds: state and fields, as the vendor writes them."""
        rows = await ActionSubscription.filter(account=self.account.name)
        return {
            row.action_subscription_id: (row.state, {name: _written(getattr(row, name)) for name in SUBSCRIPTION_FIELDS}) for row in rows
        }

    def unknown(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Where the vendor differs from what it last showed to muster: the kind of drift, and in which fields."""
        now = self.shows()
        found = dict[str, tuple[str, tuple[str, ...]]]()
        for subject in now.keys() | self.known.keys():
            held, row = self.known.get(subject), now.get(subject)
            if held is None or row is None:
                found[subject] = ("missing" if held is None else "extra", ())
            elif fields := tuple(name for name in SUBSCRIPTION_FIELDS if held[name] != row[name]):
                found[subject] = ("different", fields)
        return found

    async def drift(self, run: ReconcileRun) -> dict[str, tuple[str, tuple[str, ...]]]:
        """What a run says of it."""
        return {row.subject: (row.kind, tuple(row.differing)) for row in await Drift.filter(run=run.id)}

    # Between the two.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The vendor's server; something may change after it has made up its answer."""
        asked, answer = await Request(scope, receive).body(), list[Message]()

        async def again() -> Message:
            return {"type": "http.request", "body": asked}

        async def kept(message: Message) -> None:
            answer.append(message)

        await self._app(scope, again, kept)
        self._note(scope["path"], asked, answer)
        if self.meanwhile:
            await self.change(self.meanwhile.pop(0))
        self.clock.go_on(0.01)
        for message in answer:
            await send(message)

    def _note(self, path: str, asked: bytes, answer: Sequence[Message]) -> None:
        """What is shown of subscriptions, and what is not though it was asked for."""
        _, _, kind, verb, *rest = path.split("/")
        if kind != HOME:
            return
        query = json.loads(asked or b"{}")
        if query.get("per-page") == 1:
            return  # only whether there is one
        content = json.loads(b"".join(message.get("body", b"") for message in answer))
        shown = [] if answer[0]["status"] != 200 else content if verb == "index" else [content]
        wanted = query["filter"] if verb == "index" else {_ID: rest[0]}
        for row in shown:
            self.known[row[_ID]] = row
            self.unshown.pop(row[_ID], None)
        if "subtenant_id" in wanted:
            return  # an office is walked for what is touched in it; of that, what it does not show is asked for
        for subject, row in list(self.known.items()):
            if subject not in self.tenancy.tables[HOME] and all(row[name] == value for name, value in wanted.items()):
                del self.known[subject]
                self.unshown.pop(subject, None)

    async def _tell(self, event: str, body: Mapping[str, Any]) -> None:
        self._told.append((event, body))

    async def _send(self, webhook: Webhook) -> None:
        told = (webhook.event, webhook.body)
        if webhook.fate in ("handled", "doubled"):
            await self._handle(self._received(*told))
        if webhook.fate == "queued":
            self._queued.append(self._received(*told))
        if webhook.fate in ("late", "doubled"):
            self._late.append(told)

    def _received(self, event: str, body: Mapping[str, Any]) -> Delivery:
        self.clock.go_on(0.001)
        at = self.clock() + timedelta(seconds=self.skew)
        return delivery(body, event, account=self.account.name, received_at=at)

    async def _handle(self, one: Delivery) -> None:
        await self._pipeline.together([one])
        self._handled.append(one)

    # What the changes need.

    def made(self, noun: str) -> str:
        """A new id."""
        self._made += 1
        return f"{noun}-{self._made}"

    def pick(self, path: str, number: int) -> str | None:
        """One of what there is, but for Acme's own."""
        ids = [id_ for id_ in self.tenancy.tables[path] if not id_.endswith("stays") and id_ != PERSON]
        return ids[number % len(ids)] if ids else None


def _written(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _tenancy(clock: Clock, send: Callable[[str, Mapping[str, Any]], Any]) -> Tenancy:
    """Acme with an action in each office, and in each a subscription that stays, so that an office that is seen is never empty."""
    tenancy = acme()
    tenancy.now = clock
    check = {"action_type": "CHECK", "code": "EXT", "name": "Extinguishers", "subtenant_id": OTHER_OFFICE, "tenant_id": TENANT}
    tenancy.create("action", {"action_id": SECOND_ACTION, **check})
    for action in (ACTION, SECOND_ACTION):
        tenancy.subscribe(action, PERSON, action_subscription_id=f"{action[-1]}-stays")
    tenancy.webhooks.send = send
    return tenancy


# What can happen at the vendor.


def _hire(world: World, _: int, other: int) -> None:
    person = {"first_name": "Ada", "last_name": f"Rossi {other}", "birth_date": "1990-05-01", "project_id": TENANT}
    world.tenancy.create("person", {"person_id": world.made("p"), **person})


def _subscribe(world: World, one: int, other: int) -> None:
    if person := world.pick("person", other):
        world.tenancy.subscribe((ACTION, SECOND_ACTION)[one % 2], person, action_subscription_id=world.made("s"))


def _certify(world: World, one: int, other: int) -> None:
    if subscription := world.pick(HOME, one):
        world.tenancy.certify(subscription, f"2025-01-{1 + other:02}", f"2026-{3 + other:02}-01" if other else None)


def _update(path: str, fields: Callable[[int], dict[str, Any]]) -> Callable[[World, int, int], None]:
    def update(world: World, one: int, other: int) -> None:
        if id_ := world.pick(path, one):
            world.tenancy.update(path, id_, world.tenancy.row(path, id_) | fields(other))

    return update


def _delete(path: str) -> Callable[[World, int, int], None]:
    def delete(world: World, one: int, _: int) -> None:
        if id_ := world.pick(path, one):
            world.tenancy.delete(path, id_)

    return delete


def _historicize(world: World, one: int, other: int) -> None:
    if id_ := world.pick(HOME, one):
        (world.tenancy.reactivate if other % 3 == 0 else world.tenancy.historicize)(id_)


#: What webhooks tell of.
TOLD: Mapping[str, Callable[[World, int, int], None]] = {
    "subscribe": _subscribe,
    "unsubscribe": _delete(HOME),
    "certify": _certify,
    "correct": _update("certificate", lambda n: {"date_expire": f"2026-{3 + n:02}-11"}),
    "extend": _update("certificate-action", lambda n: {"date_expire": f"2027-{3 + n:02}-21"}),
    "revoke": _delete("certificate"),
    "unlink": _delete("certificate-action"),
    "hire": _hire,
    "rename": _update("person", lambda n: {"last_name": f"Bianchi {n}"}),
    "fire": _delete("person"),
}
#: What they do not.
UNTOLD: Mapping[str, Callable[[World, int, int], None]] = {
    "historicize": _historicize,
    "note": _update(HOME, lambda n: {"data": {"note": n}}),
    "rename action": _update("action", lambda n: {"name": f"Fire Safety {n}", "expire_interval": 30 * n}),
}
CHANGES = {**TOLD, **UNTOLD}


@asynccontextmanager
async def worlds(database: Database, directory: Path) -> AsyncIterator[Callable[[], Awaitable[World]]]:
    """Makes worlds that take turns at one server; each has rows of its own in the database, and a mirror that is filled."""
    current: list[World] = []

    async def turn(scope: Scope, receive: Receive, send: Send) -> None:
        await current[-1](scope, receive, send)

    async with served(turn) as url:
        (directory / "key").write_text(KEY)
        # One call at a time, for a test to be the same each time.
        limits = PATIENT.model_copy(update={"concurrency": 1, "rate": 100_000})
        given = {"vendor": "4hse", "insecure": True, "base_url": url, "limits": limits, "access_token_file": directory / "key"}
        settings = FourhseAccount.model_validate(given)
        client = Fourhse(settings, lambda: NOON)

        async def world() -> World:
            current.append(World(database, OpenAccount(f"hse{len(current)}", settings, client)))
            await current[-1].reconcile()
            return current[-1]

        yield world
        await client.close()
