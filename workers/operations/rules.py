"""Rules by hand: what they are, what they would do, saying yes to them, and why one holds or does not."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tortoise.functions import Count

from schemas.accounts import Account
from schemas.anewspring import WITHOUT_THRESHOLD, Activity
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.rules import Rule, matches
from schemas.states import TargetKind
from workers.audit import Deed, record_each
from workers.database import Database
from workers.followups import rule_states
from workers.followups.case import INITIAL
from workers.followups.directory import known
from workers.followups.identities import Known, learner
from workers.followups.tables import Need, RuleState
from workers.mirror import runs
from workers.mirror.tables import ActionSubscription, CourseResult
from workers.vendors.anewspring import Anewspring

_PART = 1000
_FIELDS = ("id", "account", "state", *SUBSCRIPTION_FIELDS)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """A rule: applied, pending (it plans nothing yet, by its reason) or vanished from the settings; and how many needs it has."""

    name: str
    state: str
    reason: str | None
    digest: str | None
    applied_at: datetime | None
    needs: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A subscription for which a rule holds, and what the rule would do now: enroll, nothing (it has a need already), or unmatched."""

    account: str
    subscription: str
    action_code: str | None
    subscriber_code: str | None
    office: str | None
    status: str | None
    outcome: str


@dataclass(slots=True)
class Preview:
    """What a rule speaks of now. Of `enroll`, more than `max_per_hour` is held until a person says yes."""

    name: str
    state: str
    holds: int = 0
    enroll: int = 0
    unmatched: int = 0
    planned: int = 0
    max_per_hour: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    unfilled: list[str] = field(default_factory=list)
    rows: list[Shown] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Explained:
    """Whether a rule holds for a subscription, why not, and its needs there: cycle, state, reason, since when."""

    name: str
    state: str
    holds: bool
    reasons: list[str]
    needs: list[dict[str, Any]]


async def listed(rules: Sequence[Rule], accounts: Mapping[str, Account]) -> list[Listed]:
    """The rules of the settings in their order, then those that have vanished from them."""
    applied = {one.name: one for one in await RuleState.all()}
    counted = await Need.annotate(count=Count("id")).group_by("rule").values("rule", "count")
    needs = {one["rule"]: int(one["count"]) for one in counted}
    now = {rule.name: rule for rule in rules}
    found = []
    for name in (*now, *sorted((applied.keys() | needs.keys()) - now.keys())):
        state, reason = _state(now.get(name), applied.get(name))
        if state == "applied" and (unfilled := await _unfilled(now[name], accounts)):
            state = "pending" if len(unfilled) == len(_scope(now[name], accounts)) else state
            reason = f"the first back-fill of {', '.join(unfilled)} is not over: it plans nothing there yet"
        one = applied.get(name)
        digest = now[name].digest if name in now else None
        found.append(Listed(name, state, reason, digest, one.applied_at if one else None, needs.get(name, 0)))
    return found


def _state(rule: Rule | None, applied: RuleState | None) -> tuple[str, str | None]:
    if rule is None:
        return "vanished", "it is not in the settings any more; what it planned goes on as planned"
    if applied is None:
        return "pending", "it is new"
    return ("applied", None) if applied.digest == rule.digest else ("pending", "it has changed since it was applied")


def _scope(rule: Rule, accounts: Mapping[str, Account]) -> Sequence[str]:
    """The 4HSE accounts that a rule speaks of."""
    return rule.when.account or [name for name, account in accounts.items() if account.vendor == "4hse"]


async def _unfilled(rule: Rule, accounts: Mapping[str, Account]) -> list[str]:
    """Those of them where it plans nothing, for their first back-fill is not over."""
    return [name for name in _scope(rule, accounts) if not await runs.filled(name)]


async def changed_targets(rules: Sequence[Rule]) -> list[str]:
    """The rules whose needs hold other targets than the rule names now."""
    now = {rule.name: rule for rule in rules}
    held = await Need.filter(rule__in=list(now)).distinct().values_list("rule", "digest")
    found = set()
    for name, digest in held:
        if name in found or digest == now[name].digest:
            continue
        need = await Need.filter(rule=name, digest=digest).first()
        if need is not None and Rule.from_snapshot(need.plan).targets() != now[name].targets():
            found.add(name)
    return sorted(found)


async def unmarked(rules: Iterable[Rule], name: str, client: Anewspring) -> list[tuple[str, str]]:
    """Rules with marks on what has no marks: a course of Lessons; told by the results of one learner who is known in the course."""
    found = []
    for rule in rules:
        for target in rule.targets():
            score = target.terms.get("score")
            if target.kind is not TargetKind.COURSE or target.account != name or (rule.pass_.grade is None and score is None):
                continue
            one = await CourseResult.filter(account=name, course=target.target, superseded_at=None, withdrawn=False).first()
            activities = (await client.result(one.learner, target.target)).activities if one is not None else ()
            if activities and rule.pass_.grade is not None and all(map(_is_unmarked, activities)):
                found.append((rule.name, f"pass.grade: {target.target} holds only Lessons and the like, which have no mark"))
            if score and any(activity.id == score["activity"] and _is_unmarked(activity) for activity in activities):
                found.append((rule.name, f"enroll.score: {score['activity']} is a Lesson or the like, which has no mark"))
    return found


