"""Whom evidence is about: the ids, within its account, by which `workers/erasures.py` knows somebody again. Pure."""

from collections.abc import Mapping
from typing import Any, assert_never

from schemas.states import RefreshKind
from workers.mirror.evidence import Effect, Sighting, Touch
from workers.mirror.hints import Hint
from workers.mirror.versions import ATTENDANCE, COURSE_RESULT, OBSERVATION, SESSION_ENROLLMENT, Fact, FactKind

#: Touches that are about nobody.
_IMPERSONAL = frozenset({RefreshKind.OFFICE, RefreshKind.CONFIRMATION})
#: Where a result names whose it is; who was at a Kare exercise, nobody but Kare knows.
_HOLDERS: Mapping[FactKind, str | None] = {
    COURSE_RESULT: "learner",
    OBSERVATION: "employee_id",
    SESSION_ENROLLMENT: "action_subscription_id",
    ATTENDANCE: None,
}


def of_effect(effect: Effect) -> tuple[str, ...]:
    """Whom something is about that a delivery says."""
    match effect:
        case Hint():
            return of_subscription(effect.subject, effect.fields)
        case Touch():
            return () if effect.kind in _IMPERSONAL else (effect.subject,)
        case Fact():
            return of_fact(effect)
        case _:
            assert_never(effect)


def of_fact(fact: Fact) -> tuple[str, ...]:
    """Whose result it is."""
    name = _HOLDERS[fact.kind]
    said = dict(zip(fact.kind.key, fact.key, strict=True)) | dict(fact.content)
    return (str(said[name]),) if name is not None and said.get(name) is not None else ()


def of_sighting(one: Sighting) -> tuple[str, ...]:
    """Whose subscription was found."""
    return of_subscription(one.subject, one.fields)


def of_subscription(subject: str, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """A subscription, and whose it is as far as that is said."""
    holder = fields.get("subscriber_id")
    return (subject,) if holder is None else (subject, str(holder))
