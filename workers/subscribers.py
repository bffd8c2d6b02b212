"""iSpring's webhook subscribers that muster made, one for each type of event, and whether they are confirmed."""

from tortoise import fields
from tortoise.models import Model


class WebhookSubscriber(Model):
    """iSpring's webhook subscribers that muster made, and whether they are confirmed."""

    id = fields.BigIntField(primary_key=True)
    account = fields.TextField()
    name = fields.TextField()
    event = fields.TextField()
    state = fields.TextField()
    code = fields.TextField(null=True)
    error = fields.TextField(null=True)
    asked_at = fields.DatetimeField(null=True)
    state_at = fields.DatetimeField()

    class Meta:
        table = "webhook_subscribers"
        unique_together = (("account", "name"),)
