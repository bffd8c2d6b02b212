"""Where mirror and vendor disagree about a subscription. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from pydantic_core import to_json

from schemas.fourhse import SUBSCRIPTION_FIELDS, fits
from schemas.states import DriftKind, RefreshKind, SubscriptionState
from workers.mirror.evidence import Sighting

JSON = ("data", "certificate_action_approvals", "manager", "assignee", "watcher")
_PLAIN = tuple(name for name in SUBSCRIPTION_FIELDS if name not in JSON)

COLUMNS = (*_PLAIN, *JSON, "state", "flags", "hint_last_at", "fetched_at")
#: What the mirror holds of a subscription: `COLUMNS`, each as a sighting's fields have it.
Held = Mapping[str, Any]
#: The same as a database gives it: in that order, with dates and JSON as text.
Stored = Sequence[Any]

_plain, _json = itemgetter(*_PLAIN), itemgetter(*JSON)
_JSON_FROM, _STATE, _FLAGS = len(_PLAIN), COLUMNS.index("state"), COLUMNS.index("flags")
_LIVE_AND_SOUND = (SubscriptionState.LIVE.value, "[]")

#: What a touch that waits to be fetched may be about, and the fields that tell.
_TOUCHED_BY = {
    RefreshKind.ACTION_SUBSCRIPTION: "action_subscription_id",
    RefreshKind.SUBSCRIBER: "subscriber_id",
    RefreshKind.CERTIFICATE: "last_certificate_id",
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One drift: which kind, and of one that differs, in which fields."""

    subject: str
    kind: DriftKind
    fields: tuple[str, ...] = ()


def agrees(stored: Stored, row: Mapping[str, Any]) -> bool:
    """Whether a vendor's row says word for word what the mirror holds, so that there is nothing to read in it: what nearly all rows do."""
    try:
        said, structured = _plain(row), _json(row)
    except KeyError:
        return False
    return (
        stored[:_JSON_FROM] == said
        and stored[_STATE : _FLAGS + 1] == _LIVE_AND_SOUND
        and fits(row["action_type"], row["subscriber_type"])
        and all(map(_says, stored[_JSON_FROM:_STATE], structured))
    )


def parsed(stored: Any) -> Any:
    """JSON as a database gives it; SQLite gives a number that is all of it as a number."""
    return _loads(stored) if isinstance(stored, str) else stored


def disagreement(held: Held | None, sighting: Sighting) -> Disagreement | None:
    """What the mirror did not know; nothing where it says the same, or what a later fetch said."""
    if held is None or held["state"] != SubscriptionState.LIVE:
        later = held is not None and _fetched_since(held, sighting.began)
        return None if later else Disagreement(sighting.subject, DriftKind.MISSING)
    said = sighting.fields
    if _plain(held) == _plain(said) and held["flags"] == sighting.flags and same(_json(held), _json(said)):
        return None
    if _fetched_since(held, sighting.began):
        return None
    differing = [name for name in SUBSCRIPTION_FIELDS if not same(held[name], said[name])]
    differing += ["flags"] if held["flags"] != sighting.flags else []
    return Disagreement(sighting.subject, DriftKind.DIFFERENT, tuple(differing))


def touches(held: Held | None, sighting: Sighting) -> Iterable[tuple[RefreshKind, str]]:
    """The kinds and subjects of the touches that would tell of a disagreement."""
    shown = [sighting.fields] if held is None else [held, sighting.fields]
    return {(kind, one[name]) for kind, name in _TOUCHED_BY.items() for one in shown if one[name] is not None}


def seen_to(held: Held | None, sighting: Sighting, covers: datetime, waiting: AbstractSet[tuple[RefreshKind, str]]) -> bool:
    """Whether a webhook has told of it: one that a fetch is still due for, or that came too late for this one to decide over."""
    late = held is not None and held["hint_last_at"] is not None and held["hint_last_at"] >= covers
    return late or not waiting.isdisjoint(touches(held, sighting))


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: true is not 1, while 1.0, which a database may keep as 1, is."""
    if one is other or (type(one) is type(other) is str):
        return bool(one == other)
    if type(one) is float or type(other) is float:
        return _number(one) and _number(other) and float(one) == float(other)
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


#: The same few managers stand in many rows.
_loads = lru_cache(4096)(json.loads)


def _says(stored: Any, value: Any) -> bool:
    # Not `stored is value`: of the text "1" there is but one, and it is the number's JSON here and a text there.
    return value is None if stored is None else _written(stored) == to_json(value) or same(parsed(stored), value)


@lru_cache(4096)
def _written(stored: Any) -> bytes:
    return to_json(parsed(stored))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fetched_since(held: Held, began: datetime) -> bool:
    return held["fetched_at"] is not None and bool(held["fetched_at"] >= began)