def _is_unmarked(activity: Activity) -> bool:
    return activity.type in WITHOUT_THRESHOLD or activity.sub_type in WITHOUT_THRESHOLD


async def preview(database: Database, rule: Rule, accounts: Mapping[str, Account], limit: int) -> Preview:
    """Numbers, and the first rows, of what a rule would do."""
    applied = await RuleState.get_or_none(name=rule.name)
    found = Preview(rule.name, _state(rule, applied)[0], max_per_hour=rule.max_per_hour)
    found.unfilled = await _unfilled(rule, accounts)
    async for rows in _holding(rule):
        table = await _known(database, rule, rows)
        planned = await _planned(rule, rows)
        for row in rows:
            outcome = _outcome(rule, row, accounts, table, planned)
            found.holds += 1
            found.by_status[row["status"]] += 1
            setattr(found, outcome, getattr(found, outcome) + 1)
            if len(found.rows) < limit:
                found.rows.append(_shown(row, outcome))
    return found


async def _holding(rule: Rule) -> AsyncIterator[list[Row]]:
    """The rows for which the rule holds, some at a time."""
    last = 0
    while part := await rule_states.candidates(rule.when).filter(id__gt=last).order_by("id").limit(_PART).values(*_FIELDS):
        last = part[-1]["id"]
        yield [row for row in part if not matches(rule.when, row)]


async def _known(database: Database, rule: Rule, rows: Iterable[Row]) -> Mapping[str, Known]:
    here = {str(row[name]) for row in rows for name in ("subscriber_id", "subtenant_id")}
    return await known(database.connection, {target.account for target in rule.targets()}, here)


async def _planned(rule: Rule, rows: Iterable[Row]) -> set[tuple[str, str, str]]:
    ids = [row["action_subscription_id"] for row in rows]
    found = await Need.filter(rule=rule.name, action_subscription_id__in=ids).values_list("account", "action_subscription_id", "cycle")
    return {(str(account), str(subscription), str(cycle)) for account, subscription, cycle in found}


def _outcome(rule: Rule, row: Row, accounts: Mapping[str, Account], table: Mapping[str, Known], planned: set[tuple[str, str, str]]) -> str:
    if (row["account"], row["action_subscription_id"], row["last_certificate_id"] or INITIAL) in planned:
        return "planned"
    learners = [learner(one.kind, accounts[one.account], row, table[one.account]) for one in rule.targets()]
    return "unmatched" if None in learners else "enroll"


def _shown(row: Row, outcome: str) -> Shown:
    return Shown(
        account=row["account"],
        subscription=row["action_subscription_id"],
        action_code=row["action_code"],
        subscriber_code=row["subscriber_code"],
        office=row["office_name"],
        status=row["status"],
        outcome=outcome,
    )


async def apply(database: Database, rules: Iterable[Rule], now: datetime, who: str) -> None:
    """Say yes to the rules as they are now."""
    chosen = list(rules)
    deeds = [Deed(who, "rules apply", f"rule {rule.name}", details={"digest": rule.digest}) for rule in chosen]
    async with database.transaction() as connection:
        await rule_states.apply(connection, database.dialect, chosen, now)
        await record_each(connection, database.dialect, deeds)


async def explain(row: ActionSubscription, rules: Sequence[Rule]) -> list[Explained]:
    """Every rule, and those that have vanished and left needs."""
    applied = {one.name: one for one in await RuleState.all()}
    needs = await Need.filter(account=row.account, action_subscription_id=row.action_subscription_id).order_by("created_at", "id")
    filled = await runs.filled(row.account)
    now = {rule.name: rule for rule in rules}
    values = {name: getattr(row, name) for name in _FIELDS}
    found = []
    for name in (*now, *dict.fromkeys(need.rule for need in needs if need.rule not in now)):
        state, why = _state(now.get(name), applied.get(name))
        reasons = matches(now[name].when, values) if name in now else ["it has vanished from the settings"]
        own = [
            {key: getattr(need, key) for key in ("cycle", "state", "reason", "state_at", "due_at")} for need in needs if need.rule == name
        ]
        waits = [] if filled or state == "vanished" else [f"the first back-fill of {row.account} is not over: it plans nothing yet"]
        pending = [f"{why}: it plans nothing until `muster rules apply {name}`"] if state == "pending" and why else []
        found.append(Explained(name, state, not reasons, [*reasons, *pending, *waits], own))
    return found
