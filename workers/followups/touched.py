"""Which subscriptions results are about."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from string import Formatter
from typing import Any

from schemas.accounts import Account, FourhseAccount
from schemas.states import NeedState, TargetKind
from workers.database import Connection, Dialect
from workers.followups.cases import rule_of
from workers.followups.identities import PERSON
from workers.mirror.facts import ATTENDANCE, COURSE_RESULT, OBSERVATION, SESSION_ENROLLMENT, Fact, FactKind
from workers.statements import run

Key = tuple[str, str]

#: A need whose seat it is.
_SERVED = """
    SELECT DISTINCT n.account, n.action_subscription_id FROM enrollments AS e
    JOIN need_targets AS t ON t.enrollment = e.id JOIN needs AS n ON n.id = t.need WHERE e.account = $1 AND """
_LEARNERS = _SERVED + "e.learner = any($2) AND e.target = any($3)"
#: Of whom an observation was, and of what subscription a session enrollment, before the latest version of it too.
_OBSERVED = "SELECT DISTINCT employee_id, checklist_id FROM observations WHERE account = $1 AND session_id = any($2)"
_SEATED = """
    SELECT DISTINCT account, action_subscription_id FROM session_enrollments
    WHERE account = $1 AND action_session_subscription_id = any($2) AND action_subscription_id IS NOT NULL"""
_EXERCISES = _SERVED + "e.kind = 'exercise' AND e.remote = any($2)"
#: The needs of the subscriptions that are a learner's: by the table of identities, or by the account's template.
_OWN = f"""
    JOIN needs AS n ON n.account = s.account AND n.action_subscription_id = s.action_subscription_id
    WHERE n.state <> '{NeedState.UNDONE}' AND s.account = any($1) AND """
_MAPPED = f"""
    SELECT n.account, n.action_subscription_id, n.plan, i.there AS learner FROM identities AS i
    JOIN action_subscriptions AS s ON s.subscriber_id = i.here {_OWN} i.account = $3 AND i.kind = '{PERSON}' AND i.there = any($2)"""
_FILLED = """
    SELECT n.account, n.action_subscription_id, n.plan, {who} AS learner FROM action_subscriptions AS s """
_FILLED += _OWN + "{who} = any($2)"


async def keys_of(connection: Connection, dialect: Dialect, facts: Collection[Fact], accounts: Mapping[str, Account]) -> set[Key]:
    """The subscriptions whose needs these results, which are written, may be about, whatever has come of the needs so far."""
    groups: defaultdict[tuple[FactKind, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        groups[fact.kind, fact.account].append(fact)
    found: set[Key] = set()
    for (kind, account), group in groups.items():
        if kind is SESSION_ENROLLMENT:
            found |= _keys(await run(connection, dialect, _SEATED, account, sorted({fact.key[0] for fact in group})))
        elif kind is COURSE_RESULT:
            learners, courses = sorted({fact.key[0] for fact in group}), sorted({fact.key[1] for fact in group})
            found |= _keys(await run(connection, dialect, _LEARNERS, account, learners, courses))
            found |= await _theirs(connection, dialect, accounts, TargetKind.COURSE, account, {(one.key[0], one.key[1]) for one in group})
        elif kind is ATTENDANCE:
            found |= _keys(await run(connection, dialect, _EXERCISES, account, sorted({str(fact.key[0]) for fact in group})))
        elif kind is OBSERVATION:
            rows = await run(connection, dialect, _OBSERVED, account, sorted({fact.key[0] for fact in group}))
            observed = {(row["employee_id"], row["checklist_id"]) for row in rows}
            found |= await _theirs(connection, dialect, accounts, TargetKind.OBSERVATION, account, observed)
    return found


async def _theirs(
    connection: Connection,
    dialect: Dialect,
    accounts: Mapping[str, Account],
    kind: TargetKind,
    account: str,
    reached: Collection[tuple[str | None, str | None]],
) -> set[Key]:
    """Those of learners, each with what they have a result in, that need just that: with a seat or without."""
    settings, schedules = accounts.get(account), sorted(name for name, one in accounts.items() if isinstance(one, FourhseAccount))
    if settings is None or isinstance(settings, FourhseAccount):
        return set()
    whose = [schedules, sorted({who for who, _ in reached if who})]
    rows = await run(connection, dialect, _MAPPED, *whose, account)
    if settings.learner is not None:
        who, texts = _template(settings.learner, dialect)
        rows += await run(connection, dialect, _FILLED.format(who=who), *whose, *texts)
    return _keys(row for row in rows if any((row["learner"], target) in reached for target in _targets(row, kind, account)))


def _template(learner: str, dialect: Dialect) -> tuple[str, list[str]]:
    """A template of the subscription's fields as SQL, and its texts: forwards, for read backwards it may mean several."""
    texts, parts = list[str](), list[str]()
    for text, name, _, _ in Formatter().parse(learner):
        if text:
            texts.append(text)
            parts.append(f"CAST(${len(texts) + 2} AS text)")
        if name is not None:
            parts.append(f"CAST(s.{name} AS text)" if dialect == "postgres" else f"s.{name}")
    return f"({' || '.join(parts)})", texts


def _targets(need: Mapping[str, Any], kind: TargetKind, account: str) -> set[str]:
    return {one.target for one in rule_of(need["plan"]).targets() if (one.kind, one.account) == (kind, account)}


def _keys(rows: Iterable[Mapping[str, Any]]) -> set[Key]:
    return {(row["account"], row["action_subscription_id"]) for row in rows}
