"""Reading the mirror's action subscriptions."""

from collections.abc import Sequence

from workers.mirror.tables import ActionSubscription


async def find(*, account: str | None = None, state: str | None = None, limit: int = 50) -> Sequence[ActionSubscription]:
    """The subscriptions that match, the newest evidence first."""
    wanted = {"account": account, "state": state}
    matching = ActionSubscription.filter(**{name: value for name, value in wanted.items() if value})
    return await matching.order_by("-hint_received_at", "-id").limit(limit)


async def by_id(subscription: str, account: str | None = None) -> Sequence[ActionSubscription]:
    """The rows of this id, one for each account that has it."""
    rows = ActionSubscription.filter(action_subscription_id=subscription)
    return await (rows.filter(account=account) if account else rows).order_by("account")
