"""What runs again and again for an account, one worker at a time however many there are: a row with a lease for each.

Who holds the lease runs it, and renews the lease meanwhile. A worker that dies lets it end, and another takes over.
`workers/scheduler.py` does the running.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import uniform
from uuid import UUID

from tortoise import fields
from tortoise.expressions import Q
from tortoise.models import Model
from tortoise.queryset import QuerySet

from schemas.accounts import Account


class Schedule(Model):
    """What runs again and again for an account, one worker at a time."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    name = fields.TextField()
    #: Since when it is meant to run.
    created_at = fields.DatetimeField()
    due_at = fields.DatetimeField()
    lease_until = fields.DatetimeField(null=True)
    holder = fields.UUIDField(null=True)
    last_began = fields.DatetimeField(null=True)
    last_success = fields.DatetimeField(null=True)
    #: Since the last success.
    failures = fields.IntField()
    error = fields.TextField(null=True)

    class Meta:
        table = "schedules"
        unique_together = (("account", "name"),)


#: How long after its first, second, … failure in a row something is tried again; never later than its period.
RETRIES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))
#: The part of a period by which a run may be early, so that what began together does not stay together.
_JITTER = 0.05


#: In the place of an account: what runs for muster itself.
OURS = "(muster)"


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that is to run again and again, and how often."""

    account: str
    name: str
    period: timedelta

    async def due_at(self, now: datetime) -> datetime:
        """When it may next be taken. A period that was made shorter counts at once."""
        row = await self._row().first()
        if row is None:
            new = Schedule(account=self.account, name=self.name, created_at=now, due_at=now, failures=0)
            await Schedule.bulk_create([new], ignore_conflicts=True)
            return now
        due = min(row.due_at, row.last_success + self.period) if row.last_success and not row.failures else row.due_at
        return max(due, row.lease_until or due)

    async def take(self, holder: UUID, now: datetime, lease: timedelta) -> bool:
        """Hold it until `now + lease`, unless it is not due, or held by somebody else."""
        due = Q(due_at__lte=now) | Q(failures=0, last_success__lte=now - self.period)
        free = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
        return bool(await self._row().filter(due, free).update(holder=holder, lease_until=now + lease, last_began=now))

    async def renew(self, holder: UUID, until: datetime) -> bool:
        """Hold it longer; False if it is not ours any more."""
        return bool(await self._row().filter(holder=holder).update(lease_until=until))

    async def release(self, holder: UUID) -> None:
        """Give it back as it was, if it is ours."""
        await self._row().filter(holder=holder).update(holder=None, lease_until=None)

    async def succeeded(self, holder: UUID, began: datetime, now: datetime) -> None:
        """It is done for this time, if it is ours."""
        due = began + self.period * uniform(1 - _JITTER, 1)  # noqa: S311 - spreads runs, hides nothing
        ended = {"holder": None, "lease_until": None, "failures": 0, "error": None}
        await self._row().filter(holder=holder).update(due_at=due, last_success=now, **ended)

    async def failed(self, holder: UUID, now: datetime, error: str) -> None:
        """It is to be tried again soon, if it is ours."""
        row = await self._row().filter(holder=holder).first()
        if row is not None:
            step = min(RETRIES[min(row.failures, len(RETRIES) - 1)], self.period)
            ended = {"holder": None, "lease_until": None, "failures": row.failures + 1, "error": error}
            await self._row().filter(holder=holder).update(due_at=now + step, **ended)

    def _row(self) -> QuerySet[Schedule]:
        return Schedule.filter(account=self.account, name=self.name)


async def hasten(account: str, name: str, now: datetime) -> None:
    """Let it run as soon as somebody looks."""
    await Schedule.filter(account=account, name=name).update(due_at=now)


def turns(name: str, account: Account) -> list[Turn]:
    """What is to run for an account: what its `polls` do not turn off."""
    return [Turn(name, poll, every) for poll, every in getattr(account, "polls", ()) if every is not None]
