"""Which rules may plan: those that a person applied as they are now, on accounts whose first back-fill is over.

Applying a rule, the end of a back-fill and other settings are facts that are committed once; whoever plans by what was before is noted
(`missed`) or waited for (`passed`), and a walk over what the rule may speak of (`workers/followups/walks.py`) makes up for it.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tortoise.expressions import Q
from tortoise.queryset import QuerySet

from schemas.rules import Rule, When
from schemas.states import SubscriptionState
from workers.bulk import Upsert
from workers.database import Connection, Database, Dialect, told_apart
from workers.followups.tables import RuleState
from workers.mirror import runs
from workers.mirror.tables import ActionSubscription
from workers.statements import run

#: What others planned without a rule is made up for so much later: they may go on to.
LATER = timedelta(minutes=5)
_NOT_WALKED = ("walked", "walk_at", "reached")
_WRITE = Upsert(
    table="rule_states",
    columns={
        "name": "text",
        "digest": "text",
        "applied_at": "timestamptz",
        "walked": "text",
        "walk_at": "timestamptz",
        "reached": "bigint",
    },
    key=("name",),
    update=("digest", "applied_at", *_NOT_WALKED),
)
_MISSED = "UPDATE rule_states SET walked = NULL, walk_at = $1 WHERE walked IS NOT NULL AND name = any($2)"
_WALK_AGAIN = "UPDATE rule_states SET walked = NULL, walk_at = NULL"
#: Any number beside which no other program locks in the same database: shared by everybody who plans.
_ADVISORY_LOCK = 0x6D757268
_PLANNING = """
    SELECT virtualtransaction FROM pg_locks JOIN pg_database ON oid = database
    WHERE locktype = 'advisory' AND objid = $1 AND classid = 0 AND objsubid = 1 AND datname = current_database()"""
#: Seconds for which those who plan are waited for, and until they are looked at again.
_PATIENCE, _SOON = 60, 0.05
_WILD = frozenset("*?[")


async def apply(connection: Connection, dialect: Dialect, rules: Iterable[Rule], now: datetime) -> None:
    """From now on these rules plan as they are now; a worker that has them so walks what they may speak of."""
    chosen = sorted(rules, key=lambda rule: rule.name)
    unwalked = dict.fromkeys(_NOT_WALKED)
    await _WRITE.execute(
        connection, dialect, [{"name": rule.name, "digest": rule.digest, "applied_at": now, **unwalked} for rule in chosen]
    )


async def walk_again(connection: Connection, dialect: Dialect) -> None:
    """The first back-fill of an account is over: every rule that was applied before is walked again."""
    await run(connection, dialect, _WALK_AGAIN)


async def standing(connection: Connection, dialect: Dialect) -> Mapping[str, RuleState]:
    """The rules as they were applied, for one who plans by them to the transaction's end."""
    if dialect == "postgres":
        await connection.execute_query("SELECT pg_advisory_xact_lock_shared($1)", [_ADVISORY_LOCK])
    return {one.name: one for one in await RuleState.all().using_db(connection)}


async def passed(database: Database) -> None:
    """Return once everybody has ended who plans by less than what is committed now; nobody waits for us. Raises DatabaseAway."""
    if database.dialect == "sqlite":
        return  # one transaction at a time
    with told_apart():
        async with asyncio.timeout(_PATIENCE):
            planning = await _planning(database.connection)
            while planning:
                await asyncio.sleep(_SOON)
                planning &= await _planning(database.connection)


async def _planning(connection: Connection) -> set[str]:
    """The transactions that hold the lock of whoever plans."""
    return {row["virtualtransaction"] for row in await connection.execute_query_dict(_PLANNING, [_ADVISORY_LOCK])}


async def applied(connection: Connection, states: Mapping[str, RuleState], rules: Sequence[Rule], account: str) -> tuple[Rule, ...]:
    """The rules that may plan for subscriptions of this 4HSE account."""
    mine = [rule for rule in rules if rule.when.account is None or account in rule.when.account]
    if not mine or not await runs.filled(account, connection):
        return ()
    return tuple(rule for rule in mine if stands(rule, states))


def stands(rule: Rule, states: Mapping[str, RuleState]) -> bool:
    """Whether a rule was applied as it is."""
    return rule.name in states and states[rule.name].digest == rule.digest


async def missed(connection: Connection, dialect: Dialect, states: Mapping[str, RuleState], rules: Sequence[Rule], now: datetime) -> None:
    """Note which applied rules these are not, in the transaction that planned by these alone: the settings are older or newer."""
    mine = {rule.name for rule in rules if stands(rule, states)}
    if names := sorted(one.name for one in states.values() if one.walked is not None and one.name not in mine):
        await run(connection, dialect, _MISSED, now + LATER, names)


def candidates(when: When) -> QuerySet[ActionSubscription]:
    """The rows that a condition may hold for, as far as an index or a comparison tells; `matches` decides."""
    wanted = {"account": when.account, "action_type": when.action_type, "subscriber_type": when.subscriber_type, "status": when.status}
    found = ActionSubscription.filter(
        state=SubscriptionState.LIVE.value, **{f"{name}__in": list(values) for name, values in wanted.items() if values is not None}
    )
    for names, columns in ((when.office, ("subtenant_id", "office_name")), (when.project, ("tenant_id", "project_name"))):
        if names is not None:
            found = found.filter(Q(*(_in(column, names) for column in columns), join_type=Q.OR))
    if when.action_code is not None:
        found = found.filter(Q(*map(_code, when.action_code), join_type=Q.OR))
    return found


def _in(column: str, names: Sequence[str]) -> Q:
    said: dict[str, Any] = {f"{column}__in": list(names)}
    return Q(**said)


def _code(glob: str) -> Q:
    """A glob's beginning, or all of it where nothing in it is wild."""
    wild = next((place for place, sign in enumerate(glob) if sign in _WILD), None)
    return Q(action_code=glob) if wild is None else Q(action_code__startswith=glob[:wild])
