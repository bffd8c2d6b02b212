"""4HSE's kinds of entities, as the documents give them: written down apart from the client's, so that neither copies the other's error."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]

ACTION_TYPES = ("TRAINING", "MAINTENANCE", "HEALTH", "CHECK", "PER")
SUBSCRIBER_TYPES = ("PERSON", "ROLE", "WORK_GROUP", "WORK_ENVIRONMENT", "SUBSTANCE", "EQUIPMENT", "OFFICE", "PPE", "UNIT")
_UNITS = ("YEAR", "MONTH", "DAY")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its fields, what they must hold, what it belongs to, and which webhooks tell of it."""

    path: str
    id: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    allowed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    #: (its field, the kind whose id it holds)
    parents: tuple[tuple[str, str], ...] = ()
    #: Whether update, too, needs the required fields in the request: so says the schema, against its own example.
    strict: bool = False
    event: str | None = None
    verbs: frozenset[str] = frozenset()

    @property
    def fields(self) -> tuple[str, ...]:
        """Everything that can be written."""
        return (self.id, *self.required, *self.optional)


_ALL = frozenset({"CREATE", "UPDATE", "DELETE"})
_PLACE = ("subtenant_id", "tenant_id")
_VALIDITY = ("validity_unit", "validity")
_PEOPLE = ("manager", "assignee", "watcher")

KINDS: Mapping[str, Kind] = {
    kind.path: kind
    for kind in (
        Kind(
            "action",
            "action_id",
            ("action_type", "name", *_PLACE),
            ("code", "description", "expire_interval", "data", *_VALIDITY, *_PEOPLE),
            defaults={"expire_interval": 30},
            allowed={"action_type": ACTION_TYPES, "validity_unit": _UNITS},
        ),
        Kind(
            "action-session",
            "action_session_id",
            ("action_id", *_PLACE),
            ("name", "date_begin", "date_end", "data", *_VALIDITY),
            allowed={"validity_unit": _UNITS},
            parents=(("action_id", "action"),),
        ),
        Kind(
            "action-subscription",
            "action_subscription_id",
            ("action_id", "subscriber_id", "subscriber_type", *_PLACE),
            ("data",),
            allowed={"subscriber_type": SUBSCRIBER_TYPES},
            parents=(("action_id", "action"),),
            strict=True,
            event="ACTION_SUBSCRIPTION",
            verbs=frozenset({"CREATE", "DELETE"}),
        ),
        Kind(
            "action-session-subscription",
            "action_session_subscription_id",
            ("action_session_id", "action_subscription_id", *_PLACE),
            ("data", "done", "warning", "certificate_id", "date_begin", "date_expire"),
            defaults={"done": -1, "warning": 0},
            allowed={"done": (-1, 0, 1), "warning": (0, 1)},
            parents=(("action_session_id", "action-session"), ("action_subscription_id", "action-subscription")),
            strict=True,
        ),
        Kind(
            "certificate",
            "certificate_id",
            ("date_release", "name", "action_type", "resource_id", "tenant_id"),
            ("date_expire", "note", "data", "warning", *_VALIDITY),
            allowed={"action_type": ACTION_TYPES, "validity_unit": _UNITS},
            event="CERTIFICATE",
            verbs=_ALL,
        ),
        Kind(
            "certificate-action",
            "certificate_action_id",
            ("certificate_id", "action_id", "tenant_id"),
            ("date_expire", "is_date_inherited"),
            parents=(("certificate_id", "certificate"), ("action_id", "action")),
            event="CERTIFICATE_ACTION",
            verbs=_ALL,
        ),
        Kind(
            "person",
            "person_id",
            ("first_name", "last_name", "birth_date", "project_id"),
            ("code", "tax_code", "entity_id", "related_user", "is_employee", "data"),
            event="PERSON",
            verbs=_ALL,
        ),
    )
}

#: The dates among the fields; `date-time` by the schema, dates by the examples.
DATES = frozenset({"date_begin", "date_end", "date_expire", "date_release", "birth_date"})

#: The fields by which an entity goes when another goes.
LINKS: Mapping[str, tuple[str, ...]] = {kind.path: tuple(name for name, _ in kind.parents) for kind in KINDS.values()} | {
    "action-subscription": ("action_id", "subscriber_id"),
    "certificate": ("resource_id",),
}

#: The kinds that can be historicized, and then leave their index unless it is asked with `history`.
HISTORY = frozenset({"action", "action-subscription", "person"})
