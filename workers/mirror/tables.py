"""The mirror's tables. `workers/migrations/` creates them; a test holds the two against each other.

JSON is read by the standard library: Tortoise takes orjson where it is installed, which makes floats of large integers.
"""

import json

from tortoise import fields
from tortoise.models import Model


class ActionSubscription(Model):
    """One entry of a compliance schedule, with 4HSE's own field names, and the evidence for what it says."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    action_subscription_id = fields.TextField()
    #: schemas.states.SubscriptionState
    state = fields.TextField()
    action_id = fields.TextField(null=True)
    subscriber_id = fields.TextField(null=True)
    subscriber_type = fields.TextField(null=True)
    subtenant_id = fields.TextField(null=True)
    tenant_id = fields.TextField(null=True)
    data = fields.JSONField[object](null=True, decoder=json.loads)
    action_type = fields.TextField(null=True)
    action_code = fields.TextField(null=True)
    action_name = fields.TextField(null=True)
    subscriber_code = fields.TextField(null=True)
    subscriber_name = fields.TextField(null=True)
    status = fields.TextField(null=True)
    last_certificate_id = fields.TextField(null=True)
    certificate_date_release = fields.DateField(null=True)
    certificate_date_expire = fields.DateField(null=True)
    office_name = fields.TextField(null=True)
    project_name = fields.TextField(null=True)
    project_type = fields.TextField(null=True)
    owned_active = fields.BooleanField(null=True)
    parent_active = fields.BooleanField(null=True)
    #: What is odd about the entry.
    flags = fields.JSONField[list[str]](decoder=json.loads)
    #: The strongest hint so far: workers.mirror.hints.Hint.strength.
    hint_deleted = fields.BooleanField()
    hint_received_at = fields.DatetimeField()
    hint_fingerprint = fields.BinaryField()

    class Meta:
        table = "action_subscriptions"
        unique_together = (("account", "action_subscription_id"),)
