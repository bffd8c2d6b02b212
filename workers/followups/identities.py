"""Who a subscription's person or office is in a target's account: by the table of identities, else by the account's template."""

import re
from collections.abc import Iterator, Mapping
from string import Formatter
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
    found = [*_columns(known, there)]
    if account.learner and (read := _pattern(account.learner).fullmatch(there)):
        found.append(read.groupdict())
    return tuple(found)


def _columns(known: Known, there: str) -> Iterator[Mapping[str, str]]:
    for (kind, here), one in known.items():
        if one == there:
            yield {"subscriber_id": here}
            if kind == OFFICE:
                yield {"subtenant_id": here}


def _pattern(template: str) -> re.Pattern[str]:
    """Reads a template backwards; of several ways to, one."""
    seen: set[str] = set()
    parts = []
    for text, name, _, _ in Formatter().parse(template):
        parts.append(re.escape(text))
        if name is not None:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>.+)")
            seen.add(name)
    return re.compile("".join(parts), re.DOTALL)
