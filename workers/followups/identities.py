"""Who a subscription's person or office is in a target's account: by the table of identities, else by the account's template."""

from collections.abc import Iterator, Mapping
from string import Formatter
from types import MappingProxyType
from typing import Any

from schemas.accounts import Account, FourhseAccount
from schemas.states import TargetKind
from schemas.templates import filled

#: Of one account: (kind, id here) to the id there.
Known = Mapping[tuple[str, str], str]
PERSON, OFFICE = "person", "office"
#: Which kind of identity an account of a vendor knows.
KINDS = {"anewspring": PERSON, "ispring": PERSON, "kare": OFFICE}


def learner(kind: TargetKind, account: Account, row: Mapping[str, Any], known: Known) -> str | None:
    """The learner that a target of this account needs for a subscription, or None where nobody knows who that is.

    In a session of 4HSE's the subscription itself takes part.
    """
    if kind is TargetKind.SESSION:
        return str(row["action_subscription_id"])
    here = asked(kind, row)
    if here is None or isinstance(account, FourhseAccount):
        return None
    return known.get(here) or (filled(account.learner, row) if account.learner else None)


def asked(kind: TargetKind, row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Kind and id of what has to be known there; an LMS knows persons only, an exercise is an office's."""
    if kind is TargetKind.EXERCISE:
        office = row.get("subscriber_id") if row.get("subscriber_type") == "OFFICE" else row.get("subtenant_id")
        return (OFFICE, str(office)) if office else None
    if row.get("subscriber_type") != "PERSON" or not row.get("subscriber_id"):
        return None
    return PERSON, str(row["subscriber_id"])


def bearers(kind: TargetKind, account: Account, there: str, known: Known) -> tuple[Mapping[str, str], ...]:
    """The other direction: what the subscriptions of a learner may look like, each as columns with their values.

    They are candidates: whether one is the learner's, `learner` says.
    """
    if kind is TargetKind.SESSION:
        return ({"action_subscription_id": there},)
    if isinstance(account, FourhseAccount):
        return ()
    return (*_columns(known, there), *(_readings(_parts(account.learner), there) if account.learner else ()))


def _columns(known: Known, there: str) -> Iterator[Mapping[str, str]]:
    for (kind, here), one in known.items():
        if one == there:
            yield {"subscriber_id": here}
            if kind == OFFICE:
                yield {"subtenant_id": here}


#: A template's texts, each with the field that comes after it.
_Parts = tuple[tuple[str, str | None], ...]


def _parts(template: str) -> _Parts:
    return tuple((text, name) for text, name, _, _ in Formatter().parse(template))


def _readings(parts: _Parts, there: str, known: Mapping[str, str] = MappingProxyType({})) -> Iterator[Mapping[str, str]]:
    """A template read backwards: every way in which fields that are not empty fill it."""
    if not parts:
        yield from () if there else (known,)
        return
    (text, name), rest = parts[0], parts[1:]
    if not there.startswith(text):
        return
    there = there.removeprefix(text)
    if name is None:
        yield from _readings(rest, there, known)
    elif name in known:
        yield from _readings(((known[name], None), *rest), there, known)
    else:
        for end in range(1, len(there) + 1):
            yield from _readings(rest, there[end:], {**known, name: there[:end]})
