"""The register of personal data: every table, what in it is somebody's, how that is found, and what an erasure makes of it. Pure.

What is theirs goes. What others need stays without naming them. A new table needs a row here: a test holds the register against the models.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from schemas.events import EVENTS, EventType
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.states import RefreshKind, RunState, SubscriptionState
from workers.erasures import PEOPLE, without
from workers.followups.identities import PERSON
from workers.operations.whose import Person

#: In the place of what named them.
ERASED = "(erased)"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Deleted:
    """Rows go that have one of a person's `ids` (an attribute of Person) in a column, and `same` in others."""

    column: str
    ids: str
    same: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stripped:
    """Such rows stay, with `sets` done to them, which is SQL; $now is the time of the erasure."""

    column: str
    ids: str
    sets: str
    where: str = "TRUE"


@dataclass(frozen=True, slots=True)
class Reworded:
    """Rows stay and are written anew: `rewritten` gives what changes of the `columns` it is given. Read are those with one of a person's
    `ids` in a column, or with a word of theirs in one of the `searched`, or all of them.
    """

    columns: tuple[str, ...]
    rewritten: Callable[[Row, Person], Row]
    among: tuple[str, str] | None = None
    searched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Paged:
    """Too many to be gone through at once: see `workers.operations.remains.pages`."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Nothing is done, and why."""

    why: str


Way = Deleted | Stripped | Reworded | Paged | Kept


def _bare_event(row: Row, _: Person) -> Row:
    """An event about them that was not told yet says only what it must: were it missing, there would be a gap in the sequence."""
    shape, data = EVENTS[EventType(row["type"])], json.loads(row["data"])
    return _changed(
        row, data=shape(**{name: data[name] for name, one in shape.model_fields.items() if one.is_required()}).model_dump_json()
    )


def _others_event(row: Row, person: Person) -> Row:
    """An event about somebody else, whom they observed."""
    shape, data = EVENTS[EventType(row["type"])], json.loads(row["data"])
    bare = {name: None if not shape.model_fields[name].is_required() and person.is_named(value) else value for name, value in data.items()}
    return _changed(row, data=json.dumps(bare))


def _others_people(row: Row, person: Person) -> Row:
    """Whoever manages, does or watches something for others, and whatever else 4HSE's users keep there."""
    held = {name: json.loads(row[name]) for name in PEOPLE if row[name] is not None}
    return _changed(row, **{name: _dumped(without(value, person.is_named)) for name, value in held.items()})


def _others_question(row: Row, person: Person) -> Row:
    """A run of replays that asked for them: without the question it would ask for everybody."""
    asked, names = json.loads(row["asked"]), {name for _, name in person.ids}
    subjects = asked.get("subscription", ())
    kept = [one for one in subjects if not named_by(one) & names]
    return {"asked": json.dumps(asked | {"subscription": [*kept, ERASED]})} if len(kept) < len(subjects) else {}


#: base64url, as bodies travel in envelopes; long enough to hold a word.
_ENCODED = re.compile(rb"[A-Za-z0-9_-]{6,}={0,2}")


