"""The state of one 4HSE tenancy, and everything that can happen to it: by API, by a person at the screen, by an administrator."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from workers.simulators.fourhse.compliance import shown
from workers.simulators.fourhse.kinds import KINDS, LINKS, Row
from workers.simulators.fourhse.listing import Listing
from workers.simulators.fourhse.validation import errors, label
from workers.simulators.fourhse.webhooks import Announcer, Send

_ROME = ZoneInfo("Europe/Rome")


class Invalid(Exception):
    """Yii2's 422, by field."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        super().__init__("Data Validation Failed.")
        self.messages = messages


class Absent(Exception):
    """There is no such entity, or the login may not see it (`status` 404 or 403)."""

    def __init__(self, status: int = 404) -> None:
        super().__init__(status)
        self.status = status


class Tenancy:
    """Projects, offices and what is in them. `send` is told of every change that 4HSE has a webhook for, one after the other."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), send: Send | None = None) -> None:
        self.now = now
        self.tables: dict[str, dict[str, Row]] = {path: {} for path in KINDS}
        self.offices: dict[str, str] = {}
        self.projects: dict[str, Row] = {}
        #: Equipment, work environments and other resources that have no API here: id to code and name.
        self.resources: dict[str, Row] = {}
        #: Whether recording done = 1 makes a certificate: the documents say "typically".
        self.generates_certificates = False
        #: (verb, kind, id) of every write that was done.
        self.journal: list[tuple[str, str, str]] = []
        self.webhooks = Announcer(send)
        self._inactive: set[str] = set()
        self._withdrawn: dict[str, int] = {}
        self._children: dict[str, dict[tuple[str, str], None]] = {}
        self._version, self._listing = 0, Listing()

    # What the API does.

    def create(self, path: str, given: Row) -> Row:
        """Store an entity; raises Invalid, Absent."""
        kind = KINDS[path]
        row = dict(kind.defaults) | {name: given[name] for name in kind.fields if given.get(name) is not None}
        row = {kind.id: str(row.get(kind.id) or uuid4())} | row
        if messages := errors(kind, row, row, self.tables) or self._taken(path, row):
            raise Invalid(messages)
        self._permitted(row)
        self._put(path, row)
        self._done("CREATE", path, row)
        return self.stored(path, row)

    def update(self, path: str, id: str, given: Row) -> Row:  # noqa: A002
        """Change an entity; raises Invalid, Absent."""
        kind, old = KINDS[path], self.row(path, id)
        row = old | {name: given[name] for name in kind.fields if name in given and name != kind.id}
        if messages := errors(kind, row, given, self.tables):
            raise Invalid(messages)
        self._permitted(row)
        self._put(path, row)
        self._done("UPDATE", path, row)
        if self.generates_certificates and row.get("done") == 1 and old.get("done") != 1 and not row.get("certificate_id"):
            row["certificate_id"] = self.certify(row["action_subscription_id"])
        return self.stored(path, row)

    def delete(self, path: str, id: str) -> None:  # noqa: A002
        """Delete an entity and all that belongs to it; raises Absent."""
        row = self.row(path, id)
        for child_path, child in self.affected(path, id):
            self._remove(child_path, self.tables[child_path][child])
        self._remove(path, row)

    def affected(self, path: str, id: str) -> list[tuple[str, str]]:  # noqa: A002
        """(kind, id) of what a delete would take with it, the farthest first; raises Absent."""
        self.row(path, id)
        found: dict[tuple[str, str], None] = {}
        for child in self._children.get(id, {}):
            found |= dict.fromkeys(self.affected(*child)) | {child: None}
        return list(found)

    def row(self, path: str, id: str) -> Row:  # noqa: A002
        """An entity as it is stored; raises Absent."""
        row = self.tables[path].get(id)
        if row is None:
            raise Absent
        self._permitted(row)
        return row

    def view(self, path: str, id: str) -> Row:  # noqa: A002
        """An entity as view shows it, historicized or not; raises Absent."""
        return shown(path, self.row(path, id), self)

    def ids(self, path: str, query: Mapping[str, Any]) -> list[str]:
        """The ids of what an index holds, all pages of it."""
        return self._listing.ids(self, path, query, (self._version, self.today()))

    def stored(self, path: str, row: Row) -> Row:
        """What create, update and webhooks show: the stored fields that have a value."""
        return {name: row[name] for name in KINDS[path].fields if row.get(name) is not None}

    # What people do at the screen.

    def subscribe(self, action_id: str, subscriber_id: str, subscriber_type: str = "PERSON", **fields: Any) -> str:
        """Put a resource on the schedule, in the action's office; gives the id."""
        place = {name: self.tables["action"][action_id][name] for name in ("subtenant_id", "tenant_id")}
        given = {"action_id": action_id, "subscriber_id": subscriber_id, "subscriber_type": subscriber_type, **place, **fields}
        return str(self.create("action-subscription", given)["action_subscription_id"])

    def enroll(self, session_id: str, subscription_id: str, **fields: Any) -> str:
        """Give a subscriber a seat in a session; gives the id."""
        place = {name: self.tables["action-session"][session_id][name] for name in ("subtenant_id", "tenant_id")}
        given = {"action_session_id": session_id, "action_subscription_id": subscription_id, **place, **fields}
        return str(self.create("action-session-subscription", given)["action_session_subscription_id"])

    def record(self, enrollment_id: str, done: int, **fields: Any) -> None:
        """Enter a session's outcome, as its trainer does."""
        path = "action-session-subscription"
        self.update(path, enrollment_id, self.tables[path][enrollment_id] | {"done": done, **fields})

    def certify(self, subscription_id: str, release: str | None = None, expire: str | None = None) -> str:
        """Make a certificate and link it to the subscription's action; gives the certificate's id."""
        subscription = self.tables["action-subscription"][subscription_id]
        action = self.tables["action"][subscription["action_id"]]
        given = {
            "date_release": release or self.today().isoformat(),
            "date_expire": expire,
            "name": action["name"],
            "action_type": action["action_type"],
            "resource_id": subscription["subscriber_id"],
            "tenant_id": subscription["tenant_id"],
        }
        made = str(self.create("certificate", given)["certificate_id"])
        link = {"certificate_id": made, "action_id": action["action_id"], "tenant_id": subscription["tenant_id"]}
        self.create("certificate-action", link)
        return made

    def historicize(self, *ids: str) -> None:
        """Make entities inactive: subscriptions, actions, persons, offices. No webhook tells it."""
        self._inactive.update(ids)
        self._version += 1

    def reactivate(self, *ids: str) -> None:
        """Make entities active again."""
        self._inactive.difference_update(ids)
        self._version += 1

    def withdraw(self, office: str, status: int = 404) -> None:
        """Take the login's rights for one office: its rows leave every index, and view answers `status`, 404 or 403."""
        self._withdrawn[office] = status
        self._version += 1

    def restore(self, office: str) -> None:
        """Give the rights back."""
        self._withdrawn.pop(office, None)
        self._version += 1

    # What is computed from it.

    def today(self) -> date:
        """The date in Italy by the given clock."""
        return self.now().astimezone(_ROME).date()

    def hidden(self, row: Row) -> bool:
        """Whether the login may not see it."""
        return row.get("subtenant_id") in self._withdrawn

    def active(self, id: str) -> bool:  # noqa: A002
        """Whether it is not historicized itself."""
        return id not in self._inactive

    def parents_active(self, path: str, row: Row) -> bool:
        """Whether nothing that it belongs to is historicized."""
        return self._inactive.isdisjoint((row.get("subtenant_id"), *(row.get(name) for name in LINKS[path])))

    def children(self, id: str, path: str) -> list[Row]:  # noqa: A002
        """The rows of one kind that go when this one goes."""
        return [self.tables[path][child] for kind, child in self._children.get(id, {}) if kind == path]

    def certified(self, action_id: str, resource_id: str) -> Row | None:
        """The most recent certificate for an action and a resource, with the expiry of its link if that has one."""
        found = [
            certificate | {"date_expire": link.get("date_expire") or certificate.get("date_expire")}
            for certificate in self.children(resource_id, "certificate")
            for link in self.children(certificate["certificate_id"], "certificate-action")
            if link["action_id"] == action_id
        ]
        return max(found, key=lambda one: str(one["date_release"]), default=None)

    def _taken(self, path: str, row: Row) -> dict[str, str]:
        name = KINDS[path].id
        return {name: f'{label(name)} "{row[name]}" has already been taken.'} if row[name] in self.tables[path] else {}

    def _permitted(self, row: Row) -> None:
        if self.hidden(row):
            raise Absent(self._withdrawn[row["subtenant_id"]])

    def _put(self, path: str, row: Row) -> None:
        known = (path, row[KINDS[path].id])
        self._unlink(known)
        self.tables[path][known[1]] = row
        for name in LINKS[path]:
            self._children.setdefault(row[name], {})[known] = None

    def _remove(self, path: str, row: Row) -> None:
        known = (path, row[KINDS[path].id])
        self._unlink(known)
        del self.tables[path][known[1]]
        self._done("DELETE", path, row)

    def _unlink(self, known: tuple[str, str]) -> None:
        if old := self.tables[known[0]].get(known[1]):
            for name in LINKS[known[0]]:
                self._children[old[name]].pop(known, None)

    def _done(self, verb: str, path: str, row: Row) -> None:
        self._version += 1
        self.journal.append((verb, path, row[KINDS[path].id]))
        if verb in KINDS[path].verbs:
            self.webhooks.tell(f"{KINDS[path].event}::{verb}", self.stored(path, row))
