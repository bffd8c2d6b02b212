"""Hints into rows: one conditional upsert, so that any order of any duplicates ends in the same rows."""

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import SubscriptionState
from workers.bulk import Upsert
from workers.database import Connection, Dialect
from workers.mirror.hints import Hint, fold

_TYPES = {
    "data": "jsonb",
    "certificate_date_release": "date",
    "certificate_date_expire": "date",
    "owned_active": "boolean",
    "parent_active": "boolean",
}
_COLUMNS: Mapping[str, str] = {
    "account": "text",
    **{name: _TYPES.get(name, "text") for name in SUBSCRIPTION_FIELDS},
    "state": "text",
    "flags": "jsonb",
    "hint_deleted": "boolean",
    "hint_received_at": "timestamptz",
    "hint_fingerprint": "bytea",
}
_KEY = ("account", "action_subscription_id")

_UPSERT = Upsert(
    table="action_subscriptions",
    columns=_COLUMNS,
    key=_KEY,
    update=tuple(name for name in _COLUMNS if name not in _KEY),
    when="(new.hint_deleted, new.hint_received_at, new.hint_fingerprint) > (old.hint_deleted, old.hint_received_at, old.hint_fingerprint)",
)


async def apply(connection: Connection, dialect: Dialect, hints: Iterable[Hint]) -> None:
    """Write what the hints say, wherever they are stronger than what the mirror holds."""
    await _UPSERT.execute(connection, dialect, [_row(hint) for hint in fold(hints)])


def _row(hint: Hint) -> dict[str, Any]:
    return {
        "account": hint.account,
        **hint.fields,
        "state": (SubscriptionState.DELETED if hint.deleted else SubscriptionState.LIVE).value,
        "flags": hint.flags,
        "hint_deleted": hint.deleted,
        "hint_received_at": hint.received_at,
        "hint_fingerprint": hint.fingerprint,
    }