def _others_envelope(row: Row, person: Person) -> Row:
    """A message that nobody here can open yet may be about others, too: what names them in it is overwritten, encoded or not."""

    def decoded(found: re.Match[bytes]) -> bytes:
        try:
            text = base64.urlsafe_b64decode(found[0] + b"=" * (-len(found[0]) % 4)).decode("latin-1")
        except ValueError:
            return found[0]
        return base64.urlsafe_b64encode(ERASED.encode()) if _in_bytes(person, text) else found[0]

    message = bytes(row["message"])
    plain = person.bared(_ENCODED.sub(decoded, message).decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return {"message": plain} if plain != message else {}


def _in_bytes(person: Person, text: str) -> bool:
    return person.named_in(text) or person.named_in(text.encode("latin-1").decode("utf-8", "replace"))


def _dumped(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _changed(row: Row, **now: Any) -> Row:
    """What is another than it was; JSON is compared by what it says."""
    return {name: value for name, value in now.items() if (None if value is None else json.loads(value)) != json.loads(row[name])}


def named_by(subject: str) -> set[str]:
    """Whom a delivery's subject may name: a course result's is its learner's address (`schemas.anewspring.address`)."""
    return {subject, unquote(subject.partition("/")[0])}


#: Were it to come back, no result from before would count for it: its first cycle opens now.
_TOMBSTONE = f"""{", ".join(f"{name} = NULL" for name in SUBSCRIPTION_FIELDS if name != "action_subscription_id")},
    state = '{SubscriptionState.DELETED}', flags = '[]', changes_at = NULL, first_seen_at = $now,
    hint_fingerprint = substr(hint_fingerprint, 1, 0)"""
#: A vendor's words may name anybody in any way.
_WORDLESS, _WORDS = f"error = '{ERASED}'", f"error IS NOT NULL AND error <> '{ERASED}'"
_OURS = "it is about muster's own work, and names nobody"
_IMPERSONAL = "it is about what there is to be done, not about who does it"

REGISTER: Mapping[str, tuple[Way, ...]] = {
    # The mirror; first, for `workers.operations.remains.erased` has other teams told of what becomes of subscriptions.
    "action_subscriptions": (
        Stripped("action_subscription_id", "subscriptions", _TOMBSTONE),
        Reworded(PEOPLE, _others_people, searched=PEOPLE),
    ),
    "former_holders": (Deleted("subscriber_id", "people"), Deleted("action_subscription_id", "subscriptions")),
    "session_enrollments": (Deleted("action_subscription_id", "subscriptions"),),
    "course_results": (Deleted("learner", "learners"),),
    "observations": (Deleted("employee_id", "learners"), Stripped("observer_id", "learners", "observer_id = ''")),
    "attendances": (Kept("who was at an exercise, nobody but Kare knows: its ids of people are no accounts of anybody's here"),),
    "actions": (Kept(_IMPERSONAL),),
    "action_sessions": (Kept(_IMPERSONAL),),
    "drifts": (Deleted("subject", "subscriptions"),),
    "reconcile_runs": (Stripped("account", "accounts", _WORDLESS, f"{_WORDS} AND state = '{RunState.FAILED}'"),),
    "reconcile_seen": (Kept("ids of subscriptions, as the bare tombstones keep them, and only while a run goes on"),),
    # Follow-ups.
    "followup_moves": (Deleted("need", "needs"), Deleted("enrollment", "seats")),
    "recordings": (Deleted("need", "needs"),),
    "certified": (Deleted("action_subscription_id", "subscriptions"),),
    "need_targets": (Deleted("need", "needs"),),
    "needs": (Deleted("action_subscription_id", "subscriptions"),),
    "enrollments": (Deleted("learner", "learners"), Deleted("learner", "subscriptions")),
    "identities": (Deleted("here", "here", {"kind": PERSON}),),
    "rule_states": (Kept(_IMPERSONAL),),
    # What is to be fetched, and what is to be told.
    "refreshes": (
        Deleted("subject", "learners", {"kind": RefreshKind.COURSE_RESULT.value}),
        *(Deleted("subject", ids) for ids in ("people", "subscriptions", "certificates")),
    ),
    "outbox": (
        Deleted("subject", "results"),
        Reworded(("type", "data"), _bare_event, among=("subject", "events")),
        Reworded(("type", "data"), _others_event, searched=("data",)),
    ),
    "event_sequences": (Deleted("subject", "results"),),
    # What has arrived, and is handed out again.
    "deliveries": (Paged(),),
    "held_envelopes": (Reworded(("message",), _others_envelope),),
    "replay_runs": (Reworded(("asked",), _others_question),),
    "replay_items": (Kept("ids of deliveries, which are stripped"),),
    # Muster's own.
    "schedules": (Stripped("account", "accounts", _WORDLESS, _WORDS),),
    "audit": (Kept("written without vendors' words and learners' ids, for good; who erases is told to leave names out"),),
    "erasures": (Kept("a keyed digest"),),
    "erasure_marks": (Kept("keyed digests"),),
    "erasure_keys": (Kept("the key of the digests"),),
    "receivers": (Kept(_OURS),),
    "source_freshness": (Kept(_OURS),),
    "account_calendars": (Kept(_OURS),),
    "webhook_subscribers": (Kept("a vendor's word for the receiving end of webhooks, which is muster"),),
    "schema_versions": (Kept(_OURS),),
}

#: Where ids of people stand within an account, whatever led to them once.
NAMED = tuple(
    (table, way.column) for table, ways in REGISTER.items() for way in ways if isinstance(way, Deleted | Stripped) and way.ids == "learners"
)
