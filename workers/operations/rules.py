"""Rules by hand: what they are, saying yes to them, and why one holds or does not. What they would do: `workers/operations/previews.py`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tortoise.functions import Count
from tortoise.queryset import QuerySet

from schemas.accounts import Account
from schemas.anewspring import WITHOUT_THRESHOLD, Activity
from schemas.fourhse import SUBSCRIPTION_FIELDS
from schemas.rules import Rule, matches
from schemas.states import NeedState, TargetKind
from workers.audit import Deed, record_each
from workers.database import Database
from workers.followups import rule_states
from workers.followups.tables import Need, RuleState
from workers.mirror import runs
from workers.mirror.tables import ActionSubscription, CourseResult
from workers.vendors.anewspring import Anewspring
from workers.vendors.errors import VendorError

_FIELDS = ("id", "account", "state", *SUBSCRIPTION_FIELDS)


@dataclass(frozen=True, slots=True)
class Listed:
    """A rule: applied, pending (it plans nothing yet, by its reason) or vanished from the settings; and how many of its needs go on."""

    name: str
    state: str
    reason: str | None
    digest: str | None
    applied_at: datetime | None
    needs: int


@dataclass(frozen=True, slots=True)
class Explained:
    """Whether a rule holds for a subscription, why not, and its needs there: cycle, state, reason, since when."""

    name: str
    state: str
    holds: bool
    reasons: list[str]
    needs: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something about a rule's marks: they are not to be had, or nobody could say."""

    rule: str
    why: str
    impossible: bool = False


async def listed(rules: Sequence[Rule], accounts: Mapping[str, Account]) -> list[Listed]:
    """The rules of the settings in their order, then those that have vanished from them."""
    applied = {one.name: one for one in await RuleState.all()}
    counted = await _going_on().annotate(count=Count("id")).group_by("rule").values("rule", "count")
    needs = {one["rule"]: int(one["count"]) for one in counted}
    now = {rule.name: rule for rule in rules}
    found = []
    for name in (*now, *sorted((applied.keys() | needs.keys()) - now.keys())):
        state, reason = state_of(now.get(name), applied.get(name))
        if state == "applied" and (unfilled := await unfilled_of(now[name], accounts)):
            state = "pending" if len(unfilled) == len(_scope(now[name], accounts)) else state
            reason = f"the first back-fill of {', '.join(unfilled)} is not over: it plans nothing there yet"
        one = applied.get(name)
        digest = now[name].digest if name in now else None
        found.append(Listed(name, state, reason, digest, one.applied_at if one else None, needs.get(name, 0)))
    return found


def state_of(rule: Rule | None, applied: RuleState | None) -> tuple[str, str | None]:
    """Applied, pending or vanished, and why."""
    if rule is None:
        return "vanished", "it is not in the settings any more; what it planned goes on as planned"
    if applied is None:
        return "pending", "it is new"
    return ("applied", None) if applied.digest == rule.digest else ("pending", "it has changed since it was applied")


def _scope(rule: Rule, accounts: Mapping[str, Account]) -> Sequence[str]:
    """The 4HSE accounts that a rule speaks of."""
    return rule.when.account or [name for name, account in accounts.items() if account.vendor == "4hse"]


async def unfilled_of(rule: Rule, accounts: Mapping[str, Account]) -> list[str]:
    """The accounts that it speaks of where it plans nothing, for their first back-fill is not over."""
    return [name for name in _scope(rule, accounts) if not await runs.filled(name)]


def _going_on() -> QuerySet[Need]:
    """The needs of which something may still come."""
    return Need.exclude(state__in=[NeedState.VALID.value, NeedState.UNDONE.value])


async def changed_targets(rules: Sequence[Rule]) -> list[str]:
    """The rules of which needs go on with other targets than the rule names now."""
    now = {rule.name: rule for rule in rules}
    held = await _going_on().filter(rule__in=list(now)).distinct().values_list("rule", "digest")
    found = set()
    for name, digest in held:
        if name in found or digest == now[name].digest:
            continue
        need = await _going_on().filter(rule=name, digest=digest).first()
        if need is not None and Rule.from_snapshot(need.plan).targets() != now[name].targets():
            found.add(name)
    return sorted(found)


async def unmarked(rules: Iterable[Rule], name: str, client: Anewspring) -> list[Doubt]:
    """What is wrong with rules' marks, or could not be asked: a course of Lessons has none, as any learner's result in it shows."""
    found = []
    for rule in rules:
        for target in rule.targets():
            score = target.terms.get("score")
            if target.kind is not TargetKind.COURSE or target.account != name or (rule.pass_.grade is None and score is None):
                continue
            try:
                activities = await _activities(name, target.target, client)
            except VendorError as error:
                found.append(Doubt(rule.name, f"{name} could not be asked what {target.target} holds: {type(error).__name__}: {error}"))
                continue
            if not activities:
                found.append(Doubt(rule.name, f"{name} shows what {target.target} holds once somebody's result in it is known"))
            elif rule.pass_.grade is not None and all(map(_is_unmarked, activities)):
                why = f"pass.grade: {target.target} holds only Lessons and the like, which have no mark"
                found.append(Doubt(rule.name, why, impossible=True))
            if score and any(activity.id == score["activity"] and _is_unmarked(activity) for activity in activities):
                why = f"enroll.score: {score['activity']} is a Lesson or the like, which has no mark"
                found.append(Doubt(rule.name, why, impossible=True))
    return found


async def _activities(account: str, course: str, client: Anewspring) -> Sequence[Activity]:
    """What a course consists of, by the result of one learner who is known in it."""
    one = await CourseResult.filter(account=account, course=course, superseded_at=None, withdrawn=False).first()
    return () if one is None else (await client.result(one.learner, course)).activities


def _is_unmarked(activity: Activity) -> bool:
    return activity.type in WITHOUT_THRESHOLD or activity.sub_type in WITHOUT_THRESHOLD


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
        state, why = state_of(now.get(name), applied.get(name))
        reasons = matches(now[name].when, values) if name in now else ["it has vanished from the settings"]
        own = [
            {key: getattr(need, key) for key in ("cycle", "state", "reason", "state_at", "due_at")} for need in needs if need.rule == name
        ]
        waits = [] if filled or state == "vanished" else [f"the first back-fill of {row.account} is not over: it plans nothing yet"]
        pending = [f"{why}: it plans nothing until `muster rules apply {name}`"] if state == "pending" and why else []
        found.append(Explained(name, state, not reasons, [*reasons, *pending, *waits], own))
    return found
