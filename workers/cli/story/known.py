"""What muster knows at one moment, by its rows, and what the LMS says of the learners' seats."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schemas import samples
from schemas.settings import Settings
from workers.audit import AuditEntry
from workers.followups.tables import FollowupMove, Need, NeedTarget
from workers.log import LoggedDelivery
from workers.mirror.tables import Action, ActionSubscription, Drift
from workers.operations import deliveries, results, rules, subscriptions
from workers.schedules import Schedule
from workers.simulators import acme
from workers.simulators.anewspring.environment import Environment, Seat

COLLEAGUE = "JS002"


@dataclass(frozen=True, slots=True)
class Known:
    """One look at it all."""

    rules: Mapping[str, str]
    deeds: Sequence[AuditEntry]
    row: ActionSubscription | None
    #: Of its action: how many days before its certificate's end it is EXPIRING.
    warned: int | None
    colleague: ActionSubscription | None
    #: The last that arrived.
    delivery: LoggedDelivery | None
    #: What muster answered to webhooks that no vendor sent.
    answers: Sequence[int]
    #: The subscription's, the oldest first, and why the last one's seat was wanted.
    needs: Sequence[Need]
    wanted: str | None
    #: By noun.
    results: Mapping[str, Sequence[Any]]
    polls: Collection[str]
    drifts: Sequence[Drift]
    #: At the LMS, by learner.
    seats: Mapping[str, Seat]


async def look(settings: Settings, environment: Environment, answers: Sequence[int]) -> Known:
    """Look at it all."""
    rows = {row.subscriber_code: row for row in await ActionSubscription.filter(account="hse")}
    needs = await Need.filter(action_subscription_id=acme.SUBSCRIPTION).order_by("created_at")
    row = next(iter(await subscriptions.by_id(samples.SUBSCRIPTION["action_subscription_id"])), None)
    action = await Action.get_or_none(account="hse", action_id=acme.ACTION)
    return Known(
        rules={one.name: one.state for one in await rules.listed(settings.rules, settings.accounts)},
        deeds=await AuditEntry.all().order_by("id"),
        row=row,
        warned=action.expire_interval if action else None,
        colleague=rows.get(COLLEAGUE),
        delivery=next(iter(await deliveries.find(limit=1)), None),
        answers=tuple(answers),
        needs=needs,
        wanted=await _wanted(needs[-1]) if needs else None,
        results={noun: await results.find(noun) for noun in results.RESULTS},
        polls={poll.name for poll in await Schedule.all()},
        drifts=await Drift.all(),
        seats={learner: replace(seat) for (learner, _), seat in environment.seats.items()},
    )


async def _wanted(need: Need) -> str | None:
    """Who asked for its seat, and why."""
    target = await NeedTarget.filter(need=need.id, enrollment__isnull=False).first()
    move = await FollowupMove.filter(enrollment=target.enrollment, state="planned").order_by("-id").first() if target else None
    return move.reason if move else None
