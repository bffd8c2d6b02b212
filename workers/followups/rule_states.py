"""Which rules may plan: those that a person applied as they are now, on accounts whose first back-fill is over."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from tortoise.expressions import Q
from tortoise.queryset import QuerySet

from schemas.rules import Rule, When
from schemas.states import SubscriptionState
from workers.bulk import Upsert
from workers.database import Connection, Dialect
from workers.followups.tables import RuleState
from workers.mirror import runs
from workers.mirror.tables import ActionSubscription

_WRITE = Upsert(
    table="rule_states",
    columns={"name": "text", "digest": "text", "applied_at": "timestamptz"},
    key=("name",),
    update=("digest", "applied_at"),
)
_WILD = frozenset("*?[")


async def applied(connection: Connection, rules: Sequence[Rule], account: str) -> tuple[Rule, ...]:
    """The rules that may plan for subscriptions of this 4HSE account."""
    mine = [rule for rule in rules if rule.when.account is None or account in rule.when.account]
    if not mine or not await runs.filled(account, connection):
        return ()
    digests = {one.name: one.digest for one in await RuleState.all().using_db(connection)}
    return tuple(rule for rule in mine if digests.get(rule.name) == rule.digest)


async def apply(connection: Connection, dialect: Dialect, rules: Iterable[Rule], now: datetime) -> None:
    """From now on these rules plan as they are now: what they may speak of is looked at by the clock."""
    chosen = sorted(rules, key=lambda rule: rule.name)
    await _WRITE.execute(connection, dialect, [{"name": rule.name, "digest": rule.digest, "applied_at": now} for rule in chosen])
    for rule in chosen:
        await candidates(rule.when).using_db(connection).update(changes_at=now)


async def look_again(connection: Connection, account: str, now: datetime) -> None:
    """The account's first back-fill is over: the clock looks at all of it for the rules that were applied before."""
    if not await RuleState.all().using_db(connection).exists():
        return
    await ActionSubscription.filter(account=account, state=SubscriptionState.LIVE.value).using_db(connection).update(changes_at=now)


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
