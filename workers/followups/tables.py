"""The follow-ups' tables. `workers/migrations/` creates them; a test holds the two against each other."""

import json
from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class _OneOpen(Index):
    """Unique among what is open."""

    def get_sql(self, schema_generator: Any, model: type[Model], safe: bool) -> str:  # noqa: FBT001
        self.extra = " WHERE state IN ('planned', 'requested', 'enrolled')"
        return super().get_sql(schema_generator, model, safe).replace("CREATE INDEX", "CREATE UNIQUE INDEX")


class RuleState(Model):
    """Rules as they were applied by a person; a rule whose digest is another is pending."""

    id = fields.BigIntField(primary_key=True)
    name = fields.TextField()
    digest = fields.TextField()
    applied_at = fields.DatetimeField()
    #: The digest of the last walk over the rows that it may speak of, as long as nobody has planned without it since; and from when on
    #: there may be another.
    walked = fields.TextField(null=True)
    walk_at = fields.DatetimeField(null=True)
    #: The row that the walk under way has come to.
    reached = fields.BigIntField(null=True)

    class Meta:
        table = "rule_states"
        unique_together = (("name",),)


class Identity(Model):
    """Who a person or an office of ours is in another account."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    kind = fields.TextField()
    here = fields.TextField()
    there = fields.TextField()

    class Meta:
        table = "identities"
        unique_together = (("account", "kind", "here"),)
        indexes = (("account", "kind", "there"),)


class Need(Model):
    """One rule's demand for one subscription in one cycle."""

    id = fields.UUIDField(primary_key=True)
    account = fields.TextField()
    action_subscription_id = fields.TextField()
    rule = fields.TextField()
    #: The id of the certificate whose life it is; `initial` before the first.
    cycle = fields.TextField()
    digest = fields.TextField()
    #: The rule as it was when the need was planned: schemas.rules.Rule.snapshot.
    plan = fields.JSONField[dict[str, object]](decoder=json.loads)
    state = fields.TextField()
    reason = fields.TextField(null=True)
    state_at = fields.DatetimeField()
    #: Since when a result counts: when the cycle opened.
    opened_at = fields.DatetimeField()
    created_at = fields.DatetimeField()
    due_at = fields.DatetimeField(null=True)
    attempt = fields.IntField()
    wait_until = fields.DatetimeField(null=True)
    #: When the calendar may change something, so that the planner has to look again.
    look_at = fields.DatetimeField(null=True)
    #: The steps that a person said yes to.
    approvals = fields.JSONField[list[str]](decoder=json.loads)
    released_at = fields.DatetimeField(null=True)
    #: What a person should look at, whatever its state.
    alarm = fields.TextField(null=True)

    class Meta:
        table = "needs"
        unique_together = (("account", "action_subscription_id", "rule", "cycle"),)
        indexes = (("look_at",), ("rule", "state"))


class NeedTarget(Model):
    """A need's targets, in the order of its rule, and what became of each."""

    id = fields.BigIntField(primary_key=True)
    need = fields.UUIDField()
    step = fields.IntField()
    state = fields.TextField()
    enrollment = fields.UUIDField(null=True)
    result = fields.JSONField[dict[str, object]](null=True, decoder=json.loads)
    due_at = fields.DatetimeField(null=True)

    class Meta:
        table = "need_targets"
        unique_together = (("need", "step"),)
        indexes = (("enrollment",),)


class Enrollment(Model):
    """A learner's seats in targets, a row a round; at most one of them open."""

    id = fields.UUIDField(primary_key=True)
    account = fields.TextField()
    kind = fields.TextField()
    learner = fields.TextField()
    target = fields.TextField()
    round = fields.IntField()
    state = fields.TextField()
    reason = fields.TextField(null=True)
    state_at = fields.DatetimeField()
    #: Whether it was there before us: then it is never undone.
    found = fields.BooleanField(null=True)
    #: What is to be done at the vendor, from `due_at` on, which is the lease's end while somebody does it.
    wish = fields.TextField(null=True)
    due_at = fields.DatetimeField(null=True)
    attempts = fields.IntField()
    error = fields.TextField(null=True)
    terms = fields.JSONField[dict[str, object]](decoder=json.loads)
    start_on = fields.DateField(null=True)
    expire_on = fields.DateField(null=True)
    #: Its id at the vendor, where it has one.
    remote = fields.TextField(null=True)
    enrolled_at = fields.DatetimeField(null=True)
    #: workers.causes.Cause: what it was last wished for.
    trace = fields.TextField(null=True)
    deliveries = fields.TextField(null=True)

    class Meta:
        table = "enrollments"
        unique_together = (("account", "learner", "target", "round"),)
        indexes = (("account", "due_at"), _OneOpen(fields=("account", "learner", "target"), name="uid_enrollments_open"))


class FollowupMove(Model):
    """Every move of a need or an enrollment, with time and reason."""

    id = fields.BigIntField(primary_key=True)
    need = fields.UUIDField(null=True)
    enrollment = fields.UUIDField(null=True)
    rule = fields.TextField(null=True)
    state = fields.TextField()
    reason = fields.TextField(null=True)
    at = fields.DatetimeField()
    #: Whether a seat is given back for it.
    undoes = fields.BooleanField(null=True)

    class Meta:
        table = "followup_moves"
        indexes = (("need",), ("enrollment",), ("rule", "at"))


class Recording(Model):
    """What is written back to 4HSE for a passed need, a row a step."""

    id = fields.UUIDField(primary_key=True)
    need = fields.UUIDField()
    account = fields.TextField()
    step = fields.TextField()
    state = fields.TextField()
    body = fields.JSONField[dict[str, object]](decoder=json.loads)
    remote = fields.TextField()
    due_at = fields.DatetimeField(null=True)
    attempts = fields.IntField()
    error = fields.TextField(null=True)
    state_at = fields.DatetimeField()
    #: workers.causes.Cause: what it follows from.
    trace = fields.TextField(null=True)
    deliveries = fields.TextField(null=True)

    class Meta:
        table = "recordings"
        unique_together = (("need", "step"),)
        indexes = (("account", "due_at"),)


class Certified(Model):
    """Which result certified which subscription: each once only."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    action_subscription_id = fields.TextField()
    result = fields.TextField()
    need = fields.UUIDField()
    at = fields.DatetimeField()

    class Meta:
        table = "certified"
        unique_together = (("account", "action_subscription_id", "result"),)
