"""What 4HSE computes: a subscription's status from its certificates, and what index and view show beside the stored fields."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Protocol

from workers.simulators.fourhse.kinds import KINDS, Row


class Register(Protocol):
    """What is looked at."""

    tables: dict[str, dict[str, Row]]
    offices: dict[str, str]
    projects: dict[str, Row]
    resources: dict[str, Row]

    def certified(self, action_id: str, resource_id: str) -> Row | None: ...
    def children(self, id: str, path: str) -> list[Row]: ...  # noqa: A002
    def active(self, id: str) -> bool: ...  # noqa: A002
    def parents_active(self, path: str, row: Row) -> bool: ...
    def hidden(self, row: Row) -> bool: ...
    def today(self) -> date: ...


def status(expire: date | None, interval: int, today: date) -> str:
    """VALID, EXPIRING or EXPIRED, for a certificate that expires then; `interval` days before that, EXPIRING begins."""
    if expire is None:
        return "VALID"
    if expire < today:
        return "EXPIRED"
    return "EXPIRING" if expire <= today + timedelta(days=interval) else "VALID"


def shown(path: str, row: Row, register: Register) -> Row:
    """A row as index and view give it."""
    extras = _EXTRAS.get(path)
    return dict.fromkeys(KINDS[path].fields) | row | (extras(row, register) if extras else {})


def _subscription(row: Row, register: Register) -> Row:
    action = register.tables["action"][row["action_id"]]
    last, session = register.certified(row["action_id"], row["subscriber_id"]), _last_session(row, register)
    expire = _date(last["date_expire"]) if last else None
    project = register.projects.get(row["tenant_id"], {})
    return {
        **_action(action),
        **_subscriber(row, register),
        "status": status(expire, int(action["expire_interval"] or 0), register.today()) if last else "NEW",
        "last_certificate_id": last["certificate_id"] if last else None,
        "certificate_date_release": last["date_release"] if last else None,
        "certificate_date_expire": last["date_expire"] if last else None,
        "last_action_session_subscription_id": session.get("action_session_subscription_id"),
        "last_session_date": session.get("session_date_begin"),
        "office_name": register.offices.get(row["subtenant_id"]),
        "project_name": project.get("name"),
        "project_type": project.get("project_type"),
        "project_status": project.get("status"),
        "project_subscription_status": project.get("subscription_status"),
        "owned_active": register.active(row["action_subscription_id"]),
        "parent_active": register.parents_active("action-subscription", row),
        "certificate_action_approvals": 0,
        **{name: action.get(name) for name in ("manager", "assignee", "watcher")},
    }


def _session_subscription(row: Row, register: Register) -> Row:
    session = register.tables["action-session"][row["action_session_id"]]
    action = register.tables["action"][session["action_id"]]
    subscription = register.tables["action-subscription"][row["action_subscription_id"]]
    own = session if session.get("validity") is not None else action
    return {
        "subscriber_id": subscription["subscriber_id"],
        "subscriber_type": subscription["subscriber_type"],
        **_subscriber(subscription, register),
        "action_id": action["action_id"],
        **_action(action),
        "validity_unit": own.get("validity_unit"),
        "validity": own.get("validity"),
        "session_date_begin": session.get("date_begin"),
    }


def _session(row: Row, register: Register) -> Row:
    outcomes = [one["done"] for one in register.children(row["action_session_id"], "action-session-subscription")]
    counts = {name: outcomes.count(done) for name, done in (("done", 1), ("fail", 0), ("unknown", -1))}
    return {"count_subscribed": len(outcomes)} | {f"count_{name}": count for name, count in counts.items()}


_EXTRAS = {"action-subscription": _subscription, "action-session-subscription": _session_subscription, "action-session": _session}

_OF_ACTION = ("action_type", "action_code", "action_name")
_OF_SUBSCRIBER = ("subscriber_code", "subscriber_name")

#: What an index can be filtered and sorted by beside the stored fields; it has to be computed first.
COMPUTED: Mapping[str, frozenset[str]] = {
    "action-subscription": frozenset(
        (
            *_OF_ACTION,
            *_OF_SUBSCRIBER,
            *("status", "last_certificate_id", "certificate_date_release", "certificate_date_expire"),
            *("last_action_session_subscription_id", "last_session_date", "certificate_action_approvals"),
            *("office_name", "project_name", "project_type", "project_status", "project_subscription_status"),
            *("owned_active", "parent_active", "manager", "assignee", "watcher"),
        )
    ),
    "action-session-subscription": frozenset(
        (
            *_OF_ACTION,
            *_OF_SUBSCRIBER,
            *("action_id", "subscriber_id", "subscriber_type", "validity", "validity_unit", "session_date_begin"),
        )
    ),
    "action-session": frozenset(("count_subscribed", "count_done", "count_fail", "count_unknown")),
}


def _action(action: Row) -> Row:
    return {f"action_{name}": action.get(name) for name in ("code", "name")} | {"action_type": action["action_type"]}


def _subscriber(subscription: Row, register: Register) -> Row:
    person = register.tables["person"].get(subscription["subscriber_id"])
    if person:
        return {"subscriber_code": person.get("code"), "subscriber_name": f"{person['last_name']} {person['first_name']}"}
    other = register.resources.get(subscription["subscriber_id"], {})
    return {"subscriber_code": other.get("code"), "subscriber_name": other.get("name")}


def _last_session(row: Row, register: Register) -> dict[str, Any]:
    found, sessions = register.children(row["action_subscription_id"], "action-session-subscription"), register.tables["action-session"]
    dated = [one | {"session_date_begin": sessions[one["action_session_id"]].get("date_begin")} for one in found]
    return max(dated, key=lambda one: str(one["session_date_begin"] or ""), default={})


def _date(value: object) -> date | None:
    return date.fromisoformat(str(value)[:10]) if value else None
