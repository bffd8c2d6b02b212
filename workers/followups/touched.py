"""Which subscriptions results are about."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from schemas.accounts import Account
from schemas.states import NeedState, TargetKind
from workers.database import Connection, Dialect
from workers.followups.directory import known_there
from workers.followups.identities import bearers
from workers.mirror.facts import ATTENDANCE, COURSE_RESULT, OBSERVATION, SESSION_ENROLLMENT, Fact, FactKind
from workers.statements import run

Key = tuple[str, str]

#: A need whose seat it is.
_SERVED = """
    SELECT DISTINCT n.account, n.action_subscription_id FROM enrollments AS e
    JOIN need_targets AS t ON t.enrollment = e.id JOIN needs AS n ON n.id = t.need WHERE e.account = $1 AND """
_LEARNERS = _SERVED + "e.learner = any($2) AND e.target = any($3)"
_EXERCISES = _SERVED + "e.kind = 'exercise' AND e.remote = any($2)"
#: The needs that await an observation of whom a column of the subscription names.
_AWAITING = """
    SELECT DISTINCT n.account, n.action_subscription_id FROM needs AS n JOIN action_subscriptions AS s
    ON s.account = n.account AND s.action_subscription_id = n.action_subscription_id WHERE n.state = any($1) AND """
_UNDER_WAY = [one.value for one in (NeedState.AWAITING, NeedState.OVERDUE, NeedState.FAILED, NeedState.HELD)]


async def keys_of(connection: Connection, dialect: Dialect, facts: Collection[Fact], accounts: Mapping[str, Account]) -> set[Key]:
    """The subscriptions whose needs may wait for these results."""
    groups: defaultdict[tuple[FactKind, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        groups[fact.kind, fact.account].append(fact)
    found: set[Key] = set()
    for (kind, account), group in groups.items():
        if kind is SESSION_ENROLLMENT:
            found |= {(account, str(one.content["action_subscription_id"])) for one in group if one.content.get("action_subscription_id")}
        elif kind is COURSE_RESULT:
            learners, courses = sorted({fact.key[0] for fact in group}), sorted({fact.key[1] for fact in group})
            found |= _keys(await run(connection, dialect, _LEARNERS, account, learners, courses))
        elif kind is ATTENDANCE:
            found |= _keys(await run(connection, dialect, _EXERCISES, account, sorted({str(fact.key[0]) for fact in group})))
        elif kind is OBSERVATION and account in accounts:
            found |= await _observed(connection, dialect, accounts[account], account, group)
    return found


async def _observed(connection: Connection, dialect: Dialect, settings: Account, account: str, facts: list[Fact]) -> set[Key]:
    """Observations have no enrollments: whose they are, the identities tell."""
    columns: defaultdict[str, set[str]] = defaultdict(set)
    for there in sorted({fact.content["employee_id"] for fact in facts if fact.content.get("employee_id")}):
        for name, value in _named(there, settings, await known_there(connection, account, there)):
            columns[name].add(value)
    found: set[Key] = set()
    for name, values in columns.items():
        found |= _keys(await run(connection, dialect, f"{_AWAITING}s.{name} = any($2)", _UNDER_WAY, sorted(values)))
    return found


def _keys(rows: Iterable[Mapping[str, Any]]) -> set[Key]:
    return {(row["account"], row["action_subscription_id"]) for row in rows}


def _named(there: str, account: Account, known: Mapping[tuple[str, str], str]) -> Iterator[tuple[str, str]]:
    """A column of the mirror's and its value, for each way in which a subscription may be this learner's."""
    for columns in bearers(TargetKind.OBSERVATION, account, there, known):
        yield from list(columns.items())[:1]
